package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

// small returns options for a database in memory with tiny log files.
func small(fs vfs.FS) Options {
	return Options{FS: fs, LogFileBytes: 4 << 10, MemTableBytes: 256 << 10, CacheBytes: 1 << 20, Now: ticking()}
}

// ticking returns a clock that goes on by a millisecond at each reading.
func ticking() func() time.Time {
	var n atomic.Int64
	return func() time.Time { return time.UnixMicro(1_700_000_000_000_000 + 1000*n.Add(1)) }
}

func mustOpen(t testing.TB, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func mustClose(t testing.TB, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func update(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func columns() []change.Column {
	return []change.Column{
		{Name: "id", Type: change.Int64},
		{Name: "name", Type: change.Text},
		{Name: "note", Type: change.Text, Nullable: true},
	}
}

func createCity(tx *Tx) error {
	_, err := tx.CreateCollection("city", []string{"id"}, columns()...)
	return err
}

func city(id int64, name string) change.Row {
	return change.Row{change.IntValue(id), change.TextValue(name), change.Null()}
}

// scanAll returns a collection's rows as text.
func scanAll(t testing.TB, db *DB, collection string, r Range) []string {
	t.Helper()
	var out []string
	err := db.View(func(tx *Tx) error {
		var err error
		out, err = scanTx(tx, collection, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func scanTx(tx *Tx, collection string, r Range) ([]string, error) {
	var out []string
	for row, err := range tx.Scan(collection, r) {
		if err != nil {
			return nil, err
		}
		out = append(out, strings.Trim(fmt.Sprint(row), "[]"))
	}
	return out, nil
}

func TestReopenKeepsCommits(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	var want []string
	for i := range int64(200) {
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, fmt.Sprint("n", i))) })
		want = append(want, fmt.Sprintf("%d \"n%d\" null", i, i))
	}
	if d := cmp.Diff(want, scanAll(t, db, "city", Range{})); d != "" {
		t.Error(d)
	}
	mustClose(t, db)
	for range 2 {
		db = mustOpen(t, "db", small(fs))
		if d := cmp.Diff(want, scanAll(t, db, "city", Range{})); d != "" {
			t.Error(d)
		}
		if db.visible.LSN != 201 || db.visible.Tx != 201 {
			t.Errorf("LSN %d, transaction %d, want 201 of both", db.visible.LSN, db.visible.Tx)
		}
		mustClose(t, db)
	}
	if err := db.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if err := db.View(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View after Close: %v", err)
	}
	if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
}

func TestWithoutArchiveReleasesLog(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	for i := range int64(300) {
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, strings.Repeat("x", 100))) })
	}
	before := db.log.Extent()
	if err := db.state.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.releaseLog(); err != nil {
		t.Fatal(err)
	}
	after := db.log.Extent()
	if before.Files < 5 || after.Files != 1 {
		t.Errorf("%d log files before the flush, %d after it; want several, then the last", before.Files, after.Files)
	}
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	if n := len(scanAll(t, db, "city", Range{})); n != 300 {
		t.Errorf("%d rows, want 300", n)
	}
	mustClose(t, db)
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	update(t, db, createCity)
	boom := errors.New("boom")
	err := db.Update(func(tx *Tx) error {
		if err := tx.Put("city", city(1, "a")); err != nil {
			return err
		}
		return boom
	})
	if err != boom {
		t.Errorf("got %v, want the function's own error", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = db.Update(func(tx *Tx) error {
			_ = tx.Put("city", city(2, "b"))
			panic("boom")
		})
	}()
	update(t, db, func(tx *Tx) error { return nil })
	if got := scanAll(t, db, "city", Range{}); len(got) != 0 {
		t.Errorf("rows %v remain", got)
	}
	if db.visible.LSN != 1 {
		t.Errorf("LSN %d, want 1: nothing else changed", db.visible.LSN)
	}
	var kept *Tx
	update(t, db, func(tx *Tx) error {
		kept = tx
		return tx.Put("city", city(3, "c"))
	})
	if err := kept.Put("city", city(4, "d")); !errors.Is(err, ErrTxDone) {
		t.Errorf("write after the end: %v", err)
	}
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(3, "c")) })
	if db.visible.LSN != 2 {
		t.Errorf("LSN %d, want 2: the same row again is no change", db.visible.LSN)
	}
}

