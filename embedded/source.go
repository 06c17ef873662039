package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// Kind names this database in a [driver.Identity].
const Kind = "embedded"

// Source returns the database as something that can be captured. Once Start
// was called the log is kept until it is acknowledged, also after a restart.
func (db *DB) Source() driver.Source { return (*source)(db) }

type source DB

func (s *source) db() *DB { return (*DB)(s) }

// ended reports whether the database was closed.
func (db *DB) ended() error {
	select {
	case <-db.quit:
		return ErrClosed
	default:
		return nil
	}
}

// capturable reports whether the database has a history to be captured: a
// standby has that of the archive it follows.
func (db *DB) capturable() error {
	if f := db.readOnly.Load(); f != nil {
		return fmt.Errorf("database %s can't be captured: %w", db.dir, f.refuse())
	}
	return nil
}

func (s *source) Identity(context.Context) (driver.Identity, error) {
	if err := s.db().capturable(); err != nil {
		return driver.Identity{}, err
	}
	id := driver.Identity{Kind: Kind, System: s.system}
	s.retain.mu.Lock()
	defer s.retain.mu.Unlock()
	if r := s.retain.identity.Restored; r != nil && r.Origin != nil {
		origin := *r.Origin
		id.Restored = &origin
	}
	if r := s.retain.receipt(); r != nil {
		kept := *r
		id.Acked = &kept
	}
	return id, nil
}

// Start returns the beginning of the history when the log still reaches back
// to it, otherwise what View shows: a commit may be durable a moment before it
// is visible, and a snapshot opened then would lie before the mark.
func (s *source) Start(context.Context) (driver.Mark, error) {
	if err := s.db().enter(); err != nil {
		return driver.Mark{}, err
	}
	defer s.readers.Done()
	if err := s.db().capturable(); err != nil {
		return driver.Mark{}, err
	}
	if err := s.db().attach(); err != nil {
		return driver.Mark{}, fmt.Errorf("attach an archive: %w", err)
	}
	if s.log.Extent().First == 1 {
		return driver.Mark{}, nil
	}
	s.visibleMu.RLock()
	defer s.visibleMu.RUnlock()
	return driver.Mark{LSN: s.visible.LSN, LogHash: s.visible.Hash}, nil
}

func (s *source) Ack(_ context.Context, through driver.Receipt) error {
	if err := s.db().enter(); err != nil {
		return err
	}
	defer s.readers.Done()
	if err := s.db().capturable(); err != nil {
		return err
	}
	if end, _ := s.log.End(); through.LSN > end {
		return fmt.Errorf("acknowledged through LSN %d, the database ends at %d: %w", through.LSN, end, driver.ErrDiverged)
	}
	if err := s.db().ack(through); err != nil {
		return fmt.Errorf("acknowledge LSN %d: %w", through.LSN, err)
	}
	return nil
}

func (s *source) Changes(ctx context.Context, after driver.Mark) (driver.Changes, error) {
	if err := errors.Join(s.db().ended(), s.db().capturable()); err != nil {
		return nil, err
	}
	if end, _ := s.log.End(); after.LSN > end {
		return nil, fmt.Errorf("the archive is at LSN %d, the database ends at %d: %w", after.LSN, end, driver.ErrDiverged)
	}
	t, err := s.log.Read(after.LSN, s.opts.PieceBytes)
	if err != nil {
		return nil, s.db().lostErr(err)
	}
	c := &changes{db: s.db(), tail: t}
	if err := c.find(ctx, after); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return c, nil
}

// changes reads the log for one goroutine.
type changes struct {
	db   *DB
	tail *txlog.Reader
}

// find reads up to a mark and checks that it is one of this history.
func (c *changes) find(ctx context.Context, m driver.Mark) error {
	for c.tail.LSN() < m.LSN {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := c.tail.Next()
		if err != nil {
			return c.db.lostErr(err)
		}
		if t == nil {
			return fmt.Errorf("log ends at LSN %d, wanted %d: %w", c.tail.LSN(), m.LSN, driver.ErrLogLost)
		}
	}
	at, hash := c.tail.LSN(), c.tail.Hash()
	switch {
	case at != m.LSN:
		return fmt.Errorf("LSN %d lies inside a transaction that ends at %d: %w", m.LSN, at, driver.ErrDiverged)
	case hash != m.LogHash:
		return fmt.Errorf("log hash at LSN %d is %s, the archive's is %s: %w", m.LSN, hash, m.LogHash, driver.ErrDiverged)
	}
	return nil
}

func (c *changes) Next(ctx context.Context) (*change.Tx, error) {
	for {
		if err := c.db.ended(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := c.tail.Next()
		if err != nil {
			return nil, c.db.lostErr(err)
		}
		if t != nil {
			return t, nil
		}
		if moved := c.db.log.Moved(c.tail.LSN()); moved != nil {
			select {
			case <-moved:
			case <-ctx.Done():
			case <-c.db.quit:
			}
		}
	}
}

// Coverage rests on commit times being given out in the order of the queue:
// what is not yet durable has one at or after the earliest of the queue, and
// what is not yet queued one at or after the clock's reading.
func (c *changes) Coverage(context.Context) (change.Time, bool, error) {
	if err := c.db.ended(); err != nil {
		return 0, false, err
	}
	earliest, now := c.db.lag() // before the durable end is read
	if c.db.usable() != nil {
		return 0, false, nil // a commit that failed may be there after the next Open
	}
	if end, _ := c.db.log.End(); end != c.tail.LSN() {
		return 0, false, nil
	}
	return min(earliest, now) - 1, true, nil
}

func (c *changes) Close() error { return c.tail.Close() }

// Snapshot opens a view; it keeps Close waiting until it is closed.
func (s *source) Snapshot(context.Context) (driver.Snapshot, error) {
	v, err := s.db().snapshot()
	if err != nil {
		return nil, err
	}
	return &snapshot{view: v}, nil
}

type snapshot struct {
	view *view
	once sync.Once
	err  error
}

func (s *snapshot) Mark() driver.Mark {
	return driver.Mark{LSN: s.view.LSN, LogHash: s.view.Hash}
}

func (s *snapshot) Taken() change.Time { return s.view.taken }

func (s *snapshot) Schemas() []*change.Schema { return s.view.catalog.schemas() }

func (s *snapshot) Rows(ctx context.Context, c change.CollectionID) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		stopped := false
		err := s.rows(ctx, c, func(r *change.Record, err error) bool {
			stopped = !yield(r, err)
			return !stopped
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

func (s *snapshot) rows(ctx context.Context, c change.CollectionID, yield func(*change.Record, error) bool) (err error) {
	schema := s.view.catalog.byID[c]
	if schema == nil {
		return fmt.Errorf("snapshot at LSN %d: %w with ID %d", s.view.LSN, ErrNoCollection, c)
	}
	lower, upper := rowBounds(c)
	it, err := s.view.state.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	bag := schema.Bag()
	r := change.Record{Op: change.Insert, Collection: c}
	const checkEvery = 1024
	for n, valid := 0, it.First(); valid; n, valid = n+1, it.Next() {
		if n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		r.Key, r.Image = it.Key()[rowPrefix:], v
		if bag {
			if r.Count, r.Image, err = bagValue(v); err != nil {
				return err
			}
		}
		if !yield(&r, nil) {
			return nil
		}
	}
	return it.Error()
}

func (s *snapshot) Close() error {
	s.once.Do(func() { s.err = s.view.close() })
	return s.err
}
