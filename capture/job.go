package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
)

// job is one publication under way beside the loop.
type job struct {
	done chan struct{}
	err  error // set before done is closed
	then func(context.Context) error
	work context.Context
}

// start runs do beside the loop until it succeeds or can't; then runs in the
// loop after a success. No other job is under way.
func (r *run) start(work context.Context, what string, do, then func(context.Context) error) {
	j := &job{done: make(chan struct{}), then: then, work: work}
	r.job = j
	go func() {
		j.err = r.retry(work, what, do)
		close(j.done)
		r.inbox.poke()
	}()
}

// collect takes in the job's outcome if it has ended.
func (r *run) collect() error {
	if r.job == nil {
		return nil
	}
	select {
	case <-r.job.done:
	default:
		return nil
	}
	j := r.job
	r.job = nil
	r.lastPublish = time.Now()
	if j.err != nil || j.then == nil {
		return j.err
	}
	return j.then(j.work)
}

// await waits for the job under way, if there is one.
func (r *run) await(ctx context.Context) error {
	if r.job == nil {
		return nil
	}
	select {
	case <-r.job.done:
		return r.collect()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// final lists what no further attempt can change.
var final = []error{archive.ErrFenced, archive.ErrChain, archive.ErrDamaged, archive.ErrNotArchive,
	archive.ErrVersion, archive.ErrWrongRepo}

// retry runs do until it succeeds, ctx ends, the error is final or GiveUpAfter
// has passed.
func (r *run) retry(ctx context.Context, what string, do func(context.Context) error) error {
	began := time.Now()
	pause := 100 * time.Millisecond
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		for _, f := range final {
			if errors.Is(err, f) {
				return fmt.Errorf("publish %s: %w", what, err)
			}
		}
		if g := r.o.GiveUpAfter; g > 0 && time.Since(began) >= g {
			return fmt.Errorf("publish %s: given up after %s: %w", what, time.Since(began).Round(time.Millisecond), err)
		}
		r.o.Log.Warn("the archive does not take it; trying again", "what", what, "in", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("publish %s: stopped while the archive does not take it: %w", what, err)
		}
		pause = min(2*pause, r.o.RetryMax)
	}
}
