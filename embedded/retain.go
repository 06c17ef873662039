package embedded

import (
	"sync"

	"github.com/tidemarkdb/tidemark/change"
)

// retention decides which log files are still needed: those that the state's
// durable part does not cover, and, once an archive was attached, those that
// it has not acknowledged.
type retention struct {
	mu       sync.Mutex
	identity *identity  // guarded by mu
	acked    change.LSN // guarded by mu; everything through it is archived
}

// flushed says that the state store has written something out.
func (db *DB) flushed() {
	select {
	case db.flushes <- struct{}{}:
	default:
	}
}

// keepSpace releases log files as the state becomes durable, until quit.
func (db *DB) keepSpace() {
	defer db.keeper.Done()
	for {
		select {
		case <-db.quit:
			return
		case <-db.flushes:
			// A file that can't be removed now is tried again after the next flush.
			_ = db.releaseLog()
		}
	}
}

// releaseLog gives up the log files that nothing needs any more.
func (db *DB) releaseLog() error {
	p, err := readProgress(db.state, true)
	if err != nil {
		return err
	}
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	through := p.LSN
	if db.retain.identity.Archived {
		through = min(through, db.retain.acked)
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
	next := *db.retain.identity
	next.Archived = true
	if err := next.write(db.opts.FS, db.dir); err != nil {
		return err
	}
	db.retain.identity = &next
	return nil
}

// ack records that everything through an LSN is archived. It never goes back.
func (db *DB) ack(through change.LSN) error {
	db.retain.mu.Lock()
	db.retain.acked = max(db.retain.acked, through)
	db.retain.mu.Unlock()
	return db.releaseLog()
}
