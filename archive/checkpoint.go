package archive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

// DefaultCheckpointEvery is how many manifests gather before a checkpoint. Up to
// that many are read one by one when the archive is opened.
const DefaultCheckpointEvery = 500

// Bounds of what one checkpoint holds.
const (
	checkpointManifests = 10_000
	checkpointBytes     = 128 << 20 // of manifests
	maxCheckpoint       = 1 << 30   // bytes of the object
)

// Checkpoint makes a checkpoint of the manifests that are in none yet, when
// they are at least every (0: [DefaultCheckpointEvery]), and reports whether it did.
func (a *Archive) Checkpoint(ctx context.Context, every int) (bool, error) {
	if every <= 0 {
		every = DefaultCheckpointEvery
	}
	every = max(every, 2) // each makes a manifest of its own
	s, err := a.Load(ctx)
	if err != nil {
		return false, err
	}
	did := false
	for s.Seq-s.Bundled() >= chain.Seq(every) {
		c, chunks, err := a.writeCheckpoint(ctx, s)
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
		if n := len(s.Checkpoints); s.Checkpoints[n-1].Body == *c {
			a.fold(chunks)
		}
		did = true
	}
	return did, nil
}

// fold leaves the part of the log that chunks hold to the store, once the chain
// has announced them.
func (a *Archive) fold(chunks []chain.Chunk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if log, err := a.state.Segments.Fold(chunks, a.loader); err == nil {
		s := a.state.Clone()
		s.Segments = log
		a.state = s
	}
}

// writeCheckpoint stores a checkpoint of the first manifests that s has none
// of, and returns its section for the manifest and the chunks of the log.
func (a *Archive) writeCheckpoint(ctx context.Context, s *chain.State) (*chain.Checkpoint, []chain.Chunk, error) {
	first := s.Bundled() + 1
	gathered, err := a.gather(ctx, s, first)
	if err != nil {
		return nil, nil, err
	}
	at, err := a.after(ctx, s, first, gathered)
	if err != nil {
		return nil, nil, err
	}
	manifests, hashes := make([][]byte, len(gathered)), make([]change.Hash, len(gathered))
	for i, m := range gathered {
		manifests[i], hashes[i] = m.raw, m.hash
	}
	o, err := checkpoint.Encode(at, first, manifests, a.opts.Chunk)
	if err != nil {
		return nil, nil, err
	}
	c := &chain.Checkpoint{First: first, Last: at.Seq, Key: o.Key, Size: int64(len(o.Bytes)), Hash: chain.HashManifest(o.Bytes), Index: o.Index}
	created := a.bucket.Create(ctx, c.Key, newBody(o.Bytes))
	if created == nil {
		return c, o.Chunks, nil
	}
	// Something may be there: this one, or another's of the same manifests.
	have, err := readAll(ctx, a.bucket, c.Key, maxCheckpoint)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil, fmt.Errorf("create %s: %w", c.Key, created)
	case err != nil:
		return nil, nil, err
	case bytes.Equal(have, o.Bytes):
		return c, o.Chunks, nil
	}
	r, err := checkpoint.Of(ctx, a.bucket, c.Key, have)
	var chunks []chain.Chunk
	if err == nil {
		chunks, err = r.Derive(ctx, at, hashes)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s is there and no good (delete it, no manifest mentions it): %w", c.Key, err)
	}
	c.Size, c.Hash, c.Index = int64(len(have)), chain.HashManifest(have), r.Index
	return c, chunks, nil
}

// after returns the state after the last of the manifests that were gathered.
func (a *Archive) after(ctx context.Context, s *chain.State, first chain.Seq, gathered []*stored) (*chain.State, error) {
	if first+chain.Seq(len(gathered))-1 == s.Seq {
		return s, nil
	}
	at, err := a.sibling(a.timeline).through(ctx, first-1, change.Hash{})
	for i := 0; err == nil && i < len(gathered); i++ {
		at, err = a.advance(ctx)(at, gathered[i])
	}
	return at, err
}

// gather reads the manifests from first on, as many as one checkpoint takes,
// and proves them by their links up to the head of s.
func (a *Archive) gather(ctx context.Context, s *chain.State, first chain.Seq) ([]*stored, error) {
	until := min(s.Seq, first+checkpointManifests) // one more than is kept, to prove the last
	ahead := a.readAhead(ctx, first, until)
	defer ahead.stop()
	var out []*stored
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
			if size += len(prev.raw) + 10; size > checkpointBytes && len(out) > 0 {
				return out, nil
			}
			out = append(out, prev)
		}
		prev = ans.stored
	}
	if until < s.Seq {
		return out, nil
	}
	if prev.hash != s.Head {
		return nil, fmt.Errorf("%s is not the manifest that was read before: %w", chain.ManifestKey(a.timeline, until), chain.ErrDamaged)
	}
	return append(out, prev), nil
}

