package embedded

import (
	"errors"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// retention decides which log files are still needed: those that the state's
// durable part does not cover, and, once an archive was attached, those that
// it has not acknowledged.
type retention struct {
	mu       sync.Mutex
	identity *identity       // guarded by mu; as it is on disk
	acked    *driver.Receipt // guarded by mu; newer than identity's; nil for none

	// detached is identity's, or one that could not be written down; nil for none.
	detached *Detached // guarded by mu
}

// keepReceipt is how often a new receipt is written down, at least.
const keepReceipt = 5 * time.Second

// receipt returns the last receipt, nil for none. The caller holds mu.
func (r *retention) receipt() *driver.Receipt {
	if r.acked != nil {
		return r.acked
	}
	return r.identity.Acked
}

// through returns the LSN through which the log is archived. The caller holds mu.
func (r *retention) through() change.LSN {
	if a := r.receipt(); a != nil {
		return a.LSN
	}
	return 0
}

// rewrite replaces the identity on disk by what change makes of it; the last
// receipt goes with it. The caller holds retain.mu.
func (db *DB) rewrite(change func(*identity)) error {
	next := *db.retain.identity
	next.Acked = db.retain.receipt()
	change(&next)
	if err := next.write(db.opts.FS, db.dir); err != nil {
		return err
	}
	db.retain.identity, db.retain.acked = &next, nil
	return nil
}

// saveReceipt makes the last receipt durable, if it isn't yet, and that the log
// was given up. The caller holds retain.mu.
func (db *DB) saveReceipt() error {
	if db.retain.acked == nil && db.retain.detached == db.retain.identity.Detached {
		return nil
	}
	return db.rewrite(func(id *identity) { id.Detached = db.retain.detached })
}

// flushed says that the state store has written something out.
func (db *DB) flushed() {
	select {
	case db.flushes <- struct{}{}:
	default:
	}
}

// keepSpace releases log files as the state becomes durable, writes receipts
// down, and holds the lag of the archive against the policy, until quit.
func (db *DB) keepSpace() {
	defer db.keeper.Done()
	tick := time.NewTicker(keepReceipt)
	defer tick.Stop()
	var lag <-chan time.Time
	if db.opts.Lag.active() {
		t := time.NewTicker(lagEvery)
		defer t.Stop()
		lag = t.C
	}
	blocked := false
	for {
		// What fails now is tried again the next time.
		select {
		case <-db.quit:
			return
		case <-db.flushes:
			_ = db.releaseLog()
		case <-tick.C:
			db.retain.mu.Lock()
			_ = db.saveReceipt()
			db.retain.mu.Unlock()
		case <-db.lags:
			blocked = db.enforce(blocked)
		case <-lag:
			blocked = db.enforce(blocked)
		}
	}
}

// releaseLog gives up the log files that nothing needs any more. The receipt
// that allows it is written down before: it must not be older than the log. A
// log that was given up goes all the same.
func (db *DB) releaseLog() error {
	p, err := readProgress(db.state, true)
	if err != nil {
		return err
	}
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	through := p.LSN
	if db.retain.identity.Archived && db.retain.detached == nil {
		through = min(through, db.retain.through())
	}
	if !db.log.Releasable(through) {
		return nil
	}
	saved := db.saveReceipt()
	if saved != nil && db.retain.detached == nil {
		return saved
	}
	return errors.Join(saved, db.log.Release(through))
}

// attach records for good that an archive needs the log from now on.
func (db *DB) attach() error {
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	return db.attachLocked()
}

// attachLocked is attach for a caller that holds retain.mu.
func (db *DB) attachLocked() error {
	if db.retain.identity.Archived && db.retain.detached == nil {
		return nil
	}
	if err := db.rewrite(func(id *identity) { id.Archived, id.Detached = true, nil }); err != nil {
		return err
	}
	db.retain.detached = nil
	db.lagging.attach(db.log, db.retain.through())
	return nil
}

// ack takes a receipt. Within a timeline it never goes back; one of another
// archive or timeline takes the place of the last. It attaches the archive
// again, unless log that this one has not seen was given up.
func (db *DB) ack(r driver.Receipt) error {
	if err := db.takeReceipt(r); err != nil {
		return err
	}
	return db.releaseLog()
}

func (db *DB) takeReceipt(r driver.Receipt) error {
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	last := db.retain.receipt()
	same := last != nil && last.Archive == r.Archive && last.Timeline == r.Timeline
	if !same || last.LSN < r.LSN {
		db.retain.acked = &r
	}
	switch {
	case db.retain.detached != nil && db.log.Extent().First > r.LSN+1:
		return nil
	case !db.retain.identity.Archived || db.retain.detached != nil:
		return db.attachLocked()
	case last != nil && !same:
		db.lagging.attach(db.log, r.LSN)
	default:
		db.lagging.ack(r.LSN)
	}
	if same {
		return nil
	}
	// A capture goes on in the timeline of the last receipt: that one should
	// outlast a crash at once.
	return db.saveReceipt()
}
