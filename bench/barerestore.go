package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/change"
)

// bareParts is how many goroutines load, each its range of keys, and how many
// decode segments before that.
const bareParts = 2

// bareEntry is a change: where its record is, and how it sorts.
type bareEntry struct {
	prefix   uint64 // first 8 bytes of the key, big endian
	block    uint32 // in bareChanges.blocks
	key      uint32 // offset in the block
	image    uint32 // offset in the block
	imageLen uint32
	keyLen   uint16
	op       change.Op
}

// bareChanges is what one goroutine decoded of the log, in log order, split
// by the range of keys that each loader takes.
type bareChanges struct {
	blocks  [][]byte
	entries [bareParts][]bareEntry
}

// bareRowPrefix is what an embedded database's rows of collection 1 have
// before the key, so that both pipelines write the same tables.
var bareRowPrefix = []byte{0x02, 0, 0, 0, 1}

func barePrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// bareOptions are those of an embedded database's state.
func bareOptions() *pebble.Options {
	o := &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, DisableWAL: true, Logger: quietLogger{}}
	o.EnsureDefaults()
	return o
}

// quietLogger keeps Pebble's messages off standard error.
type quietLogger struct{}

func (quietLogger) Infof(string, ...any)              {}
func (quietLogger) Errorf(string, ...any)             {}
func (quietLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// restoreBare builds a Pebble database from what writeBare wrote, and returns
// how many rows it has.
func restoreBare(ctx context.Context, j *job) (int64, error) {
	dir, dest := j.From, j.Dest
	a, err := openBare(dir)
	if err != nil {
		return 0, err
	}
	// Cut the keys in two where the base is cut in two.
	cut := len(a.Base) / bareParts
	bases := [bareParts][]bareBlockRef{a.Base[:cut], a.Base[cut:]}
	var boundary []byte
	if len(a.Base) > 0 {
		boundary = a.Base[cut].First
	}

	var changes [bareParts]bareChanges
	half := len(a.Segments) / bareParts
	var g errgroup.Group
	for p, span := range [bareParts][2]int{{0, half}, {half, len(a.Segments)}} {
		g.Go(func() error { return changes[p].decode(dir, a.Segments, span, boundary) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}

	db, err := pebble.Open(dest, bareOptions())
	if err != nil {
		return 0, err
	}
	var rows [bareParts]int64
	var tables [bareParts]string
	g = errgroup.Group{}
	for p := range bareParts {
		tables[p] = filepath.Join(dest, fmt.Sprintf("load-%d.sst", p))
		g.Go(func() (err error) {
			rows[p], err = loadBare(filepath.Join(dir, bareBaseFile), bases[p], &changes, p, tables[p], j.Buffer)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	var total int64
	var ingest []string
	for p, n := range rows {
		if total += n; n > 0 {
			ingest = append(ingest, tables[p])
		}
	}
	if err := db.Ingest(ctx, ingest); err != nil {
		return 0, err
	}
	return total, db.Close()
}

// decode reads the segments from span[0] to before span[1].
func (c *bareChanges) decode(dir string, segments [][]bareBlockRef, span [2]int, boundary []byte) error {
	records := 0
	for _, refs := range segments[span[0]:span[1]] {
		for i := range refs {
			records += refs[i].Records
		}
	}
	for p := range c.entries {
		c.entries[p] = make([]bareEntry, 0, records/bareParts+records/16)
	}
	for n := span[0]; n < span[1]; n++ {
		r, err := openBareFile(bareSegmentFile(dir, n))
		if err != nil {
			return err
		}
		for i := range segments[n] {
			if err := c.decodeBlock(r, &segments[n][i], boundary); err != nil {
				return err
			}
		}
		r.close()
	}
	return nil
}

func (c *bareChanges) decodeBlock(r *bareReader, ref *bareBlockRef, boundary []byte) error {
	raw, err := r.block(ref, nil)
	if err != nil {
		return err
	}
	cur, err := newBareCursor(raw, ref)
	if err != nil {
		return err
	}
	block := uint32(len(c.blocks))
	c.blocks = append(c.blocks, raw)
	images := uint32(len(raw) - len(cur.images))
	keys := images - uint32(len(cur.keys))
	for {
		op, key, image, ok := cur.next()
		if !ok {
			return nil
		}
		p := 0
		if bytes.Compare(key, boundary) >= 0 {
			p = 1
		}
		c.entries[p] = append(c.entries[p], bareEntry{barePrefix(key), block, keys, images, uint32(len(image)), uint16(len(key)), op})
		keys += uint32(len(key))
		images += uint32(len(image))
	}
}

// bareLog is the changes of one part in key order, those of one key in log order.
type bareLog struct {
	blocks  [][]byte // of all goroutines
	entries []bareEntry
	scratch [8]byte
	warmed  int // entries in front whose images were warmed
	sink    byte
}

// key returns the key of an entry, valid until the next call. A short key is
// all in its prefix, which spares a trip to a block that is not in the cache.
func (l *bareLog) key(e *bareEntry) []byte {
	if e.keyLen <= 8 {
		binary.BigEndian.PutUint64(l.scratch[:], e.prefix)
		return l.scratch[:e.keyLen]
	}
	return l.longKey(e)
}

func (l *bareLog) longKey(e *bareEntry) []byte {
	return l.blocks[e.block][e.key : e.key+uint32(e.keyLen)]
}

// compare orders an entry against a key with its prefix.
func (l *bareLog) compare(e *bareEntry, prefix uint64, key []byte) int {
	if e.prefix != prefix {
		return cmp.Compare(e.prefix, prefix)
	}
	if e.keyLen <= 8 || len(key) <= 8 {
		return int(e.keyLen) - len(key) // one starts with the other
	}
	return bytes.Compare(l.longKey(e), key)
}

// sortBare sorts the changes of a part.
func sortBare(changes *[bareParts]bareChanges, part int) *bareLog {
	n := 0
	for i := range changes {
		n += len(changes[i].entries[part])
	}
	l := &bareLog{entries: make([]bareEntry, 0, n)}
	for i := range changes {
		for _, e := range changes[i].entries[part] {
			e.block += uint32(len(l.blocks))
			l.entries = append(l.entries, e)
		}
		l.blocks = append(l.blocks, changes[i].blocks...)
		changes[i].entries[part] = nil
	}
	l.entries = radixSort(l.entries)
	// Different keys with the same first 8 bytes are still in log order.
	for start := 0; start < len(l.entries); {
		first := &l.entries[start]
		end, differ := start+1, false
		for ; end < len(l.entries) && l.entries[end].prefix == first.prefix; end++ {
			differ = differ || l.entries[end].keyLen != first.keyLen || first.keyLen > 8
		}
		if differ {
			slices.SortStableFunc(l.entries[start:end], func(a, b bareEntry) int {
				return bytes.Compare(l.longKey(&a), l.longKey(&b))
			})
		}
		start = end
	}
	return l
}

// radixSort sorts by prefix, keeping the order of equal ones, in passes of 11
// bits, leaving out those in which all prefixes agree.
func radixSort(entries []bareEntry) []bareEntry {
	const bits, mask = 11, 1<<11 - 1
	var or, and uint64 = 0, 1<<64 - 1
	for i := range entries {
		or, and = or|entries[i].prefix, and&entries[i].prefix
	}
	differ := or &^ and
	tmp := make([]bareEntry, len(entries))
	for shift := 0; shift < 64; shift += bits {
		if differ>>shift&mask == 0 {
			continue
		}
		var count [mask + 1]int
		for i := range entries {
			count[entries[i].prefix>>shift&mask]++
		}
		sum := 0
		for i, c := range count {
			count[i], sum = sum, sum+c
		}
		for _, r := range entries {
			d := r.prefix >> shift & mask
			tmp[count[d]] = r
			count[d]++
		}
		entries, tmp = tmp, entries
	}
	return entries
}

// bareTable writes one sorted table.
type bareTable struct {
	w    *sstable.Writer
	key  []byte
	rows int64
}

func (t *bareTable) set(key, image []byte) error {
	t.rows++
	t.key = append(append(t.key[:0], bareRowPrefix...), key...)
	return t.w.Set(t.key, image)
}

// warm brings the images of the next entries into the processor's cache, many at once.
func (l *bareLog) warm() {
	const ahead, line = 128, 64
	next := l.entries[:min(ahead, len(l.entries))]
	for i := range next {
		e := &next[i]
		image := l.blocks[e.block][e.image : e.image+e.imageLen]
		for at := 0; at < len(image); at += line {
			l.sink += image[at]
		}
	}
	l.warmed = len(next)
}

// setFirst takes the changes of the first key and writes what they leave of it.
func (t *bareTable) setFirst(l *bareLog) error {
	if l.warmed <= 0 {
		l.warm()
	}
	e := &l.entries[0]
	key := l.key(e)
	n := 1
	for n < len(l.entries) && l.compare(&l.entries[n], e.prefix, key) == 0 {
		n++
	}
	e = &l.entries[n-1]
	l.entries, l.warmed = l.entries[n:], l.warmed-n
	if e.op == change.Delete {
		return nil
	}
	return t.set(key, l.blocks[e.block][e.image:e.image+e.imageLen])
}

// bufferedFile gathers what is written to a file, whose own methods do the rest.
type bufferedFile struct {
	vfs.File
	w *bufio.Writer
}

func (f *bufferedFile) Write(p []byte) (int, error) { return f.w.Write(p) }

func (f *bufferedFile) Sync() error { return errors.Join(f.w.Flush(), f.File.Sync()) }

// loadBare merges part p of the changes with its blocks of the base into a
// table, which it writes with a buffer of so many bytes; 0: as Pebble does.
func loadBare(path string, base []bareBlockRef, changes *[bareParts]bareChanges, p int, table string, buffer int) (int64, error) {
	log := sortBare(changes, p)
	f, err := vfs.Default.Create(table, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, err
	}
	if buffer > 0 {
		f = &bufferedFile{f, bufio.NewWriterSize(f, buffer)}
	}
	o := bareOptions()
	t := &bareTable{w: sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(6, o.FormatMajorVersion.MaxTableFormat()))}
	r, err := openBareFile(path)
	if err != nil {
		return 0, err
	}
	defer r.close()
	var buf []byte
	for i := range base {
		if buf, err = r.block(&base[i], buf); err != nil {
			return 0, err
		}
		cur, err := newBareCursor(buf, &base[i])
		if err != nil {
			return 0, err
		}
		for {
			_, key, image, ok := cur.next()
			if !ok {
				break
			}
			replaced := false
			for prefix := barePrefix(key); len(log.entries) > 0; {
				order := log.compare(&log.entries[0], prefix, key)
				if order > 0 {
					break
				}
				replaced = order == 0
				if err := t.setFirst(log); err != nil {
					return 0, err
				}
			}
			if replaced {
				continue
			}
			if err := t.set(key, image); err != nil {
				return 0, err
			}
		}
	}
	for len(log.entries) > 0 {
		if err := t.setFirst(log); err != nil {
			return 0, err
		}
	}
	return t.rows, t.w.Close()
}

// digestBare returns the digest of the rows of a database that restoreBare made.
func digestBare(_ context.Context, dir string) (d change.Digest, err error) {
	w, err := NewCustomers(0, 0) // for its schema
	if err != nil {
		return d, err
	}
	db, err := pebble.Open(dir, bareOptions())
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	it, err := db.NewIter(nil)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if err := d.Add(w.Schema, change.Key(it.Key()[len(bareRowPrefix):]), it.Value(), 1); err != nil {
			return d, err
		}
	}
	return d, nil
}
