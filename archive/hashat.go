package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

// HashAt returns the hash of manifest seq of the chain that s is the state of.
// It is proved by the checkpoint that holds the manifest, which the chain
// announces, or by the links from there to one that can be used, or to the head
// of s. What it finds missing or not linked is [chain.ErrDamaged].
func (a *Archive) HashAt(ctx context.Context, s *chain.State, seq chain.Seq) (change.Hash, error) {
	if seq == 0 || seq > s.Seq {
		return change.Hash{}, fmt.Errorf("timeline %s has %d manifests, asked for number %d", a.timeline, s.Seq, seq)
	}
	if seq == s.Seq {
		return s.Head, nil
	}
	var ahead *ordered[answer]
	defer func() {
		if ahead != nil {
			ahead.stop()
		}
	}()
	var first, last change.Hash
	for n := seq; n <= s.Seq; n++ {
		switch held, hash, err := a.bundled(ctx, s, n, seq); {
		case err != nil:
			return first, err
		case held == nil:
		case n == seq:
			return hash, nil
		case held.Prev != last:
			return first, unlinked(a.timeline, n)
		default:
			return first, nil
		}
		if ahead == nil {
			ahead = a.readAhead(ctx, n, s.Seq)
		}
		ans, err := ahead.next(ctx)
		key := chain.ManifestKey(a.timeline, n)
		switch {
		case err != nil:
			return first, err
		case ans.outcome == absent:
			return first, fmt.Errorf("%s is missing: %w", key, chain.ErrDamaged)
		case ans.outcome == failed:
			return first, ans.err
		case ans.stored.err != nil:
			return first, fmt.Errorf("%s: %w", key, ans.stored.err)
		case n == seq:
			first = ans.stored.hash
		case ans.stored.m.Prev != last:
			return first, unlinked(a.timeline, n)
		}
		last = ans.stored.hash
	}
	if last != s.Head {
		return first, fmt.Errorf("%s is not the manifest that was read before: %w", chain.ManifestKey(a.timeline, s.Seq), chain.ErrDamaged)
	}
	return first, nil
}

func unlinked(t chain.TimelineID, seq chain.Seq) error {
	return fmt.Errorf("%s does not link to the manifest before it: %w", chain.ManifestKey(t, seq), chain.ErrDamaged)
}

// bundled returns manifest n and its hash from the checkpoint that holds it,
// where it is the first one there or the one asked for; nil where there is none
// or it can't be used, which Warn is told.
func (a *Archive) bundled(ctx context.Context, s *chain.State, n, asked chain.Seq) (*chain.Manifest, change.Hash, error) {
	c := checkpointOf(s, n)
	if c == nil || n != asked && n != c.First {
		return nil, change.Hash{}, nil
	}
	r, err := checkpoint.Open(ctx, a.bucket, c.Key)
	if err == nil && r.Index != c.Index {
		err = fmt.Errorf("its index is %s, announced is %s: %w", r.Index, c.Index, chain.ErrDamaged)
	}
	var raws [][]byte
	if err == nil {
		raws, err = r.Manifests(ctx)
	}
	var m *chain.Manifest
	if err == nil {
		m, err = chain.DecodeManifest(raws[n-c.First])
	}
	switch {
	case ctx.Err() != nil:
		return nil, change.Hash{}, ctx.Err()
	case errors.Is(err, chain.ErrDamaged), errors.Is(err, storage.ErrNotFound):
		a.opts.Warn(fmt.Errorf("%s is not used: %w", c.Key, err))
		return nil, change.Hash{}, nil
	case err != nil:
		return nil, change.Hash{}, err
	}
	return m, chain.HashManifest(raws[n-c.First]), nil
}

// checkpointOf returns the checkpoint that holds a manifest, or nil.
func checkpointOf(s *chain.State, seq chain.Seq) *chain.Checkpoint {
	for i := range s.Checkpoints {
		if c := &s.Checkpoints[i].Body; c.First <= seq && seq <= c.Last {
			return c
		}
	}
	return nil
}
