package merge

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/tidemarkdb/tidemark/change"
)

// block is a part of the log held in memory: its records in LSN order.
type block struct {
	recs    []change.Record
	release func() // gives the memory back
}

// held is a stretch of the log in memory, to be read in order of (collection, key).
type held struct {
	rules  *Rules
	blocks []block
}

func (h *held) at(r ref) *change.Record { return &h.blocks[r.block].recs[r.rec] }

func (h *held) release() {
	for _, b := range h.blocks {
		if b.release != nil {
			b.release()
		}
	}
	h.blocks = nil
}

// each calls f for every record of the blocks from … to−1 that counts as a
// row version.
func (h *held) each(from, to int, f func(b, i int, r *change.Record)) {
	var collection change.CollectionID
	var cut change.LSN
	takes := false
	for b := from; b < to; b++ {
		recs := h.blocks[b].recs
		for i := range recs {
			r := &recs[i]
			if r.Collection != collection {
				collection = r.Collection
				cut, takes = h.rules.takes(collection)
			}
			if !takes || r.LSN < cut || !isVersion(r) {
				continue
			}
			f(b, i, r)
		}
	}
}

// shared is what all keys of a collection begin with.
type shared struct {
	first  change.Key
	common int
}

// spread runs f over the blocks in workers parts at once; the parts are in order.
func (h *held) spread(workers int, f func(part, from, to int)) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(w, w*len(h.blocks)/workers, (w+1)*len(h.blocks)/workers) })
	}
	wg.Wait()
}

// prefixes finds what the keys of each collection share.
func (h *held) prefixes(workers int) map[change.CollectionID]shared {
	parts := make([]map[change.CollectionID]shared, workers)
	h.spread(workers, func(part, from, to int) {
		m := make(map[change.CollectionID]shared)
		var c change.CollectionID
		var s shared
		h.each(from, to, func(_, _ int, r *change.Record) {
			if r.Collection != c {
				if c != 0 {
					m[c] = s
				}
				c = r.Collection
				var ok bool
				if s, ok = m[c]; !ok {
					s = shared{first: r.Key, common: len(r.Key)}
				}
			}
			if len(r.Key) < s.common || !bytes.Equal(r.Key[:s.common], s.first[:s.common]) {
				s.common = common(r.Key, s.first[:s.common])
			}
		})
		if c != 0 {
			m[c] = s
		}
		parts[part] = m
	})
	all := parts[0]
	for _, m := range parts[1:] {
		for c, s := range m {
			if a, ok := all[c]; ok {
				a.common = common(a.first[:a.common], s.first[:s.common])
				all[c] = a
			} else {
				all[c] = s
			}
		}
	}
	return all
}

// slot is what of a collection lies in one range.
type slot struct {
	rng        int // of the ranges
	collection change.CollectionID
}

// sorted divides the records among ranges that lie in order and cover
// everything, and returns a source for each. They share the held memory and
// may be read at the same time.
func (h *held) sorted(ranges []Range, workers int) []Source {
	counts := make([]map[slot]*int, workers)
	h.spread(workers, func(part, from, to int) {
		mine := make(map[slot]*int)
		var n *int
		h.placed(ranges, from, to, func(s slot) {
			if n = mine[s]; n == nil {
				n = new(int)
				mine[s] = n
			}
		}, func(_, _ int, _ *change.Record) { *n++ })
		counts[part] = mine
	})
	lists := make([]map[change.CollectionID][]ref, len(ranges))
	for i := range lists {
		lists[i] = make(map[change.CollectionID][]ref)
	}
	fill := make([]map[slot]*[]ref, workers) // each worker's part of the lists, in order of workers
	for s, total := range sumCounts(counts) {
		list := make([]ref, total)
		lists[s.rng][s.collection] = list
		for part := range counts {
			if n := counts[part][s]; n != nil {
				mine := list[:0:*n]
				list = list[*n:]
				if fill[part] == nil {
					fill[part] = make(map[slot]*[]ref)
				}
				fill[part][s] = &mine
			}
		}
	}
	keys := h.prefixes(workers)
	h.spread(workers, func(part, from, to int) {
		var list *[]ref
		skip := 0
		h.placed(ranges, from, to, func(s slot) {
			list, skip = fill[part][s], keys[s.collection].common
		}, func(b, i int, r *change.Record) {
			*list = append(*list, ref{prefixOf(r.Key, skip), uint32(b), uint32(i)})
		})
	})
	out := make([]Source, len(ranges))
	for n := range ranges {
		out[n] = &heldSource{held: h, lists: lists[n], order: slices.Sorted(maps.Keys(lists[n])), out: make([]change.Record, 0, batchSize)}
	}
	return out
}

