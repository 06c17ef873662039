package salvage_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/salvage"
)

// TestFork salvages a timeline that goes on from another, whose segments were
// cut, with damage in both.
func TestFork(t *testing.T) {
	main := tell(t)
	a, bucket := open(t, main.objects)
	lsns := slices.Sorted(maps.Keys(main.states))
	at := lsns[len(lsns)-2] // inside the last segment
	options := embedded.Options{FS: vfs.NewMem()}
	dst, err := embedded.NewTarget("back", options)
	if err == nil {
		_, err = restore.Run(t.Context(), a, recovery.AtLSN(at), dst, restore.Options{TempDir: t.TempDir()})
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{states: make(map[change.LSN]state)}
	for lsn, st := range main.states {
		if lsn <= at {
			w.states[lsn] = st
		}
	}
	s := &teller{t: func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}, w: w, ctx: t.Context()}
	if s.db, err = embedded.Open("back", options); err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	c := capture.New(a, s.db.Source(), capture.Options{FlushAge: time.Hour, CoverageEvery: time.Hour})
	err = c.While(t.Context(), func(ctx context.Context) error {
		for n := range int64(3) {
			s.put("busy", 10*n, 10*n+15, 40+n)
			if n == 1 {
				s.put("late", 3, 6, 1)
			}
			if _, err := c.Sync(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.objects = contents(t, bucket)
	child := ""
	for key := range w.objects {
		if name, rest, ok := strings.Cut(key, "/"); ok && name != "main" && strings.HasPrefix(rest, "manifest/") {
			child = name
		}
	}
	if child == "" {
		t.Fatal("the capture did not fork")
	}
	var logs []string
	for _, key := range w.pick("log") {
		if strings.HasPrefix(key, child+"/") {
			logs = append(logs, key)
		}
	}
	w.damageFork(t, main, chain.TimelineID(child), logs)
}

// damageFork salvages the fork with one or more objects of it and of its parent
// gone.
func (w *world) damageFork(t *testing.T, main *world, child chain.TimelineID, logs []string) {
	t.Helper()
	mains := main.pick("log")
	for _, gone := range [][]string{{logs[1]}, {mains[7]}, {mains[6], logs[0]}, {main.pick("run")[0], mains[1], mains[2], logs[2]}} {
		objects := maps.Clone(w.objects)
		for _, key := range gone {
			delete(objects, key)
		}
		_, left := open(t, objects)
		broken, err := archive.Open(t.Context(), left, archive.OpenOptions{Timeline: child})
		if err != nil {
			t.Fatal(err)
		}
		fs := vfs.NewMem()
		dst, err := embedded.NewTarget("saved", embedded.Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		r, err := salvage.Run(t.Context(), broken, dst, salvage.Options{TempDir: t.TempDir()})
		if err != nil {
			t.Fatalf("without %v: %v", gone, err)
		}
		if r.Target != w.last || len(r.Damaged) == 0 || r.Delivered() == 0 {
			t.Errorf("without %v: %+v", gone, r)
		}
		w.compare(t, fs, r)
	}
}
