package pack

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// Verify reads the whole pack and proves every byte of it, without decoding a
// record.
func (r *Reader) Verify(ctx context.Context) error {
	if err := r.proveRest(ctx); err != nil {
		return err
	}
	w := r.window(len(r.ix.Blocks), readAhead)
	defer w.close()
	for i := range r.ix.Blocks {
		stored, err := w.stored(ctx, i)
		if err != nil {
			return err
		}
		if err := r.prove(i, r.ix.Blocks[i].Offset, stored, r.ix.Blocks[i].Hash); err != nil {
			return err
		}
	}
	return nil
}

// proveRest proves what lies outside blocks and tail: header and filters.
func (r *Reader) proveRest(ctx context.Context) error {
	head, err := r.read(ctx, -1, 0, headerSize, nil)
	if err != nil {
		return err
	}
	if err := r.checkHeader(head); err != nil {
		return err
	}
	return r.loadFilters(ctx, 0, len(r.ix.Blocks))
}

// VerifyRecords proves the whole pack, decodes every record, and holds order,
// transactions, statistics, tombstones and filters against what the records say.
func (r *Reader) VerifyRecords(ctx context.Context) error {
	v, err := r.verifier(ctx, r.ix.Kind)
	if err != nil {
		return err
	}
	i := 0
	for b, err := range r.Blocks(ctx, 0, len(r.ix.Blocks), 0) {
		if err == nil {
			err = v.block(i, b)
		}
		if err != nil {
			return err
		}
		i++
	}
	return v.end()
}

// VerifyTxs yields the transactions of a log pack in pieces, as [Reader.Txs]
// does, and proves on the way, with one reading of the pack, what [Reader.VerifyRecords]
// proves: all of it is proved when the sequence has ended without an error.
func (r *Reader) VerifyTxs(ctx context.Context) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		v, err := r.verifier(ctx, Log)
		if err != nil {
			yield(nil, err)
			return
		}
		r.txs(ctx, 0, v, yield)
	}
}

// VerifyRows is to a run pack and [Reader.Records] what VerifyTxs is to a log
// pack.
func (r *Reader) VerifyRows(ctx context.Context) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		v, err := r.verifier(ctx, Run)
		if err != nil {
			yield(nil, err)
			return
		}
		i := 0
		for b, err := range r.Blocks(ctx, 0, len(r.ix.Blocks), 0) {
			if err == nil {
				err = v.block(i, b)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for j := range b.records {
				if !yield(&b.records[j], nil) {
					return
				}
			}
			i++
		}
		if err := v.end(); err != nil {
			yield(nil, err)
		}
	}
}

// verifier proves that the pack is of a kind, and what lies outside its
// blocks, which the verifier then takes in order.
func (r *Reader) verifier(ctx context.Context, kind Kind) (*verifier, error) {
	if r.ix.Kind != kind {
		return nil, r.corrupt(-1, 0, fmt.Errorf("it is a %s pack, want a %s pack", r.ix.Kind, kind))
	}
	if err := r.proveRest(ctx); err != nil {
		return nil, err
	}
	return &verifier{r: r, stats: make(map[change.CollectionID]*CollectionInfo)}, nil
}

// verifier derives the index again from the records.
type verifier struct {
	r          *Reader
	stats      map[change.CollectionID]*CollectionInfo
	tombstones []Tombstone
	schemas    []SchemaMark
	txs        int64
	open       TxPart // the last part
	last       RowKey
}

// block takes in block n, which is proved and decoded.
func (v *verifier) block(n int, b *Block) error {
	if err := v.check(n, b); err != nil {
		return v.r.corrupt(n, v.r.ix.Blocks[n].Offset, err)
	}
	return nil
}

