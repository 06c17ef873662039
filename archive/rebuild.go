package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
)

// rebuildBatch is how many manifests are in memory at once while a chunk is
// put together again.
const rebuildBatch = 256

// rebuild returns the segments of a chunk that can't be read, because of why,
// from the manifests that announced them, proved by the chunk's content. It
// tells Warn, once a chunk.
func (a *Archive) rebuild(ctx context.Context, c *chain.Chunk, why error) ([]chain.Announced[chain.Segment], error) {
	t, _, last, err := chain.ParseCheckpointKey(c.Key)
	if err != nil {
		return nil, err
	}
	segs, err := a.sibling(t).announced(ctx, last, c.First, c.Last)
	if err == nil {
		err = checkpoint.Prove(c, segs)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; nor do the manifests give it: %w", why, err)
	}
	a.mu.Lock()
	told := a.rebuilt[c.Hash]
	a.rebuilt[c.Hash] = true
	a.mu.Unlock()
	if !told {
		a.opts.Warn(fmt.Errorf("LSN %d to %d of the log are taken from the manifests, which is slower: %w", c.First, c.Last, why))
	}
	return segs, nil
}

// announced returns the segments with records from one LSN to another, oldest
// first, as the manifests of the timeline through number last tell them, and of
// a fork those of the timelines that it comes from. They are read backward, and
// no further than is needed. Manifests that can't be read are left out: the
// result is to be proved by other means.
func (a *Archive) announced(ctx context.Context, last chain.Seq, from, to change.LSN) ([]chain.Announced[chain.Segment], error) {
	var out []chain.Announced[chain.Segment] // newest first
	var pins []*chain.Pin                    // of the forks on the way
walk:
	for last > 0 {
		first := last - min(last, rebuildBatch) + 1
		batch, err := a.readable(ctx, first, last)
		if err != nil {
			return nil, err
		}
		last = first - 1
		for _, m := range slices.Backward(batch) {
			if m.Fork != nil { // the first of its timeline
				pin, err := a.pinOf(ctx, m.Fork)
				if err != nil {
					return nil, err
				}
				if a, err = a.parent(m.Fork.Parent); err != nil {
					return nil, err
				}
				pins, to, last = append(pins, pin), min(to, pin.LSN), m.Fork.ParentSeq
			}
			if m.Segment == nil || m.Segment.First > to {
				continue
			}
			if m.Segment.Last < from {
				break walk
			}
			seg := *m.Segment
			for _, p := range slices.Backward(pins) { // the oldest fork first
				seg = p.Cut(seg)
			}
			out = append(out, chain.Announced[chain.Segment]{Timeline: a.timeline, Seq: m.Seq, Body: seg})
		}
	}
	slices.Reverse(out)
	return out, nil
}

// pinOf returns the pin that a fork goes on from.
func (a *Archive) pinOf(ctx context.Context, f *chain.Fork) (*chain.Pin, error) {
	m, err := a.sibling(f.Parent).manifest(ctx, f.ParentSeq)
	if err == nil && (m == nil || m.err != nil || m.m.Pin == nil) {
		err = fmt.Errorf("%s is no pin that can be read: %w", chain.ManifestKey(f.Parent, f.ParentSeq), chain.ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	return m.m.Pin, nil
}

// readable returns those manifests of a range that can be read, in order.
func (a *Archive) readable(ctx context.Context, first, last chain.Seq) ([]*chain.Manifest, error) {
	ahead := a.readAhead(ctx, first, last)
	defer ahead.stop()
	var out []*chain.Manifest
	for seq := first; seq <= last; seq++ {
		ans, err := ahead.next(ctx)
		if err == nil && ans.outcome == failed && !errors.Is(ans.err, chain.ErrDamaged) {
			ans.stored, err = a.manifest(ctx, seq)
		}
		if err != nil {
			return nil, err
		}
		if m := ans.stored; m != nil && m.err == nil && m.m.Timeline == a.timeline && m.m.Seq == seq {
			out = append(out, m.m)
		}
	}
	return out, nil
}
