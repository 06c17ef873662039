package embedded

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemarkdb/tidemark/driver"
)

// old makes a database with three cities.
func old(t *testing.T, fs vfs.FS) {
	t.Helper()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	for i := range int64(3) {
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, "old")) })
	}
	mustClose(t, db)
}

func replacement(t *testing.T, fs vfs.FS) *Replacement {
	t.Helper()
	r, err := NewReplacement("db", small(fs))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func cityCount(t *testing.T, dir string, fs vfs.FS) int {
	t.Helper()
	o := small(fs)
	o.MustExist = true
	db := mustOpen(t, dir, o)
	defer mustClose(t, db)
	return len(scanAll(t, db, "city", Range{}))
}

// TestReplace puts a database in the place of another, which stays.
func TestReplace(t *testing.T) {
	fs := vfs.NewMem()
	old(t, fs)
	r := replacement(t, fs)
	if err := restoreCities(t, r, 10); err != nil {
		t.Fatal(err)
	}
	if a := r.Aside(); !strings.HasPrefix(a, "db.before-2023") {
		t.Errorf("the old one is said to be in %q", a)
	}
	if n, o := cityCount(t, "db", fs), cityCount(t, r.Aside(), fs); n != 10 || o != 3 {
		t.Errorf("%d cities, and %d aside; want 10 and 3", n, o)
	}
	// And where there is none.
	fs = vfs.NewMem()
	r = replacement(t, fs)
	if err := restoreCities(t, r, 10); err != nil || r.Aside() != "" || cityCount(t, "db", fs) != 10 {
		t.Errorf("%v, aside %q", err, r.Aside())
	}
}

// TestReplaceRefuses checks what is not replaced: what is no database, and one
// that is open.
func TestReplaceRefuses(t *testing.T) {
	fs := vfs.NewMem()
	if err := errors.Join(fs.MkdirAll("db", 0o755), writeDurably(fs, "db", "letter", []byte("dear"))); err != nil {
		t.Fatal(err)
	}
	if err := restoreCities(t, replacement(t, fs), 10); !errors.Is(err, driver.ErrNotEmpty) {
		t.Errorf("a directory of letters: %v", err)
	}
	fs = vfs.NewMem()
	old(t, fs)
	db := mustOpen(t, "db", small(fs))
	if _, err := replacement(t, fs).Preflight(t.Context(), restoreState(t, 10)); !errors.Is(err, ErrLocked) {
		t.Errorf("preflight of one that is open: %v", err)
	}
	mustClose(t, db)
	// Opened while the restore goes on.
	r := replacement(t, fs)
	want := restoreState(t, 10)
	if _, err := r.Begin(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, "db", small(fs))
	if err := r.Finish(t.Context(), want); !errors.Is(err, ErrLocked) {
		t.Errorf("one that was opened meanwhile: %v", err)
	}
	if _, err := r.Abort(false); err != nil {
		t.Error(err)
	}
	mustClose(t, db)
	if n := cityCount(t, "db", fs); n != 3 {
		t.Errorf("%d cities, want the 3 of old", n)
	}
}

// TestReplaceFails fails each write in turn: the old database is in its place,
// or the new one is and the old one aside.
func TestReplaceFails(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		old(t, mem)
		inject := errorfs.OnIndex(n)
		only := errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Pebble ends the process when it can't write what lies in its directory.
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead || strings.Contains(op.Path, "/state/") || op.Kind == errorfs.OpFileClose {
				return nil
			}
			return inject.MaybeError(op)
		})
		r := replacement(t, errorfs.Wrap(mem, only))
		err := restoreCities(t, r, 10)
		if err == nil {
			if n < 15 {
				t.Errorf("a restore of %d writes", n)
			}
			return
		}
		_, _ = r.Abort(false) // its own removal may be what failed
		if got := cityCount(t, "db", mem); got != 3 {
			t.Errorf("write %d failed with %v: %d cities, want the 3 of old", n, err, got)
		}
		names, err := mem.List("")
		if err != nil || slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, "before") }) {
			t.Errorf("write %d: there are %v, %v", n, names, err)
		}
	}
}
