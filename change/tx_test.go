package change

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sequence yields transactions as given.
func sequence(txs []*Tx) iter.Seq2[*Tx, error] {
	return func(yield func(*Tx, error) bool) {
		for _, t := range txs {
			if !yield(t, nil) {
				return
			}
		}
	}
}

// TestPieces: however transactions are cut, the pieces fit together, join to
// what was cut, and hash and decode as the whole does.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var txs, pieces []*Tx
		for range rapid.IntRange(1, 4).Draw(t, "transactions") {
			tx := genTx().Draw(t, "tx")
			tx.Effective, tx.Position = 7, "p"
			txs = append(txs, tx)
			pieces = append(pieces, Cut(tx, rapid.IntRange(1, len(tx.Records)+1).Draw(t, "piece"))...)
		}
		var s Splice
		var l LogHasher
		var hash, want Hash
		for _, p := range pieces {
			if err := s.Add(p); err != nil {
				t.Fatal(err)
			}
			if s.Open() == (p.After == 0) || s.Left() != p.After || s.Head() != p.Head() {
				t.Fatalf("after %d records, %d to come: open %t, %d left", p.Before+int64(len(p.Records)), p.After, s.Open(), s.Left())
			}
			hash = l.AddTx(hash, p)
		}
		i := 0
		for got, err := range Join(sequence(pieces)) {
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(txs[i], got); d != "" {
				t.Fatalf("joined (-want +got):\n%s", d)
			}
			i++
		}
		if i != len(txs) {
			t.Fatalf("joined %d transactions, want %d", i, len(txs))
		}
		for _, tx := range txs {
			canonical := AppendTx(nil, tx)
			want = LogHash(want, canonical)
			checkStream(t, tx, canonical)
		}
		if hash != want {
			t.Fatalf("pieces hash to %s, the whole to %s", hash, want)
		}
	})
}

// checkStream decodes and hashes a transaction from parts of its encoding.
func checkStream(t *rapid.T, tx *Tx, canonical []byte) {
	head, rest, err := DecodeTxHead(canonical)
	if err != nil || head.First != tx.First() || head.Count != int64(len(tx.Records)) || head.ID != tx.ID || head.Commit != tx.Commit {
		t.Fatalf("head %+v, %v", head, err)
	}
	if size := len(canonical) - len(rest); size > MaxTxHead {
		t.Fatalf("head of %d bytes", size)
	}
	cut := rapid.IntRange(0, len(rest)).Draw(t, "cut")
	some, left := DecodeRecords(nil, rest[:cut], head.First, head.Count)
	at := cut - len(left)
	all, left := DecodeRecords(some, rest[at:], head.First+LSN(len(some)), head.Count-int64(len(some)))
	if d := cmp.Diff(tx.Records, all, cmp.Comparer(func(a, b Record) bool {
		return a.LSN == b.LSN && a.Op == b.Op && a.Collection == b.Collection && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Image, b.Image)
	})); d != "" || len(left) > 0 {
		t.Fatalf("records in two goes, %d bytes left (-want +got):\n%s", len(left), d)
	}
	var l LogHasher
	l.BeginBytes(Hash{1})
	l.AddBytes(canonical[:cut])
	l.AddBytes(canonical[cut:])
	if l.Sum() != LogHash(Hash{1}, canonical) {
		t.Fatal("hash of bytes in two goes is another")
	}
}

// TestSpliceRefuses: what does not fit is refused and leaves the Splice as it was.
func TestSpliceRefuses(t *testing.T) {
	tx := &Tx{ID: 5, Commit: 6, Effective: 7, Position: "p"}
	for i := range LSN(6) {
		tx.Records = append(tx.Records, Record{LSN: 11 + i, Op: Truncate, Collection: 1})
	}
	pieces := Cut(tx, 2)
	for name, spoil := range map[string]func(p *Tx){
		"no records":       func(p *Tx) { p.Records = nil },
		"a hole":           func(p *Tx) { p.Records = slices.Clone(p.Records); p.Records[1].LSN++ },
		"another ID":       func(p *Tx) { p.ID++ },
		"another commit":   func(p *Tx) { p.Commit++ },
		"another time":     func(p *Tx) { p.Effective++ },
		"another position": func(p *Tx) { p.Position = "" },
		"another count":    func(p *Tx) { p.After++ },
		"negative":         func(p *Tx) { p.After = -1 },
		"too many before":  func(p *Tx) { p.Before = 13 },
		"too many after":   func(p *Tx) { p.After = 1<<63 - 1; p.Records = []Record{{LSN: MaxLSN - 5}} },
		"the first again":  func(p *Tx) { *p = *pieces[0] },
		"the next but one": func(p *Tx) { *p = *pieces[2] },
	} {
		var s Splice
		if err := s.Add(pieces[0]); err != nil {
			t.Fatal(err)
		}
		before, bad := s, *pieces[1]
		spoil(&bad)
		if err := s.Add(&bad); !errors.Is(err, errTx) || s != before {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range Join(sequence([]*Tx{pieces[0], &bad})) {
			if err == nil {
				t.Errorf("%s: joined", name)
			}
		}
	}
	if s := ResumeAt(pieces[1]); s.Add(pieces[1]) != nil || s.Add(pieces[2]) != nil || s.Open() {
		t.Error("a Splice that resumes does not go on")
	}
	var last error
	for _, err := range Join(sequence(pieces[:2])) {
		last = err
	}
	if !errors.Is(last, errTx) {
		t.Errorf("a sequence that ends inside a transaction: %v", last)
	}
}
