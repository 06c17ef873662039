package pack

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// drawPieces cuts transactions into pieces of a few records.
func drawPieces(t *rapid.T, txs []*change.Tx) (pieces []*change.Tx) {
	for _, tx := range txs {
		n := len(tx.Records)
		if rapid.Bool().Draw(t, "cut") {
			n = rapid.IntRange(1, 3).Draw(t, "piece")
		}
		pieces = append(pieces, change.Cut(tx, n)...)
	}
	return pieces
}

// TestPiecesProperty: transactions come back whole from packs that begin and
// end anywhere in them, and each pack proves what it holds of them.
func TestPiecesProperty(t *testing.T) {
	schemas := []*change.Schema{wide(1), wide(2)}
	rapid.Check(t, func(t *rapid.T) {
		txs := drawTxs(t, schemas)
		pieces := drawPieces(t, txs)
		var readers []*Reader
		o := drawOptions(t)
		for len(pieces) > 0 {
			n := rapid.IntRange(1, len(pieces)).Draw(t, "pieces of a pack")
			var buf bytes.Buffer
			w := NewLogWriter(&buf, o)
			for _, p := range pieces[:n] {
				check(t, w.AppendTx(p))
			}
			ref, ix, err := w.Close()
			check(t, err)
			if ix.Before != pieces[0].Before || ix.After != pieces[n-1].After {
				t.Fatalf("index says %d records before and %d after, want %d and %d", ix.Before, ix.After, pieces[0].Before, pieces[n-1].After)
			}
			b, ref := bucketOf(buf.Bytes(), ref)
			r, err := Open(t.Context(), b, ref)
			check(t, err)
			check(t, r.VerifyRecords(t.Context()))
			readers = append(readers, r)
			checkPieceSeeks(t, r, txs)
			pieces = pieces[n:]
		}
		for _, read := range []func(*Reader) iter.Seq2[*change.Tx, error]{
			func(r *Reader) iter.Seq2[*change.Tx, error] { return r.Txs(t.Context(), 0) },
			func(r *Reader) iter.Seq2[*change.Tx, error] { return r.VerifyTxs(t.Context()) },
		} {
			checkTxs(t, txs, copyTxs(t, func(yield func(*change.Tx, error) bool) {
				for _, r := range readers {
					for tx, err := range read(r) {
						if !yield(tx, err) {
							return
						}
					}
				}
			}))
		}
		var begun int64
		for _, r := range readers {
			begun += r.Index().Txs
		}
		if begun != int64(len(txs)) {
			t.Fatalf("%d transactions begin in the packs, want %d", begun, len(txs))
		}
	})
}

// checkPieceSeeks seeks an LSN and a time in one of the packs that hold txs.
func checkPieceSeeks(t *rapid.T, r *Reader, txs []*change.Tx) {
	first, last := r.Index().First(), r.Index().Last()
	lsn := change.LSN(rapid.Uint64Range(uint64(first), uint64(last)).Draw(t, "lsn"))
	i := slices.IndexFunc(txs, func(tx *change.Tx) bool { return tx.Last() >= lsn })
	next := max(txs[i].First(), first)
	for tx, err := range r.Txs(t.Context(), lsn) {
		check(t, err)
		if tx.First() != next {
			t.Fatalf("sought LSN %d: a piece from LSN %d, want %d", lsn, tx.First(), next)
		}
		next = tx.Last() + 1
	}
	if next != last+1 {
		t.Fatalf("sought LSN %d: pieces up to %d, want %d", lsn, next-1, last)
	}
	at := change.Time(rapid.Int64Range(-1, 40).Draw(t, "time"))
	var want change.LSN
	for _, tx := range txs {
		if tx.Effective <= at && tx.Last() >= first && tx.Last() <= last {
			want = tx.Last()
		}
	}
	got, err := r.LastAt(t.Context(), at)
	check(t, err)
	if got != want {
		t.Fatalf("last transaction at %v that ends in LSN %d to %d ends at %d, want %d", at, first, last, got, want)
	}
}

// middle returns a pack that begins and ends inside transactions.
func middle(t testing.TB) ([]byte, Ref, []*change.Tx) {
	_, _, txs := smallLog(t)
	var pieces []*change.Tx
	for _, tx := range txs {
		pieces = append(pieces, change.Cut(tx, 4)...)
	}
	pieces = pieces[1 : len(pieces)-1]
	data, ref, _ := logPack(t, WriterOptions{BlockSize: 2000}, pieces...)
	return data, ref, pieces
}

// TestPieceWriterRefuses: pieces that do not fit leave the pack as it was.
func TestPieceWriterRefuses(t *testing.T) {
	_, _, pieces := middle(t)
	for name, spoil := range map[string]func(p *change.Tx){
		"another count":     func(p *change.Tx) { p.After++ },
		"too few before":    func(p *change.Tx) { p.Before-- },
		"another ID":        func(p *change.Tx) { p.ID++ },
		"another time":      func(p *change.Tx) { p.Effective++ },
		"another commit":    func(p *change.Tx) { p.Commit-- },
		"another position":  func(p *change.Tx) { p.Position += "x" },
		"a new transaction": func(p *change.Tx) { p.Before = 0 },
		"negative":          func(p *change.Tx) { p.After = -1 },
		"before LSN 1":      func(p *change.Tx) { p.Before = int64(p.First()) },
	} {
		var buf bytes.Buffer
		w := NewLogWriter(&buf, WriterOptions{BlockSize: 2000})
		for i, p := range pieces {
			if i == 1 {
				bad := *p
				spoil(&bad)
				if err := w.AppendTx(&bad); !errors.Is(err, ErrOrder) {
					t.Errorf("%s: error %v, want %v", name, err, ErrOrder)
				}
			}
			if err := w.AppendTx(p); err != nil {
				t.Fatal(err)
			}
		}
		if ref, _, err := w.Close(); err != nil {
			t.Fatal(err)
		} else if _, want, _ := middle(t); ref != want {
			t.Errorf("%s: the refused piece left something in the pack", name)
		}
	}
}

// TestForgedEdges: an index that lies about where its pack begins and ends in
// transactions is found out by its records.
func TestForgedEdges(t *testing.T) {
	for name, forge := range map[string]func(ix *Index){
		"before": func(ix *Index) { ix.Before-- },
		"after":  func(ix *Index) { ix.After-- },
		"whole":  func(ix *Index) { ix.Before, ix.After, ix.Txs = 0, 0, ix.Txs+1 },
		"txs":    func(ix *Index) { ix.Txs++ },
	} {
		data, ref, _ := middle(t)
		a := dissect(t, data, ref)
		forge(a.ix)
		data, ref = a.seal()
		b, ref := bucketOf(data, ref)
		if _, err := readAll(t.Context(), b, ref, false); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "transaction") {
			t.Errorf("%s: error %v, want %v", name, err, ErrCorrupt)
		}
	}
	data, ref, _ := middle(t)
	a := dissect(t, data, ref)
	a.ix.Before = int64(a.ix.Blocks[0].First)
	data, ref = a.seal()
	b, ref := bucketOf(data, ref)
	if _, err := Open(t.Context(), b, ref); !errors.Is(err, ErrCorrupt) {
		t.Errorf("records before LSN 1: error %v, want %v", err, ErrCorrupt)
	}
}
