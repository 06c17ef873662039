package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
)

// job is one publication under way beside the loop.
type job struct {
	done  chan struct{}
	err   error // set before done is closed
	then  func(context.Context) error
	work  context.Context
	quiet bool // it publishes no manifest; only the loop looks at it
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
	if !j.quiet {
		r.lastPublish = time.Now()
	}
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

// sourceError is an error of the source, not of the archive: publishing again
// does not help, and what was read before it is sound.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

func isSourceError(err error) bool {
	var e *sourceError
	return errors.As(err, &e)
}

// final lists what no further attempt can change.
var final = []error{chain.ErrFenced, chain.ErrLocked, chain.ErrBroken, chain.ErrDamaged, chain.ErrManifest,
	archive.ErrNotArchive, archive.ErrNoTimeline, archive.ErrTimelineTaken, chain.ErrVersion, chain.ErrWrongRepo}

func isFinal(err error) bool {
	return isSourceError(err) || slices.ContainsFunc(final, func(f error) bool { return errors.Is(err, f) })
}

// retry runs do until it succeeds, ctx ends, the error is final or GiveUpAfter
// has passed.
func (c *Capturer) retry(ctx context.Context, what string, do func(context.Context) error) error {
	began := time.Now()
	pause := 100 * time.Millisecond
	for {
		err := do(ctx)
		switch {
		case err == nil:
			return nil
		case isFinal(err):
			return fmt.Errorf("%s: %w", what, err)
		case c.o.GiveUpAfter > 0 && time.Since(began) >= c.o.GiveUpAfter:
			return fmt.Errorf("%s: given up after %s: %w", what, time.Since(began).Round(time.Millisecond), err)
		}
		if ctx.Err() == nil {
			c.o.Log.Warn("the archive does not take it; trying again", "what", what, "in", pause, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; before that: %w", what, ctx.Err(), err)
		}
		pause = min(2*pause, c.o.RetryMax)
	}
}
