package chain

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sort"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/change"
)

// ErrNotLoaded says that a judgement needs a part of the log that is in the
// store only. Every [NotLoadedError] wraps it.
var ErrNotLoaded = errors.New("that part of the log is not in memory")

// NotLoadedError says what part of the log was needed: [Segments.Hold] with its
// LSN brings it into memory.
type NotLoadedError struct {
	LSN   change.LSN // what was asked for
	Chunk Chunk      // what holds it
}

func (e *NotLoadedError) Error() string {
	return fmt.Sprintf("LSN %d lies in LSN %d to %d, which are in %s only: %v", e.LSN, e.Chunk.First, e.Chunk.Last, e.Chunk.Key, ErrNotLoaded)
}

// Unwrap returns ErrNotLoaded.
func (e *NotLoadedError) Unwrap() error { return ErrNotLoaded }

// Chunk says where a part of the log lies in the store, and what it holds:
// consecutive segments of the list.
type Chunk struct {
	Key         string      // of the object
	Offset      int64       // in the object
	Size        int64       // bytes
	Hash        change.Hash // SHA-256 of those bytes
	Content     change.Hash // SHA-256 of what they hold, however it is compressed
	First, Last change.LSN  // of the first and the last record
	Effective   Span        // of the first and the last transaction
	Totals      Totals
}

// Loader reads chunks. Its methods may be called concurrently.
type Loader interface {
	// LoadChunk returns the segments of a chunk, proved by its hash. With brief
	// it may leave out Largest and Smaller. The result is not to be modified.
	LoadChunk(ctx context.Context, c *Chunk, brief bool) ([]Announced[Segment], error)
}

// Segments is the log of a timeline, segment by segment in LSN order. It is
// only ever added to, so that copies share what they have in common and cost
// nothing. The zero value is the empty log.
//
// Of a long log most may be in the store only: methods that take a context
// read what they need of it, prove it, and return the errors of doing so. They
// keep nothing of it. What they hand out is never to be modified. They may be
// called concurrently.
type Segments struct {
	chunks []part
	loader Loader
	held   map[int][]Announced[Segment] // chunks that are in memory; never changed
	list   []Announced[Segment]         // what follows the chunks: not empty unless they are
	used   *atomic.Int64                // of the memory behind list, by any copy
	totals Totals
}

// part is a chunk with the totals of the log through its end.
type part struct {
	Chunk
	through Totals
}

// Len returns how many segments there are.
func (l *Segments) Len() int { return int(l.totals.Segments) }

// Totals counts all segments together.
func (l *Segments) Totals() Totals { return l.totals }

// Last returns the last segment, or nil when there is none.
func (l *Segments) Last() *Announced[Segment] {
	if len(l.list) == 0 {
		return nil
	}
	return &l.list[len(l.list)-1]
}

// All yields every segment, oldest first, and ends with the first error.
func (l *Segments) All(ctx context.Context) iter.Seq2[*Announced[Segment], error] {
	return l.From(ctx, 0)
}

// From yields the segments with records at lsn or later, oldest first, and ends
// with the first error.
func (l *Segments) From(ctx context.Context, lsn change.LSN) iter.Seq2[*Announced[Segment], error] {
	return l.from(ctx, lsn, false)
}

// FromBrief is [Segments.From] without Largest and Smaller, which most of a
// manifest is about and which cost most to read: they may be there or not.
func (l *Segments) FromBrief(ctx context.Context, lsn change.LSN) iter.Seq2[*Announced[Segment], error] {
	return l.from(ctx, lsn, true)
}

func (l *Segments) from(ctx context.Context, lsn change.LSN, brief bool) iter.Seq2[*Announced[Segment], error] {
	return func(yield func(*Announced[Segment], error) bool) {
		first := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].Last >= lsn })
		for segs, err := range l.load(ctx, first, len(l.chunks)-first, 1, brief) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := holding(segs, lsn); i < len(segs); i++ {
				if !yield(&segs[i], nil) {
					return
				}
			}
		}
	}
}

// holding returns the index of the first segment with records at lsn or later.
func holding(segs []Announced[Segment], lsn change.LSN) int {
	return sort.Search(len(segs), func(i int) bool { return segs[i].Body.Last >= lsn })
}

// startedBy returns how many of the segments have records at lsn or before.
func startedBy(segs []Announced[Segment], lsn change.LSN) int {
	return sort.Search(len(segs), func(i int) bool { return segs[i].Body.First > lsn })
}

