package merge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// The collections of the tests: two keyed, one bag, and one nobody wants.
const (
	keyedA   change.CollectionID = 1
	bagB     change.CollectionID = 2
	keyedC   change.CollectionID = 7
	unwanted change.CollectionID = 9
)

var testRules = Rules{
	Bags: map[change.CollectionID]bool{bagB: true},
	Want: func(c change.CollectionID) bool { return c != unwanted },
}

func testSchema(t testing.TB, id change.CollectionID) *change.Schema {
	t.Helper()
	s, err := change.Define(id, fmt.Sprint("c", id), []string{"k"},
		change.Column{Name: "k", Type: change.Text},
		change.Column{Name: "a", Type: change.Int64},
		change.Column{Name: "b", Type: change.Text})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// history is a valid log of row versions and what it amounts to.
type history struct {
	log   []change.Record
	cuts  map[change.CollectionID]change.LSN
	final []change.Record // the rows that exist at the end, in order, LSN as composed
}

type rowID struct {
	c   change.CollectionID
	key string
}

// drawHistory makes a random valid history: no partial image over nothing, no
// bag below zero, keys that share long prefixes and keys that begin each other.
func drawHistory(t *rapid.T, schema *change.Schema, most int) history {
	h := history{cuts: map[change.CollectionID]change.LSN{}}
	live := map[rowID]change.Record{}
	n := rapid.IntRange(0, most).Draw(t, "records")
	prefix := rapid.SampledFrom([]string{"", "user:", "a long prefix that all keys share:"}).Draw(t, "prefix")
	for i := range n {
		r := change.Record{LSN: change.LSN(i + 1)}
		r.Collection = rapid.SampledFrom([]change.CollectionID{keyedA, bagB, keyedC, unwanted}).Draw(t, "collection")
		if rapid.IntRange(0, 40).Draw(t, "truncate") == 0 {
			r.Op = change.Truncate
			h.cuts[r.Collection] = r.LSN
			for id := range live {
				if id.c == r.Collection {
					delete(live, id)
				}
			}
			h.log = append(h.log, r)
			continue
		}
		r.Key = change.Key(prefix + rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00")), 1, 10, -1).Draw(t, "key"))
		id := rowID{r.Collection, string(r.Key)}
		old, exists := live[id]
		if r.Collection == bagB {
			drawBag(t, &r, old, exists, live, id)
		} else {
			drawKeyed(t, &r, schema, old, exists, live, id)
		}
		h.log = append(h.log, r)
	}
	for id, r := range live {
		if id.c != unwanted {
			h.final = append(h.final, r)
		}
	}
	slices.SortFunc(h.final, func(a, b change.Record) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), a.Key.Compare(b.Key))
	})
	return h
}

func drawBag(t *rapid.T, r *change.Record, old change.Record, exists bool, live map[rowID]change.Record, id rowID) {
	r.Image = change.Image("\x00" + id.key)
	r.Op = change.Insert
	n := old.Count
	if exists && rapid.Bool().Draw(t, "remove") {
		r.Op = change.Delete
		n--
	} else {
		n++
	}
	delete(live, id)
	if n > 0 {
		live[id] = change.Record{Op: change.Insert, Collection: id.c, Key: r.Key, Image: r.Image, Count: n}
	}
}

func drawKeyed(t *rapid.T, r *change.Record, s *change.Schema, old change.Record, exists bool, live map[rowID]change.Record, id rowID) {
	row := change.Row{change.TextValue(""), change.IntValue(int64(r.LSN)), change.TextValue(rapid.StringN(0, 6, -1).Draw(t, "b"))}
	r.Op = rapid.SampledFrom([]change.Op{change.Insert, change.Update, change.Delete}).Draw(t, "op")
	switch {
	case r.Op == change.Delete:
		delete(live, id)
		return
	case r.Op == change.Update && exists && rapid.Bool().Draw(t, "partial"):
		row[rapid.IntRange(1, 2).Draw(t, "unchanged")] = change.Unchanged()
	}
	var err error
	if _, r.Image, err = s.EncodeRow(row); err != nil {
		t.Fatal(err)
	}
	full := r.Image
	if full.Partial() {
		if full, err = change.Compose(nil, old.Image, full); err != nil {
			t.Fatal(err)
		}
	}
	live[id] = change.Record{LSN: r.LSN, Op: change.Insert, Collection: id.c, Key: r.Key, Image: full}
}

// sliceSource yields records in random batches whose memory it overwrites, as
// a reader that reuses its buffers does.
type sliceSource struct {
	recs   []change.Record
	sizes  []int
	batch  []change.Record
	bytes  [][]byte
	closed bool
}

