package capture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// flavours are how transactions come: whole ones, or in pieces, with some so
// large that they take several packs.
var flavours = []string{"whole", "pieces"}

// newFlavoured returns a world and options for a capture of a flavour.
func newFlavoured(t testing.TB, flavour string) (*world, Options) {
	w := newWorld(t)
	if flavour == "whole" {
		return w, Options{}
	}
	w.src.piece = 3
	return w, Options{FlushBytes: 6000}
}

// work lets the source change for a while, with a snapshot on the way.
func (w *world) work(c *running) {
	snapped := make(chan struct{})
	for i := range 6 {
		w.src.fill(2, 30)
		seconds(0.7)
		if w.src.piece > 0 && i%2 == 1 {
			w.src.big(20, 700)
		}
		if i == 2 {
			go func() {
				defer close(snapped)
				if _, err := c.Snapshot(context.Background()); err != nil && !errors.Is(err, ErrStopped) {
					w.t.Error(err)
				}
			}()
		}
	}
	seconds(12) // coverage
	w.src.fill(1, 30)
	synctest.Wait()
	c.cancel()
	<-c.ended
	<-snapped
}

// operations counts what a capture of [world.work] asks of the store.
func operations(t *testing.T, flavour string) (n int) {
	bubble(t, func(t *testing.T) {
		w, o := newFlavoured(t, flavour)
		c := w.capture(o)
		w.work(c)
		if c.err != nil {
			t.Fatal(c.err)
		}
		s := w.checkAll()
		if len(s.Snapshots) != 1 {
			t.Errorf("%d snapshots", len(s.Snapshots))
		}
		packs := 0
		for _, seg := range chaintest.Segments(s) {
			packs = max(packs, len(seg.Body.Packs))
		}
		if (packs > 1) != (flavour == "pieces") {
			t.Errorf("%s: the largest segment has %d packs", flavour, packs)
		}
		n = len(w.faulty.Trace())
	})
	return n
}

var thorough = flag.Bool("thorough", false, "leave out no operation of the tables of faults")

var ambiguous = []storagetest.Fault{storagetest.Before, storagetest.After, storagetest.Late, storagetest.Slow}

// sparse leaves out two of three operations in short runs.
func sparse(op int) bool { return testing.Short() && op%3 != 0 }

// One operation fails, in whatever way, and the capture goes on.
func TestEveryOperationFailsOnce(t *testing.T) {
	for _, flavour := range flavours {
		for op := range operations(t, flavour) + 1 {
			for _, fault := range ambiguous {
				if sparse(op) || flavour == "pieces" && op%4 != 0 && !*thorough {
					continue
				}
				t.Run(fmt.Sprintf("%s %d %s", flavour, op, fault), func(t *testing.T) {
					bubble(t, func(t *testing.T) { failOnce(t, flavour, op+1, fault) })
				})
			}
		}
	}
}

func failOnce(t *testing.T, flavour string, op int, fault storagetest.Fault) {
	w, o := newFlavoured(t, flavour)
	w.faulty.SetRules(storagetest.Rule{Fault: fault, N: op, Delay: 3 * time.Second})
	o.CloseTimeout = time.Minute
	c := w.capture(o)
	go func() {
		seconds(5)
		if err := w.faulty.Land(context.Background()); err != nil && !errors.Is(err, storage.ErrExists) {
			t.Error(err)
		}
	}()
	w.work(c)
	if c.err != nil {
		t.Fatal(c.err)
	}
	if s := w.checkAll(); s.EpochOpen || len(s.Snapshots) != 1 {
		t.Errorf("epoch open: %t, %d snapshots", s.EpochOpen, len(s.Snapshots))
	}
}

