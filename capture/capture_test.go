package capture

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

func TestCaptureAndResume(t *testing.T) {
	for _, kind := range []string{"mem", "dir"} {
		t.Run(kind, func(t *testing.T) {
			var b storage.Bucket = storage.NewMem()
			if kind == "dir" {
				dir, err := storage.CreateDir(t.TempDir(), storage.DirOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b = dir
			}
			bubble(t, func(t *testing.T) {
				w := newWorldOn(t, b)
				w.src.fill(10, 20)
				for range 3 {
					c := w.capture(Options{})
					if m := c.sync(); m.LSN != w.src.end() {
						t.Errorf("synced to LSN %d, the source ends at %d", m.LSN, w.src.end())
					}
					w.src.fill(7, 20)
					c.stop()
				}
				c := w.capture(Options{})
				c.sync()
				c.stop()
				if s := w.checkAll(); s.EpochOpen || s.Epoch != 4 {
					t.Errorf("epoch %d, open: %t", s.Epoch, s.EpochOpen)
				}
			})
		})
	}
}

func TestFlushBySize(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(200, 1000)
		c := w.capture(Options{FlushBytes: 20_000, FlushAge: time.Hour})
		synctest.Wait()
		s := w.check()
		if s.Segments.Len() < 3 {
			t.Errorf("%d segments before any time has passed, want several", s.Segments.Len())
		}
		for _, seg := range chaintest.Segments(s) {
			if size := seg.Body.Packs[0].Size; size > 60_000 {
				t.Errorf("segment to LSN %d has %d bytes", seg.Body.Last, size)
			}
		}
		c.stop()
		w.checkAll()
	})
}

func TestFlushByAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{FlushAge: 2 * time.Second})
		seconds(30) // idle: the loop waits long
		for range 3 {
			before := w.load().Last
			lsn := w.src.fill(1, 10)
			seconds(1.9)
			w.src.fill(2, 10) // does not put the first one off
			if last := w.load().Last; last != before {
				t.Errorf("LSN %d is archived before its time", last)
			}
			seconds(0.11)
			if last := w.load().Last; last < lsn {
				t.Errorf("2 s after LSN %d the archive ends at %d", lsn, last)
			}
			seconds(20)
		}
		c.stop()
		w.checkAll()
	})
}

func TestSteadyLoadIsFlushedByAge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		for range 500 {
			w.src.fill(1, 10)
			seconds(0.02)
			if s := w.load(); w.src.end()-s.Last > 60 { // 1.2 s
				t.Fatalf("the archive is at LSN %d, the source at %d", s.Last, w.src.end())
			}
		}
		c.stop()
		if s := w.checkAll(); s.Segments.Len() < 9 || s.Segments.Len() > 12 {
			t.Errorf("%d segments in 10 s", s.Segments.Len())
		}
	})
}

func TestCoverageWhileIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{CoverageEvery: 10 * time.Second})
		var last change.Time
		seconds(2)
		for range 5 {
			seconds(10)
			s := w.load()
			now := change.TimeOf(time.Now())
			if s.CoveredUntil <= last || s.CoveredUntil < now-11e6 || s.CoveredUntil >= now {
				t.Errorf("at %v covered until %v, before %v", now, s.CoveredUntil, last)
			}
			last = s.CoveredUntil
		}
		manifests := w.load().Seq
		seconds(100)
		if n := w.load().Seq - manifests; n < 9 || n > 11 {
			t.Errorf("%d manifests in 100 s of idleness", n)
		}
		w.src.mu.Lock()
		calls := w.src.nexts + w.src.covers
		w.src.mu.Unlock()
		if calls > 150 {
			t.Errorf("%d calls of the source in 150 s of idleness", calls)
		}
		w.src.fill(1, 10)
		c.stop()
		if s := w.checkAll(); s.Segments.Last().Body.Effective.From <= last {
			t.Error("a transaction has a time that was covered before")
		}
	})
}

// A source that can't promise anything yet must not end the capture, and the
// capturer shows that it is alive all the same.
func TestNoCoverageToGive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.txs, w.src.hashes = nil, w.src.hashes[:1]
		w.src.blind = true
		c := w.capture(Options{})
		seconds(35)
		if s := w.load(); s.Seq != 4 || s.CoveredUntil != 1 {
			t.Errorf("after 35 s: manifest %d, covered until %v", s.Seq, s.CoveredUntil)
		}
		w.src.create(1)
		c.stop()
		w.checkAll()
	})
}

// Clocks that run ahead, and back, move no effective time back and uncover none.
func TestClockSteps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		for _, step := range []change.Time{0, 3600e6, -7200e6, 50e6, 0} {
			w.src.set(func() { w.src.ahead = step })
			w.src.fill(3, 10)
			seconds(15)
		}
		c.stop()
		s := w.checkAll() // load has run the chain's rules
		if s.Effective < change.TimeOf(time.Now()) {
			t.Errorf("last effective time is %v", s.Effective)
		}
	})
}

