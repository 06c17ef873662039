package archive

import (
	"context"
	"fmt"
	"sync"
)

// Load reads the chain to its head and returns the state there: the first time
// from the newest checkpoints, later from where it was. A manifest that is
// missing below the head is [ErrDamaged], one that breaks a rule [ErrChain].
func (a *Archive) Load(ctx context.Context) (*State, error) {
	if err := a.lock(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	return a.load(ctx)
}

func (a *Archive) load(ctx context.Context) (*State, error) {
	s := a.State().Clone()
	if s.Seq == 0 {
		var err error
		if s, err = a.fromCheckpoints(ctx, s); err != nil {
			return nil, err
		}
	}
	listed, err := a.listManifests(ctx, s.Seq)
	if err != nil {
		return nil, err
	}
	return a.follow(ctx, s, listed)
}

// Refresh reads what others have published since. When that is nothing it
// costs one read of an absent object.
func (a *Archive) Refresh(ctx context.Context) (*State, error) {
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
// after.
func (a *Archive) listManifests(ctx context.Context, after Seq) (Seq, error) {
	prefix := manifestPrefix(a.timeline)
	from := ""
	if after > 0 {
		from = ManifestKey(a.timeline, after)
	}
	last := after
	for info, err := range a.bucket.List(ctx, prefix, from) {
		if err != nil {
			return 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		if _, seq, err := ParseManifestKey(info.Key); err != nil {
			a.opts.Warn(fmt.Errorf("ignored: %w", err))
		} else {
			last = max(last, seq)
		}
	}
	return last, nil
}

// follow moves s, which it owns, to the head of the chain and keeps the result.
func (a *Archive) follow(ctx context.Context, s *State, listed Seq) (*State, error) {
	r := &reading{state: s, listed: listed}
	ahead := a.readAhead(ctx, s.Seq+1, listed)
	defer ahead.stop()
	q, done := r.first(), false
	for !done {
		var ans answer
		if q.seq <= listed && q.tries == 0 {
			ans = ahead.next(ctx)
		} else {
			ans = a.do(ctx, q)
		}
		var err error
		if q, done, err = r.step(ans, advanceOwn); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	a.setState(r.state)
	return r.state, nil
}

// readAhead reads manifests in parallel and hands them out in order.
type readAhead struct {
	queue chan chan answer // one for each manifest being read, in order
	stop  func()           // ends the reading and waits for it
}

func (a *Archive) readAhead(ctx context.Context, from, to Seq) *readAhead {
	ctx, cancel := context.WithCancel(ctx)
	r := &readAhead{queue: make(chan chan answer, a.opts.Parallel)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := from; seq <= to; seq++ {
			c := make(chan answer, 1)
			select {
			case r.queue <- c:
			case <-ctx.Done():
				return
			}
			wg.Go(func() { c <- a.do(ctx, request{op: opRead, seq: seq}) })
		}
	})
	r.stop = func() {
		cancel()
		wg.Wait()
	}
	return r
}

func (r *readAhead) next(ctx context.Context) answer {
	select {
	case c := <-r.queue:
		return <-c
	case <-ctx.Done():
		return answer{outcome: failed, err: ctx.Err()}
	}
}