// The capturer dies at an operation, which was carried out or not, or is
// carried out when the next capturer is at work.
func TestCrashAtEveryOperation(t *testing.T) {
	crashes := append(ambiguous, "late, after the claim")
	for _, flavour := range flavours {
		for op := range operations(t, flavour) {
			for _, fault := range crashes {
				if sparse(op) || flavour == "pieces" && op%4 != 0 && !*thorough {
					continue
				}
				t.Run(fmt.Sprintf("%s %d %s", flavour, op, fault), func(t *testing.T) {
					bubble(t, func(t *testing.T) { crash(t, flavour, op+1, fault) })
				})
			}
		}
	}
}

func crash(t *testing.T, flavour string, op int, fault storagetest.Fault) {
	w, o := newFlavoured(t, flavour)
	here, how := fault, fault
	if strings.HasPrefix(string(fault), "late") {
		here = storagetest.Late
	}
	w.faulty.SetRules(storagetest.Rule{Fault: here, N: op, Delay: 24 * time.Hour},
		storagetest.Rule{Fault: storagetest.Before, N: op + 1, Times: -1})
	o.CloseTimeout = time.Millisecond
	c := w.capture(o)
	w.work(c)
	acked := w.src.acked()
	w.src.checkClosed(t)

	land := func() {
		if err := w.faulty.Land(context.Background()); err != nil && !errors.Is(err, storage.ErrExists) {
			t.Error(err)
		}
	}
	if how == storagetest.Late {
		land()
	}
	if s := w.check(); s.Last < acked {
		t.Fatalf("acknowledged is LSN %d, the archive ends at %d", acked, s.Last)
	}
	c = w.captureOn(w.bucket, Options{Takeover: true, FlushBytes: o.FlushBytes})
	w.src.fill(2, 30)
	c.sync()
	if how != storagetest.Late {
		land()
	}
	w.src.fill(2, 30)
	if _, err := c.Snapshot(context.Background()); err != nil {
		t.Error(err)
	}
	c.stop()
	w.checkAll()
}

// The context ends at an operation of a healthy store: everything that was
// read is archived and the epoch closed.
func TestCancelAtEveryOperation(t *testing.T) {
	for op := range operations(t, "pieces") {
		if sparse(op) {
			continue
		}
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, o := newFlavoured(t, "pieces")
				now := make(chan struct{})
				count := 0
				w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, Times: -1, Key: func(string) bool {
					if count++; count == op+1 {
						close(now)
					}
					return true
				}, Delay: time.Millisecond})
				c := w.capture(o)
				go func() {
					select {
					case <-now:
						c.cancel()
					case <-c.ended:
					}
				}()
				w.work(c)
				s := w.check()
				w.src.checkClosed(t)
				switch {
				case c.err == nil && (s.EpochOpen || w.src.acked() != s.Last):
					t.Errorf("epoch open: %t, acknowledged is LSN %d of %d", s.EpochOpen, w.src.acked(), s.Last)
				case c.err != nil && s.Last != 0:
					t.Errorf("after LSN %d: %v", s.Last, c.err)
				}
				c = w.capture(Options{Takeover: s.EpochOpen})
				c.sync()
				c.stop()
				w.checkAll()
			})
		})
	}
}

// While the store is away the capturer keeps little, asks for little, and
// loses nothing.
func TestStoreAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{FlushBytes: 50_000})
		c.sync()
		synctest.Wait()
		given := w.src.given
		w.away()
		w.src.fill(500, 1000)
		seconds(30)
		synctest.Wait()
		held := w.src.given - given
		if held > 250 { // two segments
			t.Errorf("%d transactions of 1000 bytes are in memory, a segment has 50000 bytes", held)
		}
		calls, trace := w.src.nexts+w.src.covers, len(w.faulty.Trace())
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Sync(short)
		wantError(t, err, context.DeadlineExceeded)
		seconds(540)
		synctest.Wait()
		if n := w.src.nexts + w.src.covers - calls; n > 10 {
			t.Errorf("%d more calls of the source in 10 minutes", n)
		}
		if n := len(w.faulty.Trace()) - trace; n < 30 || n > 1500 {
			t.Errorf("%d operations on the store in 10 minutes", n)
		}
		w.back()
		seconds(20)
		if s := w.check(); s.Last != w.src.end() {
			t.Errorf("20 s after the store came back the archive ends at LSN %d, the source at %d", s.Last, w.src.end())
		}
		c.stop()
		w.checkAll()
	})
}

