package history

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// model draws a history: collections come, change, are renamed, go and come
// back under the same name.
type model struct {
	*world
	t    *rapid.T
	live map[change.CollectionID]*change.Schema
	next change.CollectionID
	had  map[string]map[change.CollectionID]bool // who has had a name
}

var someNames = []string{"a", "b", "c"}

func drawHistory(t *rapid.T) *model {
	m := &model{world: newWorld(t), t: t, live: make(map[change.CollectionID]*change.Schema), next: 1,
		had: make(map[string]map[change.CollectionID]bool)}
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		for range rapid.IntRange(1, 40).Draw(t, "transactions") {
			if rapid.IntRange(0, 3).Draw(t, "pause") == 0 {
				m.clock -= 1e6 // the same effective time again
			}
			var records []change.Record
			for range rapid.IntRange(1, 5).Draw(t, "changes") {
				records = append(records, m.drawChange()...)
			}
			m.commit(records...)
		}
		m.packOf = rapid.SampledFrom([]int{0, 0, 1, 4}).Draw(t, "pieces of a pack")
		m.flush(pack.WriterOptions{BlockSize: rapid.SampledFrom([]int{1, 60, 1 << 20}).Draw(t, "block size")})
	}
	return m
}

func (m *model) drawChange() []change.Record {
	t := m.t
	ids := slices.Sorted(maps.Keys(m.live))
	if len(ids) == 0 || rapid.IntRange(0, 19).Draw(t, "new") == 0 {
		s := schema(t, m.next, rapid.SampledFrom(someNames).Draw(t, "name"))
		m.next++
		return m.set(s)
	}
	id := rapid.SampledFrom(ids).Draw(t, "collection")
	switch rapid.IntRange(0, 19).Draw(t, "kind") {
	case 0, 1:
		s := *m.live[id]
		s.Version++
		s.Dropped = rapid.Bool().Draw(t, "dropped")
		if !s.Dropped {
			s.Name = rapid.SampledFrom(someNames).Draw(t, "new name")
		}
		return m.set(&s)
	case 2:
		return []change.Record{{Op: change.Truncate, Collection: id}}
	}
	op := rapid.SampledFrom([]change.Op{change.Insert, change.Update, change.Delete}).Draw(t, "op")
	return rows(op, id, rapid.IntRange(1, 9).Draw(t, "rows"))
}

func (m *model) set(s *change.Schema) []change.Record {
	if m.had[s.Name] == nil {
		m.had[s.Name] = make(map[change.CollectionID]bool)
	}
	m.had[s.Name][s.Collection] = true
	m.live[s.Collection] = s
	if s.Dropped {
		delete(m.live, s.Collection)
	}
	return []change.Record{setSchema(m.t, s)}
}

// drawQuery draws one that may choose something.
func (m *model) drawQuery() Query {
	t := m.t
	q := Query{Op: change.Op(rapid.IntRange(0, 5).Draw(t, "query op")), MinRows: int64(rapid.IntRange(-1, 12).Draw(t, "min rows"))}
	edge := func(name string) change.Time {
		if rapid.Bool().Draw(t, name+" open") {
			return 0
		}
		tx := rapid.SampledFrom(m.txs).Draw(t, name)
		return tx.Effective + change.Time(rapid.IntRange(-1, 1).Draw(t, name+" off"))
	}
	q.From, q.To = edge("from"), edge("to")
	if rapid.Bool().Draw(t, "by collection") {
		q.Collection = rapid.SampledFrom(slices.Sorted(maps.Keys(m.had))).Draw(t, "query collection")
	}
	return q
}

// counted is how many records of a transaction the query is about.
func (m *model) counted(q Query, tx *change.Tx) (n int64) {
	for _, r := range tx.Records {
		if (q.Op == 0 || r.Op == q.Op) && (q.Collection == "" || m.had[q.Collection][r.Collection]) {
			n++
		}
	}
	return n
}

// naive is Find by looking at everything.
func (m *model) naive(q Query) (out []Transaction) {
	for _, tx := range slices.Backward(m.txs) {
		n := m.counted(q, tx)
		if n >= max(1, q.MinRows) && (q.From == 0 || tx.Effective >= q.From) && (q.To == 0 || tx.Effective <= q.To) {
			out = append(out, Transaction{chain.SizeOf(tx), n})
		}
	}
	return out
}

