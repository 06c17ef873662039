package txlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// appendGroup appends transactions as one frame and publishes it.
func appendGroup(l *Log, txs ...*change.Tx) error {
	frame, hash := NewFrame(nil), l.end.Hash
	for _, tx := range txs {
		start := len(frame)
		frame = change.AppendTx(frame, tx)
		hash = change.LogHash(hash, frame[start:])
	}
	err := l.Append(frame, len(txs), txs[len(txs)-1].Last(), hash)
	l.Publish()
	return err
}

func drawTx(t *rapid.T, lsn change.LSN) *change.Tx {
	tx := &change.Tx{ID: change.TxID(lsn), Commit: change.Time(lsn)}
	for range rapid.IntRange(1, 12).Draw(t, "records") {
		tx.Records = append(tx.Records, change.Record{LSN: lsn, Op: change.Insert, Collection: 1, Key: change.Key("key"),
			Image: bytes.Repeat([]byte{byte(lsn)}, 1+rapid.IntRange(0, 300).Draw(t, "image"))})
		lsn++
	}
	return tx
}

// TestPiecesProperty: whatever the size of a piece, a reader yields what was
// written, each piece no larger than told, or twice a record, and Recover yields it whole.
func TestPiecesProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := testLog(t, vfs.NewMem())
		l, _ := mustRecover(t, o)
		var want []*change.Tx
		hashes := map[change.LSN]change.Hash{0: {}}
		lsn := change.LSN(1)
		for range rapid.IntRange(1, 6).Draw(rt, "frames") {
			var group []*change.Tx
			for range rapid.IntRange(1, 4).Draw(rt, "transactions") {
				tx := drawTx(rt, lsn)
				group, lsn = append(group, tx), tx.Last()+1
			}
			if err := appendGroup(l, group...); err != nil {
				rt.Fatal(err)
			}
			want = append(want, group...)
		}
		piece := int64(rapid.SampledFrom([]int{1, 20, 64, 200, 1000, 1 << 20}).Draw(rt, "piece"))
		r, err := l.Read(0, piece)
		if err != nil {
			rt.Fatal(err)
		}
		got := change.Join(func(yield func(*change.Tx, error) bool) {
			for {
				tx, err := r.Next()
				if tx == nil && err == nil {
					return
				}
				if err == nil {
					whole := *tx
					whole.Before, whole.After = 0, 0
					if len(tx.Records) > 1 && int64(len(change.AppendTx(nil, &whole))) > max(piece, 2*310)+change.MaxTxHead {
						rt.Fatalf("%d records in a piece of %d bytes", len(tx.Records), piece)
					}
					if tx.After == 0 {
						hashes[r.LSN()] = r.Hash()
					}
				}
				if !yield(tx, err) || err != nil {
					return
				}
			}
		})
		i := 0
		for tx, err := range got {
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(want[i], tx); d != "" {
				rt.Fatalf("transaction %d (-want +got):\n%s", i, d)
			}
			i++
		}
		if end, hash := l.End(); i != len(want) || r.LSN() != end || r.Hash() != hash {
			rt.Fatalf("%d of %d transactions, ending at LSN %d", i, len(want), r.LSN())
		}
		if err := errors.Join(r.Close(), l.Close()); err != nil {
			rt.Fatal(err)
		}
		i = rapid.IntRange(0, len(want)-1).Draw(rt, "after")
		after := want[i].First() - 1
		l, lasts, err := recoverLog(o, after, hashes[after])
		if err != nil || len(lasts) != len(want)-i || lasts[0] != want[i].Last() {
			rt.Fatalf("recovered %v after LSN %d: %v", lasts, after, err)
		}
		mustClose(t, l)
	})
}

// TestChangedWhileRead: of a frame that is damaged between the reading that
// proves it and the one that takes it, nothing damaged is taken.
func TestChangedWhileRead(t *testing.T) {
	o := testLog(t, vfs.NewMem())
	l, _ := mustRecover(t, o)
	defer mustClose(t, l)
	tx := &change.Tx{ID: 1, Commit: 1}
	for i := range change.LSN(10) {
		tx.Records = append(tx.Records, change.Record{LSN: i + 1, Op: change.Insert, Collection: 1, Key: change.Key("k"), Image: bytes.Repeat([]byte{1}, 50)})
	}
	if err := appendGroup(l, tx); err != nil {
		t.Fatal(err)
	}
	r, err := l.Read(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.f.WriteAt([]byte{2}, headerSize+frameHeaderSize+400); err != nil {
		t.Fatal(err)
	}
	for range tx.Records {
		piece, err := r.Next()
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || !errors.Is(err, errChanged) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
			return
		}
		if piece == nil || !bytes.Equal(piece.Records[0].Image, tx.Records[0].Image) {
			t.Fatalf("took %+v", piece)
		}
	}
	t.Error("the damage was not noticed")
}
