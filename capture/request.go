package capture

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
)

// request asks the loop for something; at most one reply is sent.
type request struct {
	ctx       context.Context // of who asks: when it ends, nobody waits any more
	snapshot  bool            // else a sync
	own       bool            // a snapshot that the capturer itself needs: a failed one is tried again
	notBefore time.Time
	reply     chan reply
}

// dropped reports whether nobody waits for the reply.
func (q *request) dropped() bool { return q.ctx.Err() != nil }

type reply struct {
	mark     driver.Mark
	snapshot *chain.Snapshot
	err      error
}

// Sync waits until everything that was durable in the source when it was
// called is archived, and returns the archive's end. In an archive that starts
// in the middle of a history it waits for the first base too.
func (c *Capturer) Sync(ctx context.Context) (driver.Mark, error) {
	r, err := c.ask(ctx, request{})
	return r.mark, err
}

// Snapshot reads a base from the source and waits until it is archived. One is
// taken at a time; others wait. One that has begun goes on when ctx ends.
func (c *Capturer) Snapshot(ctx context.Context) (*chain.Snapshot, error) {
	r, err := c.ask(ctx, request{snapshot: true})
	return r.snapshot, err
}

func (c *Capturer) ask(ctx context.Context, q request) (reply, error) {
	q.ctx, q.reply = ctx, make(chan reply, 1)
	c.inbox.put(q)
	select {
	case r := <-q.reply:
		return r, r.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-c.stopped:
	}
	select {
	case r := <-q.reply:
		return r, r.err
	default:
		return reply{}, ErrStopped
	}
}

// inbox brings requests, and word of finished work, to a loop that waits for
// the source.
type inbox struct {
	mu       sync.Mutex
	requests []request          // guarded by mu
	poked    bool               // guarded by mu; since the last wait began
	cancel   context.CancelFunc // guarded by mu; ends the wait under way
}

// put leaves a request and ends the wait. Those that nobody waits for any more
// make room, so that a loop that waits for the store does not heap them up.
func (b *inbox) put(q request) {
	b.mu.Lock()
	b.requests = slices.DeleteFunc(b.requests, func(q request) bool { return q.dropped() })
	b.requests = append(b.requests, q)
	b.mu.Unlock()
	b.poke()
}

// poke ends the wait under way, or else the next one at once.
func (b *inbox) poke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.poked = true
	if b.cancel != nil {
		b.cancel()
	}
}

// take returns the requests that have come.
func (b *inbox) take() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.requests
	b.requests = nil
	return q
}

// wait starts a wait: a context that ends with ctx, after d, or when poked.
func (b *inbox) wait(ctx context.Context, d time.Duration) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
	ctx, b.cancel = context.WithTimeout(ctx, d)
	if b.poked {
		b.poked = false
		b.cancel()
	}
	return ctx
}
