package embedded

import (
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// group is the transactions that one frame makes durable. Until a leader takes
// it, it is guarded by DB.queueMu; then it is the leader's, except for layer,
// which writers read and nobody changes any more.
type group struct {
	frame    []byte // of txlog, with canonical transactions
	txs      int
	layer    *layer
	progress progress // after its last transaction
	catalog  *catalog // after its last transaction
	earliest change.Time

	lead chan struct{} // gets a token when one of those who wait is to lead
	done chan struct{} // closed when the group is visible, or err is set
	err  error
}

const (
	// fullGroup is the size in bytes at which a group takes no more writers.
	fullGroup = 16 << 20
	// keepFrame is the largest frame buffer that is kept for the next group.
	keepFrame = 1 << 20
)

func newGroup(buf []byte) *group {
	return &group{
		frame:    txlog.NewFrame(buf),
		earliest: math.MaxInt64,
		lead:     make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
}

// enqueue adds a transaction's changes to the open group, giving them LSNs, an
// ID and a commit time. lead is true when the caller must lead the group.
// The caller holds DB.mu.
func (db *DB) enqueue(tx *Tx) (g *group, lead bool, err error) {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	g = db.open
	p := db.assigned
	p.Tx++
	p.Commit = db.opts.now()
	for i := range tx.records {
		p.LSN++
		tx.records[i].LSN = p.LSN
	}
	start := len(g.frame)
	if tx.size > keepFrame { // growing step by step would leave several times its size behind
		const more = 3 // bytes of a record beyond what size counts, as a rule
		g.frame = slices.Grow(g.frame, int(tx.size)+more*len(tx.records)+change.MaxTxHead)
	}
	g.frame = change.AppendTx(g.frame, &change.Tx{ID: p.Tx, Commit: p.Commit, Records: tx.records})
	canonical := g.frame[start:]
	if int64(len(canonical)) > db.opts.MaxTxBytes {
		size := len(canonical)
		g.frame = g.frame[:start]
		return nil, false, fmt.Errorf("transaction of %d records has %d bytes, the limit is %d; nothing of it was stored: %w", len(tx.records), size, db.opts.MaxTxBytes, ErrTooLarge)
	}
	p.Hash = change.LogHash(p.Hash, canonical)
	p.NextID = tx.rows.catalog.nextID
	db.assigned, db.assignedCatalog = p, tx.rows.catalog
	if g.layer == nil {
		g.layer = tx.rows.top
	} else {
		g.layer.merge(tx.rows.top)
	}
	g.txs++
	g.progress, g.catalog = p, tx.rows.catalog
	g.earliest = min(g.earliest, p.Commit)
	lead = !db.leading
	db.leading = true
	return g, lead, nil
}

// await returns when a group is durable and visible. Whoever leads writes the
// group, all others wait for it.
func (db *DB) await(g *group, lead bool) error {
	for {
		if lead {
			db.leadGroup()
		}
		select {
		case <-g.done:
			return g.err
		case <-g.lead:
			lead = true
		}
	}
}

// leadGroup makes the open group durable and visible, and hands the lead on.
func (db *DB) leadGroup() {
	db.queueMu.Lock()
	g := db.open
	db.open = newGroup(db.buf)
	db.buf = nil
	db.writing = g
	db.queueMu.Unlock()

	if err := db.writeGroup(g); err != nil {
		db.poison(err)
		g.err = db.usable()
	}

	db.queueMu.Lock()
	db.writing = nil
	if cap(g.frame) <= keepFrame {
		db.buf = g.frame
	}
	if db.open.txs > 0 {
		db.open.lead <- struct{}{}
	} else {
		db.leading = false
	}
	db.queueMu.Unlock()
	close(g.done)
}

// writeGroup logs a group, syncs the log and applies the group to the state.
func (db *DB) writeGroup(g *group) error {
	if err := db.usable(); err != nil {
		return err
	}
	if err := db.log.Append(g.frame, g.txs, g.progress.LSN, g.progress.Hash); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	db.queueMu.Lock()
	db.log.Publish()
	g.earliest = math.MaxInt64
	db.queueMu.Unlock()
	db.lagging.add(g.progress.LSN, int64(len(g.frame)))
	if p := &db.opts.Lag; p.Bytes > 0 {
		if lag, _ := db.lagging.lag(); p.exceeded(lag) {
			db.checkLag()
		}
	}

	b := db.state.NewBatch()
	if size := len(g.frame); size > keepFrame {
		b = db.state.NewBatchWithSize(size + size/8)
		g.frame = nil // the layer has it all
	}
	defer b.Close()
	if err := writeBatch(b, g.layer, &g.progress); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	db.visibleMu.Lock()
	defer db.visibleMu.Unlock()
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	db.visible = visible{g.progress, g.catalog}
	return nil
}

// writeBatch puts a layer and the progress that it makes into a batch.
func writeBatch(b *pebble.Batch, l *layer, p *progress) error {
	if l != nil {
		if err := l.writeTo(b); err != nil {
			return err
		}
	}
	var buf [progressSize]byte
	return b.Set(progressKey, p.append(buf[:0]), nil)
}

// poison makes every later commit fail: after a failed write or sync nobody
// knows what the log holds until it is read again by Open.
func (db *DB) poison(err error) {
	if db.usable() == nil {
		e := fmt.Errorf("%w: %w", ErrPoisoned, err)
		db.poisoned.CompareAndSwap(nil, &e)
	}
}

// usable returns the error that poisoned the database, if any did.
func (db *DB) usable() error {
	if e := db.poisoned.Load(); e != nil {
		return *e
	}
	return nil
}

// pending returns the groups whose changes the state may not hold yet.
func (db *DB) pending() (open, writing *group) {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	return db.open, db.writing
}

// latest returns the newest group that is not yet visible, or nil.
func (db *DB) latest() *group {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	if db.open.txs > 0 {
		return db.open
	}
	return db.writing
}

// lag returns the earliest commit time among the transactions that are not yet
// durable, the largest time when there is none, and a clock reading that no
// later commit precedes unless the clock steps back.
func (db *DB) lag() (earliest, now change.Time) {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	earliest = db.open.earliest
	if db.writing != nil {
		earliest = min(earliest, db.writing.earliest)
	}
	return earliest, db.opts.now()
}
