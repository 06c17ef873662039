package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// DefaultStaleAfter is how long a capturer may be silent before another may
// claim its timeline without a person's word.
const DefaultStaleAfter = 60 * time.Second

// ClaimOptions are the options of [Archive.Claim].
type ClaimOptions struct {
	Source chain.Source // which database this is
	Holder string       // host and process, for people; default ""

	// Mark says where the source stands at the end of the archive's log
	// (State.Last), as the source itself sees it; before the first claim, where
	// the log is to start. driver.ErrDiverged when the source's history is not
	// the archive's. It may be called several times.
	Mark func(ctx context.Context, s *chain.State) (driver.Mark, error)

	Takeover   bool          // a person says that the holder is gone for good
	StaleAfter time.Duration // default DefaultStaleAfter
	Now        change.Time   // default the Archive's clock
}

// Session is the epoch of one capturer. Its methods are safe for concurrent
// use. Once one of them has returned [chain.ErrFenced], all do.
type Session struct {
	a     *Archive
	epoch chain.Epoch

	mu     sync.Mutex
	fenced error // guarded by mu
}

// Claim starts an epoch and returns its session. While another capturer holds
// the timeline and has published within StaleAfter, the error is a
// [*LockedError]. A source that is not the one in the archive, or does not
// stand where the archive ends, is refused with [chain.ErrBroken].
func (a *Archive) Claim(ctx context.Context, opts ClaimOptions) (*Session, error) {
	if opts.StaleAfter <= 0 {
		opts.StaleAfter = DefaultStaleAfter
	}
	if opts.Now == 0 {
		opts.Now = change.TimeOf(a.opts.Now())
	}
	if _, err := a.Load(ctx); err != nil {
		return nil, err
	}
	s, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		over, err := a.mayClaim(s, &opts)
		if err != nil {
			return nil, err
		}
		mark, err := opts.Mark(ctx, s)
		if err != nil {
			return nil, err
		}
		return &chain.Manifest{Kind: chain.KindClaim, Epoch: s.Epoch + 1, Claim: &chain.Claim{Source: opts.Source, LSN: mark.LSN,
			LogHash: mark.LogHash, Position: mark.Position, Over: over, Holder: opts.Holder}}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim timeline %s: %w", a.timeline, err)
	}
	return &Session{a: a, epoch: s.Epoch}, nil
}

// mayClaim decides whether and over what an epoch may start. An open epoch
// whose claim was sent from here is a claim that seemed to fail.
func (a *Archive) mayClaim(s *chain.State, opts *ClaimOptions) (chain.Over, error) {
	if !s.EpochOpen {
		return chain.OverNothing, nil
	}
	if opts.Takeover {
		return chain.OverTakeover, nil
	}
	a.mu.Lock()
	own := a.claims[s.EpochNonce]
	a.mu.Unlock()
	age := opts.Now - s.EpochSeen
	if own || age >= change.Time(opts.StaleAfter.Microseconds()) {
		return chain.OverStale, nil
	}
	return "", &LockedError{Timeline: s.Timeline, Epoch: s.Epoch, Holder: s.EpochOwner, Seen: s.EpochSeen, Age: age}
}

// Epoch returns the number of the session's epoch.
func (c *Session) Epoch() chain.Epoch { return c.epoch }

// Archive returns the archive that the session publishes to.
func (c *Session) Archive() *Archive { return c.a }

// State returns the chain as far as it is known here.
func (c *Session) State() *chain.State { return c.a.State() }

// check returns ErrFenced when the epoch is over.
func (c *Session) check(s *chain.State) error { return stillOpen(s, c.epoch) }

func stillOpen(s *chain.State, e chain.Epoch) error {
	switch {
	case s.Epoch == e && s.EpochOpen:
		return nil
	case s.Epoch == e:
		return fmt.Errorf("epoch %d was closed: %w", e, chain.ErrFenced)
	}
	return fmt.Errorf("epoch %d ended when %q claimed epoch %d: %w", e, s.EpochOwner, s.Epoch, chain.ErrFenced)
}