// Backward yields the segments with records at lsn or before, newest first, and
// ends with the first error.
func (l *Segments) Backward(ctx context.Context, lsn change.LSN) iter.Seq2[*Announced[Segment], error] {
	return func(yield func(*Announced[Segment], error) bool) {
		n := 0 // chunks that are needed
		if len(l.list) > 0 && l.list[0].Body.First <= lsn {
			n = len(l.chunks) + 1
		} else {
			n = sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].First > lsn })
		}
		for segs, err := range l.load(ctx, n-1, n, -1, false) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := startedBy(segs, lsn) - 1; i >= 0; i-- {
				if !yield(&segs[i], nil) {
					return
				}
			}
		}
	}
}

// Covering returns the segment that holds an LSN, or nil when none does: the
// LSN is the start of the log or before it, in a gap, or after the end.
func (l *Segments) Covering(ctx context.Context, lsn change.LSN) (*Announced[Segment], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seg, err := l.resident(lsn)
	var need *NotLoadedError
	if !errors.As(err, &need) {
		return seg, err
	}
	segs, err := l.loader.LoadChunk(ctx, &need.Chunk, false)
	if err != nil {
		return nil, err
	}
	return covering(segs, lsn), nil
}

func covering(segs []Announced[Segment], lsn change.LSN) *Announced[Segment] {
	i := holding(segs, lsn)
	if i == len(segs) || segs[i].Body.First > lsn {
		return nil
	}
	return &segs[i]
}

// Starting returns the last segment whose first transaction has an effective
// time at or before t, or nil.
func (l *Segments) Starting(ctx context.Context, t change.Time) (*Announced[Segment], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in := func(segs []Announced[Segment]) *Announced[Segment] {
		i := sort.Search(len(segs), func(i int) bool { return segs[i].Body.Effective.From > t })
		if i == 0 {
			return nil
		}
		return &segs[i-1]
	}
	if seg := in(l.list); seg != nil {
		return seg, nil
	}
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].Effective.From > t })
	if i == 0 {
		return nil, nil
	}
	segs, err := l.chunk(ctx, i-1, false)
	if err != nil {
		return nil, err
	}
	return in(segs), nil
}

// Through counts the segments with records at lsn or before.
func (l *Segments) Through(ctx context.Context, lsn change.LSN) (Totals, error) {
	if n := startedBy(l.list, lsn); n > 0 {
		return l.totals.Minus(sum(l.list[n:])), nil
	}
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].First > lsn })
	if i == 0 {
		return Totals{}, nil
	}
	if l.chunks[i-1].Last <= lsn {
		return l.chunks[i-1].through, nil
	}
	segs, err := l.chunk(ctx, i-1, true)
	if err != nil {
		return Totals{}, err
	}
	return l.chunks[i-1].through.Minus(sum(segs[startedBy(segs, lsn):])), nil
}

// resident is [Segments.Covering] of what is in memory.
func (l *Segments) resident(lsn change.LSN) (*Announced[Segment], error) {
	i := l.chunkAt(lsn)
	if i < 0 {
		return covering(l.list, lsn), nil
	}
	if segs, ok := l.held[i]; ok {
		return covering(segs, lsn), nil
	}
	return nil, &NotLoadedError{LSN: lsn, Chunk: l.chunks[i].Chunk}
}

// chunkAt returns the index of the chunk whose range holds an LSN, or −1.
func (l *Segments) chunkAt(lsn change.LSN) int {
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].Last >= lsn })
	if i == len(l.chunks) || l.chunks[i].First > lsn {
		return -1
	}
	return i
}

// Hold brings the part of the log around an LSN into memory, where it stays
// until Release. Copies made before are as they were.
func (l *Segments) Hold(ctx context.Context, lsn change.LSN) error {
	i := l.chunkAt(lsn)
	if i < 0 || l.held[i] != nil {
		return ctx.Err()
	}
	segs, err := l.chunk(ctx, i, false)
	if err != nil {
		return err
	}
	held := maps.Clone(l.held)
	if held == nil {
		held = make(map[int][]Announced[Segment])
	}
	held[i] = segs
	l.held = held
	return nil
}

// Release lets go of what was held. Copies made before are as they were.
func (l *Segments) Release() { l.held = nil }
