package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// Following says what a standby follows.
type Following struct {
	Archive  string `json:"archive"` // the repository's ID
	Timeline string `json:"timeline"`
}

func (f *Following) refuse() error {
	return fmt.Errorf("it follows timeline %s of archive %s and is read-only; to make it take writes, promote it (tidemark follow promote): %w",
		f.Timeline, f.Archive, driver.ErrStandby)
}

// standbyMark is an effective time that the log does not hold.
type standbyMark struct {
	LSN       change.LSN  `json:"lsn"`
	Effective change.Time `json:"effective"`
}

// standbyMarks is the content of the file STANDBY: written before each batch,
// so that where a crash leaves the database is one of the two.
type standbyMarks struct {
	Format int         `json:"format"`
	Was    standbyMark `json:"was"`  // before the last batch
	Will   standbyMark `json:"will"` // after it
}

const (
	standbyName   = "STANDBY"
	standbyFormat = 1
)

// at returns the effective time at an LSN.
func (m *standbyMarks) at(lsn change.LSN) (change.Time, bool) {
	switch lsn {
	case m.Was.LSN:
		return m.Was.Effective, true
	case m.Will.LSN:
		return m.Will.Effective, true
	}
	return 0, false
}

// standby is a database that follows an archive. [DB.Standby] returns it.
type standby struct {
	db *DB

	mu      sync.Mutex
	marks   standbyMarks // guarded by mu; as on disk
	covered change.Time  // guarded by mu
}

// readStandby reads the file STANDBY of a database that follows an archive.
func readStandby(fsys vfs.FS, dir string) (m standbyMarks, err error) {
	name := fsys.PathJoin(dir, standbyName)
	b, err := readAll(fsys, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w: %w", name, err, ErrCorrupt)
	}
	if m.Format != standbyFormat {
		return m, fmt.Errorf("%s has format %d, this program reads %d: a newer one is needed", name, m.Format, standbyFormat)
	}
	return m, nil
}

func (m *standbyMarks) write(fsys vfs.FS, dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeDurably(fsys, dir, standbyName, append(b, '\n'))
}

// openStandby readies a database that follows an archive. It is part of start.
func (db *DB) openStandby() error {
	if db.retain.identity.Following == nil {
		return nil
	}
	marks, err := readStandby(db.opts.FS, db.dir)
	if err != nil {
		return err
	}
	db.standby = &standby{db: db, marks: marks}
	db.readOnly.Store(db.retain.identity.Following)
	return nil
}

// Follow makes a database that was restored from an archive, and has not
// changed since, a standby of the timeline it came from. A standby already is
// one. It returns [driver.ErrNotStandby] for a database with a history of its own.
func (db *DB) Follow() (driver.Standby, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return nil, ErrClosed
	}
	if err := db.usable(); err != nil {
		return nil, err
	}
	if db.standby != nil {
		return db.standby, nil
	}
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	id := db.retain.identity
	switch r := id.Restored; {
	case r == nil || r.Origin == nil:
		return nil, fmt.Errorf("database %s was not restored from an archive, it has a history of its own: %w", db.dir, driver.ErrNotStandby)
	case db.assigned.LSN != r.LSN:
		return nil, fmt.Errorf("database %s was restored at LSN %d and has changed since, up to LSN %d: %w", db.dir, r.LSN, db.assigned.LSN, driver.ErrNotStandby)
	case id.Archived:
		return nil, fmt.Errorf("database %s was captured into an archive, its history goes on there: %w", db.dir, driver.ErrNotStandby)
	}
	o := id.Restored.Origin
	mark := standbyMark{o.LSN, o.Effective}
	marks := standbyMarks{Format: standbyFormat, Was: mark, Will: mark}
	if err := marks.write(db.opts.FS, db.dir); err != nil {
		return nil, err
	}
	f := &Following{Archive: o.Archive, Timeline: o.Timeline}
	if err := db.rewrite(func(id *identity) { id.Following = f }); err != nil {
		return nil, err
	}
	db.standby = &standby{db: db, marks: marks}
	db.readOnly.Store(f)
	return db.standby, nil
}

// Standby returns a database that follows an archive as a standby;
// [driver.ErrNotStandby] when it is none.
func (db *DB) Standby() (driver.Standby, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case db.closed:
		return nil, ErrClosed
	case db.standby == nil:
		return nil, fmt.Errorf("database %s: %w", db.dir, driver.ErrNotStandby)
	}
	return db.standby, nil
}

func (s *standby) Standing(context.Context) (driver.Standing, error) {
	f := s.db.readOnly.Load()
	if f == nil {
		return driver.Standing{}, fmt.Errorf("database %s: %w", s.db.dir, driver.ErrNotStandby)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db.visibleMu.RLock()
	v := s.db.visible
	s.db.visibleMu.RUnlock()
	at, _ := s.marks.at(v.LSN)
	return driver.Standing{Mark: driver.Mark{LSN: v.LSN, LogHash: v.Hash}, Archive: f.Archive, Timeline: f.Timeline,
		Effective: at, Covered: max(at, s.covered)}, nil
}

func (s *standby) Cover(until change.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covered = max(s.covered, until)
}

// followBatch is how many bytes of log a standby makes durable at once.
const followBatch = 4 << 20

// Apply implements driver.Standby. A batch is one frame of the log, as a group
// of commits is.
func (s *standby) Apply(ctx context.Context, txs iter.Seq2[*change.Tx, error]) (applied int, err error) {
	db := s.db
	if err := db.enter(); err != nil {
		return 0, err
	}
	defer db.readers.Done()
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.readOnly.Load() == nil {
		return 0, fmt.Errorf("database %s: %w", db.dir, driver.ErrNotStandby)
	}
	b := s.begin()
	for t, err := range txs {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = b.add(t)
		}
		if err != nil {
			n, e := b.commit()
			return applied + n, errors.Join(err, e)
		}
		if len(b.frame) >= followBatch {
			n, err := b.commit()
			applied += n
			if err != nil {
				return applied, err
			}
			b = s.begin()
		}
	}
	n, err := b.commit()
	return applied + n, err
}

