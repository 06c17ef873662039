package embedded

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// restoreState returns a state with a collection of n cities.
func restoreState(t testing.TB, n int64) driver.State {
	t.Helper()
	s, err := change.Define(3, "city", []string{"id"}, columns()...)
	if err != nil {
		t.Fatal(err)
	}
	return driver.State{Job: driver.Job{ID: change.Hash{9}, About: "cities"}, LSN: 1000, LogHash: change.Hash{7}, Commit: 5, LastTx: 12, Schemas: []*change.Schema{s}, NextID: 9, Rows: n, Bytes: n * 40}
}

// cities yields the records of cities from … to-1.
func cities(s *change.Schema, from, to int64) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		for i := from; i < to; i++ {
			key, image, err := s.EncodeRow(city(i, fmt.Sprint("n", i)))
			if !yield(&change.Record{Op: change.Insert, Collection: s.Collection, Key: key, Image: image}, err) {
				return
			}
		}
	}
}

// restoreCities restores n cities in two ranges.
func restoreCities(t testing.TB, target driver.Target, n int64) error {
	t.Helper()
	ctx := t.Context()
	want := restoreState(t, n)
	done, err := target.Begin(ctx, want)
	if err != nil {
		return err
	}
	s := want.Schemas[0]
	for _, r := range [][2]int64{{n / 2, n}, {0, n / 2}} {
		p := cityPart(t, s, r[0], r[1])
		if slices.ContainsFunc(done, func(d driver.Part) bool { return gocmp.Equal(d.From, p.From) }) {
			continue
		}
		if err := target.Load(ctx, p, cities(s, r[0], r[1])); err != nil {
			return err
		}
	}
	return target.Finish(ctx, want)
}

// cityPart is the part of cities from … to-1.
func cityPart(t testing.TB, s *change.Schema, from, to int64) *driver.Part {
	t.Helper()
	bound := func(n int64) *driver.Bound {
		key, _, err := s.EncodeRow(city(n, "x"))
		if err != nil {
			t.Fatal(err)
		}
		return &driver.Bound{Collection: s.Collection, Key: key}
	}
	return &driver.Part{From: bound(from), To: bound(to), Tallies: []driver.Tally{{Collection: s.Collection, Rows: to - from}}}
}

func openTarget(t testing.TB, dir string, o Options) driver.Target {
	t.Helper()
	target, err := NewTarget(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestRestoredDatabaseGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := restoreCities(t, openTarget(t, dir, Options{}), 1000); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the restored directory lies %v, %v", entries, err)
	}
	for range 2 {
		db := mustOpen(t, dir, Options{})
		if got := scanAll(t, db, "city", Range{}); len(got) != 1000 || got[999] != `999 "n999" null` {
			t.Errorf("%d rows", len(got))
		}
		mustClose(t, db)
	}
	db := mustOpen(t, dir, Options{})
	update(t, db, func(tx *Tx) error {
		_, err := tx.CreateCollection("next", nil, columns()...)
		return errors.Join(err, tx.Put("city", city(5000, "z")))
	})
	if i := db.Info(); !i.Restored || i.RestoreAt != 1000 || i.LSN != 1002 || i.Tx != 13 || i.LogFrom != 1001 || i.Archived || len(i.System) != 32 {
		t.Errorf("info %+v", i)
	}
	if v := db.visible; v.LSN != 1002 || v.Tx != 13 || v.catalog.byName["next"].Collection != 9 {
		t.Errorf("LSN %d, transaction %d, new collection %d; want 1002, 13, 9", v.LSN, v.Tx, v.catalog.byName["next"].Collection)
	}
	mustClose(t, db)
}

