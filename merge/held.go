package merge

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sort"
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

// share is how the rows of one collection are divided among ranges.
type share struct {
	first int          // the range with its first rows
	cuts  []change.Key // where those after it begin
}

// shareOf returns the ranges, which lie in order and cover everything, that can
// hold rows of a collection.
func shareOf(ranges []Range, c change.CollectionID) (s share) {
	last := len(ranges) - 1
	s.first = sort.Search(last, func(i int) bool {
		to := ranges[i].To
		return to.Collection > c || to.Collection == c && len(to.Key) > 0
	})
	for i := s.first; i < last && ranges[i].To.Collection == c; i++ {
		s.cuts = append(s.cuts, ranges[i].To.Key)
	}
	return s
}

// place returns in which of the share's ranges a row lies.
func (s *share) place(key change.Key) int {
	lo, hi := 0, len(s.cuts)
	for lo < hi {
		if mid := (lo + hi) / 2; bytes.Compare(s.cuts[mid], key) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// placed calls enter when the records that count go on with another collection,
// and f for each of them.
func (h *held) placed(from, to int, enter func(change.CollectionID), f func(b, i int, r *change.Record)) {
	var last change.CollectionID
	begun := false
	h.each(from, to, func(b, i int, r *change.Record) {
		if r.Collection != last || !begun {
			last, begun = r.Collection, true
			enter(last)
		}
		f(b, i, r)
	})
}

// counted is how many records of one collection lie in each range of its share.
type counted struct {
	share
	n []int
}

// count divides the records of the blocks from … to−1.
func (h *held) count(ranges []Range, from, to int) map[change.CollectionID]*counted {
	all := make(map[change.CollectionID]*counted)
	var mine *counted
	h.placed(from, to, func(c change.CollectionID) {
		if mine = all[c]; mine == nil {
			mine = &counted{share: shareOf(ranges, c)}
			mine.n = make([]int, len(mine.cuts)+1)
			all[c] = mine
		}
	}, func(_, _ int, r *change.Record) { mine.n[mine.place(r.Key)]++ })
	return all
}

// filling is where one worker puts the refs of one collection: for each range of
// its share, into its own part of that range's list.
type filling struct {
	share
	lists [][]ref
}

// room makes the lists, by range and collection, for what the workers have
// counted, and gives each worker its part of them, in order of workers.
func room(counts []map[change.CollectionID]*counted, ranges int) (lists []map[change.CollectionID][]ref, fill []map[change.CollectionID]*filling) {
	lists = make([]map[change.CollectionID][]ref, ranges)
	for i := range lists {
		lists[i] = make(map[change.CollectionID][]ref)
	}
	total := make(map[change.CollectionID][]int)
	for _, m := range counts {
		for c, mine := range m {
			if total[c] == nil {
				total[c] = make([]int, len(mine.n))
			}
			for i, n := range mine.n {
				total[c][i] += n
			}
		}
	}
	rest := make(map[change.CollectionID][][]ref)
	for _, m := range counts {
		mine := make(map[change.CollectionID]*filling)
		for c, got := range m {
			if rest[c] == nil {
				rest[c] = make([][]ref, len(got.n))
				for i, n := range total[c] {
					if n > 0 {
						rest[c][i] = make([]ref, n)
						lists[got.first+i][c] = rest[c][i]
					}
				}
			}
			f := &filling{got.share, make([][]ref, len(got.n))}
			for i, n := range got.n {
				f.lists[i], rest[c][i] = rest[c][i][:0:n], rest[c][i][n:]
			}
			mine[c] = f
		}
		fill = append(fill, mine)
	}
	return lists, fill
}

// sorted divides the records among ranges that lie in order and cover
// everything, and returns a source for each. They share the held memory and
// may be read at the same time.
func (h *held) sorted(ranges []Range, workers int) []Source {
	counts := make([]map[change.CollectionID]*counted, workers)
	h.spread(workers, func(part, from, to int) { counts[part] = h.count(ranges, from, to) })
	lists, fill := room(counts, len(ranges))
	keys := h.prefixes(workers)
	h.spread(workers, func(part, from, to int) {
		var mine *filling
		skip := 0
		h.placed(from, to, func(c change.CollectionID) {
			mine, skip = fill[part][c], keys[c].common
		}, func(b, i int, r *change.Record) {
			list := &mine.lists[mine.place(r.Key)]
			*list = append(*list, ref{prefixOf(r.Key, skip), uint32(b), uint32(i)})
		})
	})
	out := make([]Source, len(ranges))
	for n := range ranges {
		out[n] = &heldSource{held: h, lists: lists[n], order: slices.Sorted(maps.Keys(lists[n])), out: make([]change.Record, 0, batchSize)}
	}
	return out
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
