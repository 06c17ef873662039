package flatfile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

func openDB(t *testing.T) *embedded.DB {
	t.Helper()
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func createIn(t *testing.T, db *embedded.DB, name, key, columns string) *change.Schema {
	t.Helper()
	parsed, err := ParseColumns(strings.Fields(columns))
	if err != nil {
		t.Fatal(err)
	}
	var s *change.Schema
	err = db.Update(func(tx *embedded.Tx) (err error) {
		s, err = tx.CreateCollection(name, strings.Fields(key), parsed...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func importText(t *testing.T, db *embedded.DB, s *change.Schema, in string, o ImportOptions) (Imported, error) {
	t.Helper()
	r, err := NewReader(strings.NewReader(in), CSV, s)
	if err != nil {
		t.Fatal(err)
	}
	return Import(t.Context(), db, r, o)
}

func exported(t *testing.T, db *embedded.DB, name string) string {
	t.Helper()
	var b strings.Builder
	if _, err := Export(t.Context(), db, name, &b, CSV); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestImportStopsAtTheBadRow checks what stays: the transactions before it.
func TestImportStopsAtTheBadRow(t *testing.T) {
	db := openDB(t)
	s := createIn(t, db, "c", "id", "id:int64 s:text")
	var seen []int64
	got, err := importText(t, db, s, "id,s\n1,a\n2,b\n3,c\n4,d\n5,e\nx,f\n7,g\n",
		ImportOptions{TxRows: 2, Progress: func(n int64) { seen = append(seen, n) }})
	if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "line 7") {
		t.Errorf("got %v, want ErrInput for line 7", err)
	}
	if want := (Imported{Rows: 4, Txs: 2}); got != want || fmt.Sprint(seen) != "[2 4]" {
		t.Errorf("imported %+v after %v, want %+v", got, seen, want)
	}
	if out, want := exported(t, db, "c"), "id,s\n1,a\n2,b\n3,c\n4,d\n"; out != want {
		t.Errorf("the collection holds\n%s\nwant\n%s", out, want)
	}
}

func TestImportReplacesAndAdds(t *testing.T) {
	db := openDB(t)
	keyed := createIn(t, db, "keyed", "id", "id:int64 s:text")
	bag := createIn(t, db, "bag", "", "s:text")
	for range 2 {
		for _, in := range []struct {
			s    *change.Schema
			text string
		}{{keyed, "id,s\n1,a\n1,b\n"}, {bag, "s\na\na\n"}} {
			if got, err := importText(t, db, in.s, in.text, ImportOptions{}); err != nil || got.Rows != 2 || got.Txs != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	}
	if out := exported(t, db, "keyed"); out != "id,s\n1,b\n" {
		t.Errorf("keyed: %q", out)
	}
	if out := exported(t, db, "bag"); out != "s\na\na\na\na\n" {
		t.Errorf("bag: %q", out)
	}
	err := db.Update(func(tx *embedded.Tx) error {
		return errors.Join(Remove(tx, bag, change.Row{change.TextValue("a")}),
			Remove(tx, keyed, change.Row{change.IntValue(1), change.TextValue("b")}))
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := exported(t, db, "keyed") + exported(t, db, "bag"); out != "id,s\ns\na\na\na\n" {
		t.Errorf("after a removal from each: %q", out)
	}
}

func TestTransferEndsWithItsContext(t *testing.T) {
	db := openDB(t)
	s := createIn(t, db, "c", "id", "id:int64")
	if _, err := importText(t, db, s, "id\n1\n", ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := NewReader(strings.NewReader("id\n2\n"), CSV, s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Import(ctx, db, r, ImportOptions{}); !errors.Is(err, context.Canceled) || got.Rows != 0 {
		t.Errorf("import: %+v, %v", got, err)
	}
	if n, err := Export(ctx, db, "c", &strings.Builder{}, CSV); !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("export: %d, %v", n, err)
	}
}

func TestMatch(t *testing.T) {
	db := openDB(t)
	s := createIn(t, db, "c", "id", "id:int64 s:text? n:int64")
	match, err := ParseMatch(s, []string{"s=", "n=7"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		s    change.Value
		n    int64
		want bool
	}{{change.Null(), 7, true}, {change.Null(), 8, false}, {change.TextValue(""), 7, false}} {
		if got := match(change.Row{change.IntValue(1), tt.s, change.IntValue(tt.n)}); got != tt.want {
			t.Errorf("%v, %d: %t", tt.s, tt.n, got)
		}
	}
	for _, bad := range []string{"s", "x=1", "n=a", "n="} {
		if _, err := ParseMatch(s, []string{bad}); err == nil {
			t.Errorf("condition %q was accepted", bad)
		}
	}
}
