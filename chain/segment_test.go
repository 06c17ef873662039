package chain_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// genTxs makes transactions that follow each other, over few or many
// collections, with schema changes, drops and truncates among them.
func genTxs(collections int) *rapid.Generator[[]*change.Tx] {
	return rapid.Custom(func(t *rapid.T) []*change.Tx {
		lsn := change.LSN(rapid.Uint64Range(1, 1<<40).Draw(t, "first"))
		effective := change.Time(1e15)
		var out []*change.Tx
		for i := range rapid.IntRange(1, 60).Draw(t, "transactions") {
			effective += change.Time(rapid.Int64Range(0, 3).Draw(t, "later"))
			tx := &change.Tx{ID: change.TxID(i + 1), Commit: change.Time(rapid.Int64Range(-5, 5).Draw(t, "commit")),
				Effective: effective, Position: change.Position(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "position"))}
			for range rapid.IntRange(1, 6).Draw(t, "records") {
				r := change.Record{Op: change.Op(rapid.IntRange(1, 5).Draw(t, "op")),
					Collection: change.CollectionID(rapid.IntRange(1, collections).Draw(t, "collection"))}
				switch r.Op {
				case change.SetSchema:
					r = drawSchema(t, r.Collection)
				case change.Insert, change.Update, change.Delete:
					r.Key = rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "key")
				}
				r.LSN = lsn
				lsn++
				tx.Records = append(tx.Records, r)
			}
			out = append(out, tx)
		}
		return out
	})
}

func drawSchema(t *rapid.T, id change.CollectionID) change.Record {
	s, err := change.Define(id, fmt.Sprintf("c%d", id), []string{"id"}, change.Column{Name: "id", Type: change.Int64})
	if err != nil {
		t.Fatal(err)
	}
	s.Dropped = rapid.Bool().Draw(t, "dropped")
	r, err := change.SchemaRecord(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// naiveSegment is what a segment manifest says, worked out one thing at a time.
func naiveSegment(t *rapid.T, prev change.Hash, txs []*change.Tx) chain.Segment {
	last := txs[len(txs)-1]
	s := chain.Segment{First: txs[0].First(), Last: last.Last(), Effective: chain.Span{txs[0].Effective, last.Effective},
		Commit: chain.Span{txs[0].Commit, txs[0].Commit}, CoveredUntil: last.Effective, Position: last.Position,
		LogHash: prev, Txs: int64(len(txs))}
	all := make(map[change.CollectionID]chain.Count)
	var sizes []chain.TxSize
	for _, tx := range txs {
		s.Commit.From, s.Commit.To = min(s.Commit.From, tx.Commit), max(s.Commit.To, tx.Commit)
		s.LogHash = change.LogHash(s.LogHash, change.AppendTx(nil, tx))
		own := make(map[change.CollectionID]chain.Count)
		for _, r := range tx.Records {
			for _, m := range []map[change.CollectionID]chain.Count{own, all} {
				c := m[r.Collection]
				c.Collection = r.Collection
				*[]*int64{nil, &c.Inserts, &c.Updates, &c.Deletes, &c.Truncates, &c.Schemas}[r.Op]++
				m[r.Collection] = c
			}
			dropped := false
			if r.Op == change.SetSchema {
				schema, err := r.Schema()
				if err != nil {
					t.Fatal(err)
				}
				s.Schemas = append(s.Schemas, chain.SchemaChange{r.LSN, schema})
				dropped = schema.Dropped
			}
			if r.Op == change.Truncate || dropped {
				s.Tombstones = append(s.Tombstones, chain.Tombstone{r.Collection, r.LSN, dropped})
			}
		}
		sizes = append(sizes, chain.TxSize{tx.First(), tx.Last(), tx.ID, tx.Commit, tx.Effective, naiveCounts(own)})
	}
	s.Counts = naiveCounts(all)
	slices.SortStableFunc(sizes, func(a, b chain.TxSize) int { return cmp.Compare(b.Records(), a.Records()) })
	if len(sizes) > chain.LargestTxs {
		s.Smaller = sizes[chain.LargestTxs].Records()
		sizes = sizes[:chain.LargestTxs]
	}
	slices.SortFunc(sizes, func(a, b chain.TxSize) int { return cmp.Compare(a.First, b.First) })
	s.Largest = sizes
	return s
}

func naiveCounts(m map[change.CollectionID]chain.Count) (out []chain.Count) {
	for _, c := range m {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b chain.Count) int { return cmp.Compare(a.Collection, b.Collection) })
	return out
}

func TestSegmentBuilder(t *testing.T) {
	for _, collections := range []int{1, 3, 40} {
		t.Run(fmt.Sprint(collections), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				txs := genTxs(collections).Draw(t, "transactions")
				prev := change.Hash{byte(rapid.Byte().Draw(t, "hash"))}
				b := chain.NewSegmentBuilder(prev)
				for i, tx := range txs {
					if err := b.Add(tx); err != nil {
						t.Fatal(err)
					}
					want := naiveSegment(t, prev, txs[:i+1])
					got := b.Segment()
					if d := gocmp.Diff(want, got); d != "" {
						t.Fatalf("after %d transactions (−want +got):\n%s", i+1, d)
					}
					if b.Empty() || b.Txs() != got.Txs || b.LogHash() != got.LogHash {
						t.Fatal("the builder says otherwise than its section")
					}
					if s := chain.SizeOf(tx); s.Records() != int64(len(tx.Records)) || !slices.ContainsFunc(s.Counts, func(c chain.Count) bool { return c.Records() > 0 }) {
						t.Fatalf("size %+v of %d records", s, len(tx.Records))
					}
				}
			})
		})
	}
}