// fromCheckpoints returns the state after a manifest that announces a
// checkpoint, worked out from the newest one that can be used; with a limit, not
// beyond that manifest. What it can't use it reports to Warn, and takes the next
// older one. nil when there is none: every manifest has to be read then.
func (a *Archive) fromCheckpoints(ctx context.Context, limit chain.Seq) (*chain.State, error) {
	keys, err := a.listCheckpoints(ctx, limit)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		s, err := a.fromCheckpoint(ctx, key, limit)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, storage.ErrUnavailable):
			return nil, err
		case !errors.Is(err, errUnannounced):
			a.opts.Warn(fmt.Errorf("%s is not used: %w", key, err))
		}
	}
	return nil, nil
}

// errUnannounced says that no manifest mentions a checkpoint: its writer died,
// another was first, or it is announced beyond the limit.
var errUnannounced = errors.New("no manifest announces it")

// fromCheckpoint reads a checkpoint's state and proves it: the manifest that it
// ends at must be in the archive with that hash, and one that follows from
// there must announce the object with its index. Returned is the state after
// that one.
func (a *Archive) fromCheckpoint(ctx context.Context, key string, limit chain.Seq) (*chain.State, error) {
	r, err := checkpoint.Open(ctx, a.bucket, key)
	if err != nil {
		return nil, err
	}
	s, err := r.State(ctx, a.loader)
	if err != nil {
		return nil, err
	}
	if s.Repo != a.id.Repo {
		return nil, fmt.Errorf("it is of repository %s: %w", s.Repo, chain.ErrWrongRepo)
	}
	head, err := a.manifest(ctx, s.Seq)
	switch {
	case err != nil:
		return nil, err
	case head == nil || head.hash != s.Head:
		return nil, fmt.Errorf("%s is not the manifest that it ends at: %w", chain.ManifestKey(a.timeline, s.Seq), chain.ErrDamaged)
	}
	until := limit
	if until == 0 { // what is no manifest is told when the chain is read on
		if until, err = a.listManifests(ctx, s.Seq, func(error) {}); err != nil {
			return nil, err
		}
	}
	ahead := a.readAhead(ctx, s.Seq+1, until)
	defer ahead.stop()
	for s.Seq < until {
		ans, err := ahead.next(ctx)
		switch {
		case err != nil:
			return nil, err
		case ans.outcome == failed:
			return nil, ans.err
		case ans.outcome == absent:
			return nil, fmt.Errorf("%s is missing: %w", chain.ManifestKey(a.timeline, s.Seq+1), chain.ErrDamaged)
		}
		if s, err = a.advance(ctx)(s, ans.stored); err != nil {
			return nil, err
		}
		c := ans.stored.m.Checkpoint
		switch {
		case c == nil || c.Last < r.Last():
		case c.Key != key:
			return nil, errUnannounced
		case c.Index != r.Index || c.Size != r.Size():
			return nil, fmt.Errorf("its index is %s, %s announces %s: %w", r.Index, chain.ManifestKey(a.timeline, s.Seq), c.Index, chain.ErrDamaged)
		default:
			return s, nil
		}
	}
	return nil, errUnannounced
}

// listCheckpoints returns the keys of checkpoints, the newest first; with a
// limit, of those that end before that manifest.
func (a *Archive) listCheckpoints(ctx context.Context, limit chain.Seq) ([]string, error) {
	type found struct {
		key         string
		first, last chain.Seq
	}
	var all []found
	for info, err := range a.bucket.List(ctx, chain.CheckpointPrefix(a.timeline), "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", chain.CheckpointPrefix(a.timeline), err)
		}
		_, first, last, err := chain.ParseCheckpointKey(info.Key)
		if err != nil {
			a.opts.Warn(fmt.Errorf("ignored: %w", err))
		} else if limit == 0 || last < limit {
			all = append(all, found{info.Key, first, last})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(a.first, b.first)) })
	keys := make([]string, len(all))
	for i := range all {
		keys[i] = all[i].key
	}
	return keys, nil
}

// advance moves a state, which it owns, on by a manifest, and reads the part of
// the log that the rules ask for.
func (a *Archive) advance(ctx context.Context) advance {
	return func(s *chain.State, next *stored) (*chain.State, error) {
		var out *chain.State
		err := withLog(ctx, s, func(s *chain.State) (err error) {
			out, err = advanceOwn(s, next)
			return err
		})
		return out, err
	}
}

// advanceClone is advance that leaves s as it is.
func (a *Archive) advanceClone(ctx context.Context) advance {
	return func(s *chain.State, next *stored) (*chain.State, error) { return a.advance(ctx)(s.Clone(), next) }
}

// withLog calls f with s, which it owns, and again when f needs a part of the
// log that is not in memory: it is there then until withLog returns.
func withLog(ctx context.Context, s *chain.State, f func(*chain.State) error) error {
	defer s.Segments.Release()
	for last := change.LSN(0); ; {
		err := f(s)
		var need *chain.NotLoadedError
		if !errors.As(err, &need) || need.LSN == last {
			return err
		}
		if err := s.Segments.Hold(ctx, need.LSN); err != nil {
			return err
		}
		last = need.LSN
	}
}

// forkOf is [chain.State.Fork] of a parent whose log is partly in the store.
func forkOf(ctx context.Context, parent *chain.State, child chain.TimelineID) (f *chain.State, err error) {
	err = withLog(ctx, parent.Clone(), func(s *chain.State) (err error) {
		f, err = s.Fork(child)
		return err
	})
	return f, err
}
