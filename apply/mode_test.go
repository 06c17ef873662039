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

// TestModesAgree applies a history in both modes. Where a row was lost from
// the copy, the strict mode says so at the next record of it, and the other
// brings the row's later states about.
func TestModesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, rows: newRows()}
		h.now = &apply.Applier{Rows: h.rows}
		copied := newRows()
		a := &apply.Applier{Rows: copied, Mode: apply.Restore}
		lost := make(map[string]bool) // from the copy, and not written since
		for i := range rapid.IntRange(2, 40).Draw(t, "transactions") {
			r, ok := h.record(i)
			if !ok {
				break
			}
			first := h.now.LSN + 1
			for _, to := range []*apply.Applier{h.now, a} {
				if out, err := applyAt(to, first, r); err != nil || out != apply.Applied {
					t.Fatalf("record %d in mode %s: %v, %v", first, to.Mode, out, err)
				}
			}
			if out, err := applyAt(a, first, r); err != nil || out != apply.Skipped {
				t.Fatalf("record %d again: %v, %v", first, out, err)
			}
			delete(lost, string(r.Key))
			if r.Op == change.Truncate || r.Op == change.SetSchema && h.rows.schemas[keyed] == nil {
				clear(lost)
			}
			want := h.rows.clone()
			for key := range lost {
				delete(want.images[keyed], key)
			}
			if d := cmp.Diff(want.images[keyed], copied.images[keyed]); d != "" || h.now.Hash != a.Hash {
				t.Fatalf("after record %d (-want +got):\n%s", first, d)
			}
			key := fmt.Sprint("k", rapid.IntRange(0, 5).Draw(t, "lose"))
			if rapid.IntRange(0, 5).Draw(t, "lost") == 0 && copied.counts[keyed][key] > 0 {
				strict := &apply.Applier{Rows: copied, LSN: a.LSN, Hash: a.Hash}
				delete(copied.images[keyed], key)
				delete(copied.counts[keyed], key)
				lost[key] = true
				gone := change.Record{Op: change.Delete, Collection: keyed, Key: change.Key(key)}
				if _, err := applyAt(strict, strict.LSN+1, gone); !errors.Is(err, apply.ErrDiverged) {
					t.Fatalf("the strict mode deleted a row that is not there: %v", err)
				}
			}
		}
	})
}

// TestRestoreRefuses lists what is refused without a look at keyed rows.
func TestRestoreRefuses(t *testing.T) {
	for name, r := range map[string]change.Record{
		"bag":        {Op: change.Delete, Collection: bag, Key: change.Key("no such row"), Image: change.Image{0}},
		"key":        {Op: change.Insert, Collection: keyed, Image: change.Image{0}},
		"partial":    {Op: change.Update, Collection: keyed, Key: change.Key("k1"), Image: change.Image{1}},
		"collection": {Op: change.Insert, Collection: 99, Key: change.Key("k1"), Image: change.Image{0}},
	} {
		a, _ := fixture(t)
		a.Mode = apply.Restore
		if _, err := applyAt(a, 6, r); !errors.Is(err, apply.ErrDiverged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