// mayOpen reports whether a segment can't be answered for from its manifest:
// there is room for a transaction that the query chooses among those left out.
func (m *model) mayOpen(q Query, seg *chain.Segment) bool {
	if q.From != 0 && seg.Effective.To < q.From || q.To != 0 && seg.Effective.From > q.To {
		return false
	}
	var rest int64 // of the records counted, beside those of the largest
	for _, tx := range m.txs {
		if tx.First() < seg.First || tx.Last() > seg.Last {
			continue
		}
		if !slices.ContainsFunc(seg.Largest, func(l chain.TxSize) bool { return l.First == tx.First() }) {
			rest += m.counted(q, tx)
		}
	}
	return min(rest, seg.Smaller) >= max(1, q.MinRows)
}

func TestFindIsTheNaiveFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawHistory(t)
		for range 8 {
			q := m.drawQuery()
			limit := rapid.SampledFrom([]int{-1, -1, 1, 3}).Draw(t, "limit")
			got, packs, err := m.find(q, limit)
			if err != nil {
				t.Fatal(err)
			}
			want := m.naive(q)
			if limit > 0 && len(want) > limit {
				want = want[:limit]
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%+v (−want +got):\n%s", q, d)
			}
			for _, seg := range chaintest.Segments(m.a.State()) {
				open := packs[seg.Body.Packs[0].Key]
				if open && !m.mayOpen(q, &seg.Body) {
					t.Fatalf("%+v opened LSN %d to %d, whose manifest answers it", q, seg.Body.First, seg.Body.Last)
				}
				if open && limit > 0 && len(got) == limit && seg.Body.Last < got[limit-1].First {
					t.Fatalf("%+v opened LSN %d to %d after its limit", q, seg.Body.First, seg.Body.Last)
				}
			}
		}
	})
}

// accident is a history of many small transactions with one that deletes a lot.
func accident(t *testing.T) (w *world, bad *change.Tx) {
	w = newWorld(t)
	w.commit(setSchema(t, schema(t, 1, "orders")), setSchema(t, schema(t, 2, "log")))
	for i := range 100 {
		w.commit(rows(change.Insert, 1, 3)...)
		w.commit(rows(change.Insert, 2, 2)...)
		if i == 60 {
			bad = w.commit(rows(change.Delete, 1, 500)...)
		}
		if i%20 == 19 {
			w.flush(pack.WriterOptions{})
		}
	}
	return w, bad
}

// The usual question, who deleted so much, costs no read of any pack.
func TestFindTheAccidentWithoutOpening(t *testing.T) {
	w, bad := accident(t)
	for name, q := range map[string]Query{
		"many rows":        {MinRows: 100},
		"deletes":          {Op: change.Delete},
		"deletes of one":   {Op: change.Delete, Collection: "orders"},
		"more than others": {MinRows: 4},
	} {
		found, packs := w.mustFind(q)
		if len(found) != 1 || found[0].First != bad.First() || found[0].Rows != 500 || found[0].JustBefore() != bad.First()-1 {
			t.Errorf("%s: found %+v", name, found)
		}
		if len(packs) != 0 {
			t.Errorf("%s: opened %d packs", name, len(packs))
		}
	}
	if found, packs := w.mustFind(Query{Collection: "log", Op: change.Update}); len(found)+len(packs) != 0 {
		t.Errorf("found %d updates with %d packs", len(found), len(packs))
	}
	if found, packs := w.mustFind(Query{Collection: "log"}); len(found) != 101 || len(packs) != 5 {
		t.Errorf("found %d transactions in %d packs, want 101 in 5", len(found), len(packs))
	}
	if found, packs, _ := w.find(Query{}, 1); len(found) != 1 || len(packs) != 1 {
		t.Errorf("the newest one: %d found, %d packs opened", len(found), len(packs))
	}
}

