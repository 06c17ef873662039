package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// ErrAmbiguous says that a target leads to different places in different
// timelines: [AmbiguousError] lists them.
var ErrAmbiguous = errors.New("the target means something else in each timeline")

// Lead is where a target leads in one timeline.
type Lead struct {
	Timeline chain.TimelineID
	Point    recovery.Point
	Err      error // why it leads nowhere
}

// AmbiguousError lists where a target leads. It wraps [ErrAmbiguous].
type AmbiguousError struct {
	Target recovery.Target
	Leads  []Lead // one for each timeline, main first
}

func (e *AmbiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "target %s leads to different places in the archive's timelines; choose one", e.Target)
	for _, l := range e.Leads {
		fmt.Fprintf(&b, "\n  %s: ", l.Timeline)
		switch {
		case l.Err != nil:
			b.WriteString(l.Err.Error())
		case l.Point.Effective != 0:
			fmt.Fprintf(&b, "LSN %d, %s", l.Point.LSN, l.Point.Effective)
		default:
			fmt.Fprintf(&b, "LSN %d", l.Point.LSN)
		}
	}
	return b.String()
}

// Unwrap returns ErrAmbiguous.
func (e *AmbiguousError) Unwrap() error { return ErrAmbiguous }

// Choose returns the archive at the timeline that a target means when nobody
// has named one: the one that the place belongs to, when the target leads there
// in every timeline; a label is looked for in all. Otherwise it is an
// [*AmbiguousError]. A target that leads nowhere in any timeline is refused as it
// is in main.
func Choose(ctx context.Context, a *archive.Archive, t recovery.Target) (*archive.Archive, error) {
	all, err := a.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0].Archive, nil // which says itself what is wrong
	}
	var leads []Lead
	for _, b := range all {
		l := Lead{Timeline: b.Timeline, Err: b.Err}
		if b.Err == nil {
			l.Point, l.Err = recovery.Resolve(ctx, b.Archive.Bucket(), b.State, t)
		}
		if ctx.Err() != nil || errors.Is(l.Err, storage.ErrUnavailable) {
			return nil, l.Err
		}
		leads = append(leads, l)
	}
	found := leads
	if t.Kind == recovery.TargetLabel {
		found = nil
		for _, l := range leads {
			if !errors.Is(l.Err, recovery.ErrNoLabel) {
				found = append(found, l)
			}
		}
	}
	return agreed(all, t, leads, found)
}

// agreed returns the timeline of the one place that the leads agree on.
func agreed(all []*archive.Branch, t recovery.Target, leads, found []Lead) (*archive.Archive, error) {
	var owner *archive.Branch
	nowhere := true
	for i := range leads {
		nowhere = nowhere && leads[i].Err != nil
	}
	if nowhere {
		return nil, leads[0].Err
	}
	for i := range found {
		l := &found[i]
		if l.Err != nil || l.Point.LSN != found[0].Point.LSN {
			return nil, &AmbiguousError{Target: t, Leads: leads}
		}
		b := belongs(all, l.Timeline, l.Point.LSN)
		if owner != nil && b != owner {
			return nil, &AmbiguousError{Target: t, Leads: leads}
		}
		owner = b
	}
	return owner.Archive, nil
}

// belongs returns the timeline in which an LSN of another was written.
func belongs(all []*archive.Branch, in chain.TimelineID, lsn change.LSN) *archive.Branch {
	for _, b := range all {
		if b.Timeline != in {
			continue
		}
		if p := b.State.Parent; p != nil && lsn <= p.LSN {
			return belongs(all, p.Parent, lsn)
		}
		return b
	}
	return nil
}
