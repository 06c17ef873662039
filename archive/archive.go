package archive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

// OpenOptions are the options of [Open].
type OpenOptions struct {
	PinRepo  chain.RepoID     // the repository that the caller knows this to be; "" takes what is there
	Timeline chain.TimelineID // default MainTimeline
	Parallel int              // objects read at once; default 16

	// Known is a head that the caller knows the timeline to have had; default:
	// none. The chain must hold it: [ErrNotKnown]. Up to there nothing is
	// believed but what it proves, and from there on every manifest is read,
	// so that no checkpoint made since can tell another story.
	Known *Known
	Chunk int // segments in a chunk of a checkpoint that is written; default [checkpoint.DefaultChunk]

	// Warn is told of damage that was got around, such as a bad checkpoint
	// whose manifests are all there; default: nobody. It must not block.
	Warn func(error)

	Now   func() time.Time                                 // default time.Now
	Sleep func(ctx context.Context, d time.Duration) error // default: a timer
	Rand  io.Reader                                        // default crypto/rand
}

// Known is a manifest that somebody remembers: see [OpenOptions].
type Known struct {
	Seq  chain.Seq
	Hash change.Hash // of its stored bytes
}

// Archive is one timeline of an archive in a bucket. Its methods are safe for
// concurrent use; publications through one Archive wait for each other.
type Archive struct {
	bucket   storage.Bucket
	id       Identity
	timeline chain.TimelineID
	opts     OpenOptions
	loader   *checkpoint.Loader
	children []chain.TimelineID // that come from this one, youngest first, where it is read as an origin

	turn chan struct{} // holds a token while nobody reads or publishes the chain

	mu     sync.Mutex
	state  *chain.State    // guarded by mu; what it points to is never changed
	claims map[string]bool // guarded by mu; nonces of the claims sent from here

	rebuilt map[change.Hash]bool // guarded by mu; chunks whose damage Warn was told of
}

// Open returns the archive in the bucket without reading its chain yet.
// Errors: [ErrNotArchive], [chain.ErrVersion], [chain.ErrWrongRepo], those of the bucket.
func Open(ctx context.Context, bucket storage.Bucket, opts OpenOptions) (*Archive, error) {
	if opts.Timeline == "" {
		opts.Timeline = chain.MainTimeline
	}
	if err := chain.CheckTimeline(opts.Timeline); err != nil {
		return nil, err
	}
	id, err := ReadIdentity(ctx, bucket)
	if err != nil {
		return nil, err
	}
	if opts.PinRepo != "" && opts.PinRepo != id.Repo {
		return nil, fmt.Errorf("the bucket holds repository %s, want %s: %w", id.Repo, opts.PinRepo, chain.ErrWrongRepo)
	}
	opts.fill()
	return openTimeline(bucket, id, opts.Timeline, opts), nil
}

func openTimeline(bucket storage.Bucket, id Identity, t chain.TimelineID, opts OpenOptions) *Archive {
	opts.Timeline = t
	a := &Archive{bucket: bucket, id: id, timeline: t, opts: opts, turn: make(chan struct{}, 1),
		state: chain.NewState(id.Repo, t), claims: make(map[string]bool), rebuilt: make(map[change.Hash]bool)}
	a.loader = checkpoint.NewLoader(bucket, a.rebuild)
	a.turn <- struct{}{}
	return a
}

func (o *OpenOptions) fill() {
	if o.Parallel <= 0 {
		o.Parallel = 16
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Identity returns what tidemark.json says.
func (a *Archive) Identity() Identity { return a.id }

// Timeline returns the timeline's name.
func (a *Archive) Timeline() chain.TimelineID { return a.timeline }

// Bucket returns where the objects are.
func (a *Archive) Bucket() storage.Bucket { return a.bucket }

// State returns the chain as far as this Archive has read or written it: empty
// before the first Load. It is not to be modified.
func (a *Archive) State() *chain.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

func (a *Archive) setState(s *chain.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = s
}

// lock waits for the caller's turn to follow the chain.
func (a *Archive) lock(ctx context.Context) error {
	select {
	case <-a.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Archive) unlock() { a.turn <- struct{}{} }

// do carries out one request of the protocol.
func (a *Archive) do(ctx context.Context, q request) answer {
	if q.tries > 0 {
		if err := a.backoff(ctx, q.tries); err != nil {
			return q.failure(err)
		}
	}
	key := chain.ManifestKey(a.timeline, q.seq)
	if q.op == opRead {
		raw, err := readAll(ctx, a.bucket, key, chain.MaxManifest)
		switch {
		case err == nil:
			got := decodeStored(raw)
			if errors.Is(got.err, chain.ErrDamaged) { // perhaps only on its way here
				return q.failure(fmt.Errorf("%s: %w", key, got.err))
			}
			return answer{outcome: found, stored: got}
		case errors.Is(err, storage.ErrNotFound):
			return answer{outcome: absent}
		}
		return q.failure(err)
	}
	err := a.bucket.Create(ctx, key, newBody(q.stored.raw))
	switch {
	case err == nil:
		return answer{outcome: created}
	case errors.Is(err, storage.ErrExists):
		return answer{outcome: exists}
	}
	return q.failure(fmt.Errorf("create %s: %w", key, err))
}

func (q *request) failure(err error) answer {
	if q.op == opRead {
		return answer{outcome: failed, err: err}
	}
	return answer{outcome: unclear, err: err}
}

// backoff waits before attempt n+1: 50 ms, 100 ms … 3.2 s, each shortened by
// up to a half at random, so that several that wait part company.
func (a *Archive) backoff(ctx context.Context, n int) error {
	d := 50 * time.Millisecond << min(n-1, 6)
	var b [1]byte
	if _, err := io.ReadFull(a.opts.Rand, b[:]); err != nil {
		return fmt.Errorf("random number: %w", err)
	}
	return a.opts.Sleep(ctx, d-d/2*time.Duration(b[0])/255)
}
