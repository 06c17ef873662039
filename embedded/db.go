package embedded

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// DB is an open database. Its methods are safe for concurrent use.
type DB struct {
	dir    string
	opts   *Options
	lock   io.Closer
	state  *pebble.DB
	log    *txlog.Log
	system string

	mu      sync.Mutex      // held by the one writer
	closed  bool            // guarded by mu
	records []change.Record // guarded by mu; scratch

	// queueMu guards the queue of commits. It is taken after mu.
	queueMu         sync.Mutex
	open            *group   // collects commits
	writing         *group   // is being made durable and visible; nil when none is
	leading         bool     // whether somebody leads or was told to
	assigned        progress // after the last commit that was queued
	assignedCatalog *catalog // the same
	buf             []byte   // a frame buffer to use again

	visibleMu sync.RWMutex // held for writing while the state is changed
	visible   visible      // guarded by visibleMu

	standby  *standby                  // guarded by mu; nil when the database follows nothing
	readOnly atomic.Pointer[Following] // what it follows; set where standby is

	poisoned atomic.Pointer[error]

	readers sync.WaitGroup // views, snapshots and others that Close waits for
	readMu  sync.RWMutex   // held for writing while closing, so that none starts
	noReads bool           // guarded by readMu

	retain  retention
	lagging lagMeter
	flushes chan struct{} // a flush has ended
	lags    chan struct{} // the archive may be too far behind
	quit    chan struct{} // closed by Close
	keeper  sync.WaitGroup
}

// visible is what View shows.
type visible struct {
	progress
	catalog *catalog
}

// Open opens the database in a directory, creating it when the directory is
// empty or not there. It returns [ErrLocked] when the database is open
// elsewhere and [ErrCorrupt] when its files are damaged.
func Open(dir string, options Options) (*DB, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.MustExist {
		if ok, err := exists(opts.FS, opts.FS.PathJoin(dir, identityName)); err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("%s: %w", dir, ErrNoDatabase))
		}
	}
	if err := makeDir(opts.FS, dir); err != nil {
		return nil, err
	}
	lock, err := opts.FS.Lock(opts.FS.PathJoin(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s is open in another process, or twice in this one: %w: %w", dir, ErrLocked, err)
	}
	db := &DB{dir: dir, opts: opts, lock: lock, flushes: make(chan struct{}, 1), lags: make(chan struct{}, 1), quit: make(chan struct{})}
	db.lagging.elapsed = opts.elapsed
	if err := db.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", dir, err), db.closeFiles())
	}
	db.keeper.Add(1)
	go db.keepSpace()
	return db, nil
}

// start opens the parts and replays the log.
func (db *DB) start() error {
	fs := db.opts.FS
	id, err := prepareDir(fs, db.dir, db.opts)
	if err != nil {
		return err
	}
	if id.Restored != nil { // what the restore was to remove at its end
		if err := fs.RemoveAll(fs.PathJoin(db.dir, loadName)); err != nil {
			return err
		}
	}
	logOpts, err := logOptions(fs, db.dir, id, db.opts)
	if err != nil {
		return err
	}
	db.system = id.System
	db.retain.identity, db.retain.detached = id, id.Detached
	if db.state, err = openState(fs, db.dir, db.opts, db.flushed); err != nil {
		return err
	}
	if db.log, err = txlog.Open(logOpts); err != nil {
		return logErr(err)
	}
	p, err := readProgress(db.state, false)
	if err != nil {
		return err
	}
	c, err := readCatalog(db.state, p.NextID)
	if err != nil {
		return err
	}
	r := &replay{db: db, visible: visible{p, c}, seen: p.LSN, hash: p.Hash}
	if err := r.run(); err != nil {
		return err
	}
	db.visible = r.visible
	db.assigned, db.assignedCatalog = r.visible.progress, r.visible.catalog
	db.open = newGroup(nil)
	if err := db.openStandby(); err != nil {
		return err
	}
	if id.Archived && id.Detached == nil {
		db.lagging.attach(db.log, db.retain.through())
	}
	return nil
}

// replay brings the state to the end of the log.
type replay struct {
	db *DB
	visible
	applier apply.Applier
	rows    *rows
	size    int         // of what is in rows but not in the state
	seen    change.LSN  // what the state held at first
	hash    change.Hash // and its log hash
}

// replayBatch is how many bytes of log go to the state at once.
const replayBatch = 4 << 20

func (r *replay) run() error {
	r.begin()
	err := r.db.log.Recover(r.LSN, r.Hash, r.tx)
	switch {
	case errors.Is(err, txlog.ErrForeign):
		return fmt.Errorf("%w: %w", r.foreign(), err)
	case err != nil:
		return logErr(err)
	}
	end, hash := r.db.log.End()
	switch {
	case end < r.seen:
		return fmt.Errorf("the log ends at LSN %d, the state is at %d: %w", end, r.seen, ErrCorrupt)
	case end == r.seen && hash != r.hash:
		return r.foreign()
	}
	return r.flush()
}

func (r *replay) foreign() error {
	return fmt.Errorf("the state at LSN %d was not made by this log: %w: %w", r.seen, apply.ErrDiverged, ErrCorrupt)
}