func TestOperationsCheckTheRow(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	update(t, db, func(tx *Tx) error {
		if _, err := tx.CreateCollection("hits", nil, change.Column{Name: "url", Type: change.Text}); err != nil {
			return err
		}
		return createCity(tx)
	})
	update(t, db, func(tx *Tx) error { return tx.Insert("city", city(1, "a")) })
	hit := change.Row{change.TextValue("/")}
	cases := []struct {
		name string
		fn   func(tx *Tx) error
		want error
		text string
	}{
		{"insert", func(tx *Tx) error { return tx.Insert("city", city(1, "b")) }, ErrExists, `"city", row 1`},
		{"update", func(tx *Tx) error { return tx.Update("city", city(2, "b")) }, ErrNotFound, `"city", row 2`},
		{"patch", func(tx *Tx) error {
			return tx.Patch("city", change.Row{change.IntValue(7), change.TextValue("x"), change.Unchanged()})
		}, ErrNotFound, "row 7"},
		{"collection", func(tx *Tx) error { return tx.Put("cities", city(1, "b")) }, ErrNoCollection, `"cities"; there are: city, hits`},
		{"type", func(tx *Tx) error {
			return tx.Put("city", change.Row{change.TextValue("1"), change.TextValue("a"), change.Null()})
		}, change.ErrSchema, `column "id" is int64, got text`},
		{"null", func(tx *Tx) error {
			return tx.Put("city", change.Row{change.IntValue(1), change.Null(), change.Null()})
		}, change.ErrSchema, `"name" is text, got null`},
		{"count", func(tx *Tx) error { return tx.Put("city", change.Row{change.IntValue(1)}) }, change.ErrSchema, "3 columns, the row has 1"},
		{"unchanged", func(tx *Tx) error {
			return tx.Put("city", change.Row{change.IntValue(1), change.Unchanged(), change.Null()})
		}, change.ErrSchema, "Patch"},
		{"key type", func(tx *Tx) error { _, err := tx.Delete("city", change.TextValue("1")); return err }, change.ErrSchema, `"id" is int64`},
		{"bag put", func(tx *Tx) error { return tx.Put("hits", hit) }, change.ErrSchema, "bag"},
		{"bag remove", func(tx *Tx) error { return tx.Remove("hits", hit) }, ErrNotFound, "hits"},
		{"keyed add", func(tx *Tx) error { return tx.Add("city", city(1, "a"), 1) }, change.ErrSchema, "Put"},
		{"create twice", func(tx *Tx) error { return createCity(tx) }, ErrExists, "city"},
		{"huge row", func(tx *Tx) error { return tx.Put("city", city(1, strings.Repeat("x", change.MaxImage+1))) }, change.ErrSchema, "limit is 67108864"},
		{"long key", func(tx *Tx) error { return tx.Truncate("city2") }, ErrNoCollection, "city2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := db.Update(c.fn)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("got %v, want %q with %q", err, c.want, c.text)
			}
		})
	}
	if err := db.View(func(tx *Tx) error { return tx.Put("city", city(9, "z")) }); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Put in a View: %v", err)
	}
	if db.visible.LSN != 3 {
		t.Errorf("LSN %d, want 3", db.visible.LSN)
	}
}

func TestBagsCountCopies(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	hit := func(s string) change.Row { return change.Row{change.TextValue(s)} }
	update(t, db, func(tx *Tx) error {
		_, err := tx.CreateCollection("hits", nil, change.Column{Name: "url", Type: change.Text})
		return errors.Join(err, tx.Add("hits", hit("/a"), 3), tx.Add("hits", hit("/b"), 1))
	})
	update(t, db, func(tx *Tx) error { return errors.Join(tx.Remove("hits", hit("/a")), tx.Remove("hits", hit("/b"))) })
	for range 2 {
		if d := cmp.Diff([]string{`"/a"`, `"/a"`}, scanAll(t, db, "hits", Range{})); d != "" {
			t.Error(d)
		}
		if db.visible.LSN != 7 {
			t.Errorf("LSN %d, want 7: one record for each copy", db.visible.LSN)
		}
		mustClose(t, db)
		db = mustOpen(t, "db", small(fs))
	}
	mustClose(t, db)
}

