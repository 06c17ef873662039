package embedded

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

type level uint8

type place struct {
	Region string `tidemark:"region,key"`
	ID     int32  `tidemark:"id,key"`
	Name   string
	Area   string `tidemark:"area,decimal"`
	Tag    string `tidemark:"tag,native=uuid"`
	Photo  []byte
	Height float64
	Level  level
	Open   bool
	Since  time.Time
	Owner  *string
	Cache  map[string]int `tidemark:"-"`
	_      int
}

func TestStructsGoToRowsAndBack(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	owner := "ann"
	want := []place{
		{Region: "a", ID: -1, Name: "x", Area: "1.50", Tag: "t", Photo: []byte{0, 1}, Height: 2.5, Level: 255, Open: true,
			Since: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Owner: &owner},
		{Region: "a", ID: 7, Area: "0", Photo: []byte{}},
		{Region: "b", ID: 2, Area: "-3", Photo: []byte{}},
	}
	places := Of[place]("place")
	update(t, db, func(tx *Tx) error { return places.Put(tx, want...) })
	err := db.View(func(tx *Tx) error {
		var got []place
		for p, err := range places.All(tx) {
			if err != nil {
				return err
			}
			got = append(got, p)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		one, ok, err := places.Get(tx, "a", 7)
		if d := cmp.Diff(want[1], one); d != "" || !ok {
			t.Error(d, ok)
		}
		if err != nil {
			return err
		}
		if _, ok, err := places.Get(tx, "a", 8); ok || err != nil {
			t.Errorf("a struct that is not there: %t, %v", ok, err)
		}
		from, err := places.Key("a")
		if err != nil {
			return err
		}
		n := 0
		for _, err := range places.Scan(tx, Range{Prefix: from}) {
			if err != nil {
				return err
			}
			n++
		}
		if n != 2 {
			t.Errorf("%d structs with region a, want 2", n)
		}
		for _, key := range [][]any{{"a", "7"}, {"a", 1.5}, {"a", 1 << 40}, {7, 7}, {"a", nil}, {"a", 7, 7}} {
			if _, _, err := places.Get(tx, key...); !errors.Is(err, change.ErrSchema) {
				t.Errorf("key %v: %v", key, err)
			}
		}
		s, err := tx.Schema("place")
		var cols []string
		for _, c := range s.Columns {
			cols = append(cols, fmt.Sprint(c.Name, " ", c.Type, " ", c.NativeType, c.Nullable))
		}
		if d := cmp.Diff([]string{"region text false", "id int64 false", "Name text false", "area decimal false", "tag native uuidfalse",
			"Photo bytes false", "Height float64 false", "Level int64 false", "Open bool false", "Since time false", "Owner text true"}, cols); d != "" {
			t.Error(d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) error {
		if err := places.Insert(tx, want[0]); !errors.Is(err, ErrExists) {
			t.Errorf("insert again: %v", err)
		}
		was, err := places.Delete(tx, "b", 2)
		if !was {
			t.Error("Delete did not find the struct")
		}
		return err
	})
	err = db.Update(func(tx *Tx) error { return places.Put(tx, place{Area: "1,5"}) })
	if !errors.Is(err, change.ErrSchema) || !strings.Contains(err.Error(), `"area"`) {
		t.Errorf("a bad decimal: %v", err)
	}
}

type itemV1 struct {
	ID   int64 `tidemark:"id,key"`
	Name string
}

type itemV2 struct {
	Price int64   `tidemark:"price,default=9"`
	ID    int64   `tidemark:"id,key"`
	Note  *string // nullable
	Name  string
	Count int64
}

func TestStructsGrowColumns(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	v1, v2 := Of[itemV1]("item"), Of[itemV2]("item")
	update(t, db, func(tx *Tx) error { return v1.Put(tx, itemV1{1, "a"}, itemV1{2, "b"}) })
	err := db.View(func(tx *Tx) error { // before the columns are there
		got, _, err := v2.Get(tx, 1)
		if d := cmp.Diff(itemV2{ID: 1, Name: "a"}, got); d != "" {
			t.Error(d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := db.Update(func(tx *Tx) error { return errors.Join(v2.Create(tx), boom) }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	note := "n"
	update(t, db, func(tx *Tx) error { return v2.Put(tx, itemV2{ID: 2, Name: "B", Price: 3, Count: 4, Note: &note}) })
	// The older program goes on and wipes nothing that it does not know.
	update(t, db, func(tx *Tx) error { return v1.Put(tx, itemV1{2, "BB"}, itemV1{3, "c"}) })
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	defer mustClose(t, db)
	err = db.View(func(tx *Tx) error {
		var got []itemV2
		for v, err := range v2.All(tx) {
			if err != nil {
				return err
			}
			got = append(got, v)
		}
		want := []itemV2{{ID: 1, Name: "a", Price: 9}, {ID: 2, Name: "BB", Price: 3, Count: 4, Note: &note}, {ID: 3, Name: "c", Price: 9}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		s, err := tx.Schema("item")
		if s.Version != 2 {
			t.Errorf("schema version %d, want 2", s.Version)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStructsInBags(t *testing.T) {
	type hit struct{ URL string }
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	hits := Of[hit]("hit")
	update(t, db, func(tx *Tx) error {
		return errors.Join(hits.Add(tx, hit{"/"}, hit{"/a"}, hit{"/"}), hits.Remove(tx, hit{"/a"}))
	})
	err := db.View(func(tx *Tx) error {
		var got []string
		for h, err := range hits.All(tx) {
			if err != nil {
				return err
			}
			got = append(got, h.URL)
		}
		if !slices.Equal(got, []string{"/", "/"}) {
			t.Errorf("got %v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStructsThatDoNotFit(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	type other struct {
		ID   string `tidemark:"id,key"`
		Name string
	}
	type otherKey struct {
		ID   int64 `tidemark:"id"`
		Name string
	}
	type big struct{ N uint64 }
	type option struct {
		N int `tidemark:"n,primary"`
	}
	type twice struct {
		A int `tidemark:"n"`
		B int `tidemark:"n"`
	}
	type nullKey struct {
		A *int `tidemark:"a,key"`
	}
	update(t, db, func(tx *Tx) error { return Of[itemV1]("item").Create(tx) })
	cases := []struct {
		fn   func(tx *Tx) error
		want string
	}{
		{Of[other]("item").Create, `column "id" is int64 there, text here`},
		{Of[otherKey]("item").Create, "1 key columns there, 0 here"},
		{Of[big]("b").Create, "field N of embedded.big: a uint64 can't be a column"},
		{Of[option]("b").Create, `unknown or unfitting option "primary"`},
		{Of[twice]("b").Create, `fields A and B of embedded.twice are both column "n"`},
		{Of[nullKey]("b").Create, "a key can't be a pointer"},
		{Of[int]("b").Create, "int is not a struct"},
		{Of[struct{}]("b").Create, "no exported field"},
	}
	for _, c := range cases {
		if err := db.Update(c.fn); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	err := db.View(func(tx *Tx) error {
		_, _, err := Of[itemV1]("none").Get(tx, 1)
		return err
	})
	if !errors.Is(err, ErrNoCollection) {
		t.Errorf("Get from no collection: %v", err)
	}
}
