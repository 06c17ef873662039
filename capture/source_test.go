package capture

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// Whatever call of the source fails, what was read before is archived, the
// epoch is closed, and the next capture goes on from there.
func TestSourceFails(t *testing.T) {
	for _, tc := range []struct {
		op      string
		n       int
		message string
		started bool // the archive was claimed
	}{
		{"identity", 1, "identify the source: ", false},
		{"start", 1, "find the start of the source's log: ", false},
		{"changes", 1, "open the source's log after LSN 0: ", false},
		{"next", 4, "read the source's log after LSN 3: ", true},
		{"coverage", 2, "ask the source for its coverage: ", true},
		{"ack", 1, "tell the source that LSN ", true},
	} {
		t.Run(tc.op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.src.fill(9, 10)
				w.src.failing(tc.op, tc.n, errFake)
				c := w.capture(Options{})
				err := c.wait()
				wantError(t, err, errFake)
				if !strings.Contains(err.Error(), tc.message) {
					t.Errorf("error is %v", err)
				}
				s := w.check()
				if (s.Epoch > 0) != tc.started || s.EpochOpen {
					t.Errorf("epoch %d, open: %t", s.Epoch, s.EpochOpen)
				}
				if tc.op == "next" && s.Last != 3 {
					t.Errorf("the archive ends at LSN %d, 3 were read", s.Last)
				}
				w.src.checkClosed(t)
				w.src.set(func() { w.src.fail = nil })
				c = w.capture(Options{}) // at once, without a takeover
				c.sync()
				c.stop()
				w.checkAll()
			})
		})
	}
}

func TestAnotherDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.capture(Options{})
		c.sync()
		c.stop()
		before := w.load().Seq

		copied := newFakeSource()
		copied.id.System = "s2"
		copied.create(1)
		refused := func(want error, message string) {
			t.Helper()
			err := w.capture(Options{NoGap: true}).wait()
			wantError(t, err, want)
			if !strings.Contains(err.Error(), message) {
				t.Errorf("error is %v, want %q in it", err, message)
			}
			if s := w.load(); s.Seq != before {
				t.Errorf("%d manifests, there were %d", s.Seq, before)
			}
		}
		own := w.src
		w.src = copied
		refused(driver.ErrDiverged, "history of fake database s1, the source is fake database s2")

		copied.id = own.id // a copy that went its own way
		copied.txs[0].Commit++
		copied.hashes[1] = change.LogHash(change.Hash{}, change.AppendTx(nil, copied.txs[0]))
		refused(driver.ErrDiverged, "does not go on from there (LSN 1): it was copied or rolled back")

		copied = newFakeSource() // rolled back
		w.src = copied
		refused(driver.ErrDiverged, "does not go on from there (LSN 1): it was copied or rolled back")

		w.src = own
		own.fill(5, 10)
		own.kept = 3
		refused(driver.ErrLogLost, "open the source's log after LSN 1")
	})
}

// A source that loses its log while it is captured: what was read is archived,
// then a gap and a base, and then what follows; who waits for a sync gets it.
func TestLogLostAndGoneOn(t *testing.T) {
	for _, noGap := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			w.src.onAck = nil
			var events []Event
			c := w.capture(Options{NoGap: noGap, Notify: func(e Event) { events = append(events, e) }})
			c.sync()
			first := w.src.fill(3, 10)
			last := w.src.lose(2)
			if noGap {
				wantError(t, c.wait(), driver.ErrLogLost)
				return
			}
			if m := c.sync(); m.LSN != last {
				t.Errorf("in sync at LSN %d, the source ends at %d", m.LSN, last)
			}
			s := w.load()
			if len(s.Gaps) != 1 || s.Gaps[0].Body.First > first+1 || s.Gaps[0].Body.Last != last || len(s.Snapshots) != 1 || s.Snapshots[0].Body.LSN < last {
				t.Errorf("gaps %+v, bases %+v", s.Gaps, s.Snapshots)
			}
			if len(events) != 1 || events[0].Kind != EventGap {
				t.Errorf("events %v", events)
			}
			w.src.fill(2, 10)
			c.sync()
			c.stop()
			if s := w.load(); s.Last != w.src.end() || s.EpochOpen {
				t.Errorf("the archive ends at LSN %d, the source at %d", s.Last, w.src.end())
			}
			w.src.checkClosed(t)
		})
	}
}

// The source loses its log, or turns out to be another, while it is captured.
func TestLogLostOnTheWay(t *testing.T) {
	for _, want := range []error{driver.ErrLogLost, driver.ErrDiverged} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			c := w.capture(Options{})
			c.sync()
			w.src.failing("next", 3, want)
			w.src.fill(5, 10)
			wantError(t, c.wait(), want)
			if s := w.check(); s.EpochOpen || int(s.Last) != w.src.given || s.Last == w.src.end() {
				t.Errorf("the archive ends at LSN %d, epoch open: %t; %d transactions of one record were read", s.Last, s.EpochOpen, w.src.given)
			}
		})
	}
}

