package spine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// patience bounds every wait; nothing here takes a second.
const patience = 30 * time.Second

// clock is a database's and its capturer's clock. It stands still until it is moved.
type clock struct {
	now atomic.Int64
	top atomic.Int64 // the latest it has ever been
}

const epoch = 1_700_000_000_000_000

func newClock() *clock {
	c := new(clock)
	c.move(epoch)
	return c
}

func (c *clock) move(by int64) { c.top.Store(max(c.top.Load(), c.now.Add(by))) }

func (c *clock) time() change.Time { return change.Time(c.now.Load()) }

func (c *clock) std() time.Time { return c.time().Std() }

// tally counts what the histories did, so that a run can show it did something.
type tally struct {
	lives, transactions, times, states, spills, restores               int
	spooled                                                            int // transactions in several packs
	powerCuts, restarts, deaths, takeovers, bases, labels, checkpoints int
}

// life is one database with one archive, from its first transaction until
// everything is held against the model.
type life struct {
	t     testing.TB
	rt    *rapid.T
	fs    *vfs.MemFS
	clock *clock
	db    *embedded.DB

	bucket storage.Bucket   // without faults
	reader *archive.Archive // of it
	labels map[string]change.LSN

	history []boundary // [0] is where the life begins
	proc    *proc      // captures; nil when none was started
	past    []*storagetest.Faulty
	crashes int
	options capture.Options
	piece   int64 // bytes of a transaction from which on it is captured in pieces
	seen    *tally
}

// dbOptions makes everything small, so that files change often.
func (l *life) dbOptions() embedded.Options {
	return embedded.Options{FS: l.fs, Now: l.clock.std, LogFileBytes: 2 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20, PieceBytes: l.piece}
}

func (l *life) fatalf(format string, args ...any) {
	l.t.Helper()
	if l.proc != nil {
		l.rt.Logf("bucket: %v", l.proc.faulty.Trace())
	}
	l.rt.Fatalf(format, args...)
}

func (l *life) must(err error) {
	l.t.Helper()
	if err != nil {
		l.fatalf("%v", err)
	}
}

// n draws a number below limit, all with about the same chance (rapid itself
// prefers the ends of a range).
func (l *life) n(limit uint, label string) int {
	return int(mix(uint(rapid.Uint32().Draw(l.rt, label)), 0) % limit)
}

func (l *life) end() *boundary { return &l.history[len(l.history)-1] }