func TestSync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		ctx := t.Context()
		a, err := archive.Open(ctx, w.bucket, archive.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := New(a, w.src, Options{FlushAge: time.Hour})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := c.Sync(short); err != context.DeadlineExceeded {
			t.Errorf("sync before Run: %v", err)
		}
		early := make(chan error, 1)
		go func() {
			_, err := c.Sync(ctx)
			early <- err
		}()
		synctest.Wait()
		run, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(run) }()
		if err := <-early; err != nil {
			t.Errorf("sync begun before Run: %v", err)
		}
		done := make(chan error, 20)
		for range 20 {
			lsn := w.src.fill(1, 10)
			go func() {
				m, err := c.Sync(ctx)
				if err == nil && m.LSN < lsn {
					t.Errorf("synced to LSN %d, asked after %d", m.LSN, lsn)
				}
				done <- err
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		_, err = c.Sync(ctx)
		wantError(t, err, ErrStopped)
		_, err = c.Snapshot(ctx)
		wantError(t, err, ErrStopped)
		w.checkAll()
	})
}

// Sync is answered although transactions go on coming while the store is slow,
// and does not cut the log into crumbs.
func TestSyncUnderLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, Op: storagetest.OpCreate, Times: -1, Delay: 100 * time.Millisecond})
		c := w.capture(Options{FlushAge: 5 * time.Second})
		seconds(1)
		over := make(chan struct{})
		go func() {
			defer close(over)
			for range 3000 {
				w.src.fill(1, 10)
				time.Sleep(time.Millisecond)
			}
		}()
		seconds(1)
		before := w.load().Segments.Len()
		began := time.Now()
		c.sync()
		if d := time.Since(began); d > time.Second {
			t.Errorf("sync took %s", d)
		}
		if n := w.load().Segments.Len() - before; n > 3 {
			t.Errorf("one sync made %d segments", n)
		}
		<-over
		c.stop()
		w.checkAll()
	})
}

func TestStopBeforeAnything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := archive.Open(t.Context(), w.bucket, archive.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := New(a, w.src, Options{})
		wantError(t, c.Run(ctx), context.Canceled)
		_, err = c.Sync(t.Context())
		wantError(t, err, ErrStopped)
		if s := w.load(); s.Seq != 0 {
			t.Errorf("%d manifests", s.Seq)
		}
		w.src.checkClosed(t)
	})
}

func TestSecondCapturer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.capture(Options{})
		first.sync()
		second := w.capture(Options{})
		wantError(t, second.wait(), chain.ErrLocked)

		third := w.capture(Options{Takeover: true})
		third.sync()
		w.src.set(func() { w.src.acks = nil })
		w.src.fill(3, 10)
		wantError(t, first.wait(), chain.ErrFenced)
		third.sync()
		synctest.Wait()
		if n := len(w.src.acks); n != 1 {
			t.Errorf("%d acknowledgements for one segment", n)
		}
		third.stop()
		w.checkAll()
	})
}

// A capturer that is silent for long enough loses its epoch.
func TestStaleEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.capture(Options{CloseTimeout: time.Second})
		first.sync()
		w.away()
		if err := first.end(); err == nil {
			t.Error("a close that was not published is no error")
		}
		plain := Options{}
		wantError(t, w.captureOn(w.bucket, plain).wait(), chain.ErrLocked)
		seconds(61)
		second := w.captureOn(w.bucket, plain)
		second.sync()
		second.stop()
		w.checkAll()
	})
}

func TestStartInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.start = w.src.fill(20, 10)
		w.src.kept = w.src.start
		w.src.failing("snapshot", 1, errFake)
		c := w.capture(Options{})
		seconds(20)
		synctest.Wait()
		if s := w.load(); len(s.Snapshots) != 0 || len(w.src.acks) != 0 {
			t.Fatalf("%d bases, acknowledged %v", len(s.Snapshots), w.src.acks)
		}
		w.src.set(func() { w.src.fail = nil })
		seconds(20)
		s := w.check()
		if len(s.Snapshots) != 1 || s.Snapshots[0].Body.LSN != w.src.start || s.Start != w.src.start {
			t.Fatalf("the archive starts at %d with %d bases", s.Start, len(s.Snapshots))
		}
		w.src.fill(3, 10)
		c.stop()
		c = w.capture(Options{})
		c.sync()
		c.stop()
		if s := w.checkAll(); len(s.Snapshots) != 1 {
			t.Errorf("%d bases", len(s.Snapshots))
		}
	})
}

// What a capturer published but did not come to acknowledge, the next one does.
func TestAcknowledgeOnResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		w.src.failing("ack", 1, errFake)
		c := w.capture(Options{})
		wantError(t, c.wait(), errFake)
		if s := w.check(); s.Last != w.src.end() || s.EpochOpen {
			t.Errorf("the archive ends at LSN %d, epoch open: %t", s.Last, s.EpochOpen)
		}
		w.src.set(func() { w.src.fail = nil })
		c = w.capture(Options{})
		seconds(0.01)
		synctest.Wait()
		if !slices.ContainsFunc(w.src.acks, func(m driver.Mark) bool { return m.LSN == w.src.end() }) {
			t.Errorf("acknowledged is %v", w.src.acks)
		}
		c.stop()
		w.checkAll()
	})
}
