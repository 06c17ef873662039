package embedded

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// lagMeter keeps count of the log that an archive has not acknowledged. It
// measures time with a clock that does not step.
type lagMeter struct {
	elapsed func() time.Duration

	mu    sync.Mutex
	on    bool          // guarded by mu; an archive is attached
	parts []lagPart     // guarded by mu; not acknowledged, in log order
	bytes int64         // guarded by mu; of parts
	found int64         // guarded by mu; bytes that were not acknowledged when the count began
	end   change.LSN    // guarded by mu; of the last part there ever was
	moved chan struct{} // guarded by mu; closed when parts become fewer
}

// lagPart is transactions that were committed about the same time.
type lagPart struct {
	last  change.LSN
	bytes int64
	since time.Duration
}

// Commits within so much log and so much time make one part.
const (
	lagPartBytes = 64 << 10
	lagPartTime  = 100 * time.Millisecond
)

// attach starts to count: all of the log that is not acknowledged.
func (m *lagMeter) attach(log *txlog.Log, acked change.LSN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	m.on = true
	now := m.elapsed()
	for _, p := range log.Parts() {
		m.end = p.Last
		if p.Last > acked {
			m.parts = append(m.parts, lagPart{p.Last, p.Bytes, now})
			m.bytes += p.Bytes
		}
	}
	m.found = m.bytes
}

// detach stops to count.
func (m *lagMeter) detach() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	m.on = false
}

// clear forgets all parts. The caller holds mu.
func (m *lagMeter) clear() {
	m.parts, m.bytes, m.found = nil, 0, 0
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// add counts a group that has become durable.
func (m *lagMeter) add(last change.LSN, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on || last <= m.end {
		return
	}
	m.end = last
	m.bytes += bytes
	now := m.elapsed()
	if n := len(m.parts); n > 0 {
		if p := &m.parts[n-1]; p.bytes < lagPartBytes && now-p.since < lagPartTime {
			p.last, p.bytes = last, p.bytes+bytes
			return
		}
	}
	m.parts = append(m.parts, lagPart{last, bytes, now})
}

// ack takes away what is archived.
func (m *lagMeter) ack(through change.LSN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.parts) && m.parts[n].last <= through {
		m.bytes -= m.parts[n].bytes
		n++
	}
	if n == 0 {
		return
	}
	if m.parts = m.parts[n:]; len(m.parts) == 0 {
		m.parts = nil
	}
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// lag returns how far the archive is behind, and a channel that is closed when
// it has acknowledged more.
func (m *lagMeter) lag() (Lag, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := Lag{Bytes: m.bytes, found: m.found}
	if len(m.parts) > 0 {
		l.Age = m.elapsed() - m.parts[0].since
	}
	if m.moved == nil {
		m.moved = make(chan struct{})
	}
	return l, m.moved
}

// admit lets a commit begin, as the policy has it: [ErrArchiveLag].
func (db *DB) admit() error {
	p := &db.opts.Lag
	if p.Action != LagBlock {
		return nil
	}
	lag, moved := db.lagging.lag()
	if !p.exceeded(lag) {
		return nil
	}
	db.checkLag()
	began := db.opts.elapsed()
	give := time.NewTimer(max(p.Wait, 0))
	defer give.Stop()
	for p.exceeded(lag) {
		select {
		case <-moved:
		case <-db.quit:
			return ErrClosed
		case <-give.C:
			db.retain.mu.Lock()
			acked := db.retain.through()
			db.retain.mu.Unlock()
			return &LagError{Lag: lag, Policy: *p, Acked: acked, Waited: db.opts.elapsed() - began}
		}
		lag, moved = db.lagging.lag()
	}
	return nil
}

// lagEvery is how often a policy is held against the lag, beside each commit.
const lagEvery = time.Second

// checkLag has the keeper look at the lag soon.
func (db *DB) checkLag() {
	select {
	case db.lags <- struct{}{}:
	default:
	}
}

// enforce does what the policy asks for now. It is the keeper's; blocked is
// whether commits were last said to wait.
func (db *DB) enforce(blocked bool) bool {
	p := &db.opts.Lag
	lag, _ := db.lagging.lag()
	exceeded := p.exceeded(lag)
	switch {
	case p.Action == LagDetach && exceeded:
		db.tell(db.detach(lag))
	case p.Action == LagBlock && exceeded != blocked:
		e := LagEvent{Kind: LagReleased, Lag: lag, LSN: db.Info().LSN}
		if exceeded {
			e.Kind = LagBlocked
		}
		db.tell(e)
		return exceeded
	}
	return blocked
}

func (db *DB) tell(e LagEvent) {
	if db.opts.Lag.Event != nil {
		db.opts.Lag.Event(e)
	}
}

// detach gives up the log that the archive has not acknowledged. Where that
// can't be written down, on a full disk for one, it is given up all the same:
// the archive will find its place in the log gone.
func (db *DB) detach(lag Lag) LagEvent {
	end, _ := db.log.End()
	e := LagEvent{Kind: LagDetached, Lag: lag, LSN: end}
	db.retain.mu.Lock()
	d := &Detached{LSN: end, Acked: db.retain.through(), Time: db.opts.now(), Reason: fmt.Sprintf("the archive was %s", lag)}
	db.retain.detached = d
	e.Err = db.rewrite(func(id *identity) { id.Detached = d })
	db.retain.mu.Unlock()
	db.lagging.detach()
	e.Err = errors.Join(e.Err, db.releaseLog())
	return e
}

// lostErr says why a part of the log is gone, if the database itself gave it up.
func (db *DB) lostErr(err error) error {
	err = logErr(err)
	if !errors.Is(err, driver.ErrLogLost) {
		return err
	}
	db.retain.mu.Lock()
	d := db.retain.detached
	db.retain.mu.Unlock()
	if d == nil {
		return err
	}
	return fmt.Errorf("%w; the database gave up its log on %s at LSN %d, because %s", err, d.Time, d.LSN, d.Reason)
}
