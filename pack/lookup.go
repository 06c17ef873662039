package pack

import (
	"context"

	"github.com/tidemarkdb/tidemark/change"
)

// Holding returns the numbers of the blocks that may hold a record of the row,
// in order: most often none when the pack has none. It reads the filters that
// it needs, with one request, and keeps them. Truncates and schema changes
// concern every row and are in no filter: [Index.Tombstones] has them.
func (r *Reader) Holding(ctx context.Context, c change.CollectionID, key change.Key) ([]int, error) {
	k := r.ix.Collection(c)
	if k == nil || key.Compare(k.MinKey) < 0 || key.Compare(k.MaxKey) > 0 {
		return nil, nil
	}
	first, end := 0, len(r.ix.Blocks)
	if r.ix.Kind == Run {
		row := RowKey{c, key}
		first = r.ix.SeekRow(row)
		if first == end || r.ix.Blocks[first].FirstRow.Compare(row) > 0 {
			return nil, nil
		}
		end = first + 1
	}
	if err := r.loadFilters(ctx, first, end); err != nil {
		return nil, err
	}
	h := rowHash(c, key)
	var blocks []int
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := first; i < end; i++ {
		if filterHas(r.filters[i], h) {
			blocks = append(blocks, i)
		}
	}
	return blocks, nil
}

// MayContain reports whether the pack may hold a record of the row; see [Reader.Holding].
func (r *Reader) MayContain(ctx context.Context, c change.CollectionID, key change.Key) (bool, error) {
	blocks, err := r.Holding(ctx, c, key)
	return len(blocks) > 0 || err != nil, err
}

// loadFilters reads and proves the filters of blocks first … end−1.
func (r *Reader) loadFilters(ctx context.Context, first, end int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for first < end && (r.filters[first] != nil || r.ix.Blocks[first].filterSize == 0) {
		first++
	}
	if first == end {
		return nil
	}
	start := r.ix.Blocks[first].filterOffset
	last := &r.ix.Blocks[end-1]
	b, err := r.read(ctx, -1, start, last.filterOffset+last.filterSize-start, nil)
	if err != nil {
		return err
	}
	for i := first; i < end; i++ {
		k := &r.ix.Blocks[i]
		f := b[k.filterOffset-start:][:k.filterSize]
		if k.filterSize == 0 {
			continue
		}
		if err := r.prove(-1, k.filterOffset, f, k.filterHash); err != nil {
			return err
		}
		r.filters[i] = f
	}
	return nil
}