// publish publishes what body returns under the session's epoch.
func (c *Session) publish(ctx context.Context, body func(*chain.State) (*chain.Manifest, error)) error {
	return c.guard(func() error {
		_, err := c.a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
			return underEpoch(s, c.epoch, body)
		})
		return err
	})
}

// underEpoch returns what body publishes after s, under an epoch that must
// still be open there.
func underEpoch(s *chain.State, e chain.Epoch, body func(*chain.State) (*chain.Manifest, error)) (*chain.Manifest, error) {
	if err := stillOpen(s, e); err != nil {
		return nil, err
	}
	m, err := body(s)
	if err == nil {
		m.Epoch = e
	}
	return m, err
}

// guard runs f unless the session is fenced, and remembers when f finds it so.
func (c *Session) guard(f func() error) error {
	c.mu.Lock()
	err := c.fenced
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err = f(); errors.Is(err, chain.ErrFenced) {
		c.mu.Lock()
		c.fenced = err
		c.mu.Unlock()
	}
	return err
}

// Segment adds transactions to the log. After nil they are archived for good.
// A segment that an earlier call has published after all, without knowing it
// ([ErrUnresolved]), is no error.
func (c *Session) Segment(ctx context.Context, b chain.Segment) error {
	return c.publish(ctx, func(s *chain.State) (*chain.Manifest, error) { return segmentAfter(s, &b) })
}

func segmentAfter(s *chain.State, b *chain.Segment) (*chain.Manifest, error) {
	if last := s.Segments.Last(); last != nil && s.Last == b.Last {
		if old := &last.Body; old.First == b.First && old.LogHash == b.LogHash && slices.Equal(old.Packs, b.Packs) {
			return nil, errDone
		}
	}
	return &chain.Manifest{Kind: chain.KindSegment, Segment: b}, nil
}

// Coverage promises that no transaction after the end of the log gets an
// effective time at or before until, or what was promised before if that is
// later: it is also the sign that the capturer is alive.
func (c *Session) Coverage(ctx context.Context, until change.Time) error {
	return c.publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		return &chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: s.Last, CoveredUntil: max(until, s.CoveredUntil)}}, nil
	})
}

// Snapshot announces a base read from the source. The archive must hold the
// log through its LSN.
func (c *Session) Snapshot(ctx context.Context, b chain.Snapshot) error {
	b.Origin = chain.OriginSource
	return c.guard(func() error {
		return c.a.publishSnapshot(ctx, &b, func(s *chain.State) (chain.Epoch, error) { return c.epoch, c.check(s) })
	})
}

// Digest announces fingerprints that the source computed.
func (c *Session) Digest(ctx context.Context, d chain.Digest) error {
	return c.publish(ctx, func(*chain.State) (*chain.Manifest, error) {
		return &chain.Manifest{Kind: chain.KindDigest, Digest: &d}, nil
	})
}

// Gap declares that the log is not provable from its next LSN to g.Last.
func (c *Session) Gap(ctx context.Context, g chain.Gap) error {
	return c.publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		if n := len(s.Gaps); n > 0 && s.Last == g.Last && s.Gaps[n-1].Body.Last == g.Last && s.LogHash == g.LogHash {
			return nil, errDone
		}
		return &chain.Manifest{Kind: chain.KindGap, Gap: &g}, nil
	})
}

// Close ends the epoch, so that the next capturer need not wait. The session
// is of no use afterwards.
func (c *Session) Close(ctx context.Context) error {
	return c.guard(func() error {
		_, err := c.a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
			if s.Epoch == c.epoch && !s.EpochOpen {
				return nil, errDone
			}
			if err := c.check(s); err != nil {
				return nil, err
			}
			return &chain.Manifest{Kind: chain.KindClose, Epoch: c.epoch, Close: &chain.Close{LSN: s.Last}}, nil
		})
		if err == nil {
			c.mu.Lock()
			c.fenced = fmt.Errorf("epoch %d was closed: %w", c.epoch, chain.ErrFenced)
			c.mu.Unlock()
		}
		return err
	})
}
