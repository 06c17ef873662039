package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// fakeSource is a database in memory that keeps its whole history. Its clock
// is the machine's, which tests run under synctest.
type fakeSource struct {
	id driver.Identity

	mu         sync.Mutex
	start      change.LSN // where a new archive starts
	kept       change.LSN // the log before it is gone
	txs        []*change.Tx
	hashes     []change.Hash // hashes[i] is the log hash before txs[i]
	wake       chan struct{} // closed when there is more
	acks       []driver.Mark
	nexts      int                             // calls of Next
	given      int                             // transactions that Next returned
	covers     int                             // calls of Coverage
	open       int                             // views and changes that are not closed
	position   string                          // added to every position
	blind      bool                            // Coverage is not ok
	ahead      change.Time                     // Coverage and commit times run ahead by this
	fail       func(op string) error           // called by every method; may be nil
	hang       string                          // the method that hangs until its context ends
	onSnapshot func()                          // called before a view is opened
	behind     change.LSN                      // snapshots show so much less than there is
	reversed   bool                            // snapshots yield rows in the wrong order
	otherHash  bool                            // snapshots show another log hash
	piece      int                             // Next returns transactions in pieces of so many records; 0: whole
	withheld   int                             // so many pieces of a transaction are held back
	spoil      func([]*change.Tx) []*change.Tx // what Next makes of the pieces of a transaction; may be nil
	pieces     int                             // pieces that Next returned
	skip       change.LSN                      // Next leaves out the transaction at this LSN
	rowHook    func(n int) error               // called before each row of a snapshot
	onAck      func(driver.Mark)
	receipt    *driver.Receipt // the last one
}

func newFakeSource() *fakeSource {
	return &fakeSource{id: driver.Identity{Kind: "fake", System: "s1"}, hashes: make([]change.Hash, 1), wake: make(chan struct{})}
}

var _ driver.Source = (*fakeSource)(nil)

func (s *fakeSource) failure(op string) error {
	s.mu.Lock()
	f := s.fail
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op)
}

// set changes the source's behaviour.
func (s *fakeSource) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeSource) clock() change.Time { return change.TimeOf(time.Now()) + s.ahead }

func (s *fakeSource) last() change.LSN {
	if len(s.txs) == 0 {
		return 0
	}
	return s.txs[len(s.txs)-1].Last()
}

// commit appends a transaction and returns its last LSN.
func (s *fakeSource) commit(records ...change.Record) change.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(records...)
}

// lose commits n transactions of one row each and loses the log up to there.
func (s *fakeSource) lose(n int) change.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.add(insert(1, int64(s.last())+1, "lost"))
	}
	s.kept, s.start = s.last(), s.last()
	return s.last()
}

// add is commit for a caller that holds mu.
func (s *fakeSource) add(records ...change.Record) change.LSN {
	tx := &change.Tx{ID: change.TxID(len(s.txs) + 1), Commit: s.clock(), Records: records}
	for i := range records {
		records[i].LSN = s.last() + 1 + change.LSN(i)
	}
	tx.Position = change.Position(fmt.Sprintf("p%d%s", tx.Last(), s.position))
	s.txs = append(s.txs, tx)
	s.hashes = append(s.hashes, change.LogHash(s.hashes[len(s.hashes)-1], change.AppendTx(nil, tx)))
	close(s.wake)
	s.wake = make(chan struct{})
	return tx.Last()
}

func fakeSchema(id change.CollectionID) *change.Schema {
	s, err := change.Define(id, fmt.Sprintf("c%d", id), []string{"id"}, change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "v", Type: change.Text})
	if err != nil {
		panic(err)
	}
	return s
}

// create commits the schema of a collection.
func (s *fakeSource) create(id change.CollectionID) change.LSN {
	r, err := change.SchemaRecord(fakeSchema(id))
	if err != nil {
		panic(err)
	}
	return s.commit(r)
}

func insert(id change.CollectionID, key int64, v string) change.Record {
	k, m, err := fakeSchema(id).EncodeRow(change.Row{change.IntValue(key), change.TextValue(v)})
	if err != nil {
		panic(err)
	}
	return change.Record{Op: change.Insert, Collection: id, Key: k, Image: m}
}

// fill commits n transactions of one row each, with keys from the next LSN on.
func (s *fakeSource) fill(n int, size int) change.LSN {
	var last change.LSN
	for range n {
		key := int64(s.end()) + 1
		last = s.commit(insert(1, key, noise(key, size)))
	}
	return last
}

func (s *fakeSource) end() change.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last()
}

// noise is text that does not compress much.
func noise(seed int64, size int) string {
	var b strings.Builder
	for x := uint64(seed)*2654435761 + 1; b.Len() < size; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&b, "%016x", x)
	}
	return b.String()[:size]
}

