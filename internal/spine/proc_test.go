package spine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// A spy watches over what the source is told.
type spy struct {
	driver.Source
	arc   *archive.Archive // a reader of its own, without faults
	acked atomic.Uint64    // LSN
}

// Ack checks that what is acknowledged can be read by anybody.
func (s *spy) Ack(ctx context.Context, through driver.Receipt) error {
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
	if acked := change.LSN(l.proc.source.acked.Load()); acked != m.LSN && s.Segments.Len() > 0 {
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
