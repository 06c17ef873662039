package embedded

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// stateFormat is the version of the files that Pebble writes. Raising it makes
// databases unreadable for older programs.
const stateFormat = pebble.FormatTableFormatV6

// stateOptions returns the options of the state store. flushed, when not nil,
// is called after each flush and must not block.
func stateOptions(fs vfs.FS, opts *Options, flushed func()) *pebble.Options {
	o := &pebble.Options{
		FS:                    fs,
		DisableWAL:            true,
		FormatMajorVersion:    stateFormat,
		MemTableSize:          uint64(opts.MemTableBytes),
		CacheSize:             opts.CacheBytes,
		L0CompactionThreshold: 4,
		Logger:                &stateLog{last: opts.Fatal},
	}
	// Most reads ask for a row that a level does not hold.
	const bitsPerKey = 10
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bitsPerKey)
	}
	if flushed != nil {
		o.EventListener = &pebble.EventListener{FlushEnd: func(pebble.FlushInfo) { flushed() }}
	}
	return o
}

// stateLog drops what the state store wants to log, since its errors are
// returned too, but for its last words.
type stateLog struct {
	last func(error) // Options.Fatal
}

func (*stateLog) Infof(string, ...any)  {}
func (*stateLog) Errorf(string, ...any) {}

// Fatalf is called when the state store can't go on, and must not return.
func (l *stateLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf("%w: state: %s", ErrPoisoned, fmt.Sprintf(format, args...))
	if l.last != nil {
		l.last(err)
	}
	panic(err)
}

func openState(fs vfs.FS, dir string, opts *Options, flushed func()) (*pebble.DB, error) {
	return openStore(fs.PathJoin(dir, stateName), stateOptions(fs, opts, flushed))
}

// openStore opens a state store. Where Pebble panics because it can't write its
// directory, and no [Options.Fatal] comes first, that is an error as any other.
func openStore(name string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("state in %s: %v", name, r)
		}
	}()
	if db, err = pebble.Open(name, o); err != nil {
		return nil, fmt.Errorf("state in %s: %w", name, err)
	}
	return db, nil
}

// readProgress returns how far a state has come. durable asks for what is
// surely on disk, not for what is in memory.
func readProgress(db *pebble.DB, durable bool) (p progress, err error) {
	it, err := db.NewIter(&pebble.IterOptions{
		LowerBound: progressKey, UpperBound: successor(append([]byte(nil), progressKey...)),
		OnlyReadGuaranteedDurable: durable,
	})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.First() {
		return progress{NextID: 1}, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return p, err
	}
	return parseProgress(v)
}

// readCatalog returns the collections of a state.
func readCatalog(r reader, nextID change.CollectionID) (c *catalog, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{kindSchema}, UpperBound: []byte{kindRow}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	c = newCatalog()
	c.nextID = nextID
	for valid := it.First(); valid; valid = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		s := new(change.Schema)
		if err := json.Unmarshal(v, s); err != nil {
			return nil, fmt.Errorf("state: %w: %w", err, ErrCorrupt)
		}
		c = c.with(s)
	}
	return c, it.Error()
}

// rows is a state under change: what a transaction, or the applier, sees and
// writes. It implements [apply.Rows].
type rows struct {
	stack
	top     *layer
	catalog *catalog
	buf     []byte
}

func newRows(base reader, c *catalog, below ...*layer) *rows {
	r := &rows{top: newLayer(), catalog: c}
	r.base = base
	r.layers = append(r.layers, r.top)
	for _, l := range below {
		if l != nil {
			r.layers = append(r.layers, l)
		}
	}
	return r
}

// Schema implements apply.Rows.
func (r *rows) Schema(c change.CollectionID) *change.Schema { return r.catalog.byID[c] }

// value returns the stored value of a row, valid until the next call.
func (r *rows) value(c change.CollectionID, key change.Key) (v []byte, ok bool, err error) {
	b := appendRowKey(r.buf[:0], c, key)
	n := len(b)
	b, ok, err = r.get(b, c, b[:n:n])
	r.buf = b
	return b[n:], ok, err
}

// Count implements apply.Rows.
func (r *rows) Count(c change.CollectionID, key change.Key) (int64, error) {
	v, ok, err := r.value(c, key)
	if err != nil || !ok {
		return 0, err
	}
	if !r.catalog.byID[c].Bag() {
		return 1, nil
	}
	n, _, err := bagValue(v)
	return n, err
}

// Set implements apply.Rows.
func (r *rows) Set(c change.CollectionID, key change.Key, image change.Image, count int64) error {
	k := appendRowKey(make([]byte, 0, rowPrefix+len(key)), c, key)
	v := []byte(image)
	if r.catalog.byID[c].Bag() {
		v = appendBagValue(make([]byte, 0, len(image)+2), count, image)
	}
	r.top.set(k, v)
	return nil
}

// Remove implements apply.Rows.
func (r *rows) Remove(c change.CollectionID, key change.Key) error {
	r.top.set(appendRowKey(make([]byte, 0, rowPrefix+len(key)), c, key), nil)
	return nil
}

// Clear implements apply.Rows.
func (r *rows) Clear(c change.CollectionID) error {
	r.top.clear(c)
	return nil
}

// SetSchema implements apply.Rows.
func (r *rows) SetSchema(s *change.Schema) error {
	r.catalog = r.catalog.with(s)
	if s.Dropped {
		r.top.set(schemaKey(s.Collection), nil)
		return nil
	}
	j, err := s.MarshalJSON()
	if err != nil {
		return err
	}
	r.top.set(schemaKey(s.Collection), j)
	return nil
}