func (s *fakeSource) mark(lsn change.LSN) (driver.Mark, bool) {
	if lsn == 0 {
		return driver.Mark{}, true
	}
	i, ok := slices.BinarySearchFunc(s.txs, lsn, func(t *change.Tx, lsn change.LSN) int { return int(int64(t.Last()) - int64(lsn)) })
	if !ok {
		return driver.Mark{}, false
	}
	return driver.Mark{LSN: lsn, LogHash: s.hashes[i+1], Position: s.txs[i].Position}, true
}

func (s *fakeSource) Identity(context.Context) (driver.Identity, error) {
	s.mu.Lock()
	id := s.id
	if r := s.receipt; r != nil {
		kept := *r
		id.Acked = &kept
	}
	s.mu.Unlock()
	return id, s.failure("identity")
}

func (s *fakeSource) Start(context.Context) (driver.Mark, error) {
	if err := s.failure("start"); err != nil {
		return driver.Mark{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _ := s.mark(s.start)
	return m, nil
}

func (s *fakeSource) Changes(_ context.Context, after driver.Mark) (driver.Changes, error) {
	if err := s.failure("changes"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.mark(after.LSN); !ok || m != after {
		return nil, fmt.Errorf("LSN %d: %w", after.LSN, driver.ErrDiverged)
	}
	if after.LSN < s.kept {
		return nil, fmt.Errorf("LSN %d: %w", after.LSN, driver.ErrLogLost)
	}
	s.open++
	i := 0
	for i < len(s.txs) && s.txs[i].Last() <= after.LSN {
		i++
	}
	return &fakeChanges{s: s, next: i}, nil
}

// hanging waits for the end of ctx if the method is to hang.
func (s *fakeSource) hanging(ctx context.Context, op string) error {
	s.mu.Lock()
	hang := s.hang == op
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *fakeSource) Ack(ctx context.Context, m driver.Receipt) error {
	if err := s.hanging(ctx, "ack"); err != nil {
		return err
	}
	if err := s.failure("ack"); err != nil {
		return err
	}
	s.mu.Lock()
	s.acks = append(s.acks, m.Mark)
	s.receipt = &m
	f := s.onAck
	s.mu.Unlock()
	if f != nil {
		f(m.Mark)
	}
	return nil
}

// acked returns the last acknowledged LSN.
func (s *fakeSource) acked() change.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acks) == 0 {
		return 0
	}
	return s.acks[len(s.acks)-1].LSN
}

// big commits one transaction of n rows.
func (s *fakeSource) big(n int, size int) change.LSN {
	records := make([]change.Record, n)
	for i := range records {
		key := int64(s.end()) + 1 + int64(i)
		records[i] = insert(1, key, noise(key, size))
	}
	return s.commit(records...)
}

type fakeChanges struct {
	s      *fakeSource
	next   int
	pieces []*change.Tx // of the last one, still to be returned
}

func (c *fakeChanges) Next(ctx context.Context) (*change.Tx, error) {
	for {
		if err := c.s.failure("next"); err != nil {
			return nil, err
		}
		c.s.mu.Lock()
		c.s.nexts++
		if c.next < len(c.s.txs) && c.s.skip > 0 && c.s.txs[c.next].First() == c.s.skip {
			c.next++
		}
		wake := c.s.wake
		if len(c.pieces) > 0 && (len(c.pieces) > c.s.withheld || c.pieces[0].Whole()) {
			tx := c.pieces[0]
			c.pieces = c.pieces[1:]
			c.s.pieces++
			c.s.mu.Unlock()
			return tx, nil
		}
		if c.s.kept > 0 && c.next < len(c.s.txs) && c.s.txs[c.next].Last() <= c.s.kept {
			c.s.mu.Unlock()
			return nil, driver.ErrLogLost
		}
		if len(c.pieces) == 0 && c.next < len(c.s.txs) {
			tx := *c.s.txs[c.next]
			tx.Records = slices.Clone(tx.Records)
			c.next++
			c.s.given++
			piece := c.s.piece
			c.s.mu.Unlock()
			if piece > 0 {
				c.pieces = change.Cut(&tx, piece)
				if c.s.spoil != nil && len(c.pieces) > 1 {
					c.pieces = c.s.spoil(c.pieces)
				}
				continue
			}
			return &tx, nil
		}
		c.s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *fakeChanges) Coverage(context.Context) (change.Time, bool, error) {
	if err := c.s.failure("coverage"); err != nil {
		return 0, false, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.covers++
	return c.s.clock() - 1, c.next == len(c.s.txs) && len(c.pieces) == 0 && !c.s.blind, nil
}

func (c *fakeChanges) Close() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.open--
	return nil
}

// failing makes one method of the source fail from its nth call on.
func (s *fakeSource) failing(op string, n int, err error) {
	calls := 0
	var mu sync.Mutex
	s.set(func() {
		s.fail = func(o string) error {
			mu.Lock()
			defer mu.Unlock()
			if o != op {
				return nil
			}
			if calls++; calls < n {
				return nil
			}
			return err
		}
	})
}

func (s *fakeSource) checkClosed(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != 0 {
		t.Errorf("%d views or logs of the source are still open", s.open)
	}
}
