package capture

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// snapshotting asks for a snapshot in the background.
func (r *running) snapshotting(ctx context.Context) chan reply {
	c := make(chan reply, 1)
	go func() {
		s, err := r.Snapshot(ctx)
		c <- reply{snapshot: s, err: err}
	}()
	synctest.Wait()
	return c
}

func TestSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.create(2)
		w.src.create(3) // stays empty
		w.src.fill(50, 300)
		for i := range 20 {
			w.src.commit(insert(2, int64(i), noise(int64(i), 500)))
		}
		del := insert(1, 10, "")
		del.Op, del.Image = change.Delete, nil
		w.src.commit(del)
		c := w.capture(Options{RunBytes: 4000})
		s, err := c.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.LSN != w.src.end() || len(s.Runs) < 3 || len(s.Digests) != 3 || s.Digests[0].Rows != 49 || s.Digests[1].Rows != 20 {
			t.Errorf("snapshot at LSN %d, %d runs, digests %v", s.LSN, len(s.Runs), s.Digests)
		}
		for _, run := range s.Runs {
			if run.Size > 9000 {
				t.Errorf("a run has %d bytes", run.Size)
			}
		}
		c.stop()
		if st := w.checkAll(); len(st.Snapshots) != 1 {
			t.Errorf("%d snapshots", len(st.Snapshots))
		}
	})
}

// However small a run is to be, it holds a row.
func TestTinyRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		c := w.capture(Options{RunBytes: 1})
		s, err := c.Snapshot(t.Context())
		if err != nil || len(s.Runs) != 5 {
			t.Fatalf("%v, %v", s, err)
		}
		c.stop()
		w.checkAll()
	})
}

func TestSnapshotOfNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.txs, w.src.hashes = nil, w.src.hashes[:1]
		c := w.capture(Options{})
		s, err := c.Snapshot(t.Context())
		if err != nil || s.LSN != 0 || len(s.Runs) != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		c.stop()
		w.check()
	})
}

// A segment ends exactly where a base is, whether the log has come that far
// before, just then or after.
func TestSegmentEndsAtTheBase(t *testing.T) {
	for _, ahead := range []int{0, 1, 5} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			release := make(chan struct{})
			c := w.capture(Options{FlushAge: 30 * time.Second})
			c.sync()
			w.src.fill(3, 10)
			synctest.Wait() // read, and not flushed
			w.src.set(func() {
				w.src.rowHook = func(n int) error {
					if n == 0 {
						<-release
					}
					return nil
				}
			})
			// The loop is busy with Next: it opens the view when it is told.
			w.src.fill(ahead, 10)
			got := c.snapshotting(t.Context())
			at := w.src.end()
			w.src.fill(4, 10)
			synctest.Wait()
			seconds(31)
			close(release)
			r := <-got
			if r.err != nil || r.snapshot.LSN != at {
				t.Fatalf("%v, %v, want LSN %d", r.snapshot, r.err, at)
			}
			c.stop()
			s := w.checkAll()
			if !slices.Contains(segmentEnds(s), at) {
				t.Errorf("segments end at %v, the base is at %d", segmentEnds(s), at)
			}
		})
	}
}

// Of several snapshots one is taken at a time, and those nobody waits for any
// more are not taken.
func TestSnapshotsInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, Op: storagetest.OpCreate, Times: -1, Delay: time.Second})
		c := w.capture(Options{})
		first := c.snapshotting(t.Context())
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		second := c.snapshotting(short)
		third := c.snapshotting(t.Context())
		r := <-second
		wantError(t, r.err, context.DeadlineExceeded)
		for _, got := range []chan reply{first, third} {
			if r := <-got; r.err != nil {
				t.Error(r.err)
			}
		}
		seconds(60)
		c.stop()
		if s := w.checkAll(); len(s.Snapshots) != 2 {
			t.Errorf("%d snapshots, want 2", len(s.Snapshots))
		}
	})
}

// A snapshot that the source can't give, or not wholly, is reported to who
// asked and is announced nowhere; the log goes on.
func TestSnapshotFails(t *testing.T) {
	mid := func(n int) error {
		if n == 30 {
			return errFake
		}
		return nil
	}
	for name, arrange := range map[string]func(*world){
		"open":  func(w *world) { w.src.failing("snapshot", 1, errFake) },
		"rows":  func(w *world) { w.src.set(func() { w.src.rowHook = mid }) },
		"order": func(w *world) { w.src.set(func() { w.src.reversed = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.src.fill(50, 300)
				arrange(w)
				c := w.capture(Options{RunBytes: 2000})
				s, err := c.Snapshot(t.Context())
				if s != nil || err == nil || !strings.Contains(err.Error(), "snapshot of the source") {
					t.Fatalf("%v, %v", s, err)
				}
				if name != "order" {
					wantError(t, err, errFake)
				}
				if name == "rows" && !strings.Contains(err.Error(), `collection 1 ("c1")`) {
					t.Errorf("error is %v", err)
				}
				w.src.set(func() { w.src.fail, w.src.rowHook, w.src.reversed = nil, nil, false })
				w.src.fill(3, 10)
				if s, err = c.Snapshot(t.Context()); err != nil || s.LSN != w.src.end() {
					t.Errorf("%v, %v", s, err)
				}
				c.stop()
				if s := w.checkAll(); len(s.Snapshots) != 1 {
					t.Errorf("%d snapshots", len(s.Snapshots))
				}
			})
		})
	}
}