func (s *sliceSource) Next(context.Context) ([]change.Record, error) {
	for _, b := range s.bytes {
		for i := range b {
			b[i] = 0xee
		}
	}
	s.bytes, s.batch = nil, nil
	n := 3
	if len(s.sizes) > 0 {
		n, s.sizes = s.sizes[0], s.sizes[1:]
	}
	for len(s.recs) > 0 && n > 0 {
		r := s.recs[0]
		r.Key, r.Image = slices.Clone(r.Key), slices.Clone(r.Image)
		s.bytes = append(s.bytes, r.Key, r.Image)
		s.batch = append(s.batch, r)
		s.recs = s.recs[1:]
		n--
	}
	return s.batch, nil
}

func (s *sliceSource) Close() error { s.closed = true; return nil }

// drain copies everything a source yields, checks its order and closes it.
func drain(t interface {
	Helper()
	Fatalf(string, ...any)
}, s Source) []change.Record {
	t.Helper()
	var out []change.Record
	for {
		recs, err := s.Next(context.Background())
		if err != nil {
			t.Fatalf("source: %v", err)
		}
		if len(recs) == 0 {
			break
		}
		for _, r := range recs {
			r.Key, r.Image = slices.Clone(r.Key), slices.Clone(r.Image)
			if n := len(out); n > 0 && cmp.Or(cmp.Compare(out[n-1].Collection, r.Collection), out[n-1].Key.Compare(r.Key)) >= 0 {
				t.Fatalf("source: %d %x after %d %x", r.Collection, r.Key, out[n-1].Collection, out[n-1].Key)
			}
			out = append(out, r)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return out
}

// composed sorts and composes a part of a log with the code under test, in memory.
func composed(rules *Rules, log []change.Record) Source {
	h := &held{rules: rules}
	for len(log) > 0 {
		n := min(len(log), 5)
		h.blocks = append(h.blocks, block{recs: log[:n]})
		log = log[n:]
	}
	return h.sorted([]Range{{}}, 2)[0]
}

// equalRecords compares by content.
func equalRecords(t interface {
	Helper()
	Fatalf(string, ...any)
}, what string, got, want []change.Record) {
	t.Helper()
	show := func(rs []change.Record) []string {
		var out []string
		for _, r := range rs {
			out = append(out, fmt.Sprintf("%d %q %s lsn %d count %d image %x", r.Collection, string(r.Key), r.Op, r.LSN, r.Count, []byte(r.Image)))
		}
		return out
	}
	if d := gocmp.Diff(show(want), show(got)); d != "" {
		t.Fatalf("%s: (-want +got)\n%s", what, d)
	}
}

// TestSplitsAgree checks that however a history is cut into consecutive parts,
// and however the parts are merged with each other first, the rows are the model's.
func TestSplitsAgree(t *testing.T) {
	schema := testSchema(t, keyedA)
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, schema, 120)
		rules := testRules
		rules.Cuts = h.cuts
		var parts []Source
		rest := h.log
		for len(rest) > 0 {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			parts = append(parts, composed(&rules, rest[:n]))
			rest = rest[n:]
		}
		for len(parts) > 1 && rapid.Bool().Draw(t, "pass") {
			i := rapid.IntRange(0, len(parts)-2).Draw(t, "from")
			j := rapid.IntRange(i+2, len(parts)).Draw(t, "to")
			recs := drain(t, Merge(&rules, false, parts[i:j]...))
			one := &sliceSource{recs: recs, sizes: rapid.SliceOf(rapid.IntRange(1, 9)).Draw(t, "batches")}
			parts = slices.Replace(parts, i, j, Source(one))
		}
		equalRecords(t, "rows", drain(t, Merge(&rules, true, parts...)), h.final)
	})
}

// TestRangesAgree checks that ranges of one history, read apart, add up.
func TestRangesAgree(t *testing.T) {
	schema := testSchema(t, keyedA)
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, schema, 200)
		rules := testRules
		rules.Cuts = h.cuts
		in := &held{rules: &rules}
		for rest := h.log; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "block")
			in.blocks = append(in.blocks, block{recs: rest[:n]})
			rest = rest[n:]
		}
		ranges := cutRanges(in.samples(), rapid.IntRange(1, 5).Draw(t, "parts"))
		var got []change.Record
		for _, s := range in.sorted(ranges, rapid.IntRange(1, 4).Draw(t, "workers")) {
			got = append(got, drain(t, Merge(&rules, true, s))...)
		}
		equalRecords(t, "rows", got, h.final)
	})
}
