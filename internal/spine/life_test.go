package spine

import (
	"context"
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
	"github.com/tidemarkdb/tidemark/chain"
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
	seen    *tally
}

// dbOptions makes everything small, so that files change often.
func (l *life) dbOptions() embedded.Options {
	return embedded.Options{FS: l.fs, Now: l.clock.std, LogFileBytes: 2 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20}
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

// A spy watches over what the source is told.
type spy struct {
	driver.Source
	arc   *archive.Archive // a reader of its own, without faults
	acked atomic.Uint64    // LSN
}

// Ack checks that what is acknowledged can be read by anybody.
func (s *spy) Ack(ctx context.Context, through driver.Mark) error {
	state, err := s.arc.Load(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("read the chain at an acknowledgement: %w", err)
	}
	if state.Last < through.LSN {
		return fmt.Errorf("%w: LSN %d is acknowledged, the archive ends at %d", errSpy, through.LSN, state.Last)
	}
	if err := s.Source.Ack(ctx, through); err != nil {
		return err
	}
	s.acked.Store(uint64(through.LSN))
	return nil
}

var errSpy = errors.New("acknowledged too early")

// proc is a process that captures.
type proc struct {
	faulty *storagetest.Faulty
	source *spy
	cap    *capture.Capturer
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // set before

	armed  atomic.Bool // faults may end it
	told   atomic.Bool // to end
	closed atomic.Bool // the database was closed below it
}

func noSleep(ctx context.Context, _ time.Duration) error {
	runtime.Gosched()
	return ctx.Err()
}

func (l *life) openArchive(b storage.Bucket) *archive.Archive {
	a, err := archive.Open(l.rt.Context(), b, archive.OpenOptions{Sleep: noSleep, Now: l.clock.std})
	l.must(err)
	return a
}

// start starts a process that captures, over whoever held the timeline.
func (l *life) start() {
	p := &proc{faulty: storagetest.NewFaulty(l.bucket), done: make(chan struct{})}
	o := l.options
	o.Takeover, o.GiveUpAfter, o.RetryMax, o.Now = true, time.Nanosecond, time.Millisecond, l.clock.time
	p.source = &spy{Source: l.db.Source(), arc: l.openArchive(l.bucket)}
	p.cap = capture.New(l.openArchive(p.faulty), p.source, o)
	ctx, cancel := context.WithCancel(l.rt.Context())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		p.err = p.cap.Run(ctx)
	}()
	l.rt.Cleanup(p.die)
	l.proc = p
	l.past = append(l.past, p.faulty)
}

// land lets everything arrive that was on its way from processes long gone.
func (l *life) land() {
	for _, f := range l.past {
		err := f.Land(l.rt.Context())
		if err != nil && !errors.Is(err, storage.ErrExists) {
			l.fatalf("%v", err)
		}
	}
}

// running makes sure that a process captures that nothing has happened to yet.
func (l *life) running() {
	if l.proc != nil && l.proc.ended() {
		l.reap()
	}
	if l.proc == nil {
		l.start()
	}
}

// ended reports whether the process is no more.
func (p *proc) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// die makes the process end without another word to its bucket.
func (p *proc) die() {
	p.kill()
	<-p.done
}

func (p *proc) kill() {
	p.faulty.SetRules(storagetest.Rule{Fault: storagetest.Before, Times: -1})
	p.told.Store(true)
	p.cancel()
}

// allowed reports whether the process may have ended so.
func (p *proc) allowed(err error, fenced bool) bool {
	switch {
	case err == nil:
		return !fenced
	case errors.Is(err, errSpy), errors.Is(err, driver.ErrDiverged), errors.Is(err, driver.ErrLogLost):
		return false
	case fenced && errors.Is(err, chain.ErrFenced):
		return true
	case p.told.Load() && errors.Is(err, context.Canceled): // before it had claimed
		return !fenced
	case p.closed.Load() && errors.Is(err, embedded.ErrClosed):
		return true
	}
	return p.armed.Load() && errors.Is(err, storagetest.ErrInjected)
}

// reap waits for the end of a process that is ending or was told to.
func (l *life) reap() {
	if l.proc == nil {
		return
	}
	p := l.proc
	select {
	case <-p.done:
		if !p.allowed(p.err, false) {
			l.fatalf("capture ended: %v", p.err)
		}
	case <-time.After(patience):
		l.fatalf("capture does not end:\n%s", stacks())
	}
	if p.err != nil {
		l.seen.deaths++
	}
	p.cancel()
	l.proc = nil
}