// at returns the boundary at an LSN, or nil.
func (l *life) at(lsn change.LSN) *boundary {
	i, ok := slices.BinarySearchFunc(l.history, lsn, func(b boundary, lsn change.LSN) int {
		switch {
		case b.lsn < lsn:
			return -1
		case b.lsn > lsn:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &l.history[i]
}

var errRollback = errors.New("rolled back")

// commit carries out one transaction on the model and on db, and returns
// where it ends; nil when it changed nothing.
func (l *life) commit(db *embedded.DB, last *boundary, plan txPlan) (*boundary, error) {
	next := last.state.clone()
	records := 0
	err := db.Update(func(tx *embedded.Tx) error {
		for _, o := range plan.ops {
			n, err := next.do(tx, o)
			if err != nil {
				return fmt.Errorf("%+v: %w", o, err)
			}
			records += n
		}
		if plan.fail {
			return errRollback
		}
		return nil
	})
	switch {
	case plan.fail && errors.Is(err, errRollback):
		return nil, nil
	case err != nil:
		return nil, err
	case records == 0:
		return nil, nil
	}
	return &boundary{lsn: last.lsn + change.LSN(records), tx: last.tx + 1, commit: l.clock.time(), state: next}, nil
}

// add commits and keeps the outcome.
func (l *life) add(plan txPlan) {
	b, err := l.commit(l.db, l.end(), plan)
	l.must(err)
	if b != nil {
		l.history = append(l.history, *b)
	}
}

// mark returns where the database stands.
func (l *life) mark(db *embedded.DB) driver.Mark {
	s, err := db.Source().Snapshot(l.rt.Context())
	l.must(err)
	defer s.Close()
	return s.Mark()
}

// openDB opens the database and sees to it that it is closed.
func (l *life) openDB() *embedded.DB {
	db, err := embedded.Open("db", l.dbOptions())
	l.must(err)
	l.rt.Cleanup(func() { _ = db.Close() })
	return db
}

// open opens the database, which must hold one of the model's states, not
// older than atLeast, and forgets those after it.
func (l *life) open(atLeast change.LSN) {
	db := l.openDB()
	l.db = db
	m := l.mark(db)
	b := l.at(m.LSN)
	if b == nil || b.lsn < atLeast {
		l.fatalf("the database holds LSN %d, want the end of a transaction at or after %d", m.LSN, atLeast)
	}
	for l.end().lsn > b.lsn {
		l.history = l.history[:len(l.history)-1]
	}
	l.compareDB(db, b)
}

// compareDB holds what a database shows against the model.
func (l *life) compareDB(db *embedded.DB, b *boundary) {
	l.t.Helper()
	var got []string
	l.must(db.View(func(tx *embedded.Tx) error {
		schemas, err := tx.Collections()
		for _, s := range schemas {
			got = append(got, shownSchema(s))
			counts := make(map[string]int64)
			for row, err := range tx.Scan(s.Name, embedded.Range{}) {
				if err != nil {
					return err
				}
				text := rowLine(s.Collection, row, 1)
				if counts[text]++; counts[text] > 1 && !s.Bag() {
					return fmt.Errorf("row %s twice", text)
				}
			}
			for text, n := range counts {
				got = append(got, text[:len(text)-1]+fmt.Sprint(n))
			}
		}
		return err
	}))
	l.compare(fmt.Sprintf("database at LSN %d", b.lsn), b, got)
}

func (l *life) compare(what string, b *boundary, got []string) {
	l.t.Helper()
	slices.Sort(got)
	if want := b.state.show(); !slices.Equal(want, got) {
		l.fatalf("%s differs from the model (-model +it):\n%s", what, gocmp.Diff(want, got))
	}
}

// restartDB closes the database, perhaps below a running capture, and opens it.
func (l *life) restartDB(stopFirst bool) {
	if stopFirst {
		l.stop()
	} else if l.proc != nil {
		l.proc.closed.Store(true)
	}
	l.must(l.db.Close())
	l.reap()
	l.open(l.end().lsn)
	l.seen.restarts++
}

// cutPower crashes the machine while nothing is committed.
func (l *life) cutPower(percent int) {
	l.kill()
	fs := l.clone(percent)
	l.reap()
	l.must(l.db.Close())
	l.fs = fs
	l.open(l.end().lsn)
}

// clone returns what a power cut leaves: percent of what was not synced too.
func (l *life) clone(percent int) *vfs.MemFS {
	l.crashes++
	l.seen.powerCuts++
	return l.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(l.crashes), 1))})
}

// burst commits several transactions, one after another, and cuts the power
// when some of them were acknowledged. What remains is checked by open.
func (l *life) burst(plans []txPlan, after, percent int) {
	var committed atomic.Int64 // those that returned
	var acked atomic.Uint64    // the end of the last of them
	acked.Store(uint64(l.end().lsn))
	done := make(chan error, 1)
	history := slices.Clone(l.history)
	go func() {
		for _, p := range plans {
			last := &history[len(history)-1]
			b, err := l.commit(l.db, last, p)
			if err != nil {
				done <- err
				return
			}
			if b != nil {
				history = append(history, *b)
				acked.Store(uint64(b.lsn))
			}
			committed.Add(1)
		}
		done <- nil
	}()
	for committed.Load() < int64(after) && len(done) == 0 {
		runtime.Gosched()
	}
	l.kill()
	atLeast := change.LSN(acked.Load())
	fs := l.clone(percent)
	l.must(<-done)
	l.reap()
	l.must(l.db.Close())
	l.fs, l.history = fs, history
	l.open(atLeast)
}