// batch is transactions that a standby takes at once.
type batch struct {
	s *standby
	*group
	applier apply.Applier
	rows    *rows
	will    change.Time // effective time of the last transaction
}

// begin starts a batch after what the database holds. The caller holds DB.mu.
func (s *standby) begin() *batch {
	db := s.db
	b := &batch{s: s, group: newGroup(db.buf)}
	db.buf = nil
	b.progress = db.assigned
	b.reset()
	return b
}

// reset takes the rows back to what the database holds.
func (b *batch) reset() {
	db := b.s.db
	b.rows = newRows(db.state, db.assignedCatalog)
	b.applier = apply.Applier{Rows: b.rows, LSN: db.assigned.LSN, Hash: db.assigned.Hash, Mode: apply.Restore}
	if db.opts.StrictStandby {
		b.applier.Mode = apply.Replica
	}
}

// add takes a transaction into the batch. After an error nothing of it is
// there.
func (b *batch) add(t *change.Tx) error {
	if t.Last() <= b.applier.LSN {
		return nil
	}
	start := len(b.frame)
	b.frame = change.AppendTx(b.frame, t)
	if err := b.apply(b.frame[start:]); err != nil {
		whole := b.frame[:start]
		b.reset()
		for rest := txlog.Payload(whole); len(rest) > 0; {
			_, after, e := change.DecodeTx(rest)
			if e == nil {
				e = b.apply(rest[:len(rest)-len(after)])
			}
			if e != nil { // it went well before
				b.txs = 0
				return errors.Join(err, e)
			}
			rest = after
		}
		b.frame = whole
		return err
	}
	b.txs++
	b.progress.Tx, b.progress.Commit, b.will = t.ID, t.Commit, t.Effective
	return nil
}

// apply brings a transaction in its canonical encoding, which is not to
// change any more, onto the rows.
func (b *batch) apply(canonical []byte) error {
	t, _, err := change.DecodeTx(canonical)
	if err != nil {
		return err
	}
	_, err = b.applier.Tx(t, canonical)
	return err
}

// commit makes the batch durable and visible, and returns how many
// transactions it has. The caller holds DB.mu.
func (b *batch) commit() (int, error) {
	db := b.s.db
	if cap(b.frame) <= 2*followBatch {
		db.buf = b.frame
	}
	if b.txs == 0 {
		return 0, nil
	}
	if err := db.usable(); err != nil {
		return 0, err
	}
	if err := b.s.mark(standbyMark{b.applier.LSN, b.will}); err != nil {
		return 0, err
	}
	b.layer, b.catalog = b.rows.top, b.rows.catalog
	b.progress.LSN, b.progress.Hash, b.progress.NextID = b.applier.LSN, b.applier.Hash, b.catalog.nextID
	if err := db.writeGroup(b.group); err != nil {
		db.poison(err)
		return 0, db.usable()
	}
	db.assigned, db.assignedCatalog = b.progress, b.catalog
	return b.txs, nil
}

// mark writes down what the effective time will be after the next batch.
func (s *standby) mark(will standbyMark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lsn := s.db.assigned.LSN
	at, _ := s.marks.at(lsn)
	next := standbyMarks{Format: standbyFormat, Was: standbyMark{lsn, at}, Will: will}
	if err := next.write(s.db.opts.FS, s.db.dir); err != nil {
		return fmt.Errorf("write down where the standby will be: %w", err)
	}
	s.marks = next
	return nil
}

// Promote implements driver.Standby.
func (s *standby) Promote(context.Context) (o driver.Origin, err error) {
	db := s.db
	if err := db.enter(); err != nil {
		return o, err
	}
	defer db.readers.Done()
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.usable(); err != nil {
		return o, err
	}
	f := db.readOnly.Load()
	if f == nil {
		return o, fmt.Errorf("database %s: %w", db.dir, driver.ErrNotStandby)
	}
	s.mu.Lock()
	effective, known := s.marks.at(db.assigned.LSN)
	s.mu.Unlock()
	if !known {
		return o, fmt.Errorf("database %s: its file %s does not know LSN %d: %w", db.dir, standbyName, db.assigned.LSN, ErrCorrupt)
	}
	o = driver.Origin{Archive: f.Archive, Timeline: f.Timeline, LSN: db.assigned.LSN, LogHash: db.assigned.Hash, Effective: effective}
	db.retain.mu.Lock()
	defer db.retain.mu.Unlock()
	from := &restoredFrom{LSN: o.LSN, LogHash: o.LogHash, Commit: db.assigned.Commit, Origin: &o}
	if err := db.rewrite(func(id *identity) { id.Following, id.Restored = nil, from }); err != nil {
		return o, err
	}
	db.standby = nil
	db.readOnly.Store(nil)
	// A file that stays says nothing to anyone.
	_ = db.opts.FS.Remove(db.opts.FS.PathJoin(db.dir, standbyName))
	return o, nil
}