// stop lets the process end in good order.
func (l *life) stop() {
	if l.proc != nil {
		l.proc.told.Store(true)
		l.proc.cancel()
		l.reap()
	}
}

// kill makes the process unable to do anything more; reap follows.
func (l *life) kill() {
	if p := l.proc; p != nil {
		p.armed.Store(true)
		p.kill()
	}
}

// arm lets something go wrong with the n-th operation from now on. It is the
// process's last one if it dies of it.
func (l *life) arm(n int, fault storagetest.Fault, dies bool) {
	p := l.proc
	p.armed.Store(true)
	rules := []storagetest.Rule{{Fault: fault, N: n}}
	if dies {
		left := n // the bucket asks for one key after the other
		rules = append(rules, storagetest.Rule{Fault: storagetest.Before, Times: -1, Key: func(string) bool {
			if left--; left >= 0 {
				return false
			}
			p.told.Store(true)
			p.cancel()
			return true
		}})
	}
	p.faulty.SetRules(rules...)
}

// sync waits until all is archived, and says whether the process lived to tell.
func (l *life) sync() bool {
	l.running()
	ctx, cancel := context.WithTimeout(l.rt.Context(), patience)
	defer cancel()
	m, err := l.proc.cap.Sync(ctx)
	if err != nil {
		if ctx.Err() != nil {
			l.fatalf("Sync does not return: %v\n%s", err, stacks())
		}
		l.reap()
		return false
	}
	if m.LSN != l.end().lsn {
		l.fatalf("Sync says LSN %d, the database ends at %d", m.LSN, l.end().lsn)
	}
	s, err := l.reader.Load(ctx)
	l.must(err)
	if s.Last != m.LSN || s.LogHash != m.LogHash {
		l.fatalf("Sync says LSN %d, hash %s, the archive holds LSN %d, hash %s", m.LSN, m.LogHash, s.Last, s.LogHash)
	}
	if acked := change.LSN(l.proc.source.acked.Load()); acked != m.LSN && len(s.Segments) > 0 {
		l.fatalf("Sync says LSN %d, acknowledged is %d", m.LSN, acked)
	}
	return true
}

// snapshot has a base taken, commits meanwhile, and waits for it.
func (l *life) snapshot(meanwhile []txPlan) {
	l.running()
	ctx, cancel := context.WithTimeout(l.rt.Context(), patience)
	defer cancel()
	type result struct {
		s   *chain.Snapshot
		err error
	}
	c := make(chan result, 1)
	p := l.proc
	go func() {
		s, err := p.cap.Snapshot(ctx)
		c <- result{s, err}
	}()
	first := l.end().lsn
	for _, t := range meanwhile {
		l.add(t)
	}
	if !l.sync() { // a base is published when the log up to it is
		<-c
		return
	}
	r := <-c
	switch {
	case r.err == nil:
		if b := l.at(r.s.LSN); b == nil || b.lsn < first || r.s.Origin != chain.OriginSource {
			l.fatalf("Snapshot at LSN %d (%s), want the end of a transaction at or after %d", r.s.LSN, r.s.Origin, first)
		}
	case ctx.Err() != nil:
		l.fatalf("Snapshot does not return: %v", r.err)
	case !p.armed.Load():
		l.fatalf("Snapshot: %v", r.err)
	}
}

// rival lets another process take over while the first one lives. That one
// must notice, at the latest when it closes.
func (l *life) rival() {
	if !l.sync() {
		return
	}
	old := l.proc
	l.start()
	if !l.sync() {
		l.fatalf("a process that nothing happened to has died")
	}
	old.cancel()
	select {
	case <-old.done:
		if !old.allowed(old.err, true) {
			l.fatalf("the capture that was taken over ended with %v, want ErrFenced", old.err)
		}
		l.seen.takeovers++
	case <-time.After(patience):
		l.fatalf("the capture that was taken over does not end")
	}
}

// label names a transaction that is archived.
func (l *life) label(which int) {
	s, err := l.reader.Load(l.rt.Context())
	l.must(err)
	if !s.Started {
		return
	}
	var known []change.LSN
	for i := range l.history {
		if n := l.history[i].lsn; n >= s.Start && n <= s.Last {
			known = append(known, n)
		}
	}
	name := fmt.Sprint("label-", len(l.labels))
	lsn := known[which%len(known)]
	l.must(l.reader.Label(l.rt.Context(), chain.Label{Name: name, LSN: lsn}))
	l.labels[name] = lsn
	l.seen.labels++
}

// stacks returns what every goroutine is at.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
