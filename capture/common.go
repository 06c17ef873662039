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

// place is where two histories have the same past.
type place struct {
	from  *candidate
	mark  driver.Mark
	known bool // the source itself says that the mark is one of its own
}

// fork begins a timeline at the last place that the source's history has in
// common with one in the archive.
func (h *chooser) fork(ctx context.Context) (choice, error) {
	at, err := h.common(ctx)
	if err != nil {
		return choice{}, err
	}
	note := fmt.Sprintf("%s database %s", h.self.Kind, h.self.System)
	if !at.known {
		note += ", whose log no longer shows where it went apart"
	}
	child, err := at.from.Archive.Fork(ctx, archive.ForkOptions{Child: h.want, LSN: at.mark.LSN, LogHash: at.mark.LogHash, Note: note})
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
// each timeline of its own the last that it accepts.
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
		if best.from == nil || p.known && !best.known || p.known == best.known && p.mark.LSN > best.mark.LSN {
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
	return place{from: from, mark: m, known: r == fits}, err
}

// lastCommon finds the last end of a segment, or of a gap, that the source
// accepts; where its log does not reach back that far, the source's own place
// if the archive holds that; otherwise the last that it does not refuse.
func (h *chooser) lastCommon(ctx context.Context, k *candidate) (place, error) {
	s := k.State
	p := place{from: k, mark: driver.Mark{LSN: s.Start, LogHash: s.StartLog}}
	r, _, err := h.try(ctx, p.mark)
	if err != nil {
		return p, err
	}
	p.known = r == fits
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
		default:
			lo, p.mark, p.known = m.LSN, m, r == fits
		}
	}
	if p.known {
		return p, nil
	}
	return h.ownPlace(ctx, p)
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

// ownPlace returns the place where the source stands, if the archive holds it
// further on than p.
func (h *chooser) ownPlace(ctx context.Context, p place) (place, error) {
	view, err := h.source.Snapshot(ctx)
	if err != nil {
		return p, &sourceError{fmt.Errorf("open a snapshot of the source: %w", err)}
	}
	m := view.Mark()
	if err := view.Close(); err != nil {
		return p, &sourceError{fmt.Errorf("close a snapshot of the source: %w", err)}
	}
	if m.LSN < p.mark.LSN || m.LSN > p.from.State.Last {
		return p, nil
	}
	hash, _, err := p.from.Archive.LogAt(ctx, p.from.State, m.LSN)
	switch {
	case errors.Is(err, chain.ErrBroken): // no transaction ends there
		return p, nil
	case err != nil:
		return p, err
	case hash == m.LogHash:
		return place{from: p.from, mark: m, known: true}, nil
	}
	return p, nil
}
