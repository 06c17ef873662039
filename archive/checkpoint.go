package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// DefaultCheckpointEvery is how many manifests gather before a checkpoint.
const DefaultCheckpointEvery = 1000

// bundleManifests bounds how many manifests one bundle holds.
const bundleManifests = 10 * DefaultCheckpointEvery

// Checkpoint bundles the manifests that no checkpoint holds yet, when they are
// at least every (0: [DefaultCheckpointEvery]), and reports whether it did.
func (a *Archive) Checkpoint(ctx context.Context, every int) (bool, error) {
	if every <= 0 {
		every = DefaultCheckpointEvery
	}
	s, err := a.Load(ctx)
	if err != nil {
		return false, err
	}
	did := false
	for s.Seq-s.Bundled() >= chain.Seq(every) {
		c, err := a.writeBundle(ctx, s)
		if err != nil {
			return did, err
		}
		s, err = a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
			if s.Bundled() >= c.First {
				return nil, errDone // another was first
			}
			return &chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: c}, nil
		})
		if err != nil {
			return did, err
		}
		did = true
	}
	return did, nil
}

// writeBundle stores a bundle of the first manifests that s has no checkpoint of.
func (a *Archive) writeBundle(ctx context.Context, s *chain.State) (*chain.Checkpoint, error) {
	first := s.Bundled() + 1
	b, err := a.gather(ctx, s, first)
	if err != nil {
		return nil, err
	}
	last := first + chain.Seq(len(b.manifests)) - 1
	if last == s.Seq {
		sum := s.Summary()
		b.summary = &sum
	}
	raw, err := b.encode()
	if err != nil {
		return nil, err
	}
	c := &chain.Checkpoint{First: first, Last: last, Key: chain.CheckpointKey(a.timeline, first, last), Size: int64(len(raw)), Hash: chain.HashManifest(raw)}
	created := a.bucket.Create(ctx, c.Key, newBody(raw))
	if created == nil {
		return c, nil
	}
	// Something may be there: this bundle, or another's of the same manifests.
	have, err := readAll(ctx, a.bucket, c.Key, maxBundle)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("create %s: %w", c.Key, created)
	}
	if err != nil {
		return nil, err
	}
	other, err := decodeBundle(have)
	if err == nil && !sameManifests(other.manifests, b.manifests) {
		err = errNotBundled
	}
	if err != nil {
		return nil, fmt.Errorf("%s is there and no good (delete it, no manifest mentions it): %w", c.Key, err)
	}
	c.Size, c.Hash = int64(len(have)), chain.HashManifest(have)
	return c, nil
}

func sameManifests(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if string(a[i]) != string(b[i]) {
			return false
		}
	}
	return true
}

// gather reads the manifests from first on, as many as one bundle takes, and
// proves them by their links up to the head of s.
func (a *Archive) gather(ctx context.Context, s *chain.State, first chain.Seq) (*bundle, error) {
	until := min(s.Seq, first+bundleManifests) // one more than is kept, to prove the last
	ahead := a.readAhead(ctx, first, until)
	defer ahead.stop()
	b := new(bundle)
	var prev *stored
	size := 0
	for seq := first; seq <= until; seq++ {
		ans, err := ahead.next(ctx)
		switch {
		case err != nil:
			return nil, err
		case ans.outcome == absent:
			return nil, fmt.Errorf("%s is missing: %w", chain.ManifestKey(a.timeline, seq), chain.ErrDamaged)
		case ans.outcome == failed:
			return nil, ans.err
		case ans.stored.err != nil:
			return nil, fmt.Errorf("%s: %w", chain.ManifestKey(a.timeline, seq), ans.stored.err)
		}
		if prev != nil {
			if ans.stored.m.Prev != prev.hash {
				return nil, fmt.Errorf("%s does not link to the manifest before it: %w", chain.ManifestKey(a.timeline, seq), chain.ErrDamaged)
			}
			if size += len(prev.raw) + 10; size > maxBundle/2 && len(b.manifests) > 0 {
				return b, nil
			}
			b.manifests = append(b.manifests, prev.raw)
		}
		prev = ans.stored
	}
	if until < s.Seq {
		return b, nil
	}
	if prev.hash != s.Head {
		return nil, fmt.Errorf("%s is not the manifest that was read before: %w", chain.ManifestKey(a.timeline, until), chain.ErrDamaged)
	}
	b.manifests = append(b.manifests, prev.raw)
	return b, nil
}

// readBundle is what became of reading a checkpoint's object.
type readBundle struct {
	manifests []*stored
	summary   *chain.Summary
	hash      change.Hash
	err       error
}