// What a builder says passes the manifest's own rules, packs aside.
func TestSegmentBuilderIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		txs := genTxs(5).Draw(t, "transactions")
		b := chain.NewSegmentBuilder(change.Hash{1})
		for _, tx := range txs {
			if err := b.Add(tx); err != nil {
				t.Fatal(err)
			}
		}
		s := b.Segment()
		s.Packs = append(s.Packs, chaintest.Ref(chain.PackKey{chain.MainTimeline, chain.LogPack, s.First, s.Last, "0123456789abcdef"}, int64(s.Last-s.First)+1))
		m := chain.Manifest{Format: chain.FormatVersion, Repo: chaintest.Repo, Timeline: chain.MainTimeline, Seq: 2, Prev: change.Hash{2}, Kind: chain.KindSegment,
			Epoch: 1, Nonce: strings.Repeat("0", 32), Segment: &s}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

// The builder keeps nothing of a section that it gave out.
func TestSegmentIsACopy(t *testing.T) {
	txs := genTxs(12).Example(3)
	b := chain.NewSegmentBuilder(change.Hash{})
	for _, tx := range txs[:len(txs)-1] {
		if err := b.Add(tx); err != nil {
			t.Fatal(err)
		}
	}
	early := b.Segment()
	before, err := json.Marshal(&early)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(txs[len(txs)-1]); err != nil {
		t.Fatal(err)
	}
	after, err := json.Marshal(&early)
	if err != nil || string(before) != string(after) {
		t.Errorf("the section changed: %v", err)
	}
}

func TestSegmentBuilderRefuses(t *testing.T) {
	good := func(lsn change.LSN, n int) *change.Tx {
		tx := &change.Tx{ID: 9, Commit: 5, Effective: 1000}
		for i := range n {
			tx.Records = append(tx.Records, change.Record{LSN: lsn + change.LSN(i), Op: change.Insert, Collection: 1, Key: change.Key{1}})
		}
		return tx
	}
	badSchema := change.Record{LSN: 12, Op: change.SetSchema, Collection: 1, Image: change.Image("{}")}
	cut := change.Record{LSN: 11, Op: change.Truncate, Collection: 1}
	for name, tc := range map[string]struct {
		tx   *change.Tx
		want string
	}{
		"no records":   {&change.Tx{ID: 9}, "transaction 9 holds no record"},
		"hole":         {good(12, 1), "starts at LSN 12, want 11"},
		"repeated":     {good(10, 1), "starts at LSN 10, want 11"},
		"inner hole":   {func() *change.Tx { tx := good(11, 3); tx.Records[2].LSN++; return tx }(), "record 3 has LSN 14, want 13"},
		"time":         {func() *change.Tx { tx := good(11, 1); tx.Effective = 999; return tx }(), "transaction 9 at LSN 11 has effective time"},
		"operation":    {func() *change.Tx { tx := good(11, 1); tx.Records[0].Op = 77; return tx }(), "record 1 is a op(77)"},
		"wrong schema": {&change.Tx{ID: 9, Effective: 1000, Records: []change.Record{cut, badSchema}}, "schema record at LSN 12"},
	} {
		t.Run(name, func(t *testing.T) {
			b := chain.NewSegmentBuilder(change.Hash{1})
			if name == "no records" && !b.Empty() {
				t.Error("a new builder is not empty")
			}
			if err := b.Add(good(8, 3)); err != nil {
				t.Fatal(err)
			}
			before, hash := b.Segment(), b.LogHash()
			err := b.Add(tc.tx)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q in it", err, tc.want)
			}
			after := b.Segment()
			if d := gocmp.Diff(len(before.Tombstones), len(after.Tombstones)) + gocmp.Diff(before.Counts, after.Counts); d != "" || hash != b.LogHash() {
				t.Errorf("the refused transaction left its mark:\n%s", d)
			}
			if err := b.Add(good(11, 2)); err != nil {
				t.Errorf("the next one: %v", err)
			}
			if s := b.Segment(); s.Txs != 2 || s.Last != 12 || len(s.Schemas)+len(s.Tombstones) != 0 {
				t.Errorf("at the end: %+v", s)
			}
		})
	}
}

func TestCount(t *testing.T) {
	c := chain.Count{Collection: 3, Inserts: 1, Updates: 2, Deletes: 3, Truncates: 4, Schemas: 5}
	var sum int64
	for op := change.Insert; op.Valid(); op++ {
		if c.Of(op) != int64(op) {
			t.Errorf("%s: %d", op, c.Of(op))
		}
		sum += c.Of(op)
	}
	if c.Records() != sum {
		t.Errorf("%d records, want %d", c.Records(), sum)
	}
}
