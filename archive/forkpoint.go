package archive

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// LogAt returns what the timeline's log says of an LSN at the end of a
// transaction: the log hash and the effective time there. Inside a segment its
// packs are read and proved up to the LSN. An LSN where no transaction ends, in
// a gap, or outside the log is [chain.ErrBroken].
func (a *Archive) LogAt(ctx context.Context, s *chain.State, lsn change.LSN) (change.Hash, change.Time, error) {
	p, err := a.forkPoint(ctx, s, lsn)
	return p.LogHash, p.Effective, err
}

// forkPoint fills in what a pin at an LSN says of it.
func (a *Archive) forkPoint(ctx context.Context, s *chain.State, lsn change.LSN) (chain.Pin, error) {
	p := chain.Pin{LSN: lsn}
	at, err := s.Segments.Covering(ctx, lsn)
	if err != nil {
		return p, err
	}
	hash, known, err := s.LogHashAt(ctx, lsn)
	switch {
	case err != nil:
		return p, err
	case !s.Started || lsn < s.Start || lsn > s.Last || at == nil && !known:
		return p, fmt.Errorf("LSN %d is not one that timeline %s holds (%d to %d): %w", lsn, s.Timeline, s.Start, s.Last, chain.ErrBroken)
	case known && at != nil:
		p.LogHash, p.Effective = hash, at.Body.Effective.To
		return p, nil
	case known:
		p.LogHash = hash
		for i := range s.Gaps {
			if g := &s.Gaps[i].Body; g.Last == lsn {
				p.Effective = g.To
			}
		}
		if lsn == s.Last {
			p.Effective = s.Effective
		}
		return p, nil
	}
	before, known, err := s.LogHashAt(ctx, at.Body.First-1)
	if err == nil && !known {
		err = fmt.Errorf("the log hash before LSN %d is not known: %w", at.Body.First, chain.ErrDamaged)
	}
	if err != nil {
		return p, err
	}
	return p, a.readUpTo(ctx, &at.Body, before, &p)
}

// readUpTo works out log hash, time and number of transactions of a segment up
// to p.LSN.
func (a *Archive) readUpTo(ctx context.Context, seg *chain.Segment, hash change.Hash, p *chain.Pin) error {
	var h change.LogHasher
	for _, ref := range seg.Packs {
		r, err := pack.Open(ctx, a.bucket, ref)
		if err != nil {
			return err
		}
		for b, err := range r.Blocks(ctx, 0, len(r.Index().Blocks), 0) {
			if err != nil {
				return err
			}
			for _, t := range b.Txs() {
				if !t.Before {
					h.Begin(hash, t.ID, t.Commit, t.First, t.Count)
				}
				h.Add(b.Records()[t.From:t.To])
				if t.After {
					continue
				}
				hash = h.Sum()
				p.Txs++
				switch last := t.Last(); {
				case last == p.LSN:
					p.LogHash, p.Effective = hash, t.Effective
					r.Close()
					return nil
				case last > p.LSN:
					return fmt.Errorf("LSN %d is inside transaction %d, of LSN %d to %d: %w", p.LSN, t.ID, t.First, last, chain.ErrBroken)
				}
			}
		}
		r.Close()
	}
	return fmt.Errorf("the packs of segment LSN %d to %d, from %s on, end before LSN %d: %w", seg.First, seg.Last, seg.Packs[0].Key, p.LSN, chain.ErrDamaged)
}