func (v *verifier) check(n int, b *Block) error {
	info := &v.r.ix.Blocks[n]
	for i := range b.txs {
		p := &b.txs[i]
		if n == 0 && i == 0 {
			if before := int64(info.First - p.First); before != v.r.ix.Before {
				return fmt.Errorf("transaction %d has %d records before the pack, the index says %d", p.ID, before, v.r.ix.Before)
			}
		} else if p.Before != v.open.After || p.Before && (p.First != v.open.First || p.ID != v.open.ID || p.Count != v.open.Count ||
			p.Commit != v.open.Commit || p.Effective != v.open.Effective || p.Position != v.open.Position) {
			return fmt.Errorf("transaction %d at LSN %d does not follow transaction %d at LSN %d", p.ID, p.First, v.open.ID, v.open.First)
		}
		if !p.Before {
			v.txs++
		}
		v.open = *p
	}
	least, most := change.MaxLSN, change.LSN(0)
	for i := range b.records {
		r := &b.records[i]
		least, most = min(least, r.LSN), max(most, r.LSN)
		if err := v.record(r, info.filterSize > 0, v.r.filters[n]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	if least != info.First || most != info.Last {
		return fmt.Errorf("LSNs %d to %d, want %d to %d", least, most, info.First, info.Last)
	}
	return nil
}

func (v *verifier) record(r *change.Record, filtered bool, filter []byte) error {
	c := v.stats[r.Collection]
	if c == nil {
		c = &CollectionInfo{ID: r.Collection}
		v.stats[r.Collection] = c
	}
	*c.count(r.Op)++
	c.Raw += int64(len(r.Key) + len(r.Image))
	if len(r.Key) > 0 {
		if len(c.MinKey) == 0 || r.Key.Compare(c.MinKey) < 0 {
			c.MinKey = slices.Clone(r.Key)
		}
		if r.Key.Compare(c.MaxKey) > 0 {
			c.MaxKey = slices.Clone(r.Key)
		}
		if filtered && !filterHas(filter, rowHash(r.Collection, r.Key)) {
			return fmt.Errorf("row %v is not in the filter", rowOf(r))
		}
	}
	if v.r.ix.Kind == Run {
		if rowOf(r).Compare(v.last) <= 0 {
			return fmt.Errorf("row %v after %v", rowOf(r), v.last)
		}
		v.last = RowKey{r.Collection, append(v.last.Key[:0], r.Key...)}
		return nil
	}
	switch r.Op {
	case change.Truncate:
		v.tombstones = append(v.tombstones, Tombstone{Collection: r.Collection, LSN: r.LSN})
	case change.SetSchema:
		s, err := r.Schema()
		if err != nil {
			return err
		}
		v.schemas = append(v.schemas, SchemaMark{r.Collection, r.LSN})
		if s.Dropped {
			v.tombstones = append(v.tombstones, Tombstone{r.Collection, r.LSN, true})
		}
	}
	return nil
}

// end compares the index with what the blocks said.
func (v *verifier) end() error {
	if err := v.checkIndex(); err != nil {
		return v.r.corrupt(-1, v.r.ref.Size-v.r.ref.Tail, err)
	}
	return nil
}

func (v *verifier) checkIndex() error {
	ix := v.r.ix
	switch {
	case len(ix.Blocks) > 0 && ix.Kind == Log && int64(v.open.Last()-ix.Last()) != ix.After:
		return fmt.Errorf("transaction %d has %d records after the pack, the index says %d", v.open.ID, v.open.Last()-ix.Last(), ix.After)
	case v.txs != ix.Txs:
		return fmt.Errorf("index has %d transactions, the blocks %d", ix.Txs, v.txs)
	case ix.Kind == Log && !slices.Equal(v.tombstones, ix.Tombstones):
		return fmt.Errorf("index has tombstones %v, the blocks %v", ix.Tombstones, v.tombstones)
	case !slices.Equal(v.schemas, ix.Schemas):
		return fmt.Errorf("index has schema changes %v, the blocks %v", ix.Schemas, v.schemas)
	case len(v.stats) != len(ix.Collections):
		return errors.New("index and blocks differ in their collections")
	}
	for i := range ix.Collections {
		got, want := v.stats[ix.Collections[i].ID], &ix.Collections[i]
		if got == nil || got.Inserts != want.Inserts || got.Updates != want.Updates || got.Deletes != want.Deletes ||
			got.Truncates != want.Truncates || got.Schemas != want.Schemas || got.Raw != want.Raw ||
			got.MinKey.Compare(want.MinKey) != 0 || got.MaxKey.Compare(want.MaxKey) != 0 {
			return fmt.Errorf("index says %+v, the blocks %+v", want, got)
		}
	}
	return nil
}
