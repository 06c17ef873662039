package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
)

// open opens the source's log after a mark. Where that is lost it opens it
// where the source goes on, and returns that place.
func (c *Capturer) open(ctx context.Context, s *chain.State, mark driver.Mark) (driver.Changes, *detour, error) {
	ch, lostLog := c.source.Changes(ctx, mark)
	if lostLog == nil {
		return ch, nil, nil
	}
	failed := &sourceError{fmt.Errorf("open the source's log after LSN %d: %w", mark.LSN, lostLog)}
	if !errors.Is(lostLog, driver.ErrLogLost) || c.o.NoGap || !s.Started {
		return nil, nil, failed
	}
	after, err := c.source.Start(ctx)
	if err != nil {
		return nil, nil, &sourceError{fmt.Errorf("find where the source's log goes on: %w", err)}
	}
	if after.LSN <= s.Last {
		return nil, nil, failed
	}
	if ch, err = c.source.Changes(ctx, after); err != nil {
		return nil, nil, &sourceError{fmt.Errorf("open the source's log after LSN %d, where it goes on: %w", after.LSN, err)}
	}
	return ch, &detour{after, why(lostLog, driver.ErrLogLost)}, nil
}

// detour is where a source goes on whose log is lost before.
type detour struct {
	driver.Mark
	reason string
}

// why is an error without the sentinel at its end.
func why(err, sentinel error) string {
	return strings.TrimSuffix(err.Error(), ": "+sentinel.Error())
}

// declare publishes the gap that lies between the archive's end and the place
// where the source goes on.
func (c *Capturer) declare(ctx context.Context, session *archive.Session, after *detour) error {
	s := session.State()
	from := max(s.Effective, s.CoveredUntil)
	g := chain.Gap{First: s.Last + 1, Last: after.LSN, Reason: after.reason, From: from,
		To: max(from, c.o.Now()), LogHash: after.LogHash, Position: after.Position}
	if err := session.Gap(ctx, g); err != nil {
		return err
	}
	c.notify(Event{Kind: EventGap, Timeline: s.Timeline, LSN: g.Last, Gap: &g, Warning: true})
	return nil
}

// needsBase reports whether the end of the log can't be restored for want of a
// base.
func needsBase(s *chain.State) bool {
	floor := s.Start
	if n := len(s.Gaps); n > 0 {
		floor = s.Gaps[n-1].Body.Last
	}
	return floor > 0 && !slices.ContainsFunc(s.Snapshots, func(b chain.Announced[chain.Snapshot]) bool { return b.Body.LSN >= floor })
}

// takeOver goes on with what was asked of the run before this one.
func (r *run) takeOver(before *run) {
	if before == nil {
		return
	}
	for _, q := range before.syncs {
		r.syncs = append(r.syncs, pendingSync{request: q.request})
	}
	for _, q := range before.snapshots {
		if !q.own {
			r.snapshots = append(r.snapshots, q)
		}
	}
}