func TestFindTimeBounds(t *testing.T) {
	w, bad := accident(t)
	at := bad.Effective
	for _, tc := range []struct {
		from, to change.Time
		want     int
	}{{at, at, 1}, {at, 0, 79}, {0, at, 124}, {at - 1, at + 1, 1}, {at + 1, at - 1, 0}, {at + 1, at + 999, 0}, {at - 1e6, at + 1e6, 3}, {0, 1, 0}, {1 << 60, 0, 0}} {
		found, _ := w.mustFind(Query{From: tc.from, To: tc.to})
		if len(found) != tc.want {
			t.Errorf("from %d to %d: %d found, want %d", tc.from-at, tc.to-at, len(found), tc.want)
		}
		if !slices.IsSortedFunc(found, func(a, b Transaction) int { return int(int64(b.First) - int64(a.First)) }) {
			t.Error("not newest first")
		}
	}
}

func TestFindRefuses(t *testing.T) {
	w, _ := accident(t)
	found, _, err := w.find(Query{Collection: "nope"}, -1)
	if !errors.Is(err, ErrNoCollection) || len(found) != 0 || !strings.Contains(err.Error(), `"nope"; it knows: log, orders: `) {
		t.Errorf("found %d, %v", len(found), err)
	}
	if _, _, err := w.find(Query{Op: 77}, -1); err == nil || !strings.Contains(err.Error(), "op(77)") {
		t.Errorf("unknown operation: %v", err)
	}
	_, _, err = newWorld(t).find(Query{Collection: "nope"}, -1)
	if !errors.Is(err, ErrNoCollection) || !strings.Contains(err.Error(), "it knows: none") {
		t.Errorf("empty archive: %v", err)
	}
	if found, _ := newWorld(t).mustFind(Query{}); len(found) != 0 {
		t.Errorf("found %d in an empty archive", len(found))
	}
}

// A pack that can't be read, or is not what was written, ends the sequence
// with an error after what was found before it.
func TestFindDamage(t *testing.T) {
	w, _ := accident(t)
	for fault, want := range map[storagetest.Fault]error{storagetest.Before: storagetest.ErrInjected, storagetest.Flip: pack.ErrCorrupt} {
		w.faulty.SetRules(storagetest.Rule{Fault: fault, Op: storagetest.OpRead, N: 3, Times: -1})
		found, _, err := w.find(Query{Collection: "log"}, -1)
		if !errors.Is(err, want) || len(found) != 20 {
			t.Errorf("%s: found %d, %v", fault, len(found), err)
		}
	}
	w.faulty.SetRules()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range Find(ctx, w.a, w.a.State(), Query{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	first := schema(t, 1, "a")
	second := *first
	second.Version, second.Name = 2, "b"
	third := second
	third.Version, third.Name = 3, "a"
	gone := schema(t, 2, "x")
	end := *gone
	end.Version, end.Dropped = 2, true
	w.commit(setSchema(t, first), setSchema(t, gone))
	w.commit(rows(change.Insert, 1, 1)...)
	w.flush(pack.WriterOptions{})
	base := chain.Snapshot{LSN: 3, LogHash: w.a.State().LogHash, Taken: 1, Schemas: []*change.Schema{first, gone},
		Digests: []chain.CollectionDigest{{Collection: 1}, {Collection: 2}}}
	w.commit(setSchema(t, &second), setSchema(t, &end))
	w.commit(setSchema(t, &third), setSchema(t, schema(t, 3, "x")))
	w.flush(pack.WriterOptions{})
	if err := w.session.Snapshot(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	names := Names(w.a.State())
	want := map[change.CollectionID][]string{1: {"b", "a"}, 2: {"x"}, 3: {"x"}}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("names (−want +got):\n%s", d)
	}
	if Name(names, 1) != "a" || Name(names, 9) != "" {
		t.Errorf("latest names: %q, %q", Name(names, 1), Name(names, 9))
	}
	// Both incarnations of x, and collection 1 under its former name.
	if found, _ := w.mustFind(Query{Collection: "x"}); len(found) != 3 {
		t.Errorf("%d transactions of x, want 3", len(found))
	}
	if found, _ := w.mustFind(Query{Collection: "b", Op: change.Insert}); len(found) != 1 {
		t.Errorf("%d inserts of b, want 1", len(found))
	}
}
