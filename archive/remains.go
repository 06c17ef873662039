package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

// Remains is what can still be proved of a chain that may be damaged.
type Remains struct {
	State    *chain.State // after the last manifest that follows from those before it
	Findings []Finding    // manifests and checkpoints that are not as they must be
	Bundled  []chain.Seq  // manifests that only a checkpoint still holds
	Listed   chain.Seq    // the last manifest that something tells of; those after State.Seq are lost
}

// Remains reads the chain as far as it can be proved: a manifest that is
// missing or damaged is taken from a checkpoint, which holds manifests as they
// were stored, if it fits the chain there. Where none does, the chain ends. The
// error is for what kept it from looking; a damaged parent is one.
func (a *Archive) Remains(ctx context.Context) (*Remains, error) {
	r := new(Remains)
	var err error
	if r.Listed, err = a.listManifests(ctx, 0, a.opts.Warn); err != nil {
		return nil, err
	}
	bundled, err := a.verbatim(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.State, err = a.originOf(ctx, bundled); err != nil {
		return nil, err
	}
	next, err := a.candidates(ctx, r, bundled, 1)
	for seq := chain.Seq(1); err == nil && len(next) > 0; seq++ {
		here := next
		if next, err = a.candidates(ctx, r, bundled, seq+1); err != nil {
			break
		}
		if !r.advance(here, next) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if lost := r.State.Seq + 1; lost <= r.Listed {
		r.Findings = append(r.Findings, Finding{chain.ManifestKey(a.timeline, lost), "a manifest that follows from those before it",
			fmt.Sprintf("none, nor in a checkpoint: manifests %d to %d can't be proved", lost, r.Listed)})
	}
	return r, nil
}

// originOf is origin, also where manifest 1 is in a checkpoint only.
func (a *Archive) originOf(ctx context.Context, bundled map[chain.Seq][]*stored) (*chain.State, error) {
	s, err := a.origin(ctx)
	if err == nil || len(bundled[1]) == 0 || bundled[1][0].err != nil || bundled[1][0].m.Fork == nil {
		return s, err
	}
	f := bundled[1][0].m.Fork
	parent, err := a.sibling(f.Parent).through(ctx, f.ParentSeq, f.ParentHash)
	if err != nil {
		return nil, err
	}
	return parent.Fork(a.timeline)
}

// verbatim returns the manifests that checkpoints hold, by their number.
func (a *Archive) verbatim(ctx context.Context, r *Remains) (map[chain.Seq][]*stored, error) {
	out := make(map[chain.Seq][]*stored)
	prefix := chain.CheckpointPrefix(a.timeline)
	for info, err := range a.bucket.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		_, first, last, err := chain.ParseCheckpointKey(info.Key)
		if err != nil {
			continue
		}
		var manifests [][]byte
		c, err := checkpoint.Open(ctx, a.bucket, info.Key)
		if err == nil {
			manifests, err = c.Manifests(ctx)
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable):
			return nil, err
		case err != nil:
			r.Findings = append(r.Findings, Finding{info.Key, "a checkpoint", err.Error()})
			continue
		}
		for i, m := range manifests {
			seq := first + chain.Seq(i)
			if seq <= last {
				out[seq] = append(out[seq], decodeStored(m))
				r.Listed = max(r.Listed, seq)
			}
		}
	}
	return out, nil
}

// candidate is one form in which a manifest was found.
type candidate struct {
	*stored
	bundled bool
}

// candidates returns the forms in which a manifest is there: as the object
// itself first, then in checkpoints.
func (a *Archive) candidates(ctx context.Context, r *Remains, bundled map[chain.Seq][]*stored, seq chain.Seq) ([]candidate, error) {
	var out []candidate
	key := chain.ManifestKey(a.timeline, seq)
	m, err := a.manifest(ctx, seq)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !errors.Is(err, chain.ErrDamaged):
		return nil, err
	case err != nil:
		r.Findings = append(r.Findings, Finding{key, "the bytes that were written", err.Error()})
	case m == nil && seq <= r.Listed:
		r.Findings = append(r.Findings, Finding{key, "a manifest, as later ones are there", "nothing"})
	case m == nil:
	case m.err != nil:
		r.Findings = append(r.Findings, Finding{key, "a manifest", m.err.Error()})
	default:
		out = append(out, candidate{m, false})
		r.Listed = max(r.Listed, seq)
	}
	for _, b := range bundled[seq] {
		if b.err == nil && (len(out) == 0 || out[0].hash != b.hash) {
			out = append(out, candidate{b, true})
		}
	}
	return out, nil
}

// advance moves the state on by the candidate that the next manifest links to,
// or by any that fits where none does, and reports whether there is one.
func (r *Remains) advance(here, next []candidate) bool {
	for _, linked := range []bool{true, false} {
		for i, c := range here {
			if linked != links(c, next) {
				continue
			}
			if _, err := advanceOwn(r.State, c.stored); err != nil {
				continue
			}
			if c.bundled {
				r.Bundled = append(r.Bundled, r.State.Seq)
			}
			if i > 0 && !here[0].bundled {
				r.Findings = append(r.Findings, Finding{chain.ManifestKey(r.State.Timeline, r.State.Seq), "the manifest that the checkpoint holds, which the chain goes on from", "another one"})
			}
			return true
		}
	}
	return false
}

// links reports whether one of the next manifests follows c.
func links(c candidate, next []candidate) bool {
	for _, n := range next {
		if n.m.Prev == c.hash {
			return true
		}
	}
	return false
}