func TestScanRanges(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	cols := []change.Column{{Name: "a", Type: change.Text}, {Name: "b", Type: change.Int64}}
	row := func(a string, b int64) change.Row { return change.Row{change.TextValue(a), change.IntValue(b)} }
	update(t, db, func(tx *Tx) error {
		_, err := tx.CreateCollection("pair", []string{"a", "b"}, cols...)
		for _, a := range []string{"x", "y", "z"} {
			for b := range int64(3) {
				err = errors.Join(err, tx.Put("pair", row(a, b)))
			}
		}
		return err
	})
	x, y := change.TextValue("x"), change.TextValue("y")
	cases := []struct {
		r    Range
		want []string
	}{
		{Range{Prefix: []change.Value{y}}, []string{`"y" 0`, `"y" 1`, `"y" 2`}},
		{Range{Prefix: []change.Value{y}, Reverse: true}, []string{`"y" 2`, `"y" 1`, `"y" 0`}},
		{Range{From: []change.Value{x, change.IntValue(2)}, To: []change.Value{y, change.IntValue(1)}}, []string{`"x" 2`, `"y" 0`}},
		{Range{Prefix: []change.Value{x}, From: []change.Value{x, change.IntValue(1)}}, []string{`"x" 1`, `"x" 2`}},
		{Range{From: []change.Value{y}, To: []change.Value{x}}, nil},
	}
	for i, c := range cases {
		if d := cmp.Diff(c.want, scanAll(t, db, "pair", c.r)); d != "" {
			t.Errorf("case %d: %s", i, d)
		}
	}
	// A transaction's scan shows its own writes over those of before.
	update(t, db, func(tx *Tx) error {
		_, err := tx.Delete("pair", y, change.IntValue(1))
		err = errors.Join(err, tx.Put("pair", row("y", 9)), tx.Put("pair", row("w", 0)))
		if err != nil {
			return err
		}
		got, err := scanTx(tx, "pair", Range{Reverse: true, To: []change.Value{change.TextValue("z")}})
		want := []string{`"y" 9`, `"y" 2`, `"y" 0`, `"x" 2`, `"x" 1`, `"x" 0`, `"w" 0`}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if err := tx.Truncate("pair"); err != nil {
			return err
		}
		if err := tx.Put("pair", row("q", 1)); err != nil {
			return err
		}
		got, err2 := scanTx(tx, "pair", Range{})
		if d := cmp.Diff([]string{`"q" 1`}, got); d != "" {
			t.Error(d)
		}
		return errors.Join(err, err2)
	})
	if d := cmp.Diff([]string{`"q" 1`}, scanAll(t, db, "pair", Range{})); d != "" {
		t.Error(d)
	}
}

func TestAddedColumnsAndPatch(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(1, "a")) })
	update(t, db, func(tx *Tx) error {
		_, err := tx.AddColumns("city", change.Column{Name: "pop", Type: change.Int64, Default: change.IntValue(5)})
		return err
	})
	update(t, db, func(tx *Tx) error {
		return tx.Patch("city", change.Row{change.IntValue(1), change.Unchanged(), change.TextValue("n"), change.Unchanged()})
	})
	if d := cmp.Diff([]string{`1 "a" "n" 5`}, scanAll(t, db, "city", Range{})); d != "" {
		t.Error(d)
	}
	err := db.Update(func(tx *Tx) error {
		_, err := tx.AddColumns("city", change.Column{Name: "must", Type: change.Int64})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), `"must" needs a default`) {
		t.Errorf("added a column without a default: %v", err)
	}
	update(t, db, func(tx *Tx) error { return errors.Join(tx.DropCollection("city"), createCity(tx)) })
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	defer mustClose(t, db)
	err = db.View(func(tx *Tx) error {
		s, err := tx.Schema("city")
		if err == nil && s.Collection != 2 {
			t.Errorf("collection ID %d after a drop, want 2", s.Collection)
		}
		return err
	})
	if err != nil || len(scanAll(t, db, "city", Range{})) != 0 {
		t.Errorf("rows after a drop; %v", err)
	}
}

func TestLargeRowAndLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 128 MiB")
	}
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	update(t, db, createCity)
	big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	name := string(big[:change.MaxImage-64])
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(1, name)) })
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(2, "after")) })
	mustClose(t, db)
	db = mustOpen(t, dir, Options{MaxTxBytes: 1 << 20})
	defer mustClose(t, db)
	err := db.View(func(tx *Tx) error {
		row, ok, err := tx.Get("city", change.IntValue(1))
		if !ok || row[1].Str() != name {
			t.Errorf("the large row is not as it was (found %t)", ok)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *Tx) error { _ = tx.Put("city", city(3, name)); return nil })
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("transaction above the limit: %v", err)
	}
	if n := len(scanAll(t, db, "city", Range{})); n != 2 {
		t.Errorf("%d rows after a refused transaction, want 2", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open: %v", err)
	}
	mustClose(t, db)
	if _, err := Open(t.TempDir()+"/none", Options{MustExist: true}); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("MustExist: %v", err)
	}
	fs := vfs.NewMem()
	if err := fs.MkdirAll("other", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(fs, "other", "letter.txt", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("other", small(fs)); err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("Open in a directory of something else: %v", err)
	}
}
