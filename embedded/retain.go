package embedded

import (
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

// saveReceipt makes the last receipt durable, if it isn't yet. The caller holds
// retain.mu.
func (db *DB) saveReceipt() error {
	if db.retain.acked == nil {
		return nil
	}
	return db.rewrite(func(*identity) {})
}

// flushed says that the state store has written something out.
func (db *DB) flushed() {
	select {
	case db.flushes <- struct{}{}:
	default:
	}
}

// keepSpace releases log files as the state becomes durable, and writes
// receipts down, until quit.
func (db *DB) keepSpace() {
	defer db.keeper.Done()
	tick := time.NewTicker(keepReceipt)
	defer tick.Stop()
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
		}
	}
}

// releaseLog gives up the log files that nothing needs any more. The receipt
// that allows it is written down before: it must not be older than the log.
func (db *DB) releaseLog() error {
	p, err := readProgress(db.state, true)
	if err != nil {
		return err
	}
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	through := p.LSN
	if db.retain.identity.Archived {
		through = min(through, db.retain.through())
	}
	if !db.log.Releasable(through) {
		return nil
	}
	if err := db.saveReceipt(); err != nil {
		return err
	}
	return db.log.Release(through)
}

// attach records for good that an archive needs the log from now on.
func (db *DB) attach() error {
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	if db.retain.identity.Archived {
		return nil
	}
	return db.rewrite(func(id *identity) { id.Archived = true })
}

// ack takes a receipt. Within a timeline it never goes back; one of another
// archive or timeline takes the place of the last.
func (db *DB) ack(r driver.Receipt) error {
	db.retain.mu.Lock()
	if last := db.retain.receipt(); last == nil || last.Archive != r.Archive || last.Timeline != r.Timeline || last.LSN < r.LSN {
		db.retain.acked = &r
	}
	db.retain.mu.Unlock()
	return db.releaseLog()
}