// fromCheckpoints returns the state after the newest chain of bundles, given
// that before the first manifest; with a limit, not beyond that manifest, whose
// hash proves it unless that is zero. What it can't use it reports to Warn, and
// leaves to the manifests themselves.
func (a *Archive) fromCheckpoints(ctx context.Context, fresh *chain.State, limit chain.Seq, hash change.Hash) (*chain.State, error) {
	keys, err := a.listCheckpoints(ctx)
	if err != nil || len(keys) == 0 {
		return fresh, err
	}
	bundles := inOrder(ctx, max(1, a.opts.Parallel/4), len(keys), func(ctx context.Context, i int) readBundle {
		return a.readBundle(ctx, keys[i])
	})
	defer bundles.stop()
	s := fresh.Clone()
	a.used = make(map[string]change.Hash)
	for _, key := range keys {
		b, err := bundles.next(ctx)
		if err != nil {
			return nil, err
		}
		if err := b.apply(s, limit); err != nil {
			a.opts.Warn(fmt.Errorf("%s is not used: %w", key, err))
			break
		}
		a.used[key] = b.hash
		if s.Seq == limit && limit > 0 {
			break
		}
	}
	if s.Seq == limit && s.Head == hash && limit > 0 {
		return s, nil
	}
	return a.proveHead(ctx, s, fresh)
}

// apply moves s on by the bundle's manifests, up to a limit unless that is 0.
func (b *readBundle) apply(s *chain.State, limit chain.Seq) error {
	if b.err != nil {
		return b.err
	}
	for _, m := range b.manifests {
		if s.Seq == limit && limit > 0 {
			return nil
		}
		if _, err := advanceOwn(s, m); err != nil {
			return err
		}
	}
	if b.summary != nil && *b.summary != s.Summary() {
		return fmt.Errorf("its summary does not match its manifests: %w", errBundle)
	}
	return nil
}

// proveHead returns s when the manifest that it ends at is in the archive: its
// links then prove all before it. Otherwise it returns fresh.
func (a *Archive) proveHead(ctx context.Context, s, fresh *chain.State) (*chain.State, error) {
	if s.Seq == 0 {
		return fresh, nil
	}
	key := chain.ManifestKey(a.timeline, s.Seq)
	raw, err := readAll(ctx, a.bucket, key, chain.MaxManifest)
	switch {
	case err == nil && chain.HashManifest(raw) == s.Head:
		return s, nil
	case err == nil:
		err = fmt.Errorf("%s is another manifest than the checkpoint holds", key)
	case !errors.Is(err, storage.ErrNotFound):
		return nil, err
	}
	a.opts.Warn(fmt.Errorf("no checkpoint is used: %w", err))
	return fresh, nil
}

// compareCheckpoints warns of bundles that were used, and proved by their
// links, but are not the objects that the chain announced.
func (a *Archive) compareCheckpoints(s *chain.State) {
	for _, c := range s.Checkpoints {
		if h, ok := a.used[c.Body.Key]; ok && h != c.Body.Hash {
			a.opts.Warn(fmt.Errorf("%s holds the right manifests but its hash is %s, announced was %s", c.Body.Key, h, c.Body.Hash))
		}
	}
	a.used = nil
}

// listCheckpoints returns the keys of bundles that abut from manifest 1 on; of
// several that start alike the longest.
func (a *Archive) listCheckpoints(ctx context.Context) ([]string, error) {
	longest := make(map[chain.Seq]chain.Seq)
	for info, err := range a.bucket.List(ctx, chain.CheckpointPrefix(a.timeline), "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", chain.CheckpointPrefix(a.timeline), err)
		}
		_, first, last, err := chain.ParseCheckpointKey(info.Key)
		if err != nil {
			a.opts.Warn(fmt.Errorf("ignored: %w", err))
			continue
		}
		longest[first] = max(longest[first], last)
	}
	var keys []string
	for first := chain.Seq(1); longest[first] > 0; {
		keys = append(keys, chain.CheckpointKey(a.timeline, first, longest[first]))
		first = longest[first] + 1
	}
	return keys, nil
}

func (a *Archive) readBundle(ctx context.Context, key string) (out readBundle) {
	raw, err := readAll(ctx, a.bucket, key, maxBundle)
	if err != nil {
		return readBundle{err: err}
	}
	b, err := decodeBundle(raw)
	if err != nil {
		return readBundle{err: err}
	}
	_, first, last, _ := chain.ParseCheckpointKey(key)
	if chain.Seq(len(b.manifests)) != last-first+1 {
		return readBundle{err: errNotBundled}
	}
	out.summary, out.hash = b.summary, chain.HashManifest(raw)
	for _, m := range b.manifests {
		out.manifests = append(out.manifests, decodeStored(m))
	}
	return out
}