func sumCounts(counts []map[slot]*int) map[slot]int {
	sum := make(map[slot]int)
	for _, m := range counts {
		for s, n := range m {
			sum[s] += *n
		}
	}
	return sum
}

// placed calls f for every record that counts, and before that enter when its
// slot is another than that of the record before.
func (h *held) placed(ranges []Range, from, to int, enter func(slot), f func(b, i int, r *change.Record)) {
	last := slot{rng: -1}
	h.each(from, to, func(b, i int, r *change.Record) {
		if s := (slot{place(ranges, r), r.Collection}); s != last {
			last = s
			enter(s)
		}
		f(b, i, r)
	})
}

// place returns the range that holds the record.
func place(ranges []Range, r *change.Record) int {
	lo, hi := 0, len(ranges)-1
	for lo < hi {
		mid := (lo + hi) / 2
		if ranges[mid].above(r) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// heldSource sorts and composes one range of held records, a collection at a time.
type heldSource struct {
	held  *held
	lists map[change.CollectionID][]ref
	order []change.CollectionID // those still to be sorted

	bag     bool
	refs    []ref // sorted; what remains of the current collection
	touched byte  // keeps touch from being optimised away
	fold    fold
	out     []change.Record
}

func (s *heldSource) Next(ctx context.Context) ([]change.Record, error) {
	s.out = s.out[:0]
	s.fold.arena.reset()
	for len(s.out) == 0 {
		if len(s.refs) == 0 {
			if len(s.order) == 0 {
				return nil, nil
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s.sortNext()
		}
		if err := s.batch(); err != nil {
			return nil, err
		}
	}
	return s.out, nil
}

// sortNext sorts the next collection.
func (s *heldSource) sortNext() {
	c := s.order[0]
	s.order = s.order[1:]
	refs := s.lists[c]
	delete(s.lists, c)
	s.refs = sortRefs(refs, make([]ref, len(refs)), s.held.at)
	s.bag = s.held.rules.Bags[c]
}

const (
	cacheLine  = 64  // bytes that a processor fetches at once
	touchBytes = 256 // of an image, to be fetched ahead
)

// touch reads a little of each of the next records. They lie all over memory;
// here the processor fetches many at once, while composing waits for each.
func (s *heldSource) touch() {
	sum := byte(0)
	for _, r := range s.refs[:min(len(s.refs), batchSize)] {
		rec := s.held.at(r)
		for i := 0; i < min(len(rec.Image), touchBytes); i += cacheLine {
			sum ^= rec.Image[i]
		}
		if len(rec.Key) > 0 {
			sum ^= rec.Key[0]
		}
	}
	s.touched = sum
}

func (s *heldSource) batch() error {
	s.touch()
	for len(s.out) < batchSize && len(s.refs) > 0 && !s.fold.arena.full() {
		first := s.held.at(s.refs[0])
		n := 1
		for n < len(s.refs) && s.refs[n].prefix == s.refs[0].prefix && bytes.Equal(s.held.at(s.refs[n]).Key, first.Key) {
			n++
		}
		if n > 1 {
			first = s.held.at(s.refs[n-1])
		}
		if err := s.fold.start(s.bag, first); err != nil {
			return err
		}
		for i := n - 2; i >= 0 && !s.fold.done; i-- {
			if err := s.fold.older(s.held.at(s.refs[i])); err != nil {
				return err
			}
		}
		s.refs = s.refs[n:]
		ok, err := s.fold.finish(false)
		if err != nil {
			return err
		}
		if ok {
			s.out = append(s.out, s.fold.out)
		}
	}
	return nil
}

// Close drops the refs; the records belong to whoever holds them.
func (s *heldSource) Close() error {
	s.refs, s.lists, s.order = nil, nil, nil
	return nil
}