// A source that breaks its contract is told so, and nothing of the wrong
// transaction is archived.
func TestWrongTransactions(t *testing.T) {
	schema, err := change.SchemaRecord(fakeSchema(2))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		arrange func(*fakeSource)
		message string
	}{
		"hole": {func(s *fakeSource) {
			s.fill(2, 10)
			s.skip = 5
		}, "transaction 6 of the source starts at LSN 6, want 5"},
		"empty": {func(s *fakeSource) {
			tx := *s.txs[1]
			tx.ID, tx.Records = 99, nil
			s.txs = append(s.txs, &tx)
			s.hashes = append(s.hashes, change.Hash{})
		}, "transaction 99 of the source, after LSN 4, has no records"},
		"records out of order": {func(s *fakeSource) {
			s.commit(schema, insert(2, 1, "x"))
			s.txs[4].Records[1].LSN++
		}, "transaction 5 of the source at LSN 5: "},
		"no schema": {func(s *fakeSource) {
			bad := schema
			bad.Image = change.Image("{}")
			s.commit(insert(1, 77, "x"), bad)
		}, "transaction 5 of the source at LSN 5: "},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.src.fill(3, 10)
				seconds(5)
				tc.arrange(w.src)
				refused := w.src.txs[len(w.src.txs)-1].Commit
				seconds(5)
				began := time.Now()
				err := w.capture(Options{}).wait()
				if err == nil || !strings.Contains(err.Error(), tc.message) {
					t.Errorf("error is %v", err)
				}
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("it took %s", d)
				}
				s := w.load()
				if s.Last != 4 || s.EpochOpen || s.Segments.Len() == 0 {
					t.Errorf("the archive ends at LSN %d, epoch open: %t", s.Last, s.EpochOpen)
				}
				if s.CoveredUntil >= refused && name != "empty" {
					t.Errorf("covered until %v, what was refused is of %v", s.CoveredUntil, refused)
				}
				w.src.txs, w.src.hashes = w.src.txs[:4], w.src.hashes[:5]
				w.check()
			})
		})
	}
}

// Sources that can't say what a manifest needs are refused before anything is published.
func TestNamelessSource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.id.System = ""
		wantError(t, w.capture(Options{}).wait(), chain.ErrManifest)
		if s := w.load(); s.Seq != 0 {
			t.Errorf("%d manifests", s.Seq)
		}
	})
}

// A call of the source that hangs keeps nobody from stopping the capture.
func TestSourceHangs(t *testing.T) {
	for _, op := range []string{"snapshot", "ack"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.capture(Options{CloseTimeout: 3 * time.Second})
				c.sync()
				w.src.set(func() { w.src.hang = op })
				w.src.fill(2, 10)
				got := c.snapshotting(t.Context())
				seconds(5)
				began := time.Now()
				err := c.end()
				if d := time.Since(began); d > 3*time.Second {
					t.Errorf("stopped after %s", d)
				}
				if op == "ack" {
					wantError(t, err, ErrUnfinished)
				} else if err != nil {
					t.Error(err)
				}
				r := <-got
				wantError(t, r.err, ErrStopped)
				w.src.set(func() { w.src.hang = "" })
				c = w.capture(Options{Takeover: true})
				c.sync()
				c.stop()
				w.checkAll()
			})
		})
	}
}

// Commit times that run ahead of the clock are not taken at their word.
func TestCommitTimesAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.blind = true
		w.src.ahead = 3600e6
		c := w.capture(Options{})
		for range 5 {
			w.src.fill(3, 10)
			seconds(2)
		}
		c.stop()
		if s := w.checkAll(); s.Effective > change.TimeOf(time.Now()) || s.Effective < change.TimeOf(time.Now())-3e6 {
			t.Errorf("the last effective time is %v, now it is %v", s.Effective, time.Now())
		}
	})
}

// Truncates weigh little in a pack and much in a manifest.
func TestManyMarks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		for range 2*maxMarks + 500 {
			w.src.commit(change.Record{Op: change.Truncate, Collection: 1})
		}
		c := w.capture(Options{})
		c.sync()
		c.stop()
		s := w.check()
		if all := chaintest.Segments(s); len(all) != 3 || len(all[0].Body.Tombstones) != maxMarks-1 {
			t.Errorf("%d segments, %d tombstones in the first", len(all), len(all[0].Body.Tombstones))
		}
	})
}
