package apply_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
)

// rows is a state in memory: images and counts by collection and key.
type rows struct {
	schemas map[change.CollectionID]*change.Schema
	images  map[change.CollectionID]map[string]string
	counts  map[change.CollectionID]map[string]int64
}

func newRows() *rows {
	return &rows{
		schemas: make(map[change.CollectionID]*change.Schema),
		images:  make(map[change.CollectionID]map[string]string),
		counts:  make(map[change.CollectionID]map[string]int64),
	}
}

func (r *rows) Schema(c change.CollectionID) *change.Schema { return r.schemas[c] }

func (r *rows) Count(c change.CollectionID, key change.Key) (int64, error) {
	return r.counts[c][string(key)], nil
}

func (r *rows) Set(c change.CollectionID, key change.Key, image change.Image, count int64) error {
	r.images[c][string(key)], r.counts[c][string(key)] = string(image), count
	return nil
}

func (r *rows) Remove(c change.CollectionID, key change.Key) error {
	delete(r.images[c], string(key))
	delete(r.counts[c], string(key))
	return nil
}

func (r *rows) Clear(c change.CollectionID) error {
	r.images[c], r.counts[c] = make(map[string]string), make(map[string]int64)
	return nil
}

func (r *rows) SetSchema(s *change.Schema) error {
	if s.Dropped {
		delete(r.schemas, s.Collection)
		return nil
	}
	r.schemas[s.Collection] = s
	if r.images[s.Collection] == nil {
		return r.Clear(s.Collection)
	}
	return nil
}

const (
	keyed change.CollectionID = 1
	bag   change.CollectionID = 2
)

// fixture returns an applier over a keyed collection that holds k1 and a bag
// that holds two copies of b1, at LSN 5.
func fixture(t *testing.T) (*apply.Applier, *rows) {
	t.Helper()
	a := &apply.Applier{Rows: newRows()}
	var records []change.Record
	for id, key := range map[change.CollectionID][]string{keyed: {"id"}, bag: nil} {
		s, err := change.Define(id, fmt.Sprint("c", id), key, change.Column{Name: "id", Type: change.Int64})
		if err != nil {
			t.Fatal(err)
		}
		r, err := change.SchemaRecord(s)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	records = append(records,
		change.Record{Op: change.Insert, Collection: keyed, Key: change.Key("k1"), Image: change.Image{0}},
		change.Record{Op: change.Insert, Collection: bag, Key: change.Key("b1"), Image: change.Image{0}},
		change.Record{Op: change.Insert, Collection: bag, Key: change.Key("b1"), Image: change.Image{0}})
	if _, err := applyAt(a, 1, records...); err != nil {
		t.Fatal(err)
	}
	return a, a.Rows.(*rows)
}

func applyAt(a *apply.Applier, first change.LSN, records ...change.Record) (apply.Outcome, error) {
	for i := range records {
		records[i].LSN = first + change.LSN(i)
	}
	tx := &change.Tx{ID: 1, Records: records}
	return a.Tx(tx, change.AppendTx(nil, tx))
}

func TestTxKeepsOrder(t *testing.T) {
	a, rows := fixture(t)
	hash := a.Hash
	if hash.IsZero() || a.LSN != 5 {
		t.Fatalf("LSN %d, hash %s after five records", a.LSN, hash)
	}
	del := change.Record{Op: change.Delete, Collection: keyed, Key: change.Key("k1")}
	if out, err := applyAt(a, 4, del, del); out != apply.Skipped || err != nil || a.Hash != hash {
		t.Errorf("transaction of before: %v, %v; want skipped", out, err)
	}
	if _, err := applyAt(a, 5, del, del); !errors.Is(err, apply.ErrDiverged) {
		t.Errorf("transaction across the end: %v; want ErrDiverged", err)
	}
	if _, err := applyAt(a, 7, del); !errors.Is(err, apply.ErrGap) || !strings.Contains(err.Error(), "starts at LSN 7, the state ends at 5") {
		t.Errorf("transaction after a hole: %v; want ErrGap", err)
	}
	if rows.counts[keyed]["k1"] != 1 || a.LSN != 5 {
		t.Error("a refused transaction changed something")
	}
	if out, err := applyAt(a, 6, del); out != apply.Applied || err != nil || a.LSN != 6 || a.Hash == hash {
		t.Errorf("next transaction: %v, %v, LSN %d", out, err, a.LSN)
	}
}

func TestRecordsAreHeldAgainstTheState(t *testing.T) {
	full, partial := change.Image{0}, change.Image{1}
	schema := func(version uint32, dropped bool) change.Record {
		s, err := change.Define(keyed, "c1", []string{"id"}, change.Column{Name: "id", Type: change.Int64})
		if err != nil {
			t.Fatal(err)
		}
		s.Version, s.Dropped = version, dropped
		r, err := change.SchemaRecord(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	k := func(op change.Op, key string, m change.Image) change.Record {
		return change.Record{Op: op, Collection: keyed, Key: change.Key(key), Image: m}
	}
	b := func(op change.Op, key string) change.Record {
		return change.Record{Op: op, Collection: bag, Key: change.Key(key), Image: full}
	}
	cases := []struct {
		name string
		r    change.Record
		want string // "" when it applies
	}{
		{"insert", k(change.Insert, "k2", full), ""},
		{"insert what is there", k(change.Insert, "k1", full), "already there"},
		{"update", k(change.Update, "k1", full), ""},
		{"update what is not there", k(change.Update, "k2", full), "not there"},
		{"partial", k(change.Update, "k1", partial), "partial"},
		{"delete", k(change.Delete, "k1", nil), ""},
		{"delete what is not there", k(change.Delete, "k2", nil), "not there"},
		{"empty key", k(change.Insert, "", full), "key is empty"},
		{"unknown collection", change.Record{Op: change.Insert, Collection: 9, Key: change.Key("k"), Image: full}, "does not exist"},
		{"truncate", change.Record{Op: change.Truncate, Collection: keyed}, ""},
		{"bag insert", b(change.Insert, "b1"), ""},
		{"bag delete", b(change.Delete, "b1"), ""},
		{"bag delete of nothing", b(change.Delete, "b2"), "no such row"},
		{"bag update", b(change.Update, "b1"), "no such operation"},
		{"schema", schema(2, false), ""},
		{"schema again", schema(1, false), "can't follow"},
		{"schema skips", schema(3, false), "can't follow"},
		{"drop", schema(2, true), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, _ := fixture(t)
			_, err := applyAt(a, 6, c.r)
			if c.want == "" {
				if err != nil || a.LSN != 6 {
					t.Errorf("LSN %d, %v", a.LSN, err)
				}
				return
			}
			if !errors.Is(err, apply.ErrDiverged) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "LSN 6") {
				t.Errorf("got %v, want ErrDiverged with %q", err, c.want)
			}
		})
	}
}

func TestBagCounts(t *testing.T) {
	a, rows := fixture(t)
	del := change.Record{Op: change.Delete, Collection: bag, Key: change.Key("b1"), Image: change.Image{0}}
	for i, want := range []int64{1, 0} {
		if _, err := applyAt(a, 6+change.LSN(i), del); err != nil || rows.counts[bag]["b1"] != want {
			t.Fatalf("%d copies, want %d: %v", rows.counts[bag]["b1"], want, err)
		}
	}
	if _, err := applyAt(a, 8, del); !errors.Is(err, apply.ErrDiverged) {
		t.Errorf("below zero: %v", err)
	}
}
