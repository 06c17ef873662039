package archive

import (
	"context"
	"fmt"
	"sync"

	"github.com/tidemarkdb/tidemark/chain"
)

// Load reads the chain to its head and returns the state there: the first time
// from the newest checkpoints, later from where it was. That of a fork begins
// with its parent's history, which is read first unless a checkpoint has it. A manifest that is missing
// below the head is [chain.ErrDamaged], one that breaks a rule [chain.ErrBroken];
// a timeline that there is not is [ErrNoTimeline].
func (a *Archive) Load(ctx context.Context) (*chain.State, error) {
	if err := a.lock(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	return a.load(ctx)
}

func (a *Archive) load(ctx context.Context) (*chain.State, error) {
	s := a.State().Clone()
	if s.Seq == 0 && s.Parent == nil { // else Fork has said what it goes on from
		var err error
		if a.opts.Known != nil {
			s, err = a.known(ctx)
		} else {
			s, err = a.fromCheckpoints(ctx, 0)
		}
		if err != nil {
			return nil, err
		}
		if s == nil {
			if s, err = a.origin(ctx); err != nil {
				return nil, err
			}
		}
	}
	listed, err := a.listManifests(ctx, s.Seq, a.opts.Warn)
	if err != nil {
		return nil, err
	}
	return a.follow(ctx, s, listed)
}

// Refresh reads what others have published since. When that is nothing it
// costs one read of an absent object.
func (a *Archive) Refresh(ctx context.Context) (*chain.State, error) {
	if err := a.lock(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	s := a.State()
	if s.Seq == 0 {
		return a.load(ctx)
	}
	if a.do(ctx, request{op: opRead, seq: s.Seq + 1}).outcome == absent {
		return s, nil
	}
	return a.load(ctx)
}

// listManifests returns the greatest number above after that a list shows, or
// after. It warns of what is no manifest.
func (a *Archive) listManifests(ctx context.Context, after chain.Seq, warn func(error)) (chain.Seq, error) {
	prefix := chain.ManifestPrefix(a.timeline)
	from := ""
	if after > 0 {
		from = chain.ManifestKey(a.timeline, after)
	}
	last := after
	for info, err := range a.bucket.List(ctx, prefix, from) {
		if err != nil {
			return 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		if _, seq, err := chain.ParseManifestKey(info.Key); err != nil {
			warn(fmt.Errorf("ignored: %w", err))
		} else {
			last = max(last, seq)
		}
	}
	return last, nil
}

// follow moves s, which it owns, to the head of the chain and keeps the result.
func (a *Archive) follow(ctx context.Context, s *chain.State, listed chain.Seq) (*chain.State, error) {
	r := &reading{state: s, listed: listed}
	ahead := a.readAhead(ctx, s.Seq+1, listed)
	defer ahead.stop()
	q, done := r.first(), false
	for !done {
		var ans answer
		var err error
		if q.seq <= listed && q.tries == 0 {
			ans, err = ahead.next(ctx)
		} else {
			ans = a.do(ctx, q)
		}
		if err != nil {
			return nil, err
		}
		if q, done, err = r.step(ans, a.advance(ctx)); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	a.setState(r.state)
	return r.state, nil
}

// readAhead reads the manifests from … to in parallel.
func (a *Archive) readAhead(ctx context.Context, from, to chain.Seq) *ordered[answer] {
	n := 0
	if to >= from {
		n = int(to-from) + 1
	}
	return inOrder(ctx, a.opts.Parallel, n, func(ctx context.Context, i int) answer {
		return a.do(ctx, request{op: opRead, seq: from + chain.Seq(i)})
	})
}

// ordered hands out the results of work that is done in parallel, in order.
type ordered[T any] struct {
	queue chan chan T // one for each piece of work under way
	stop  func()      // ends the work and waits for it
}

// inOrder starts work 0 … n−1, parallel pieces at a time. The caller stops it.
func inOrder[T any](ctx context.Context, parallel, n int, work func(ctx context.Context, i int) T) *ordered[T] {
	ctx, cancel := context.WithCancel(ctx)
	o := &ordered[T]{queue: make(chan chan T, max(parallel-1, 0))}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			c := make(chan T, 1)
			select {
			case o.queue <- c:
			case <-ctx.Done():
				return
			}
			wg.Go(func() { c <- work(ctx, i) })
		}
	})
	o.stop = func() {
		cancel()
		wg.Wait()
	}
	return o
}

// next waits for the next result; it is called n times at most.
func (o *ordered[T]) next(ctx context.Context) (v T, err error) {
	select {
	case c := <-o.queue:
		return <-c, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
