package pack

import (
	"context"
	"fmt"
	"iter"
	"sort"

	"github.com/tidemarkdb/tidemark/change"
)

// Txs yields the transactions of a log pack, from the one that holds the record
// at LSN from on, or the first after it. One that lies in more than one block
// comes in pieces, a block each; [change.Join] puts them together. Where the
// pack begins or ends inside a transaction, so does the sequence. A transaction,
// with all its records, is valid until the next one. The sequence ends at the
// first error.
func (r *Reader) Txs(ctx context.Context, from change.LSN) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) { r.txs(ctx, from, nil, yield) }
}

// txs is Txs; v, unless it is nil, takes in every block before its transactions
// are yielded, and proves the pack at its end. from is then 0.
func (r *Reader) txs(ctx context.Context, from change.LSN, v *verifier, yield func(*change.Tx, error) bool) {
	first, err := r.txStart(ctx, from)
	if err != nil {
		yield(nil, err)
		return
	}
	i, begun := first, false
	var s change.Splice
	for b, err := range r.blocks(ctx, first, len(r.ix.Blocks), 0, aheadFrom(first)) {
		if err == nil && v != nil {
			err = v.block(i, b)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for j := range b.txs {
			if b.txs[j].Last() < from {
				continue
			}
			tx := b.Tx(j)
			if !begun && i == 0 {
				s = change.ResumeAt(&tx)
			}
			begun = true
			if err := s.Add(&tx); err != nil {
				yield(nil, r.corrupt(i, r.ix.Blocks[i].Offset, err))
				return
			}
			if !yield(&tx, nil) {
				return
			}
		}
		i++
	}
	if left := s.Left(); begun && left != r.ix.After {
		err = r.corrupt(-1, r.ref.Size-r.ref.Tail, fmt.Errorf("%d records of transaction %d come after the pack, the index says %d", left, s.Head().ID, r.ix.After))
	} else if v != nil {
		err = v.end()
	}
	if err != nil {
		yield(nil, err)
	}
}

// txStart returns the number of the block in which the transaction begins, or
// the pack with it, that holds the record at from, or the first after it.
func (r *Reader) txStart(ctx context.Context, from change.LSN) (int, error) {
	i := r.ix.SeekLSN(from)
	if i == 0 || i == len(r.ix.Blocks) {
		return i, nil
	}
	b := getBlock(SkipKeys | SkipImages)
	defer putBlock(b)
	if err := r.Block(ctx, i, b); err != nil {
		return 0, err
	}
	if p := &b.txs[0]; p.Before && p.Last() >= from {
		return r.ix.SeekLSN(p.First), nil
	}
	return i, nil
}

// Records yields the row versions of a run pack from row on, in order. A
// record is valid until the next one. The sequence ends at the first error.
func (r *Reader) Records(ctx context.Context, row RowKey) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		first := r.ix.SeekRow(row)
		skip := true
		for b, err := range r.blocks(ctx, first, len(r.ix.Blocks), 0, aheadFrom(first)) {
			if err != nil {
				yield(nil, err)
				return
			}
			records := b.records
			if skip {
				records = records[sort.Search(len(records), func(i int) bool { return rowOf(&records[i]).Compare(row) >= 0 }):]
				skip = false
			}
			for i := range records {
				if !yield(&records[i], nil) {
					return
				}
			}
		}
	}
}

// LastAt returns the last transaction that ends in a log pack and has an
// effective time at or before t, by the LSN of its last record: restoring to
// that LSN restores all of them. It returns 0 when there is none.
func (r *Reader) LastAt(ctx context.Context, t change.Time) (change.LSN, error) {
	i := r.ix.SeekTime(t + 1)
	if i == len(r.ix.Blocks) {
		if r.ix.After == 0 {
			return r.ix.Last(), nil
		}
		i-- // the last transaction goes on after the pack
	}
	b := getBlock(SkipKeys | SkipImages)
	defer putBlock(b)
	if err := r.Block(ctx, i, b); err != nil {
		return 0, err
	}
	last := len(b.txs) - 1
	j := sort.Search(last, func(j int) bool { return b.txs[j].Effective > t })
	if b.txs[j].First <= r.ix.First() {
		return 0, nil
	}
	return b.txs[j].First - 1, nil
}
