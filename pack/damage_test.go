package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// smallLog returns a pack of a few blocks with every kind of record in it.
func smallLog(t testing.TB) ([]byte, Ref, []*change.Tx) {
	users := jsonRows(t, 40)
	s, err := change.Define(2, "notes", nil, change.Column{Name: "text", Type: change.Text})
	if err != nil {
		t.Fatal(err)
	}
	key, image, err := s.EncodeRow(change.Row{change.TextValue("a note")})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := change.SchemaRecord(s)
	if err != nil {
		t.Fatal(err)
	}
	dropped := *s
	dropped.Version, dropped.Dropped = 2, true
	end, err := change.SchemaRecord(&dropped)
	if err != nil {
		t.Fatal(err)
	}
	last := users[len(users)-1]
	lsn := last.Last()
	tx := &change.Tx{ID: 9, Commit: last.Commit + 1, Effective: last.Effective, Position: "0/16B3748"}
	for _, r := range []change.Record{
		schema,
		{Op: change.Insert, Collection: 2, Key: key, Image: image},
		{Op: change.Delete, Collection: 2, Key: key, Image: image},
		{Op: change.Delete, Collection: 1, Key: users[0].Records[0].Key},
		{Op: change.Truncate, Collection: 1},
		end,
	} {
		lsn++
		r.LSN = lsn
		tx.Records = append(tx.Records, r)
	}
	txs := append(users, tx)
	data, ref, _ := logPack(t, WriterOptions{BlockSize: 2000}, txs...)
	return data, ref, txs
}

// smallRun returns a run pack of a few blocks, a bag's rows included.
func smallRun(t testing.TB) ([]byte, Ref, []change.Record) {
	_, _, txs := smallLog(t)
	var records []change.Record
	for _, r := range asRun(txs) {
		if r.Op <= change.Delete {
			if r.Collection == 2 {
				r.Op, r.Count = change.Insert, 3
			}
			records = append(records, r)
		}
	}
	data, ref, _ := runPack(t, WriterOptions{BlockSize: 2000}, records, Tombstone{Collection: 3, LSN: 5})
	return data, ref, records
}

// readAll reads a log or run pack in the ways that its users do. What it
// returns was read before the first error.
func readAll(ctx context.Context, b storage.Bucket, ref Ref, whole bool) (records []change.Record, err error) {
	open := Open
	if whole {
		open = OpenWhole
	}
	r, err := open(ctx, b, ref)
	if err != nil {
		return nil, err
	}
	for b, err := range r.Blocks(ctx, 0, len(r.Index().Blocks), 0) {
		if err != nil {
			return records, err
		}
		records = append(records, copyRecords(b.Records())...)
	}
	if whole {
		return records, r.VerifyRecords(ctx)
	}
	return records, verifyWhileReading(ctx, r)
}