// A base that contradicts the log is refused; the log itself goes on.
func TestSnapshotRefusedByTheChain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		c := w.capture(Options{})
		w.src.set(func() { w.src.otherHash = true })
		_, err := c.Snapshot(t.Context())
		var broken *chain.RuleError
		if !errors.As(err, &broken) || broken.Rule != "snapshot.log_hash" {
			t.Errorf("error is %v", err)
		}
		w.src.fill(5, 10)
		c.stop()
		w.checkAll()
	})
}

// The store fails while runs are stored: those that are there are not sent again.
func TestSnapshotGoesOnAfterTheStoreFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(200, 300)
		runs := func(key string) bool { return strings.Contains(key, "/run/") }
		c := w.capture(Options{RunBytes: 4000})
		c.sync()
		w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Before, Op: storagetest.OpCreate, Key: runs, N: 4, Times: 3},
			storagetest.Rule{Fault: storagetest.Partial, Op: storagetest.OpCreate, Key: runs, N: 9})
		s, err := c.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for _, e := range w.faulty.Trace() {
			if e.Op == storagetest.OpCreate && runs(e.Key) {
				sent++
			}
		}
		if len(s.Runs) < 6 || sent > len(s.Runs)+6 {
			t.Errorf("%d uploads for %d runs", sent, len(s.Runs))
		}
		c.stop()
		w.checkAll()
	})
}

// The store is away while a snapshot is asked for.
func TestSnapshotWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(50, 300)
		c := w.capture(Options{RunBytes: 4000})
		c.sync()
		w.away()
		got := c.snapshotting(t.Context())
		w.src.fill(3, 10)
		seconds(300)
		w.back()
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
		c.stop()
		w.checkAll()
	})
}

// A capture that stops gives up a snapshot whose rows are not all stored, and
// publishes one whose rows are.
func TestStopDuringASnapshot(t *testing.T) {
	t.Run("reading", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.src.fill(50, 300)
			w.src.rowHook = func(int) error {
				seconds(1)
				return nil
			}
			c := w.capture(Options{RunBytes: 2000})
			got := c.snapshotting(t.Context())
			seconds(20)
			w.src.fill(3, 10)
			began := time.Now()
			c.stop()
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("stopping took %s", d)
			}
			r := <-got
			wantError(t, r.err, ErrStopped)
			if s := w.checkAll(); len(s.Snapshots) != 0 || s.EpochOpen {
				t.Errorf("%d snapshots, epoch open: %t", len(s.Snapshots), s.EpochOpen)
			}
		})
	})
	t.Run("stored", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			c := w.capture(Options{FlushAge: time.Hour, CoverageEvery: time.Hour})
			c.sync()
			w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, Op: storagetest.OpCreate, Times: -1, Delay: 3 * time.Second,
				Key: func(key string) bool { return strings.Contains(key, "/log/") }})
			w.src.fill(5, 10)
			got := c.snapshotting(t.Context())
			seconds(1) // the run is stored, the segment is not
			c.stop()
			if r := <-got; r.err != nil {
				t.Error(r.err)
			}
			if s := w.checkAll(); len(s.Snapshots) != 1 {
				t.Errorf("%d snapshots", len(s.Snapshots))
			}
		})
	})
}

// A view that ends inside a transaction is no base.
func TestSnapshotBetweenTransactions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		c.sync()
		w.src.set(func() { w.src.behind = 2 })
		w.src.onSnapshot = func() {
			w.src.commit(insert(1, 1, "x"), insert(1, 2, "x"), insert(1, 3, "x"))
			for i := range 20 {
				w.src.commit(insert(1, int64(10+i), "x"), insert(1, int64(40+i), "x"), insert(1, int64(70+i), "x"), insert(1, int64(100+i), "x"))
			}
		}
		_, err := c.Snapshot(t.Context())
		if err == nil || !strings.Contains(err.Error(), "LSN 82, which is not the end of a transaction") {
			t.Errorf("error is %v", err)
		}
		w.src.set(func() { w.src.behind, w.src.onSnapshot = 0, nil })
		if _, err := c.Snapshot(t.Context()); err != nil {
			t.Error(err)
		}
		c.stop()
		w.checkAll()
	})
}

// A source may return a transaction before it shows it: the capture waits a
// moment for a view that shows all that was read.
func TestSnapshotLagsBehindTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(9, 10)
		c := w.capture(Options{FlushAge: time.Hour, CoverageEvery: time.Hour})
		synctest.Wait()
		w.src.set(func() { w.src.behind = 3 })
		got := c.snapshotting(t.Context())
		seconds(0.5)
		w.src.set(func() { w.src.behind = 0 })
		r := <-got
		if r.err != nil || r.snapshot.LSN != 10 {
			t.Fatalf("%v, %v", r.snapshot, r.err)
		}
		w.src.set(func() { w.src.behind = 3 })
		_, err := c.Snapshot(t.Context())
		if err == nil || !strings.Contains(err.Error(), "it shows LSN 7, 1s after LSN 10 was read") {
			t.Errorf("error is %v", err)
		}
		c.stop()
		w.checkAll()
	})
}