func TestTargetPreflight(t *testing.T) {
	o := small(vfs.NewMem())
	want := restoreState(t, 1)
	if _, err := openTarget(t, "x/y/z", o).Preflight(t.Context(), want); err != nil {
		t.Errorf("a new place: %v", err)
	}
	if names, err := o.FS.List("/"); err != nil || len(names) != 0 {
		t.Errorf("preflight left %v, %v", names, err)
	}
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 100_000, TotalBytes: 1 << 30})
	o.FS = mem
	want.Bytes = 1 << 20
	if _, err := openTarget(t, "x", o).Preflight(t.Context(), want); !errors.Is(err, driver.ErrNoSpace) || !strings.Contains(err.Error(), "100000 are free") {
		t.Errorf("too little space: %v", err)
	}
	want.Bytes = 1
	o.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			return errors.New("read-only file system")
		}
		return nil
	}))
	if _, err := openTarget(t, "x", o).Preflight(t.Context(), want); err == nil || !strings.Contains(err.Error(), "can't write in") {
		t.Errorf("not writable: %v", err)
	}
	want.NextID = 3
	if _, err := openTarget(t, "y", small(vfs.NewMem())).Preflight(t.Context(), want); !errors.Is(err, change.ErrSchema) {
		t.Errorf("a collection ID that is said to be free: %v", err)
	}
}

func TestTargetRefusesRowsThatOverlapOrStepBack(t *testing.T) {
	want := restoreState(t, 10)
	s := want.Schemas[0]
	target := openTarget(t, "db", small(vfs.NewMem()))
	if _, err := target.Begin(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	err := target.Load(t.Context(), new(driver.Part), func(yield func(*change.Record, error) bool) {
		for _, from := range []int64{5, 2} {
			for r, err := range cities(s, from, from+1) {
				if !yield(r, err) {
					return
				}
			}
		}
	})
	if err == nil {
		t.Error("loaded rows that are not in order")
	}
	if err := errors.Join(target.Load(t.Context(), cityPart(t, s, 0, 6), cities(s, 0, 6)), target.Load(t.Context(), cityPart(t, s, 5, 9), cities(s, 5, 9))); err != nil {
		t.Fatal(err)
	}
	if err := target.Finish(t.Context(), want); err == nil {
		t.Error("finished with ranges that overlap")
	}
	if _, err := target.Abort(false); err != nil {
		t.Error(err)
	}
}

func TestOneRestoreAtATime(t *testing.T) {
	o := small(vfs.NewMem())
	first, second := openTarget(t, "db", o), openTarget(t, "db", o)
	if _, err := first.Begin(t.Context(), restoreState(t, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Begin(t.Context(), restoreState(t, 1)); !errors.Is(err, ErrLocked) {
		t.Errorf("second restore to one place: %v", err)
	}
	if _, err := second.Abort(false); err != nil {
		t.Error(err)
	}
	if err := first.Finish(t.Context(), restoreState(t, 1)); err != nil {
		t.Error(err)
	}
	if _, err := o.FS.Stat("db.partial.lock"); err == nil {
		t.Error("the lock file remains")
	}
}

// TestRestoreCutShort cuts the power before every write and sync of a restore.
// The destination is then whole or not there, and a new restore succeeds.
func TestRestoreCutShort(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(3, 4))
	var crashes []*vfs.MemFS
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{}), mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}))
		}
		return nil
	})
	const rows = 50
	if err := restoreCities(t, openTarget(t, "db", small(errorfs.Wrap(mem, inject))), rows); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	whole := 0
	for i, fs := range crashes {
		o := small(fs)
		o.MustExist = true
		db, err := Open("db", o)
		if errors.Is(err, ErrNoDatabase) {
			if err := restoreCities(t, openTarget(t, "db", small(fs)), rows); err != nil {
				t.Fatalf("crash %d of %d: restore again: %v", i, len(crashes), err)
			}
			db, err = Open("db", o)
		} else {
			whole++
		}
		if err != nil {
			t.Fatalf("crash %d of %d: %v", i, len(crashes), err)
		}
		if n := len(scanAll(t, db, "city", Range{})); n != rows {
			t.Fatalf("crash %d of %d: %d rows, want %d", i, len(crashes), n, rows)
		}
		mustClose(t, db)
	}
	if len(crashes) < 50 || whole == 0 {
		t.Errorf("%d crashes, whole after %d", len(crashes), whole)
	}
}