// The store may be away when the capture starts, too.
func TestStoreAwayAtTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(5, 10)
		w.away()
		c := w.capture(Options{})
		seconds(120)
		w.back()
		c.sync()
		c.stop()
		w.checkAll()
	})
}

func TestGiveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{GiveUpAfter: time.Minute})
		c.sync()
		w.away()
		w.src.fill(1, 10)
		began := time.Now()
		err := c.wait()
		wantError(t, err, storage.ErrUnavailable)
		if d := time.Since(began); d < time.Minute || d > 2*time.Minute {
			t.Errorf("gave up after %s", d)
		}
		if !strings.Contains(err.Error(), "publish segment: given up after 1m") {
			t.Errorf("error is %v", err)
		}
		w.src.checkClosed(t)
		began = time.Now()
		err = w.capture(Options{GiveUpAfter: time.Minute}).wait()
		wantError(t, err, storage.ErrUnavailable)
		if d := time.Since(began); d < time.Minute {
			t.Errorf("gave up starting after %s", d)
		}
	})
}

// A store that answers no more can't keep the capturer from stopping, and what
// was not archived comes with the next capture.
func TestCloseTimeout(t *testing.T) {
	for _, fault := range []storagetest.Fault{storagetest.Before, storagetest.Slow} {
		t.Run(string(fault), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.capture(Options{CloseTimeout: 7 * time.Second})
				c.sync()
				w.faulty.SetRules(storagetest.Rule{Fault: fault, Times: -1, Delay: 24 * time.Hour})
				go c.Snapshot(context.Background())
				lsn := w.src.fill(3, 10)
				seconds(2)
				began := time.Now()
				err := c.end()
				wantError(t, err, ErrUnfinished)
				if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprintf("archived for certain is LSN %d,", lsn-3)) ||
					!strings.Contains(err.Error(), "7s after being told to stop") {
					t.Errorf("error is %v", err)
				}
				if d := time.Since(began); d != 7*time.Second {
					t.Errorf("stopped after %s", d)
				}
				w.src.checkClosed(t)
				w.back()
				c = w.capture(Options{Takeover: true})
				c.sync()
				c.stop()
				w.checkAll()
			})
		})
	}
}

// The next capturer's claim may arrive while a segment of this one is on its
// way, at any of its operations.
func TestTakeoverAtEveryOperation(t *testing.T) {
	for op := range operations(t, "whole") {
		if sparse(op) {
			continue
		}
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, N: op + 1, Delay: 30 * time.Second})
				first := w.capture(Options{CloseTimeout: time.Minute})
				var second *running
				var at change.LSN
				go func() {
					seconds(18)
					second = w.captureOn(w.bucket, Options{Takeover: true})
					second.sync()
					at = w.load().Last
				}()
				seconds(1)
				w.work(first)
				seconds(60)
				if s := w.load(); first.err != nil && !errors.Is(first.err, chain.ErrFenced) && s.Epoch > 1 {
					t.Errorf("the first capturer ended with %v", first.err)
				}
				second.sync()
				second.stop()
				if s := w.checkAll(); s.Last < at {
					t.Errorf("the archive ends at LSN %d, it was at %d", s.Last, at)
				}
			})
		})
	}
}

func TestRefusedManifestIsFinal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		c.sync()
		w.src.commit(insert(7, 1, "x")) // no such collection
		err := c.wait()
		wantError(t, err, chain.ErrBroken)
		if !strings.Contains(err.Error(), "collection 7") {
			t.Errorf("error is %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		c.sync()
		w.src.set(func() { w.src.position = "\xff" }) // not UTF-8: no manifest can say it
		w.src.fill(1, 10)
		wantError(t, c.wait(), chain.ErrManifest)
	})
}
