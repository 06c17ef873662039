package pack

import (
	"context"
	"fmt"
	"iter"
	"sort"

	"github.com/tidemarkdb/tidemark/change"
)

// Txs yields the transactions of a log pack whole, from the one that holds the
// record at LSN from on, or the first after it. A transaction, with all its
// records, is valid until the next one. Memory is bounded by the largest
// transaction; [Reader.Blocks] with [Block.Txs] has no such need. The sequence
// ends at the first error.
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
	s := stitcher{r: r, ctx: ctx, w: r.window(len(r.ix.Blocks), aheadFrom(first))}
	defer s.close()
	for i := first; i < len(r.ix.Blocks); i++ {
		b, err := s.read(i)
		if err == nil && v != nil {
			err = v.block(i, b)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for j := range b.txs {
			tx, err := s.part(b, &b.txs[j])
			if err != nil {
				yield(nil, r.corrupt(i, r.ix.Blocks[i].Offset, err))
				return
			}
			if tx != nil && tx.Last() >= from && !yield(tx, nil) {
				return
			}
		}
	}
	if s.open {
		i := len(r.ix.Blocks) - 1
		err = r.corrupt(i, r.ix.Blocks[i].Offset, fmt.Errorf("the pack ends inside transaction %d", s.tx.ID))
	} else if v != nil {
		err = v.end()
	}
	if err != nil {
		yield(nil, err)
	}
}

// txStart returns the number of the block in which the transaction begins that
// holds the record at from, or the first after it.
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
	if p := &b.txs[0]; p.Before && p.First+change.LSN(p.Count) > from {
		return r.ix.SeekLSN(p.First), nil
	}
	return i, nil
}

// stitcher puts transactions together that lie in more than one block. The
// blocks of the open transaction are kept until it was yielded.
type stitcher struct {
	r    *Reader
	ctx  context.Context
	w    *window
	held []*Block // the last one is being read
	from int      // the open transaction begins in held[from]
	tx   change.Tx
	want change.LSN // after the last record of tx
	open bool       // tx goes on in the next block
	join []change.Record
}

func (s *stitcher) close() {
	s.w.close()
	for _, b := range s.held {
		putBlock(b)
	}
}

// read returns the next block, and lets go of those no longer needed.
func (s *stitcher) read(i int) (*Block, error) {
	keep := max(0, len(s.held)-1)
	if s.open {
		keep, s.from = s.from, 0
	}
	for _, b := range s.held[:keep] {
		putBlock(b)
	}
	s.held = append(s.held[:0], s.held[keep:]...)
	stored, err := s.w.stored(s.ctx, i)
	if err != nil {
		return nil, err
	}
	if s.open || len(s.held) == 0 {
		s.held = append(s.held, getBlock(0))
	}
	b := s.held[len(s.held)-1]
	return b, s.r.Decode(i, stored, b)
}

// part adds a part of a transaction and returns the transaction when it is
// whole; nil when more is to come, or when its beginning was not asked for.
func (s *stitcher) part(b *Block, p *TxPart) (*change.Tx, error) {
	records := b.records[p.From:p.To:p.To]
	if !p.Before {
		if s.open {
			return nil, fmt.Errorf("transaction %d begins inside transaction %d", p.ID, s.tx.ID)
		}
		s.tx = change.Tx{ID: p.ID, Commit: p.Commit, Effective: p.Effective, Position: p.Position, Records: records}
		s.want = p.Last() + 1
		if p.After {
			s.open, s.from = true, len(s.held)-1
			s.join = append(s.join[:0], records...)
			return nil, nil
		}
		return &s.tx, nil
	}
	if !s.open {
		if p.First < s.r.ix.Blocks[0].First {
			return nil, fmt.Errorf("transaction %d begins before the pack, at LSN %d", p.ID, p.First)
		}
		return nil, nil
	}
	if p.ID != s.tx.ID || p.Last()+1 != s.want || p.Commit != s.tx.Commit || p.Effective != s.tx.Effective ||
		p.Position != s.tx.Position || p.First != s.join[0].LSN {
		return nil, fmt.Errorf("transaction %d at LSN %d goes on where transaction %d at LSN %d is open",
			p.ID, p.First, s.tx.ID, s.join[0].LSN)
	}
	s.join = append(s.join, records...)
	if p.After {
		return nil, nil
	}
	s.open = false
	s.tx.Records = s.join
	return &s.tx, nil
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

// LastAt returns the last transaction of a log pack with an effective time at
// or before t, by the LSN of its last record: restoring to that LSN restores
// all of them. It returns 0 when there is none.
func (r *Reader) LastAt(ctx context.Context, t change.Time) (change.LSN, error) {
	i := r.ix.SeekTime(t + 1)
	if i == len(r.ix.Blocks) {
		return r.ix.Last(), nil
	}
	b := getBlock(SkipKeys | SkipImages)
	defer putBlock(b)
	if err := r.Block(ctx, i, b); err != nil {
		return 0, err
	}
	j := sort.Search(len(b.txs), func(j int) bool { return b.txs[j].Effective > t })
	if j == len(b.txs) || b.txs[j].First <= r.ix.First() {
		return 0, nil
	}
	return b.txs[j].First - 1, nil
}
