package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/storage"
)

// Branch is one timeline of an archive.
type Branch struct {
	Timeline chain.TimelineID
	Archive  *Archive     // opened at the timeline
	State    *chain.State // its chain; nil when Err is set. State.Parent says where it comes from
	Err      error        // why the chain can't be read

	// Unfinished are the pins in it whose timeline never began: a fork that was
	// cut short and can be repeated, or one that lost its name to another.
	Unfinished []chain.Announced[chain.Pin]
}

// Timelines returns every timeline of the archive in a bucket. They are found
// through the pins, from main on: a parent comes before its children, and those
// in order of the LSN where they go on. One that can't be read has its Err
// set; those that go on from it are not found then.
func Timelines(ctx context.Context, bucket storage.Bucket, opts OpenOptions) ([]*Branch, error) {
	a, err := Open(ctx, bucket, opts)
	if err != nil {
		return nil, err
	}
	return a.Timelines(ctx)
}

// Timelines is [Timelines] of the archive that a is a timeline of.
func (a *Archive) Timelines(ctx context.Context) ([]*Branch, error) {
	root := a
	if a.timeline != chain.MainTimeline {
		root = a.sibling(chain.MainTimeline)
	}
	return root.branches(ctx, nil, a, map[chain.TimelineID]bool{chain.MainTimeline: true})
}

// branches appends the tree from a on. own is used where it is met.
func (a *Archive) branches(ctx context.Context, out []*Branch, own *Archive, seen map[chain.TimelineID]bool) ([]*Branch, error) {
	b := &Branch{Timeline: a.timeline, Archive: a}
	out = append(out, b)
	s, err := a.Load(ctx)
	switch {
	case ctx.Err() != nil, errors.Is(err, storage.ErrUnavailable):
		return nil, errors.Join(err, ctx.Err())
	case err != nil:
		b.Err = fmt.Errorf("timeline %s: %w", a.timeline, err)
		return out, nil
	}
	b.State = s
	for _, pin := range s.Forks() {
		child := pin.Body.Child
		first, err := a.sibling(child).manifest(ctx, 1)
		if errors.Is(err, chain.ErrDamaged) { // its own Load says so, and the others are found
			first, err = &stored{err: err}, nil
		}
		if err != nil {
			return nil, err
		}
		mine := first != nil && (first.err != nil || first.m.Fork != nil && first.m.Fork.Parent == a.timeline && first.m.Fork.ParentSeq == pin.Seq)
		if !mine || seen[child] {
			b.Unfinished = append(b.Unfinished, pin)
			continue
		}
		seen[child] = true
		next := own
		if own.timeline != child {
			next = a.sibling(child)
		}
		if out, err = next.branches(ctx, out, own, seen); err != nil {
			return nil, err
		}
	}
	return out, nil
}
