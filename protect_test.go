package tidemark_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark"
	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

func openDB(t *testing.T, dir string) *embedded.DB {
	t.Helper()
	db, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func put(t *testing.T, db *embedded.DB, rows ...item) {
	t.Helper()
	if err := db.Update(func(tx *embedded.Tx) error { return items.Put(tx, rows...) }); err != nil {
		t.Fatal(err)
	}
}

func TestProtectLabelAndRestore(t *testing.T) {
	dir := t.TempDir()
	place := "dir:" + filepath.Join(dir, "archive")
	db := openDB(t, filepath.Join(dir, "a.db"))
	p, err := tidemark.Protect(t.Context(), db, place, tidemark.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, item{1, "lamp", 1990})
	lsn, err := p.Label(t.Context(), "one", "")
	if err != nil || lsn != 2 {
		t.Fatalf("label at LSN %d: %v", lsn, err)
	}
	put(t, db, item{2, "chair", 4900})
	if _, err := p.Label(t.Context(), "one", ""); !errors.Is(err, chain.ErrLabelTaken) {
		t.Errorf("the same label elsewhere: %v", err)
	}
	if s, err := p.Snapshot(t.Context()); err != nil || s.LSN != 3 {
		t.Errorf("snapshot %+v: %v", s, err)
	}
	put(t, db, item{3, "table", 12000}) // archived by Close
	if p.Err() != nil {
		t.Error(p.Err())
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	<-p.Done()
	for target, want := range map[recovery.Target]int64{recovery.AtLabel("one"): 1, recovery.Latest(): 3} {
		res, err := tidemark.Restore(t.Context(), place, filepath.Join(dir, target.String()), target, restore.Options{})
		if err != nil || res.Rows != want {
			t.Errorf("%s: %+v, %v", target, res, err)
		}
	}
	_, err = tidemark.Restore(t.Context(), place, filepath.Join(dir, "latest"), recovery.AtLSN(99), restore.Options{})
	var u *recovery.UnrestorableError
	if !errors.As(err, &u) || u.Before == nil || u.Before.LSN != 4 || !strings.Contains(err.Error(), place) {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestProtectRefuses(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, filepath.Join(dir, "a.db"))
	foreign := filepath.Join(dir, "foreign")
	if err := os.MkdirAll(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(foreign, "letter.txt"), []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at   string
		o    tidemark.Options
		is   error
		says string
	}{
		{"", tidemark.Options{}, place.ErrPlace, "empty"},
		{"s3:bucket", tidemark.Options{}, place.ErrPlace, "not supported yet"},
		{"ftp:x", tidemark.Options{}, place.ErrPlace, "./ftp:"},
		{"dir:", tidemark.Options{}, place.ErrPlace, "no path"},
		{foreign, tidemark.Options{}, archive.ErrForeign, "letter.txt"},
		{filepath.Join(dir, "new"), tidemark.Options{Repo: "00112233445566778899aabbccddeeff"}, chain.ErrWrongRepo, "00112233"},
	} {
		if _, err := tidemark.Protect(t.Context(), db, test.at, test.o); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("protect with %q: %v, want %v and something about %q", test.at, err, test.is, test.says)
		}
	}
}

// TestProtectEnds has the database's archive taken over by another process.
func TestProtectEnds(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "archive")
	db := openDB(t, filepath.Join(dir, "a.db"))
	p, err := tidemark.Protect(t.Context(), db, place, tidemark.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, item{1, "lamp", 1990})
	if _, err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := tidemark.Protect(t.Context(), db, place, tidemark.Options{Capture: capture.Options{Takeover: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, db, item{2, "chair", 4900})
	<-p.Done()
	if _, err := p.Sync(context.Background()); !errors.Is(err, capture.ErrStopped) || !errors.Is(err, chain.ErrFenced) {
		t.Errorf("sync after the end: %v", err)
	}
	if err := p.Err(); !errors.Is(err, chain.ErrFenced) {
		t.Errorf("ended with %v", err)
	}
	if err := p.Close(); !errors.Is(err, chain.ErrFenced) {
		t.Errorf("closed with %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}
