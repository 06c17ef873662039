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

// derivation works out the checkpoints of one timeline again while its chain is
// verified. What one holds of the log is then left to the store: however long
// the chain, little of it is in memory.
type derivation struct {
	v      *verifier
	a      *Archive
	ends   map[chain.Seq]bool         // where the checkpoints that are there end
	at     map[chain.Seq]*chain.State // the states at those ends that may still be announced
	first  chain.Seq                  // of hashes
	hashes []change.Hash              // of the manifests that are in no checkpoint yet
	bad    map[string]bool            // checkpoints that were reported
}

func (v *verifier) derive(ctx context.Context, a *Archive, s *chain.State) (*derivation, error) {
	keys, err := a.listCheckpoints(ctx, 0)
	if err != nil {
		return nil, err
	}
	d := &derivation{v: v, a: a, ends: make(map[chain.Seq]bool), at: make(map[chain.Seq]*chain.State), bad: make(map[string]bool), first: s.Seq + 1}
	for _, key := range keys {
		if _, _, last, err := chain.ParseCheckpointKey(key); err == nil {
			d.ends[last] = true
		}
	}
	return d, nil
}

// follow takes note of a manifest that s, the state after it, was moved on by.
func (d *derivation) follow(ctx context.Context, s *chain.State, m *stored) error {
	d.hashes = append(d.hashes, m.hash)
	if c := m.m.Checkpoint; c != nil {
		if err := d.checkpoint(ctx, s, c); err != nil {
			return err
		}
	}
	if d.ends[s.Seq] {
		d.at[s.Seq] = s.Clone()
	}
	return nil
}

// checkpoint compares one with what follows from the manifests.
func (d *derivation) checkpoint(ctx context.Context, s *chain.State, c *chain.Checkpoint) error {
	v := d.v
	v.mu.Lock()
	v.report.Objects++
	v.report.Bytes += c.Size
	v.mu.Unlock()
	at := d.at[c.Last]
	for end := range d.at {
		if end <= c.Last {
			delete(d.at, end)
		}
	}
	of := d.hashes[:c.Last-d.first+1]
	d.first, d.hashes = c.Last+1, append([]change.Hash(nil), d.hashes[len(of):]...)
	raw, err := readAll(ctx, d.a.bucket, c.Key, maxCheckpoint)
	if errors.Is(err, storage.ErrNotFound) {
		d.bad[c.Key] = true
		v.find(c.Key, fmt.Sprintf("%d bytes", c.Size), "nothing")
		return nil
	}
	if err != nil && !errors.Is(err, chain.ErrDamaged) {
		return err
	}
	if got := chain.HashManifest(raw); err != nil || got != c.Hash {
		d.bad[c.Key] = true
		v.find(c.Key, fmt.Sprintf("%d bytes with hash %s", c.Size, c.Hash), "%d bytes with hash %s", len(raw), got)
		return nil
	}
	if at == nil {
		return fmt.Errorf("%s was not listed, but is there: verify again: %w", c.Key, storage.ErrUnavailable)
	}
	r, err := checkpoint.Of(ctx, d.a.bucket, c.Key, raw)
	var chunks []chain.Chunk
	if err == nil && r.Index != c.Index {
		err = fmt.Errorf("its index is %s, announced is %s: %w", r.Index, c.Index, chain.ErrDamaged)
	}
	if err == nil {
		chunks, err = r.Derive(ctx, at, of)
	}
	var chunk *checkpoint.ChunkError
	switch {
	case errors.As(err, &chunk) && d.bad[chunk.Chunk.Key]:
		return nil // reported with the object that holds it
	case errors.Is(err, chain.ErrDamaged), errors.Is(err, chain.ErrVersion), errors.Is(err, storage.ErrNotFound):
		d.bad[c.Key] = true
		v.find(c.Key, "a checkpoint of what the manifests say", "%v", err)
		return nil
	case err != nil:
		return err
	}
	log, err := s.Segments.Fold(chunks, d.a.loader)
	if err == nil { // else what is in memory stays there
		s.Segments = log
	}
	return nil
}
