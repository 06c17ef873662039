package recovery

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
)

// Holds reports whether a chain's state leads to the plan: whether it announces
// the plan's base and segments as the plan lists them, and says the same of
// schemas and truncates. A plan that was stored, or that somebody else made, is
// worth no more than that. The state may have grown since.
//
// The error wraps [ErrNoPlan] where it does not.
func (p *Plan) Holds(ctx context.Context, s *chain.State) error {
	if p.Point.LSN < s.Start || p.Point.LSN > s.Last {
		return fmt.Errorf("the plan leads to LSN %d, the archive holds LSN %d to %d: %w", p.Point.LSN, s.Start, s.Last, ErrNoPlan)
	}
	var base *chain.Announced[chain.Snapshot]
	if p.Base != nil {
		for i := range s.Snapshots {
			if b := &s.Snapshots[i]; b.Timeline == p.Base.Timeline && b.Seq == p.Base.Seq {
				base = b
			}
		}
		if base == nil {
			return fmt.Errorf("the plan starts from a snapshot in %s, which announces none: %w", p.Base.key(), ErrNoPlan)
		}
	}
	again := &Plan{Repo: p.Repo, Timeline: p.Timeline, Point: p.Point}
	if err := again.from(ctx, s, base); err != nil {
		return err
	}
	want, err := again.Work()
	if err != nil {
		return err
	}
	got, err := p.Work()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the plan is not what the archive's chain leads to: %w", ErrNoPlan)
	}
	// Of IDs that were used by then none may be used again.
	for _, c := range p.Schemas {
		if c.Collection >= p.NextID {
			return fmt.Errorf("the plan would use the ID of collection %q again: %w", c.Name, ErrNoPlan)
		}
	}
	if p.NextID > s.NextCollection {
		return fmt.Errorf("the plan's next collection is %d, the archive's %d: %w", p.NextID, s.NextCollection, ErrNoPlan)
	}
	return nil
}