// verifyWhileReading reads all of a pack as a verification does that wants its
// records too.
func verifyWhileReading(ctx context.Context, r *Reader) error {
	if r.Index().Kind == Run {
		for _, err := range r.VerifyRows(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, err := range r.VerifyTxs(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestEveryByteCounts flips each byte of small packs, cuts them at each length
// and extends them: each time the damage is found, and no record that was not
// written is returned before it.
func TestEveryByteCounts(t *testing.T) {
	ctx := t.Context()
	log, logRef, txs := smallLog(t)
	run, runRef, rows := smallRun(t)
	var records []change.Record
	for _, tx := range txs {
		records = append(records, tx.Records...)
	}
	for _, p := range []struct {
		name string
		data []byte
		ref  Ref
		want []change.Record
	}{{"log", log, logRef, records}, {"run", run, runRef, rows}} {
		t.Run(p.name, func(t *testing.T) {
			expect := func(what string, data []byte) {
				t.Helper()
				for _, whole := range []bool{false, true} {
					b, ref := bucketOf(data, p.ref)
					got, err := readAll(ctx, b, ref, whole)
					if !errors.Is(err, ErrCorrupt) {
						t.Fatalf("%s: error %v, want %v", what, err, ErrCorrupt)
					}
					if !strings.Contains(err.Error(), testKey) {
						t.Fatalf("%s: error %q does not name the object", what, err)
					}
					if len(got) > 0 && !equalRecords(got, p.want[:len(got)]) {
						t.Fatalf("%s: wrong records before the error\n%s", what, cmp.Diff(p.want[:len(got)], got))
					}
				}
			}
			for i := range p.data {
				damaged := bytes.Clone(p.data)
				damaged[i] ^= 1 << (i % 8)
				expect(fmt.Sprintf("byte %d flipped", i), damaged)
			}
			for n := range p.data {
				if n%7 == 0 || len(p.data)-n < 100 {
					expect(fmt.Sprintf("cut to %d bytes", n), p.data[:n])
				}
			}
			for _, more := range []int{1, 16, 100} {
				expect(fmt.Sprintf("%d bytes more", more), append(bytes.Clone(p.data), make([]byte, more)...))
			}
			b, ref := bucketOf(p.data, p.ref)
			if got, err := readAll(ctx, b, ref, false); err != nil || !equalRecords(got, p.want) {
				t.Errorf("undamaged: error %v\n%s", err, cmp.Diff(p.want, got))
			}
		})
	}
}

func equalRecords(a, b []change.Record) bool {
	return slices.EqualFunc(a, b, func(a, b change.Record) bool {
		return a.LSN == b.LSN && a.Op == b.Op && a.Collection == b.Collection && a.Count == b.Count &&
			bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Image, b.Image)
	})
}

// anatomy is a pack in its parts, to forge others from.
type anatomy struct {
	header  header
	blocks  [][]byte
	filters []byte
	ix      *Index
	footer  footer
	more    []byte // sections after the index's own
}

func dissect(t testing.TB, data []byte, ref Ref) *anatomy {
	t.Helper()
	r := mustOpen(t, data, ref)
	a := &anatomy{header: r.header, ix: r.ix}
	end := int64(headerSize)
	for _, k := range r.ix.Blocks {
		a.blocks = append(a.blocks, bytes.Clone(data[k.Offset:k.Offset+k.Stored]))
		end = k.Offset + k.Stored
	}
	a.filters = bytes.Clone(data[end : ref.Size-ref.Tail])
	a.footer, _ = parseFooter(data)
	return a
}

// seal puts a pack together with every hash right, so that only what was
// forged inside is wrong.
func (a *anatomy) seal() ([]byte, Ref) {
	out := a.header.append(nil)
	for i, b := range a.blocks {
		a.ix.Blocks[i].Stored, a.ix.Blocks[i].Hash = int64(len(b)), sum(b)
		out = append(out, b...)
	}
	at := 0
	for i := range a.ix.Blocks {
		k := &a.ix.Blocks[i]
		k.filterHash = sum(a.filters[at : at+int(k.filterSize)])
		at += int(k.filterSize)
	}
	out = append(out, a.filters...)
	f := a.footer
	f.header = a.header
	f.indexOffset = int64(len(out))
	tail := append(a.ix.append(nil, a.header), a.more...)
	f.indexSize = int64(len(tail))
	tail = f.append(tail)
	out = append(out, tail...)
	return out, Ref{Size: int64(len(out)), Tail: int64(len(tail)), Hash: sum(tail), Records: f.records, Raw: f.raw, MaxBlock: f.maxBlock}
}

// stream returns the directory entry of a block's stream.
func (a *anatomy) stream(t testing.TB, block int, id byte) []byte {
	t.Helper()
	b := a.blocks[block]
	for i := range int(binary.LittleEndian.Uint32(b[32:])) {
		if e := b[blockHeaderSize+i*streamEntrySize:]; e[0] == id {
			return e[:streamEntrySize]
		}
	}
	t.Fatalf("block %d has no stream %d", block, id)
	return nil
}

// replace gives a block's stream other stored bytes.
func (a *anatomy) replace(t testing.TB, block int, id byte, encoding byte, data []byte, raw uint32) {
	t.Helper()
	b := a.blocks[block]
	n := int(binary.LittleEndian.Uint32(b[32:]))
	at := blockHeaderSize + n*streamEntrySize
	for i := range n {
		e := b[blockHeaderSize+i*streamEntrySize:]
		size := int(binary.LittleEndian.Uint32(e[4:]))
		if e[0] == id {
			e[1] = encoding
			binary.LittleEndian.PutUint32(e[4:], uint32(len(data)))
			binary.LittleEndian.PutUint32(e[8:], raw)
			a.blocks[block] = append(append(bytes.Clone(b[:at]), data...), b[at+size:]...)
			return
		}
		at += size
	}
	t.Fatalf("block %d has no stream %d", block, id)
}

// bomb returns a zstd frame of zeros that does not say how many they are.
func bomb(t testing.TB, size int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(z, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestBomb: a frame that decompresses to far more than its stream declares is
// refused, with no more memory than declared.
func TestBomb(t *testing.T) {
	data, ref, _ := smallLog(t)
	for _, size := range []int64{3000, 1 << 30} {
		a := dissect(t, data, ref)
		raw := binary.LittleEndian.Uint32(a.stream(t, 0, streamBytes)[8:])
		a.replace(t, 0, streamBytes, encodingZstd, bomb(t, size), raw)
		forged, ref := a.seal()
		b, ref := bucketOf(forged, ref)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(t.Context(), b, ref, false)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "block 0") {
			t.Errorf("frame of %d zeros: error %v, want %v", size, err, ErrCorrupt)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("frame of %d zeros: %d bytes of memory", size, used)
		}
	}
}

// TestOptionalParts: streams and index sections that a later version may add
// as hints are skipped.
func TestOptionalParts(t *testing.T) {
	data, ref, txs := smallLog(t)
	a := dissect(t, data, ref)
	for i, b := range a.blocks {
		n := binary.LittleEndian.Uint32(b[32:])
		binary.LittleEndian.PutUint32(b[32:], n+1)
		at := blockHeaderSize + int(n)*streamEntrySize
		b = slices.Insert(b, at, optionalStream+7, encodingRaw, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0)
		a.blocks[i] = append(b, "hint"...)
	}
	a.more = appendSection(nil, optionalSection+7, []byte("hint"))
	data, ref = a.seal()
	b, ref := bucketOf(data, ref)
	got, err := readAll(t.Context(), b, ref, false)
	if err != nil || len(got) != int(ref.Records) || !equalRecords(got[:len(txs[0].Records)], txs[0].Records) {
		t.Errorf("error %v, %d records, want %d", err, len(got), ref.Records)
	}
}

// TestTornTransaction: blocks that disagree on the transaction they share are
// found by whoever reads transactions.
func TestTornTransaction(t *testing.T) {
	data, ref, _ := smallLog(t)
	torn := 0
	for i := range dissect(t, data, ref).blocks {
		a := dissect(t, data, ref)
		before := a.blocks[i][24:]
		if before[0] == 0 {
			continue
		}
		before[0]--
		torn++
		data, ref := a.seal()
		var err error
		for _, err = range mustOpen(t, data, ref).Txs(t.Context(), 0) {
			if err != nil {
				break
			}
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "transaction") {
			t.Errorf("block %d: error %v, want %v", i, err, ErrCorrupt)
		}
	}
	if torn == 0 {
		t.Error("no transaction spans two blocks")
	}
}
