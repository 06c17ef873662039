package pack

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// wide is a schema with a column of every type, and IDs more than 15 apart in
// partial rows.
func wide(id change.CollectionID) *change.Schema {
	columns := []change.Column{{Name: "k", Type: change.Int64}}
	for i := range 24 {
		ty := change.Type(1 + i%8)
		c := change.Column{Name: fmt.Sprintf("c%d", i), Type: ty, Nullable: true}
		if ty == change.Native {
			c.NativeType = "uuid"
		}
		columns = append(columns, c)
	}
	s, err := change.Define(id, fmt.Sprintf("wide%d", id), []string{"k"}, columns...)
	if err != nil {
		panic(err)
	}
	return s
}

func drawValue(t *rapid.T, ty change.Type) change.Value {
	switch ty {
	case change.Bool:
		return change.BoolValue(rapid.Bool().Draw(t, "bool"))
	case change.Int64:
		return change.IntValue(rapid.Int64().Draw(t, "int"))
	case change.Float64:
		return change.FloatValue(rapid.Float64().Draw(t, "float"))
	case change.Text:
		return change.TextValue(rapid.StringN(0, 5, 200).Draw(t, "text"))
	case change.Bytes:
		return change.BytesValue(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"))
	case change.Timestamp:
		return change.TimeValue(change.Time(rapid.Int64().Draw(t, "time")))
	case change.Decimal:
		v, err := change.ParseDecimal(fmt.Sprintf("%d.50", rapid.Int32().Draw(t, "decimal")))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	return change.NativeValue(rapid.StringN(0, 5, 20).Draw(t, "native"))
}

// drawImage returns an image as a database makes them, or bytes of any kind.
func drawImage(t *rapid.T, s *change.Schema) change.Image {
	style := rapid.IntRange(0, 9).Draw(t, "style")
	if style == 0 {
		return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "image")
	}
	row := make(change.Row, len(s.Columns))
	row[0] = change.IntValue(1)
	for i := 1; i < len(row); i++ {
		row[i] = change.Null()
		if style > 6 {
			row[i] = change.Unchanged()
		}
		if rapid.IntRange(0, 3).Draw(t, "set") == 0 {
			row[i] = drawValue(t, s.Columns[i].Type)
		}
	}
	_, image, err := s.EncodeRow(row)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func drawKey(t *rapid.T) change.Key {
	return change.Key(rapid.SampledFrom([]string{"", "a", "user:0000"}).Draw(t, "prefix") +
		string(rapid.SliceOfN(rapid.ByteRange(0, 3), 1, 4).Draw(t, "key")))
}

func drawRecord(t *rapid.T, schemas []*change.Schema) change.Record {
	s := rapid.SampledFrom(schemas).Draw(t, "collection")
	r := change.Record{Op: change.Op(rapid.SampledFrom([]int{1, 1, 1, 2, 2, 2, 3, 3, 4, 5}).Draw(t, "op")), Collection: s.Collection}
	switch r.Op {
	case change.SetSchema:
		next := *s
		next.Dropped = rapid.Bool().Draw(t, "dropped")
		sr, err := change.SchemaRecord(&next)
		if err != nil {
			t.Fatal(err)
		}
		return sr
	case change.Truncate:
		return r
	case change.Delete:
		r.Key = drawKey(t)
		return r
	}
	r.Key, r.Image = drawKey(t), drawImage(t, s)
	return r
}

func drawTxs(t *rapid.T, schemas []*change.Schema) []*change.Tx {
	lsn := change.LSN(rapid.Uint64Range(1, 1<<60).Draw(t, "first"))
	var txs []*change.Tx
	var effective change.Time
	for range rapid.IntRange(0, 12).Draw(t, "transactions") {
		effective += change.Time(rapid.Int64Range(0, 3).Draw(t, "step"))
		tx := &change.Tx{
			ID: change.TxID(rapid.Uint64().Draw(t, "id")), Commit: change.Time(rapid.Int64().Draw(t, "commit")), Effective: effective,
			Position: change.Position(rapid.SampledFrom([]string{"", "0/16B3748", "0/16B3749 long, long, long"}).Draw(t, "position")),
		}
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			r := drawRecord(t, schemas)
			r.LSN = lsn
			lsn++
			tx.Records = append(tx.Records, r)
		}
		txs = append(txs, tx)
	}
	return txs
}

func drawOptions(t *rapid.T) WriterOptions {
	return WriterOptions{BlockSize: rapid.SampledFrom([]int{1, 100, 1000, 10_000, 1 << 20}).Draw(t, "block"), NoFilter: rapid.Bool().Draw(t, "nofilter")}
}

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkTxs(t *rapid.T, want, got []*change.Tx) {
	t.Helper()
	equal := slices.EqualFunc(want, got, func(a, b *change.Tx) bool {
		return a.ID == b.ID && a.Commit == b.Commit && a.Effective == b.Effective && a.Position == b.Position && equalRecords(a.Records, b.Records)
	})
	if !equal {
		t.Fatalf("transactions (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func copyRecords(rs []change.Record) []change.Record {
	out := slices.Clone(rs)
	for i := range out {
		out[i].Key, out[i].Image = bytes.Clone(out[i].Key), bytes.Clone(out[i].Image)
	}
	return out
}

// readTxs reads all transactions from an LSN on.
func readTxs(t *rapid.T, r *Reader, from change.LSN) []*change.Tx {
	return copyTxs(t, r.Txs(t.Context(), from))
}

func copyTxs(t *rapid.T, txs iter.Seq2[*change.Tx, error]) []*change.Tx {
	var got []*change.Tx
	for tx, err := range change.Join(txs) {
		check(t, err)
		c := *tx
		c.Records = copyRecords(tx.Records)
		got = append(got, &c)
	}
	return got
}

// TestLogProperty: any transactions come back as they were, however they lie
// in blocks, and every seek finds what a scan finds.
func TestLogProperty(t *testing.T) {
	schemas := []*change.Schema{wide(1), wide(2), wide(1 << 31)}
	rapid.Check(t, func(t *rapid.T) {
		txs := drawTxs(t, schemas)
		var buf bytes.Buffer
		w := NewLogWriter(&buf, drawOptions(t))
		for _, tx := range txs {
			check(t, w.AppendTx(tx))
		}
		ref, ix, err := w.Close()
		check(t, err)
		b, ref := bucketOf(buf.Bytes(), ref)
		open := Open
		if rapid.Bool().Draw(t, "whole") {
			open = OpenWhole
		}
		r, err := open(t.Context(), b, ref)
		check(t, err)
		if diff := cmp.Diff(ix, r.Index(), cmp.AllowUnexported(BlockInfo{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("index (-written +read):\n%s", diff)
		}
		checkTxs(t, txs, readTxs(t, r, 0))
		checkTxs(t, txs, copyTxs(t, r.VerifyTxs(t.Context())))
		check(t, r.VerifyRecords(t.Context()))
		checkLogSeeks(t, r, txs)
		checkSkips(t, r)
	})
}

func checkLogSeeks(t *rapid.T, r *Reader, txs []*change.Tx) {
	if len(txs) == 0 {
		return
	}
	first, last := txs[0].First(), txs[len(txs)-1].Last()
	lsn := change.LSN(rapid.Uint64Range(uint64(first-1), uint64(last+1)).Draw(t, "lsn"))
	rest := txs
	for len(rest) > 0 && rest[0].Last() < lsn {
		rest = rest[1:]
	}
	checkTxs(t, rest, readTxs(t, r, lsn))
	at := change.Time(rapid.Int64Range(-1, 40).Draw(t, "time"))
	var want change.LSN
	for _, tx := range txs {
		if tx.Effective <= at {
			want = tx.Last()
		}
	}
	got, err := r.LastAt(t.Context(), at)
	check(t, err)
	if got != want {
		t.Fatalf("last transaction at %v ends at LSN %d, want %d", at, got, want)
	}
	var blk Block
	for i := range r.Index().Blocks {
		check(t, r.Block(t.Context(), i, &blk))
		for j := range blk.Records() {
			rec := &blk.Records()[j]
			if n := r.Index().SeekLSN(rec.LSN); n != i {
				t.Fatalf("LSN %d is in block %d, seek says %d", rec.LSN, i, n)
			}
			checkHeld(t, r, rec, i)
		}
		for _, p := range blk.Txs() {
			if n := r.Index().SeekTime(p.Effective); n > i {
				t.Fatalf("time %v is in block %d, seek says %d", p.Effective, i, n)
			}
		}
	}
}

// checkHeld sees to it that the filters know a record.
func checkHeld(t *rapid.T, r *Reader, rec *change.Record, block int) {
	if len(rec.Key) == 0 {
		return
	}
	blocks, err := r.Holding(t.Context(), rec.Collection, rec.Key)
	check(t, err)
	if !slices.Contains(blocks, block) {
		t.Fatalf("row %v is in block %d, the filters say %v", rowOf(rec), block, blocks)
	}
}

// checkSkips compares what is read without keys or images.
func checkSkips(t *rapid.T, r *Reader) {
	skip := Skip(rapid.IntRange(1, 3).Draw(t, "skip"))
	full, part := new(Block), &Block{Skip: skip}
	for i := range r.Index().Blocks {
		check(t, r.Block(t.Context(), i, full))
		check(t, r.Block(t.Context(), i, part))
		want := slices.Clone(full.Records())
		for j := range want {
			if skip&SkipKeys != 0 {
				want[j].Key = nil
			}
			if skip&SkipImages != 0 {
				want[j].Image = nil
			}
		}
		if !equalRecords(want, part.Records()) {
			t.Fatalf("records without parts %d (-want +got):\n%s", skip, cmp.Diff(want, part.Records()))
		}
		if diff := cmp.Diff(full.Txs(), part.Txs(), cmpopts.IgnoreUnexported(TxPart{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	}
}

// TestRunProperty: any row versions come back as they were, and every seek
// finds what a scan finds.
func TestRunProperty(t *testing.T) {
	schemas := []*change.Schema{wide(1), wide(2), wide(1 << 31)}
	rapid.Check(t, func(t *rapid.T) {
		var records []change.Record
		for range rapid.IntRange(0, 80).Draw(t, "rows") {
			r := drawRecord(t, schemas)
			if r.Op > change.Delete {
				continue
			}
			r.LSN = change.LSN(rapid.Uint64().Draw(t, "lsn"))
			r.Count = rapid.SampledFrom([]int64{0, 0, 1, -1, 1 << 40}).Draw(t, "count")
			records = append(records, r)
		}
		slices.SortStableFunc(records, func(a, b change.Record) int { return rowOf(&a).Compare(rowOf(&b)) })
		records = slices.CompactFunc(records, func(a, b change.Record) bool { return rowOf(&a).Compare(rowOf(&b)) == 0 })
		var buf bytes.Buffer
		w := NewRunWriter(&buf, drawOptions(t))
		for i := range records {
			check(t, w.Append(&records[i]))
		}
		w.AddTombstone(Tombstone{Collection: 2, LSN: 7, Dropped: true})
		ref, ix, err := w.Close()
		check(t, err)
		b, ref := bucketOf(buf.Bytes(), ref)
		r, err := Open(t.Context(), b, ref)
		check(t, err)
		if diff := cmp.Diff(ix, r.Index(), cmp.AllowUnexported(BlockInfo{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("index (-written +read):\n%s", diff)
		}
		check(t, r.VerifyRecords(t.Context()))
		row := RowKey{rapid.SampledFrom([]change.CollectionID{0, 1, 2, 3, 1 << 31}).Draw(t, "collection"), drawKey(t)}
		from := sort.Search(len(records), func(i int) bool { return rowOf(&records[i]).Compare(row) >= 0 })
		for _, c := range []struct {
			rows iter.Seq2[*change.Record, error]
			row  RowKey
			want []change.Record
		}{{r.VerifyRows(t.Context()), RowKey{}, records}, {r.Records(t.Context(), RowKey{}), RowKey{}, records}, {r.Records(t.Context(), row), row, records[from:]}} {
			var got []change.Record
			for rec, err := range c.rows {
				check(t, err)
				got = append(got, copyRecords([]change.Record{*rec})...)
			}
			if !equalRecords(c.want, got) {
				t.Fatalf("rows from %v on (-want +got):\n%s", c.row, cmp.Diff(c.want, got))
			}
		}
		var blk Block
		for i := range ix.Blocks {
			check(t, r.Block(t.Context(), i, &blk))
			for j := range blk.Records() {
				checkHeld(t, r, &blk.Records()[j], i)
			}
		}
		checkSkips(t, r)
	})
}
