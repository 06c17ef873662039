package apply_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
)

// history makes random transactions that fit one another.
type history struct {
	t    *rapid.T
	now  *apply.Applier
	rows *rows
	txs  []*change.Tx
	past []*rows // after each of txs
}

func (r *rows) clone() *rows {
	c := newRows()
	for id, s := range r.schemas {
		c.schemas[id] = s
	}
	for id, images := range r.images {
		c.images[id], c.counts[id] = make(map[string]string), make(map[string]int64)
		for k, v := range images {
			c.images[id][k], c.counts[id][k] = v, 1
		}
	}
	return c
}

func (h *history) schema(version uint32, dropped bool) change.Record {
	s, err := change.Define(keyed, "c", []string{"id"}, change.Column{Name: "id", Type: change.Int64})
	if err != nil {
		h.t.Fatal(err)
	}
	s.Version, s.Dropped = version, dropped
	r, err := change.SchemaRecord(s)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// record draws a record that fits; none fits a dropped collection.
func (h *history) record(n int) (change.Record, bool) {
	s := h.rows.schemas[keyed]
	if s == nil {
		if h.now.LSN > 0 {
			return change.Record{}, false
		}
		return h.schema(1, false), true
	}
	key := fmt.Sprint("k", rapid.IntRange(0, 5).Draw(h.t, "key"))
	r := change.Record{Op: change.Insert, Collection: keyed, Key: change.Key(key), Image: change.Image(append([]byte{0}, fmt.Sprint(n)...))}
	there := h.rows.counts[keyed][key] > 0
	switch rapid.IntRange(0, 20).Draw(h.t, "op") {
	case 0:
		return change.Record{Op: change.Truncate, Collection: keyed}, true
	case 1:
		return h.schema(s.Version+1, rapid.IntRange(0, 9).Draw(h.t, "drop") == 0), true
	case 2, 3, 4, 5, 6:
		if there {
			r.Op, r.Image = change.Delete, nil
		}
	default:
		if there {
			r.Op = change.Update
		}
	}
	return r, true
}

// TestCatchUp copies a database key by key, each at another moment of its
// history, and catches up: from the moment when the copy was complete on it is
// what the database was.
func TestCatchUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, rows: newRows()}
		h.now = &apply.Applier{Rows: h.rows}
		n := rapid.IntRange(2, 40).Draw(t, "transactions")
		for i := range n {
			r, ok := h.record(i)
			if !ok {
				break
			}
			first := h.now.LSN + 1
			if _, err := applyAt(h.now, first, r); err != nil {
				t.Fatal(err)
			}
			r.LSN = first
			h.txs = append(h.txs, &change.Tx{ID: 1, Records: []change.Record{r}})
			h.past = append(h.past, h.rows.clone())
		}
		from := rapid.IntRange(0, len(h.txs)-1).Draw(t, "from")
		to := rapid.IntRange(from, len(h.txs)-1).Draw(t, "to")
		copied := newRows()
		if s := h.past[rapid.IntRange(from, to).Draw(t, "schema")].schemas[keyed]; s != nil {
			_ = copied.SetSchema(s)
			for k := range 6 {
				key := fmt.Sprint("k", k)
				at := h.past[rapid.IntRange(from, to).Draw(t, "row")]
				if at.counts[keyed][key] > 0 && copied.images[keyed] != nil {
					copied.images[keyed][key], copied.counts[keyed][key] = at.images[keyed][key], 1
				}
			}
		}
		a := &apply.Applier{Rows: copied, LSN: change.LSN(from + 1), Exact: change.LSN(to + 1)}
		for i, tx := range h.txs {
			out, err := a.Tx(tx, change.AppendTx(nil, tx))
			if err != nil || (out == apply.Skipped) != (i <= from) {
				t.Fatalf("transaction %d: %v, %v", i, out, err)
			}
			want, got := h.past[i], copied
			if i < to || want.schemas[keyed] == nil && got.schemas[keyed] == nil {
				continue
			}
			if d := cmp.Diff(want.images[keyed], got.images[keyed]); d != "" || a.Mode() != apply.Replica {
				t.Fatalf("after transaction %d of %d in mode %s (-want +got):\n%s", i, len(h.txs), a.Mode(), d)
			}
		}
	})
}

// TestLooselyRefuses lists what even a catching up can't take.
func TestLooselyRefuses(t *testing.T) {
	for name, r := range map[string]change.Record{
		"bag":     {Op: change.Insert, Collection: bag, Key: change.Key("b1"), Image: change.Image{0}},
		"key":     {Op: change.Insert, Collection: keyed, Image: change.Image{0}},
		"partial": {Op: change.Update, Collection: keyed, Key: change.Key("k1"), Image: change.Image{1}},
	} {
		a, _ := fixture(t)
		a.Exact = 100
		if _, err := applyAt(a, 6, r); !errors.Is(err, apply.ErrDiverged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
