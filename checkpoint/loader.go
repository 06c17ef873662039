package checkpoint

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// cachedChunks is how many chunks a Loader keeps.
const cachedChunks = 8

// Loader reads the chunks of a log from a bucket and keeps the few that were
// used last. It is safe for concurrent use.
type Loader struct {
	bucket  storage.Bucket
	rebuild Rebuild

	mu     sync.Mutex
	byHash map[change.Hash]*list.Element // guarded by mu
	recent list.List                     // guarded by mu; of *loaded, the last used first
}

// loaded is a chunk in memory.
type loaded struct {
	hash  change.Hash
	brief bool
	segs  []segment
}

// Rebuild returns the segments of a chunk that can't be read, because of why,
// from elsewhere, and has proved them with [Prove]. It may be called concurrently.
type Rebuild func(ctx context.Context, c *chain.Chunk, why error) ([]chain.Announced[chain.Segment], error)

// NewLoader returns a loader of what is in the bucket. What is damaged or
// missing there is asked of rebuild, unless that is nil.
func NewLoader(bucket storage.Bucket, rebuild Rebuild) *Loader {
	return &Loader{bucket: bucket, rebuild: rebuild, byHash: make(map[change.Hash]*list.Element)}
}

// LoadChunk implements [chain.Loader].
func (l *Loader) LoadChunk(ctx context.Context, c *chain.Chunk, brief bool) ([]segment, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if segs := l.cached(c.Hash, brief); segs != nil {
		return segs, nil
	}
	segs, err := l.read(ctx, c, brief)
	if l.rebuild != nil && (errors.Is(err, chain.ErrDamaged) || errors.Is(err, storage.ErrNotFound)) {
		segs, err = l.rebuild(ctx, c, err)
		brief = false
	}
	if err != nil {
		return nil, err
	}
	l.keep(&loaded{c.Hash, brief, segs})
	return segs, nil
}

// read returns a chunk as it is stored.
func (l *Loader) read(ctx context.Context, c *chain.Chunk, brief bool) ([]segment, error) {
	if c.Size > maxRaw {
		return nil, malformed("%s: a chunk of %d bytes", c.Key, c.Size)
	}
	b, err := readRange(ctx, l.bucket, c.Key, c.Offset, c.Size)
	if err != nil {
		return nil, fmt.Errorf("LSN %d to %d of the log: %w", c.First, c.Last, err)
	}
	if change.Hash(sha256.Sum256(b)) != c.Hash {
		return nil, malformed("%s: the chunk of LSN %d to %d does not match its hash", c.Key, c.First, c.Last)
	}
	segs, err := decodeChunk(b, brief)
	if err == nil {
		err = matches(c, segs)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the chunk of LSN %d to %d: %w", c.Key, c.First, c.Last, err)
	}
	return segs, nil
}

// Prove reports whether segments are what a chunk holds, by its content.
func Prove(c *chain.Chunk, segs []chain.Announced[chain.Segment]) error {
	first, second, err := encodeSegments(segs)
	if err != nil {
		return err
	}
	if contentHash(first, second) != c.Content {
		return malformed("LSN %d to %d of the log are not what a checkpoint says", c.First, c.Last)
	}
	return matches(c, segs)
}

func (l *Loader) cached(h change.Hash, brief bool) []segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byHash[h]
	if e == nil {
		return nil
	}
	have := e.Value.(*loaded)
	if have.brief && !brief {
		return nil
	}
	l.recent.MoveToFront(e)
	return have.segs
}

func (l *Loader) keep(c *loaded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byHash[c.hash]; e != nil {
		if have := e.Value.(*loaded); have.brief {
			e.Value = c
		}
		l.recent.MoveToFront(e)
		return
	}
	l.byHash[c.hash] = l.recent.PushFront(c)
	if l.recent.Len() > cachedChunks {
		last := l.recent.Back()
		delete(l.byHash, last.Value.(*loaded).hash)
		l.recent.Remove(last)
	}
}

func isShort(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
