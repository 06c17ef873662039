// Package history answers questions about an archive without restoring it.
package history

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// Query chooses transactions. The zero Query chooses all.
type Query struct {
	From, To   change.Time // effective times, both included; 0 leaves a side open
	Collection string      // by name, in whatever incarnation; "" for any
	Op         change.Op   // 0 for any
	After      change.LSN  // only what comes after it; with where a timeline forked: what is its own
	MinRows    int64       // at least so many records of that collection and operation; at least 1
}

// Transaction is one that a [Query] chose.
type Transaction struct {
	chain.TxSize
	Rows int64 // records that the query counts
}

// JustBefore returns the LSN to restore to so that the transaction did not happen.
func (t *Transaction) JustBefore() change.LSN { return t.First - 1 }

// Find yields the transactions that q chooses, newest first. It opens only the
// segments whose manifest can't answer.
func Find(ctx context.Context, a *archive.Archive, s *chain.State, q Query) iter.Seq2[Transaction, error] {
	return func(yield func(Transaction, error) bool) {
		q.MinRows = max(q.MinRows, 1)
		ids, err := q.collections(s)
		if err != nil {
			yield(Transaction{}, err)
			return
		}
		from, err := q.newest(ctx, s)
		if err != nil {
			yield(Transaction{}, err)
			return
		}
		for seg, err := range s.Segments.Backward(ctx, from) {
			if err != nil {
				yield(Transaction{}, err)
				return
			}
			body := &seg.Body
			if body.Last <= q.After || q.From != 0 && body.Effective.To < q.From {
				return
			}
			if q.count(ids, body.Counts) < q.MinRows {
				continue
			}
			sizes := body.Largest
			if q.MinRows <= q.mostBeside(ids, body) {
				if sizes, err = sizesOf(ctx, a, body); err != nil {
					yield(Transaction{}, err)
					return
				}
			}
			for _, size := range slices.Backward(sizes) {
				if (q.To != 0 && size.Effective > q.To) || (q.From != 0 && size.Effective < q.From) || size.Last <= q.After {
					continue
				}
				if n := q.count(ids, size.Counts); n >= q.MinRows && !yield(Transaction{size, n}, nil) {
					return
				}
			}
		}
	}
}

// newest returns the last LSN of the last segment that may hold what the query
// chooses.
func (q *Query) newest(ctx context.Context, s *chain.State) (change.LSN, error) {
	if q.To == 0 {
		return s.Last, nil
	}
	seg, err := s.Segments.Starting(ctx, q.To)
	if seg == nil {
		return 0, err
	}
	return seg.Body.Last, nil
}

// mostBeside returns how many of the records that the query is about a
// transaction may have that the manifest does not describe.
func (q *Query) mostBeside(ids map[change.CollectionID]bool, seg *chain.Segment) int64 {
	rest := q.count(ids, seg.Counts)
	for i := range seg.Largest {
		rest -= q.count(ids, seg.Largest[i].Counts)
	}
	return min(rest, seg.Smaller)
}

// sizesOf reads what a segment's manifest leaves out.
func sizesOf(ctx context.Context, a *archive.Archive, seg *chain.Segment) ([]chain.TxSize, error) {
	out := make([]chain.TxSize, 0, seg.Txs)
	var sizer chain.Sizer
	for _, ref := range seg.Packs {
		r, err := pack.Open(ctx, a.Bucket(), ref)
		if err != nil {
			return nil, err
		}
		if out, err = appendSizes(ctx, out, &sizer, r); err != nil {
			return nil, err
		}
		r.Close()
	}
	if sizer.Inside() {
		return nil, fmt.Errorf("the segment of LSN %d to %d ends inside a transaction: %w", seg.First, seg.Last, pack.ErrCorrupt)
	}
	// Beyond a fork's cut they are another timeline's.
	return slices.DeleteFunc(out, func(t chain.TxSize) bool { return t.Last > seg.Last }), nil
}

// appendSizes describes the transactions that end in a log pack, without
// decoding rows.
func appendSizes(ctx context.Context, out []chain.TxSize, sizer *chain.Sizer, r *pack.Reader) ([]chain.TxSize, error) {
	for block, err := range r.Blocks(ctx, 0, len(r.Index().Blocks), pack.SkipKeys|pack.SkipImages) {
		if err != nil {
			return nil, err
		}
		for i := range block.Txs() {
			tx := block.Tx(i)
			size, whole, err := sizer.Add(&tx)
			if err != nil {
				return nil, fmt.Errorf("pack %s: %w: %w", r.Ref().Key, err, pack.ErrCorrupt)
			}
			if whole {
				out = append(out, size)
			}
		}
	}
	return out, nil
}

// count adds up the records that the query is about; ids is nil for any collection.
func (q *Query) count(ids map[change.CollectionID]bool, counts []chain.Count) int64 {
	var n int64
	for _, c := range counts {
		if ids != nil && !ids[c.Collection] {
			continue
		}
		if q.Op == 0 {
			n += c.Records()
		} else {
			n += c.Of(q.Op)
		}
	}
	return n
}

// maxNamed is how many collections an error lists.
const maxNamed = 20

// collections returns the IDs of every incarnation of the collection asked
// for, or nil for any.
func (q *Query) collections(s *chain.State) (map[change.CollectionID]bool, error) {
	if q.Op != 0 && !q.Op.Valid() {
		return nil, fmt.Errorf("a query for the operation %s, which there is not", q.Op)
	}
	if q.Collection == "" {
		return nil, nil
	}
	names := Names(s)
	ids := make(map[change.CollectionID]bool)
	known := make(map[string]bool)
	for id, all := range names {
		for _, n := range all {
			known[n] = true
			if n == q.Collection {
				ids[id] = true
			}
		}
	}
	if len(ids) == 0 {
		list := "none"
		if len(known) > 0 {
			all := slices.Sorted(maps.Keys(known))
			list = strings.Join(all[:min(len(all), maxNamed)], ", ")
			if more := len(all) - maxNamed; more > 0 {
				list += fmt.Sprintf(" and %d more", more)
			}
		}
		return nil, fmt.Errorf("the archive has never held a collection %q; it knows: %s: %w", q.Collection, list, ErrNoCollection)
	}
	return ids, nil
}
