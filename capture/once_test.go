package capture

import (
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// TestSyncWaitsForTheFirstBase: before it, what Sync calls archived could not
// be restored.
func TestSyncWaitsForTheFirstBase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.start = w.src.fill(20, 10)
		w.src.kept = w.src.start
		c := w.capture(Options{})
		c.sync()
		c.stop()
		if s := w.check(); len(s.Snapshots) != 1 {
			t.Errorf("%d bases, want 1", len(s.Snapshots))
		}
	})
}

// TestCloseCovers: the time between the last transaction and the end of the
// capture can be restored, also when nothing happened in between.
func TestCloseCovers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(1, 10)
		for range 2 {
			seconds(100)
			c := w.capture(Options{})
			c.sync()
			c.stop()
			now := change.TimeOf(time.Now())
			if s := w.checkAll(); s.CoveredUntil < now-1e6 || s.CoveredUntil > now {
				t.Errorf("closed at %v, covered until %v", now, s.CoveredUntil)
			}
		}
	})
}

// A Sync that waits for the first base does not cut the log into crumbs.
func TestSyncWithoutABaseUnderLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.start = w.src.fill(20, 10)
		w.src.rowHook = func(int) error {
			time.Sleep(time.Second)
			return nil
		}
		c := w.capture(Options{FlushAge: 5 * time.Second})
		go func() {
			for range 1000 {
				w.src.fill(1, 10)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		c.sync()
		seconds(20)
		c.stop()
		if s := w.checkAll(); len(s.Snapshots) != 1 || s.Segments.Len() > 6 {
			t.Errorf("%d segments in 20 s, %d bases", s.Segments.Len(), len(s.Snapshots))
		}
	})
}