// TestFailedRestoreLeavesNothing fails each write of a restore in turn.
func TestFailedRestoreLeavesNothing(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		inject := errorfs.OnIndex(n)
		only := errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Pebble ends the process when it can't write what lies in its directory.
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead || strings.Contains(op.Path, "/state/") || op.Kind == errorfs.OpFileClose {
				return nil
			}
			return inject.MaybeError(op)
		})
		target := openTarget(t, "db", small(errorfs.Wrap(mem, only)))
		err := restoreCities(t, target, 10)
		if err == nil {
			if n < 15 {
				t.Errorf("a restore of %d writes", n)
			}
			return
		}
		_, _ = target.Abort(false) // its own removal may be what failed
		if _, err := mem.Stat("db"); err == nil {
			t.Errorf("write %d: the restore failed and its destination is there", n)
			continue
		}
		if err := restoreCities(t, openTarget(t, "db", small(mem)), 10); err != nil {
			t.Fatalf("write %d: restore again: %v", n, err)
		}
	}
}

// TestResumedRestoreFails fails each write of a restore that goes on. What was
// finished is there for the next one, or all is gone; never half of it.
func TestResumedRestoreFails(t *testing.T) {
	took := make(map[int]int) // how often so many parts were taken over at last
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		want := restoreState(t, 10)
		s := want.Schemas[0]
		first := openTarget(t, "a/db", small(mem))
		if _, err := first.Begin(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := first.Load(t.Context(), cityPart(t, s, 5, 10), cities(s, 5, 10)); err != nil {
			t.Fatal(err)
		}
		if kept, err := first.Abort(true); kept != 1 || err != nil {
			t.Fatal(kept, err)
		}
		inject := errorfs.OnIndex(n)
		second := openTarget(t, "a/db", small(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead || strings.Contains(op.Path, "/state/") || op.Kind == errorfs.OpFileClose {
				return nil
			}
			return inject.MaybeError(op)
		}))))
		err := restoreCities(t, second, 10)
		if err == nil {
			if n < 15 || took[1] == 0 || took[2] == 0 {
				t.Errorf("%d writes; parts taken over at last: %v", n, took)
			}
			return
		}
		if _, err := mem.Stat("a/db"); err == nil {
			t.Errorf("write %d: the restore failed and its destination is there", n)
			continue
		}
		_, _ = second.Abort(true) // its own removal may be what failed
		third := openTarget(t, "a/db", small(mem))
		done, err := third.Begin(t.Context(), want)
		if err != nil {
			t.Fatalf("write %d: begin again: %v", n, err)
		}
		took[len(done)]++
		if _, err := third.Abort(true); err != nil {
			t.Fatal(err)
		}
		if err := restoreCities(t, openTarget(t, "a/db", small(mem)), 10); err != nil {
			t.Fatalf("write %d: restore again: %v", n, err)
		}
		if got := cityCount(t, "a/db", mem); got != 10 {
			t.Errorf("write %d: %d cities, want 10", n, got)
		}
	}
}

// BenchmarkLoad restores a million rows of about 200 bytes in two ranges.
func BenchmarkLoad(b *testing.B) {
	const rows = 1_000_000
	want := restoreState(b, rows)
	s := want.Schemas[0]
	text := strings.Repeat("0123456789abcdef", 11)
	records := make([]change.Record, rows)
	for i := range records {
		key, image, err := s.EncodeRow(change.Row{change.IntValue(int64(i)), change.TextValue(fmt.Sprint(i, text[:170], i*7)), change.Null()})
		if err != nil {
			b.Fatal(err)
		}
		records[i] = change.Record{Op: change.Insert, Collection: s.Collection, Key: key, Image: image}
	}
	part := func(from, to int) iter.Seq2[*change.Record, error] {
		return func(yield func(*change.Record, error) bool) {
			for i := from; i < to; i++ {
				if !yield(&records[i], nil) {
					return
				}
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		dir, err := os.MkdirTemp(".", "bench-")
		if err != nil {
			b.Fatal(err)
		}
		target := openTarget(b, filepath.Join(dir, "db"), Options{})
		if _, err := target.Begin(b.Context(), want); err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		var errs [2]error
		for i := range errs {
			wg.Go(func() { errs[i] = target.Load(b.Context(), new(driver.Part), part(rows*i/2, rows*(i+1)/2)) })
		}
		wg.Wait()
		if err := errors.Join(errs[0], errs[1], target.Finish(b.Context(), want)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
