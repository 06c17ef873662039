package merge

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"unsafe"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// recordBytes is what a record costs in memory beside its key and image.
const recordBytes = int64(unsafe.Sizeof(change.Record{}))

// Run is a sorted set of row versions in storage: run packs whose rows lie in
// order and do not overlap. It is read-only and may be used by several goroutines.
type Run struct {
	blocks  []runBlock // in order of rows
	largest int64      // bytes of the largest block in memory
	keys    []string   // of the packs
}

type runBlock struct {
	pack  *pack.Reader
	index int
	info  *pack.BlockInfo
}

// OpenRun opens the packs of one run, given in order of their rows, up to
// parallel at once. It reads their tails only.
func OpenRun(ctx context.Context, bucket storage.Bucket, refs []pack.Ref, parallel int) (*Run, error) {
	readers := make([]*pack.Reader, len(refs))
	err := inParallel(ctx, len(refs), parallel, func(ctx context.Context, i int) (err error) {
		readers[i], err = pack.Open(ctx, bucket, refs[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &Run{}
	var last *pack.RowKey
	for i, p := range readers {
		ix := p.Index()
		if ix.Kind != pack.Run {
			return nil, fmt.Errorf("pack %s: a %s pack, want a run: %w", refs[i].Key, ix.Kind, pack.ErrCorrupt)
		}
		for b := range ix.Blocks {
			info := &ix.Blocks[b]
			if last != nil && info.FirstRow.Compare(*last) <= 0 {
				return nil, fmt.Errorf("pack %s: block %d starts at row %s, after row %s of what comes before it: %w",
					refs[i].Key, b, info.FirstRow, *last, pack.ErrCorrupt)
			}
			last = &info.LastRow
			r.blocks = append(r.blocks, runBlock{p, b, info})
			r.largest = max(r.largest, BlockMemory(info))
		}
		r.keys = append(r.keys, refs[i].Key)
	}
	return r, nil
}

// BlockMemory returns what a block costs in bytes while it is read: stored,
// decoded, as records.
func BlockMemory(info *pack.BlockInfo) int64 {
	return info.Stored + info.Raw + int64(info.Records)*(recordBytes+16)
}

// samples picks the first row of every block.
func (r *Run) samples() []sample {
	out := make([]sample, len(r.blocks))
	for i, b := range r.blocks {
		out[i] = sample{b.info.FirstRow, b.info.Raw + int64(b.info.Records)}
	}
	return out
}

// Source reads a part of the run, leaving out what the rules do not take.
// Blocks that hold nothing of it are not read. With ahead > 0, that many
// blocks are read before they are asked for; they are decoded by who asks, in
// whose processor's cache they then lie, and always into the same memory.
func (r *Run) Source(rules *Rules, part Range, ahead int) Source {
	s := &runSource{run: r, rules: rules, part: part, ahead: ahead, done: len(r.blocks)}
	if part.From != nil {
		s.next = sort.Search(len(r.blocks), func(i int) bool { return r.blocks[i].info.LastRow.Compare(*part.From) >= 0 })
	}
	if part.To != nil {
		s.done = sort.Search(len(r.blocks), func(i int) bool { return r.blocks[i].info.FirstRow.Compare(*part.To) >= 0 })
	}
	return s
}

type runSource struct {
	run   *Run
	rules *Rules
	part  Range
	next  int // block to be read next
	done  int // block not to be read any more
	ahead int

	block pack.Block // held by the caller
	out   []change.Record

	// Reading ahead.
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	ready   chan chan fetched // in order of blocks; closed at the end
	stored  []byte            // what block points to
	free    chan []byte
	stopped error // why reading ended before the last block; set before ready is closed
}

// fetched is a block as it is stored, not proved yet.
type fetched struct {
	stored []byte
	n      int
	err    error
}

func (s *runSource) Next(ctx context.Context) ([]change.Record, error) {
	for {
		n, ok, err := s.load(ctx)
		if err != nil || !ok {
			return nil, err
		}
		if recs := s.trim(s.block.Records(), s.run.blocks[n].info); len(recs) > 0 {
			return recs, nil
		}
	}
}

// wanted returns the next block that holds something to be taken.
func (s *runSource) wanted() (int, bool) {
	for s.next < s.done {
		n := s.next
		s.next++
		info := s.run.blocks[n].info
		if c := info.FirstRow.Collection; c == info.LastRow.Collection {
			if from, ok := s.rules.takes(c); !ok || info.Last < from {
				continue
			}
		}
		return n, true
	}
	return 0, false
}

// load decodes the next block, in place of the one before, and returns its
// number; ok is false after the last one.
func (s *runSource) load(ctx context.Context) (n int, ok bool, err error) {
	if s.ahead == 0 {
		if n, ok = s.wanted(); !ok {
			return 0, false, nil
		}
		rb := s.run.blocks[n]
		return n, true, rb.pack.Block(ctx, rb.index, &s.block)
	}
	if s.ready == nil {
		s.start(ctx)
	}
	var f fetched
	select {
	case c, ok := <-s.ready:
		if !ok {
			return 0, false, s.stopped // nil after the last block
		}
		select {
		case f = <-c:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	case <-ctx.Done():
		return 0, false, ctx.Err()
	}
	if f.err != nil {
		return 0, false, f.err
	}
	rb := s.run.blocks[f.n]
	err = rb.pack.Decode(rb.index, f.stored, &s.block)
	s.free <- s.stored // never blocks: there is room for every buffer
	s.stored = f.stored
	return f.n, true, err
}

// start begins to read ahead, as many blocks at once as there may be, until
// the last one or Close.
func (s *runSource) start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	s.ready = make(chan chan fetched, s.ahead)
	s.free = make(chan []byte, s.ahead+1)
	for range s.ahead {
		s.free <- nil // one more is s.stored
	}
	s.wg.Go(func() {
		defer close(s.ready)
		for {
			n, ok := s.wanted()
			if !ok {
				return
			}
			var buf []byte
			select {
			case buf = <-s.free:
			case <-ctx.Done():
				s.stopped = ctx.Err()
				return
			}
			c := make(chan fetched, 1)
			s.wg.Go(func() {
				rb := s.run.blocks[n]
				stored, err := rb.pack.Stored(ctx, rb.index, buf)
				c <- fetched{stored, n, err}
			})
			select {
			case s.ready <- c:
			case <-ctx.Done():
				s.stopped = ctx.Err()
				return
			}
		}
	})
}

// trim leaves the records of a block that lie in the range and count.
func (s *runSource) trim(recs []change.Record, info *pack.BlockInfo) []change.Record {
	if s.part.From != nil && s.part.From.Compare(info.FirstRow) > 0 {
		recs = recs[sort.Search(len(recs), func(i int) bool { return !s.part.below(&recs[i]) }):]
	}
	if s.part.To != nil && s.part.To.Compare(info.LastRow) <= 0 {
		recs = recs[:sort.Search(len(recs), func(i int) bool { return s.part.above(&recs[i]) })]
	}
	whole := true
	for c := range collections(recs) {
		from, ok := s.rules.takes(c)
		whole = whole && ok && from <= info.First
	}
	if whole {
		return recs
	}
	s.out = s.out[:0]
	var collection change.CollectionID
	var from change.LSN
	ok := false
	for i := range recs {
		if r := &recs[i]; r.Collection != collection {
			collection = r.Collection
			from, ok = s.rules.takes(collection)
		}
		if ok && recs[i].LSN >= from {
			s.out = append(s.out, recs[i])
		}
	}
	return s.out
}

// collections yields the collections of sorted records.
func collections(recs []change.Record) func(yield func(change.CollectionID) bool) {
	return func(yield func(change.CollectionID) bool) {
		for len(recs) > 0 {
			c := recs[0].Collection
			if !yield(c) || recs[len(recs)-1].Collection == c {
				return
			}
			recs = recs[sort.Search(len(recs), func(i int) bool { return recs[i].Collection > c }):]
		}
	}
}

// Close stops reading ahead and waits for it.
func (s *runSource) Close() error {
	if s.cancel != nil {
		s.cancel()
		s.wg.Wait()
		s.cancel = nil
	}
	s.block, s.stored, s.out, s.free, s.next = pack.Block{}, nil, nil, nil, s.done
	return nil
}

// Collections returns the collections that the run holds rows of, by the
// indexes of its packs.
func (r *Run) Collections() []change.CollectionID {
	var out []change.CollectionID
	var last *pack.Reader
	for _, b := range r.blocks {
		if b.pack == last {
			continue
		}
		last = b.pack
		for _, c := range last.Index().Collections {
			if !slices.Contains(out, c.ID) {
				out = append(out, c.ID)
			}
		}
	}
	return out
}

// Last returns the greatest LSN of the run.
func (r *Run) Last() change.LSN {
	var last change.LSN
	for _, b := range r.blocks {
		last = max(last, b.info.Last)
	}
	return last
}
