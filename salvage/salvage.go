// Package salvage takes from a damaged archive what can still be proved, and
// says exactly what can't.
//
// It is no restore: collections may stand at different transactions, and rows
// may be missing. Every row that it delivers is one that the database held at
// the LSN that the report states for its collection; everything else is in the
// report. The archive is only read.
package salvage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

var (
	// ErrNotNeeded says that an ordinary restore reaches the target whole.
	ErrNotNeeded = errors.New("nothing is to be salvaged: an ordinary restore reaches the target")

	// ErrNothing says that not one collection can be proved at any place.
	ErrNothing = errors.New("nothing of the database can be proved any more")
)

// Options tune a salvage. The zero value is ready for use.
type Options struct {
	Target recovery.Target // how far to go; default the end of the archive

	// Newest takes the intact ranges of a damaged base where that reaches
	// further than whole collections do. Otherwise a damaged base is used only
	// for collections that nothing else leads to.
	Newest bool

	Memory   int64  // bytes for sorting and buffers; default 384 MiB
	TempDir  string // where sorts spill; default the system's
	Progress func(done, all int64)

	// Tell is given the report before the result gets its name: when it fails,
	// nothing is left there. nil: nobody.
	Tell func(*Report) error
}

// Run salvages the archive's timeline into a target that must be empty. On an
// error nothing is left there. Errors: ErrNotNeeded, ErrNothing, those of the
// target (restore.ErrPreflight) and of a store that is away, and those of a
// target that makes no sense (recovery.ErrNoLabel, ErrOutside …).
func Run(ctx context.Context, a *archive.Archive, dst driver.Target, o Options) (*Report, error) {
	began := time.Now()
	if err := notNeeded(ctx, a, o); err != nil {
		return nil, err
	}
	remains, err := a.Remains(ctx)
	if err != nil {
		return nil, err
	}
	point, coarse, err := resolve(ctx, a, remains, o.Target)
	if err != nil {
		return nil, err
	}
	s, found, err := look(ctx, a, remains.State, point.LSN, o)
	if err != nil {
		return nil, err
	}
	routes := plan(s, o.Newest)
	report := newReport(a, o, remains, s, point, routes)
	report.Coarse = coarse
	report.Damaged = append(report.Damaged, remains.Findings...)
	report.Damaged = append(report.Damaged, found...)
	if report.Delivered() == 0 {
		return report, fmt.Errorf("through LSN %d: %w", point.LSN, ErrNothing)
	}
	l := &load{a: a, o: o, s: s, dst: dst, state: remains.State, report: report}
	if err := l.run(ctx, routes, wanted(s, remains.State, point, routes), began); err != nil {
		return nil, err
	}
	return report, nil
}

// notNeeded tries the ordinary restore, all but the loading: ErrNotNeeded when
// it would succeed, nil when the archive is in its way.
func notNeeded(ctx context.Context, a *archive.Archive, o Options) error {
	state, plan, err := restore.Prepare(ctx, a, o.Target)
	var got []chain.CollectionDigest
	if err == nil {
		got, err = restore.Digests(ctx, a, plan, restore.Options{Memory: o.Memory, TempDir: o.TempDir})
	}
	if err == nil {
		err = restore.Confirm(state, plan.Point.LSN, got)
	}
	switch {
	case err == nil:
		return fmt.Errorf("%w (LSN %d)", ErrNotNeeded, plan.Point.LSN)
	case ctx.Err() != nil:
		return ctx.Err()
	case restore.Damaged(err), errors.Is(err, recovery.ErrInGap):
		return nil
	}
	return err
}

// resolve finds the place that a target means, coarsely where what would tell
// is damaged: then it says how.
func resolve(ctx context.Context, a *archive.Archive, r *archive.Remains, t recovery.Target) (p recovery.Point, coarse string, err error) {
	s := r.State
	if !s.Started {
		return p, "", fmt.Errorf("timeline %s, through manifest %d: %w", s.Timeline, s.Seq, ErrNothing)
	}
	if p, err = recovery.Resolve(ctx, a.Bucket(), s, t); err == nil {
		return p, "", nil
	}
	beyond := r.Listed > s.Seq // the chain went on
	coarse = "the transaction there can't be read"
	if errors.Is(err, recovery.ErrInGap) {
		coarse = "that lies in a gap of the log"
	}
	switch {
	case ctx.Err() != nil:
		return p, "", ctx.Err()
	case !restore.Damaged(err) && !errors.Is(err, recovery.ErrInGap) && !errors.Is(err, recovery.ErrOutside):
		return p, "", err
	case t.Kind == recovery.TargetTx:
		return p, "", err
	}
	n, known := s.Last, true
	switch t.Kind {
	case recovery.TargetLSN:
		n = t.LSN
	case recovery.TargetLabel:
		n = s.Labels[t.Label].Body.LSN
	case recovery.TargetTime:
		n, known, err = atTime(ctx, s, t)
		if err != nil {
			return p, "", err
		}
	}
	if t.Before && t.Kind != recovery.TargetTime && n > 0 {
		n-- // that may lie inside a transaction of which nothing can be read
	}
	switch {
	case n > s.Last && !beyond:
		return p, "", fmt.Errorf("LSN %d: the archive ends at LSN %d: %w", n, s.Last, recovery.ErrOutside)
	case n > s.Last:
		return recovery.Point{LSN: s.Last}, fmt.Sprintf("what can be proved of the chain ends at LSN %d", s.Last), nil
	case !known:
		return recovery.Point{LSN: n}, "the transactions around that time can't be read: the segment before them is taken", nil
	}
	return recovery.Point{LSN: max(n, s.Start)}, coarse, nil
}

// atTime returns the end of the last segment whose transactions all lie at or
// before a time; known is false when a later one may hold some too.
func atTime(ctx context.Context, s *chain.State, t recovery.Target) (n change.LSN, known bool, err error) {
	at := t.Time
	if t.Before {
		at--
	}
	seg, err := s.Segments.Starting(ctx, at)
	switch {
	case err != nil:
		return 0, false, err
	case seg == nil:
		return s.Start, true, nil
	case seg.Body.Effective.To <= at:
		return seg.Body.Last, true, nil
	}
	return seg.Body.First - 1, false, nil
}