func (r *replay) begin() {
	r.rows = newRows(r.db.state, r.catalog)
	r.applier = apply.Applier{Rows: r.rows, LSN: r.LSN, Hash: r.Hash}
	r.size = 0
}

func (r *replay) tx(t txlog.Tx) error {
	if _, err := r.applier.Tx(t.Tx, t.Canonical); err != nil {
		return fmt.Errorf("replay: %w: %w", err, ErrCorrupt)
	}
	if r.applier.Hash != t.Hash {
		return r.foreign()
	}
	r.progress = progress{LSN: t.Last(), Hash: t.Hash, Tx: t.ID, Commit: t.Commit, NextID: r.rows.catalog.nextID}
	r.catalog = r.rows.catalog
	if r.size += len(t.Canonical); r.size >= replayBatch {
		return r.flush()
	}
	return nil
}

func (r *replay) flush() error {
	if r.LSN == r.seen {
		return nil
	}
	b := r.db.state.NewBatch()
	defer b.Close()
	if err := writeBatch(b, r.rows.top, &r.progress); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	r.begin()
	return nil
}

// Close waits for running transactions and snapshots, writes the state out and
// releases the directory. Later calls of any method return [ErrClosed].
func (db *DB) Close() error {
	db.mu.Lock()
	closed := db.closed
	db.closed = true
	db.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if g := db.latest(); g != nil { // no other will come
		<-g.done
	}
	db.readMu.Lock()
	db.noReads = true
	db.readMu.Unlock()
	db.readers.Wait()
	close(db.quit)
	db.keeper.Wait()
	db.retain.mu.Lock()
	err := db.saveReceipt()
	db.retain.mu.Unlock()
	if db.usable() == nil {
		err = errors.Join(err, db.state.Flush())
	}
	return errors.Join(err, db.closeFiles())
}

func (db *DB) closeFiles() error {
	var errs []error
	if db.log != nil {
		errs = append(errs, db.log.Close())
	}
	if db.state != nil {
		errs = append(errs, db.state.Close())
	}
	return errors.Join(append(errs, db.lock.Close())...)
}

// Update runs fn in a transaction that can write, and commits it when fn
// returns nil. One runs at a time; each sees all that were started before it.
// Update returns when the commit is durable and visible. When fn returns an
// error or panics nothing of it remains. An error that wraps [ErrPoisoned]
// leaves open whether the commit will be there after the next Open. fn must
// not call Update or Close. Under [LagBlock] it waits before it runs fn, and
// may fail with [ErrArchiveLag].
func (db *DB) Update(fn func(*Tx) error) error {
	if err := db.admit(); err != nil {
		return err
	}
	g, lead, err := db.run(fn)
	if err != nil || g == nil {
		return err
	}
	return db.await(g, lead)
}

// run runs fn and queues what it changed. The group is the one to wait for,
// nil for none.
func (db *DB) run(fn func(*Tx) error) (g *group, lead bool, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, false, ErrClosed
	}
	if err := db.usable(); err != nil {
		return nil, false, err
	}
	if f := db.readOnly.Load(); f != nil {
		return nil, false, fmt.Errorf("database %s: %w", db.dir, f.refuse())
	}
	open, writing := db.pending()
	if len(open.frame) > fullGroup {
		<-open.done
		open, writing = db.pending()
	}
	tx := &Tx{records: db.records[:0], limit: db.opts.MaxTxBytes, writable: true}
	var below *layer
	if writing != nil {
		below = writing.layer
	}
	tx.rows = newRows(db.state, db.assignedCatalog, open.layer, below)
	defer func() {
		tx.over = true
		clear(tx.records)
		if cap(tx.records) <= 1<<12 {
			db.records = tx.records[:0]
		}
	}()
	if err := fn(tx); err != nil {
		return nil, false, err
	}
	if tx.failed != nil {
		return nil, false, tx.failed
	}
	if len(tx.records) == 0 {
		return db.latest(), false, nil // what fn saw must be durable too
	}
	return db.enqueue(tx)
}

// View runs fn in a transaction that reads one consistent state: all commits
// that were acknowledged before it began, and maybe some that soon will be.
func (db *DB) View(fn func(*Tx) error) error {
	s, err := db.snapshot()
	if err != nil {
		return err
	}
	defer s.close()
	tx := s.tx()
	defer func() { tx.over = true }()
	return fn(tx)
}

// view is a consistent, durable state of the database.
type view struct {
	db *DB
	visible
	state *pebble.Snapshot
	taken change.Time
}

// enter keeps Close waiting until readers.Done is called.
func (db *DB) enter() error {
	db.readMu.RLock()
	defer db.readMu.RUnlock()
	if db.noReads {
		return ErrClosed
	}
	db.readers.Add(1)
	return nil
}

func (db *DB) snapshot() (*view, error) {
	if err := db.enter(); err != nil {
		return nil, err
	}
	db.visibleMu.RLock()
	defer db.visibleMu.RUnlock()
	return &view{db: db, visible: db.visible, state: db.state.NewSnapshot(), taken: db.opts.now()}, nil
}

func (v *view) tx() *Tx {
	return &Tx{rows: &rows{stack: stack{base: v.state}, catalog: v.catalog}}
}

func (v *view) close() error {
	err := v.state.Close()
	v.db.readers.Done()
	return err
}
