package bench

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// customerSource is a database that only exists as a workload: one whose
// history before LSN 1 is gone. It shows its base as a snapshot at that LSN,
// then makes its changes and rests. It can be captured once.
type customerSource struct {
	base    *Customers // as it was at LSN 1
	log     *Customers
	left    int           // changes to come
	mark    driver.Mark   // where it starts
	opened  chan struct{} // closed when the snapshot was opened
	open    sync.Once
	read    chan struct{} // closed when every change was read
	readAll sync.Once
	shown   chan struct{} // closed when the snapshot was closed
	close   sync.Once
}

// newCustomerSource takes over a workload that stands at LSN 1.
func newCustomerSource(seed uint64, rows, changes int) (*customerSource, error) {
	s := &customerSource{left: changes, opened: make(chan struct{}), read: make(chan struct{}), shown: make(chan struct{})}
	var err error
	if s.base, err = NewCustomers(seed, rows); err != nil {
		return nil, err
	}
	if s.log, err = NewCustomers(seed, rows); err != nil {
		return nil, err
	}
	r, err := change.SchemaRecord(s.log.Schema)
	if err != nil {
		return nil, err
	}
	r.LSN = s.log.LSN()
	t := &change.Tx{ID: 1, Commit: workloadStart, Records: []change.Record{r}}
	s.mark = driver.Mark{LSN: r.LSN, LogHash: change.LogHash(change.Hash{}, change.AppendTx(nil, t))}
	return s, nil
}

func (s *customerSource) Identity(context.Context) (driver.Identity, error) {
	return driver.Identity{Kind: "workload", System: fmt.Sprintf("customers-%d", s.log.seed)}, nil
}

func (s *customerSource) Start(context.Context) (driver.Mark, error) { return s.mark, nil }

func (s *customerSource) Changes(_ context.Context, after driver.Mark) (driver.Changes, error) {
	if after != s.mark {
		return nil, fmt.Errorf("the workload can only be read from its start, not from LSN %d: %w", after.LSN, driver.ErrLogLost)
	}
	return &customerChanges{s}, nil
}

func (s *customerSource) Snapshot(context.Context) (driver.Snapshot, error) {
	s.open.Do(func() { close(s.opened) })
	return &customerSnapshot{s}, nil
}

func (s *customerSource) Ack(context.Context, driver.Receipt) error { return nil }

// customerChanges is the log. It begins when the snapshot is open: one of the
// database as it was would else come too late.
type customerChanges struct{ *customerSource }

func (c *customerChanges) Next(ctx context.Context) (*change.Tx, error) {
	select {
	case <-c.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.left > 0 {
		t, err := c.log.Next(c.left)
		if err == nil {
			c.left -= len(t.Records)
		}
		return t, err
	}
	c.readAll.Do(func() { close(c.read) })
	<-ctx.Done()
	return nil, ctx.Err()
}

func (c *customerChanges) Coverage(context.Context) (change.Time, bool, error) { return 0, false, nil }

func (c *customerChanges) Close() error { return nil }

// customerSnapshot is the base.
type customerSnapshot struct{ *customerSource }

func (c *customerSnapshot) Mark() driver.Mark { return c.mark }

func (c *customerSnapshot) Taken() change.Time { return workloadStart }

func (c *customerSnapshot) Schemas() []*change.Schema { return []*change.Schema{c.base.Schema} }

func (c *customerSnapshot) Rows(_ context.Context, id change.CollectionID) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		r := change.Record{Op: change.Insert, Collection: id}
		for row, err := range c.base.Rows() {
			r.Key, r.Image = row.Key, row.Image
			if !yield(&r, err) || err != nil {
				return
			}
		}
	}
}

func (c *customerSnapshot) Close() error {
	c.close.Do(func() { close(c.shown) })
	return nil
}
