package pack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

// TestLogWriterRefuses: what does not follow is refused, and the pack goes on
// as if it had not been tried.
func TestLogWriterRefuses(t *testing.T) {
	good := jsonRows(t, 30)
	clone := func(tx *change.Tx) *change.Tx {
		c := *tx
		c.Records = copyRecords(tx.Records)
		return &c
	}
	for _, c := range []struct {
		name  string
		want  error
		spoil func(tx *change.Tx)
	}{
		{"no records", ErrOrder, func(tx *change.Tx) { tx.Records = nil }},
		{"LSN again", ErrOrder, func(tx *change.Tx) { tx.Records[0].LSN-- }},
		{"LSN left out", ErrOrder, func(tx *change.Tx) { tx.Records = tx.Records[1:] }},
		{"hole inside", ErrOrder, func(tx *change.Tx) { tx.Records = slices.Delete(tx.Records, 4, 5) }},
		{"time goes back", ErrOrder, func(tx *change.Tx) { tx.Effective = good[0].Effective - 1 }},
		{"no operation", nil, func(tx *change.Tx) { tx.Records[3].Op = 0 }},
		{"no collection", nil, func(tx *change.Tx) { tx.Records[3].Collection = 0 }},
		{"count", nil, func(tx *change.Tx) { tx.Records[3].Count = 1 }},
		{"bad schema", nil, func(tx *change.Tx) { tx.Records[3].Op = change.SetSchema }},
		{"key too long", ErrLimit, func(tx *change.Tx) { tx.Records[9].Key = make(change.Key, change.MaxKey+1) }},
		{"image too long", ErrLimit, func(tx *change.Tx) { tx.Records[9].Image = make(change.Image, change.MaxImage+1) }},
		{"position too long", ErrLimit, func(tx *change.Tx) { tx.Position = change.Position(strings.Repeat("x", MaxPosition+1)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var buf bytes.Buffer
			w := NewLogWriter(&buf, WriterOptions{BlockSize: 600})
			for i, tx := range good {
				if i == 1 {
					bad := clone(tx)
					c.spoil(bad)
					if err := w.AppendTx(bad); err == nil || c.want != nil && !errors.Is(err, c.want) {
						t.Errorf("error %v, want %v", err, c.want)
					}
				}
				if err := w.AppendTx(tx); err != nil {
					t.Fatal(err)
				}
			}
			ref, _, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if _, wantRef, _ := logPack(t, WriterOptions{BlockSize: 600}, good...); ref != wantRef {
				t.Error("the refused transaction left something in the pack")
			}
		})
	}
}

// TestRunWriterRefuses is the same for runs.
func TestRunWriterRefuses(t *testing.T) {
	row := func(c change.CollectionID, key string) change.Record {
		return change.Record{Op: change.Insert, Collection: c, Key: change.Key(key), Image: change.Image{0}}
	}
	spoilt := func(r change.Record, op change.Op) change.Record { r.Op = op; return r }
	for _, c := range []struct {
		name string
		want error
		row  change.Record
	}{
		{"same row", ErrOrder, row(2, "b")},
		{"smaller key", ErrOrder, row(2, "a")},
		{"smaller collection", ErrOrder, row(1, "z")},
		{"truncate", nil, spoilt(row(3, "a"), change.Truncate)},
		{"schema", nil, spoilt(row(3, "a"), change.SetSchema)},
		{"no key", nil, row(3, "")},
		{"no collection", nil, row(0, "a")},
		{"key too long", ErrLimit, row(3, strings.Repeat("k", change.MaxKey+1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := NewRunWriter(io.Discard, WriterOptions{})
			first, next := row(2, "b"), row(2, "c")
			if err := w.Append(&first); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(&c.row); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if err := w.Append(&next); err != nil {
				t.Errorf("the next row is refused, too: %v", err)
			}
			if ref, _, err := w.Close(); err != nil || ref.Records != 2 {
				t.Errorf("error %v, %d records, want 2", err, ref.Records)
			}
			if err := w.Append(&next); err == nil {
				t.Error("a closed writer takes a row")
			}
			if _, _, err := w.Close(); err == nil {
				t.Error("a closed writer closes again")
			}
		})
	}
}

// TestEmptyPack: a pack without records is well formed.
func TestEmptyPack(t *testing.T) {
	data, ref, _ := logPack(t, WriterOptions{})
	r := mustOpen(t, data, ref)
	if err := r.VerifyRecords(t.Context()); err != nil {
		t.Error(err)
	}
	for tx, err := range r.Txs(t.Context(), 0) {
		t.Errorf("transaction %v, error %v", tx, err)
	}
	if lsn, err := r.LastAt(t.Context(), 1<<60); lsn != 0 || err != nil {
		t.Errorf("last transaction at LSN %d, error %v", lsn, err)
	}
	data, ref, _ = runPack(t, WriterOptions{}, nil, Tombstone{Collection: 1, LSN: 9})
	r = mustOpen(t, data, ref)
	for rec, err := range r.Records(t.Context(), RowKey{}) {
		t.Errorf("record %v, error %v", rec, err)
	}
	if len(r.Index().Tombstones) != 1 {
		t.Errorf("tombstones %v, want one", r.Index().Tombstones)
	}
}

// TestSize: the size that a writer tells is near what the pack gets.
func TestSize(t *testing.T) {
	for _, n := range []int{0, 10, 1000, 60_000} {
		w := NewLogWriter(io.Discard, WriterOptions{})
		for _, tx := range jsonRows(t, n) {
			if err := w.AppendTx(tx); err != nil {
				t.Fatal(err)
			}
		}
		told := w.Size()
		ref, _, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if told < ref.Size/3 || told > ref.Size*2 {
			t.Errorf("%d records: told %d bytes, got %d", n, told, ref.Size)
		}
	}
}

// TestHugeRecord: the largest key and image come back, from among small ones.
func TestHugeRecord(t *testing.T) {
	txs := jsonRows(t, 30)
	huge := make(change.Image, change.MaxImage)
	src := rand.NewChaCha8([32]byte{1})
	src.Read(huge[:len(huge)/2]) // half noise, half zeros
	txs[1].Records[4].Image = huge
	txs[1].Records[5].Key = bytes.Repeat([]byte("k"), change.MaxKey)
	txs[1].Position = change.Position(strings.Repeat("p", MaxPosition))
	data, ref, ix := logPack(t, WriterOptions{}, txs...)
	if len(ix.Blocks) != 3 || ix.Blocks[1].Records != 1 || ref.MaxBlock != ix.Blocks[1].Raw {
		t.Errorf("blocks %+v, want the huge record in one of its own", ix.Blocks)
	}
	r := mustOpen(t, data, ref)
	i := 0
	for tx, err := range change.Join(r.Txs(t.Context(), 0)) {
		if err != nil {
			t.Fatal(err)
		}
		if !equalRecords(tx.Records, txs[i].Records) || tx.Position != txs[i].Position {
			t.Errorf("transaction %d came back changed", i)
		}
		i++
	}
	if i != len(txs) {
		t.Errorf("%d transactions, want %d", i, len(txs))
	}
}

// failing is a writer that takes n bytes.
type failing struct{ n int }

var errFull = errors.New("no space")

func (f *failing) Write(b []byte) (int, error) {
	if len(b) > f.n {
		return f.n, errFull
	}
	f.n -= len(b)
	return len(b), nil
}

// TestWriteError: an error of the underlying writer stays and is returned.
func TestWriteError(t *testing.T) {
	txs := jsonRows(t, 100)
	_, ref, _ := logPack(t, WriterOptions{BlockSize: 1000}, txs...)
	for n := 0; n < int(ref.Size); n += 1 + n%17 {
		w := NewLogWriter(&failing{n}, WriterOptions{BlockSize: 1000})
		for _, tx := range txs {
			if err := w.AppendTx(tx); err != nil && !errors.Is(err, errFull) {
				t.Fatal(err)
			}
		}
		if _, _, err := w.Close(); !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: error %v", n, ref.Size, err)
		}
	}
}

// TestManyClasses: more collections than a block can tell apart end the block.
func TestManyClasses(t *testing.T) {
	tx := &change.Tx{ID: 1}
	for i := range 3 * maxClasses {
		tx.Records = append(tx.Records, change.Record{LSN: change.LSN(i + 1), Op: change.Insert,
			Collection: change.CollectionID(i + 1), Key: change.Key{1}, Image: change.Image{0}})
	}
	data, ref, ix := logPack(t, WriterOptions{}, tx)
	if len(ix.Blocks) != 3 {
		t.Errorf("%d blocks, want 3", len(ix.Blocks))
	}
	for got, err := range change.Join(mustOpen(t, data, ref).Txs(t.Context(), 0)) {
		if err != nil || !equalRecords(got.Records, tx.Records) {
			t.Errorf("error %v, or the transaction came back changed", err)
		}
	}
}
