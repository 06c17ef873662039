package capture

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// place is where two histories have the same past: the archive's log hash there
// is one that the source vouches for.
type place struct {
	from *candidate
	mark driver.Mark
}

// fork begins a timeline at the last place that the source's history has in
// common with one in the archive.
func (h *chooser) fork(ctx context.Context) (choice, error) {
	at, err := h.common(ctx)
	if err != nil {
		return choice{}, err
	}
	if at.from == nil {
		return choice{}, refusal(driver.ErrDiverged, "the database can't fork: its log no longer reaches back to anything that the archive holds, it has no receipt of this archive, "+
			"and the archive's history of it begins at LSN %d, not at its first transaction; it needs an archive of its own", h.furthest(apart, lost, fits).State.Start)
	}
	child, err := at.from.Archive.Fork(ctx, archive.ForkOptions{Child: h.want, LSN: at.mark.LSN, LogHash: at.mark.LogHash,
		Note: fmt.Sprintf("%s database %s", h.self.Kind, h.self.System)})
	if errors.Is(err, driver.ErrDiverged) {
		return choice{}, &sourceError{err}
	}
	if err != nil {
		return choice{}, err
	}
	h.notify(Event{Kind: EventForked, Timeline: child.Timeline(), Parent: at.from.Timeline, LSN: at.mark.LSN})
	return choice{archive: child, mark: &at.mark}, nil
}

// common finds the last common place: where the source was restored, or of
// each timeline of its own the last that the source vouches for. What its log
// no longer shows is not taken for common: a copy may have gone on there.
func (h *chooser) common(ctx context.Context) (best place, err error) {
	if o := h.id.Restored; o != nil && o.Archive == h.repo {
		if best, err = h.restored(ctx, o); err != nil {
			return best, err
		}
	}
	for i := range h.all {
		k := &h.all[i]
		if k.relation == foreign {
			continue
		}
		p, err := h.lastCommon(ctx, k)
		if err != nil {
			return best, err
		}
		if p.from != nil && (best.from == nil || p.mark.LSN > best.mark.LSN) {
			best = p
		}
	}
	return best, nil
}

// restored is the place that the source was restored from.
func (h *chooser) restored(ctx context.Context, o *driver.Origin) (place, error) {
	from := h.find(chain.TimelineID(o.Timeline))
	if from == nil || from.Err == nil && from.State.Last < o.LSN {
		return place{}, refusal(driver.ErrTruncated, "the database was restored from LSN %d of timeline %s, which the archive no longer holds: bring the missing objects back from a copy of the archive", o.LSN, o.Timeline)
	}
	if from.Err != nil {
		return place{}, from.Err
	}
	m := driver.Mark{LSN: o.LSN, LogHash: o.LogHash}
	r, reason, err := h.try(ctx, m)
	if err == nil && r == apart {
		err = refusal(driver.ErrDiverged, "the database says that it was restored from LSN %d of timeline %s, but its history is another (%v)", o.LSN, o.Timeline, reason)
	}
	return place{from, m}, err
}

// lastCommon finds the last end of a segment, or of a gap, that the source
// accepts; where its log does not reach back that far, the place of its last
// receipt, or its own place, if the archive holds that; otherwise the beginning
// of all. Without any of these the place is empty.
func (h *chooser) lastCommon(ctx context.Context, k *candidate) (place, error) {
	s := k.State
	start := driver.Mark{LSN: s.Start, LogHash: s.StartLog}
	r, _, err := h.try(ctx, start)
	if err != nil || r == apart {
		return place{}, err
	}
	var p place
	if r == fits || s.Start == 0 {
		p = place{k, start}
	}
	lo, hi := s.Start, s.Last // what follows lo is to be tried, hi included
	for lo < hi {
		m, begins, err := boundary(ctx, s, lo+(hi-lo+1)/2)
		if err != nil {
			return p, err
		}
		switch r, _, err = h.try(ctx, m); {
		case err != nil:
			return p, err
		case r == apart:
			hi = begins
		case r == fits:
			lo, p = m.LSN, place{k, m}
		default:
			lo = m.LSN
		}
	}
	if h.acked != nil {
		if p, err = h.further(ctx, p, k, h.acked.Mark); err != nil {
			return p, err
		}
	}
	own, err := h.ownMark(ctx)
	if err != nil {
		return p, err
	}
	return h.further(ctx, p, k, own)
}

// boundary returns the end of the segment or gap that holds an LSN, and the LSN
// before it.
func boundary(ctx context.Context, s *chain.State, lsn change.LSN) (driver.Mark, change.LSN, error) {
	seg, err := s.Segments.Covering(ctx, lsn)
	if err != nil {
		return driver.Mark{}, 0, err
	}
	if seg != nil {
		b := &seg.Body
		return driver.Mark{LSN: b.Last, LogHash: b.LogHash, Position: b.Position}, b.First - 1, nil
	}
	for i := range s.Gaps {
		if g := &s.Gaps[i].Body; g.First <= lsn && lsn <= g.Last {
			return driver.Mark{LSN: g.Last, LogHash: g.LogHash, Position: g.Position}, g.First - 1, nil
		}
	}
	return driver.Mark{}, 0, fmt.Errorf("LSN %d of timeline %s is in no segment and no gap: %w", lsn, s.Timeline, chain.ErrDamaged)
}

// ownMark returns the place where the source stands.
func (h *chooser) ownMark(ctx context.Context) (driver.Mark, error) {
	view, err := h.source.Snapshot(ctx)
	if err != nil {
		return driver.Mark{}, &sourceError{fmt.Errorf("open a snapshot of the source: %w", err)}
	}
	m := view.Mark()
	if err := view.Close(); err != nil {
		return m, &sourceError{fmt.Errorf("close a snapshot of the source: %w", err)}
	}
	return m, nil
}

// further returns the place of a mark in the source's history if a timeline
// holds that, and further on than p.
func (h *chooser) further(ctx context.Context, p place, k *candidate, m driver.Mark) (place, error) {
	if m.LSN < k.State.Start || m.LSN > k.State.Last || p.from != nil && m.LSN <= p.mark.LSN {
		return p, nil
	}
	hash, _, err := k.Archive.LogAt(ctx, k.State, m.LSN)
	switch {
	case errors.Is(err, chain.ErrBroken): // no transaction ends there
		return p, nil
	case err != nil:
		return p, err
	case hash == m.LogHash:
		return place{k, m}, nil
	}
	return p, nil
}
