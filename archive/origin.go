package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// sibling returns another timeline of the same archive, not loaded yet.
func (a *Archive) sibling(t chain.TimelineID) *Archive {
	opts := a.opts
	opts.Known = nil
	return openTimeline(a.bucket, a.id, t, opts)
}

// parent is [Archive.sibling] of the timeline that this one goes on from. A
// forged archive whose timelines go round in a circle is [chain.ErrDamaged].
func (a *Archive) parent(t chain.TimelineID) (*Archive, error) {
	children := append(slices.Clone(a.children), a.timeline)
	if slices.Contains(children, t) {
		return nil, fmt.Errorf("timeline %s is said to go on from itself, over %q: %w", t, children, chain.ErrDamaged)
	}
	p := a.sibling(t)
	p.children = children
	return p, nil
}

// origin returns the state before the timeline's first manifest: empty for
// main, and for a fork the parent's history as the pin has it.
func (a *Archive) origin(ctx context.Context) (*chain.State, error) {
	fresh := chain.NewState(a.id.Repo, a.timeline)
	if a.timeline == chain.MainTimeline {
		return fresh, nil
	}
	first, err := a.manifest(ctx, 1)
	switch {
	case err != nil:
		return nil, err
	case first == nil:
		return nil, fmt.Errorf("timeline %s: %w", a.timeline, ErrNoTimeline)
	case first.err != nil:
		return nil, fmt.Errorf("%s: %w", chain.ManifestKey(a.timeline, 1), first.err)
	case first.m.Fork == nil || first.m.Timeline != a.timeline || first.m.Repo != a.id.Repo:
		// Next says what is wrong with it.
		return fresh, fresh.Check(first.m)
	}
	f := first.m.Fork
	p, err := a.parent(f.Parent)
	var parent *chain.State
	if err == nil {
		parent, err = p.through(ctx, f.ParentSeq, f.ParentHash)
	}
	if err != nil {
		return nil, fmt.Errorf("timeline %s goes on from %s: %w", a.timeline, chain.ManifestKey(f.Parent, f.ParentSeq), err)
	}
	s, err := forkOf(ctx, parent, a.timeline)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", chain.ManifestKey(a.timeline, 1), err, chain.ErrDamaged)
	}
	return s, nil
}

// through returns the state just after manifest seq, whose stored bytes must
// have the given hash; the zero hash takes what is there. It is read like any
// other state, from checkpoints as far as they reach, and not kept.
func (a *Archive) through(ctx context.Context, seq chain.Seq, hash change.Hash) (*chain.State, error) {
	s, err := a.fromCheckpoints(ctx, seq)
	if err == nil && s == nil {
		s, err = a.origin(ctx)
	}
	if err != nil {
		return nil, err
	}
	ahead := a.readAhead(ctx, s.Seq+1, seq)
	defer ahead.stop()
	for s.Seq < seq {
		ans, err := ahead.next(ctx)
		if err != nil {
			return nil, err
		}
		next := ans.stored
		if ans.outcome == failed {
			if next, err = a.manifest(ctx, s.Seq+1); err != nil {
				return nil, err
			}
		}
		key := chain.ManifestKey(a.timeline, s.Seq+1)
		if next == nil {
			return nil, fmt.Errorf("%s is missing, but timelines go on from manifest %d: %w", key, seq, chain.ErrDamaged)
		}
		if s, err = a.advance(ctx)(s, next); err != nil {
			return nil, err
		}
	}
	if !hash.IsZero() && s.Head != hash {
		return nil, fmt.Errorf("%s has hash %s, the fork says %s: %w", chain.ManifestKey(a.timeline, seq), s.Head, hash, chain.ErrDamaged)
	}
	return s, nil
}

// known returns the state just after the manifest that the caller knows of.
func (a *Archive) known(ctx context.Context) (*chain.State, error) {
	k := a.opts.Known
	listed, err := a.listManifests(ctx, 0, func(error) {})
	if err != nil {
		return nil, err
	}
	if listed < k.Seq {
		return nil, fmt.Errorf("timeline %s ends at manifest %d, it is known to have had %d: %w: %w", a.timeline, listed, k.Seq, ErrNotKnown, chain.ErrDamaged)
	}
	s, err := a.through(ctx, k.Seq, change.Hash{})
	if err == nil && s.Head != k.Hash {
		err = fmt.Errorf("%s has hash %s, it is known to have had %s: %w: %w", chain.ManifestKey(a.timeline, k.Seq), s.Head, k.Hash, ErrNotKnown, chain.ErrDamaged)
	}
	return s, err
}

// manifest reads one manifest, trying again when the store gives no answer;
// nil when there is none.
func (a *Archive) manifest(ctx context.Context, seq chain.Seq) (*stored, error) {
	q := request{op: opRead, seq: seq}
	for {
		ans := a.do(ctx, q)
		switch {
		case ans.outcome == found:
			return ans.stored, nil
		case ans.outcome == absent:
			return nil, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		if q.tries++; q.tries >= maxTries {
			return nil, ans.err
		}
	}
}

// ErrNoTimeline says that the archive has no timeline of that name.
var ErrNoTimeline = errors.New("no such timeline")

// ErrTimelineTaken says that the name of a timeline stands for another one.
var ErrTimelineTaken = errors.New("the name of the timeline is taken")
