package capture

import (
	"context"
	"fmt"
	"testing"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/storage"
)

// steadySource yields n transactions of one row of about 130 bytes, again and
// again the same memory.
type steadySource struct {
	*fakeSource
	n int
}

func (s *steadySource) Changes(context.Context, driver.Mark) (driver.Changes, error) {
	r := &steadyChanges{n: s.n, schema: s.txs[0]}
	v := noise(1, 60)
	for i := range r.rows {
		r.rows[i] = insert(1, int64(i), fmt.Sprintf(`{"id":%d,"name":"name %d","note":"%s"}`, i, i, v))
	}
	return r, nil
}

type steadyChanges struct {
	schema *change.Tx
	rows   [1000]change.Record
	n, i   int
	lsn    change.LSN
	tx     change.Tx
	one    [1]change.Record
}

func (c *steadyChanges) Next(ctx context.Context) (*change.Tx, error) {
	c.lsn++
	if c.lsn == 1 {
		return c.schema, nil
	}
	if c.i == c.n {
		c.lsn--
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.one[0] = c.rows[c.i%len(c.rows)]
	c.one[0].LSN = c.lsn
	c.tx = change.Tx{ID: change.TxID(c.lsn), Commit: change.Time(1e15) + change.Time(c.lsn), Records: c.one[:]}
	c.i++
	return &c.tx, nil
}

func (c *steadyChanges) Coverage(context.Context) (change.Time, bool, error) {
	return change.Time(1e15), c.i == c.n, nil
}

func (c *steadyChanges) Close() error { return nil }

// BenchmarkCapture is what a capture costs for each transaction of one row,
// without the source and the store.
func BenchmarkCapture(b *testing.B) {
	mem := storage.NewMem()
	if _, err := archive.Init(b.Context(), mem, archive.InitOptions{}); err != nil {
		b.Fatal(err)
	}
	src := &steadySource{fakeSource: newFakeSource(), n: b.N}
	src.create(1)
	a, err := archive.Open(b.Context(), mem, archive.OpenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	c := New(a, src, Options{})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- c.Run(ctx) }()
	if _, err := c.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if got := a.State().Last; got != change.LSN(b.N+1) {
		b.Fatalf("the archive ends at LSN %d", got)
	}
}
