package checkpoint

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

type segment = chain.Announced[chain.Segment]

// encodeSegments returns the two groups of columns of consecutive segments: all
// that a plan asks, and the largest transactions.
func encodeSegments(segs []segment) (main, largest []byte, err error) {
	w := new(writer)
	w.count(len(segs))
	w.places(segs)
	w.times(segs)
	if err := w.packs(segs); err != nil {
		return nil, nil, err
	}
	w.counts(each(segs, func(s *chain.Segment) []chain.Count { return s.Counts }))
	if err := w.marks(segs); err != nil {
		return nil, nil, err
	}
	l := new(writer)
	l.largest(segs)
	return w.b, l.b, nil
}

func each[T any](segs []segment, of func(*chain.Segment) []T) [][]T {
	out := make([][]T, len(segs))
	for i := range segs {
		out[i] = of(&segs[i].Body)
	}
	return out
}

// places writes who announced each segment, and where in the log it lies.
func (w *writer) places(segs []segment) {
	last := chain.TimelineID("")
	for i := range segs { // a timeline where it is another than before
		if t := segs[i].Timeline; t != last {
			w.text(string(t))
			last = t
		} else {
			w.count(0)
		}
	}
	seq := chain.Seq(0)
	for i := range segs {
		w.int(int64(segs[i].Seq - seq))
		seq = segs[i].Seq
	}
	lsn := change.LSN(0)
	for i := range segs {
		w.lsn(segs[i].Body.First - lsn)
		lsn = segs[i].Body.Last
	}
	for i := range segs {
		w.lsn(segs[i].Body.Last - segs[i].Body.First)
	}
	for i := range segs {
		n := change.LSN(0)
		if b := &segs[i].Body; b.PackLast != 0 {
			n = b.PackLast - b.Last + 1
		}
		w.lsn(n)
	}
	for i := range segs {
		w.text(string(segs[i].Body.Position))
	}
	for i := range segs {
		w.hash(segs[i].Body.LogHash)
	}
	for i := range segs {
		w.uint(uint64(segs[i].Body.Txs))
	}
}

func (w *writer) times(segs []segment) {
	var last change.Time
	for i := range segs {
		w.int(int64(segs[i].Body.Effective.From - last))
		last = segs[i].Body.Effective.To
	}
	for i := range segs {
		w.int(int64(segs[i].Body.Effective.To - segs[i].Body.Effective.From))
	}
	for i := range segs {
		w.int(int64(segs[i].Body.Commit.From - segs[i].Body.Effective.From))
	}
	for i := range segs {
		w.int(int64(segs[i].Body.Commit.To - segs[i].Body.Commit.From))
	}
	for i := range segs {
		w.int(int64(segs[i].Body.CoveredUntil - segs[i].Body.Effective.To))
	}
}

// packs writes references. A pack's key follows from the segment but for its
// nonce and last LSN.
func (w *writer) packs(segs []segment) error {
	var all []pack.Ref
	for i := range segs {
		w.count(len(segs[i].Body.Packs))
		all = append(all, segs[i].Body.Packs...)
	}
	keys := make([]chain.PackKey, 0, len(all))
	for i := range segs {
		for _, r := range segs[i].Body.Packs {
			k, err := chain.ParsePackKey(r.Key)
			if err == nil && (k.Timeline != segs[i].Timeline || k.Kind != chain.LogPack) {
				err = fmt.Errorf("pack %s is not of the log of timeline %s", r.Key, segs[i].Timeline)
			}
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
	}
	var last change.LSN
	for i := range keys {
		w.int(int64(keys[i].First - last))
		w.lsn(keys[i].Last - keys[i].First)
		last = keys[i].Last
	}
	for i := range keys {
		nonce, err := hex.DecodeString(keys[i].Nonce)
		if err != nil {
			return err
		}
		w.b = append(w.b, nonce...)
	}
	for _, of := range refNumbers {
		for i := range all {
			w.uint(uint64(*of(&all[i])))
		}
	}
	for i := range all {
		w.hash(all[i].Hash)
	}
	return nil
}

// refNumbers are the columns of references.
var refNumbers = []func(*pack.Ref) *int64{
	func(r *pack.Ref) *int64 { return &r.Size },
	func(r *pack.Ref) *int64 { return &r.Tail },
	func(r *pack.Ref) *int64 { return &r.Records },
	func(r *pack.Ref) *int64 { return &r.Raw },
	func(r *pack.Ref) *int64 { return &r.MaxBlock },
}

// countNumbers are the columns of counts.
var countNumbers = []func(*chain.Count) *int64{
	func(c *chain.Count) *int64 { return &c.Inserts },
	func(c *chain.Count) *int64 { return &c.Updates },
	func(c *chain.Count) *int64 { return &c.Deletes },
	func(c *chain.Count) *int64 { return &c.Truncates },
	func(c *chain.Count) *int64 { return &c.Schemas },
}

func (w *writer) counts(lists [][]chain.Count) {
	var all []chain.Count
	for _, l := range lists {
		w.count(len(l))
		all = append(all, l...)
	}
	for i := range all {
		w.uint(uint64(all[i].Collection))
	}
	for _, of := range countNumbers {
		for i := range all {
			w.uint(uint64(*of(&all[i])))
		}
	}
}

// marks writes tombstones and schema changes, which are rare.
func (w *writer) marks(segs []segment) error {
	for i := range segs {
		b := &segs[i].Body
		w.count(len(b.Tombstones))
		for _, t := range b.Tombstones {
			w.uint(uint64(t.Collection))
			w.lsn(t.LSN)
			if t.Dropped {
				w.count(1)
			} else {
				w.count(0)
			}
		}
	}
	for i := range segs {
		if len(segs[i].Body.Schemas) == 0 {
			w.text("")
			continue
		}
		j, err := json.Marshal(segs[i].Body.Schemas)
		if err != nil {
			return fmt.Errorf("schema changes of manifest %d: %w", segs[i].Seq, err)
		}
		w.text(string(j))
	}
	return nil
}

func (w *writer) largest(segs []segment) {
	for i := range segs {
		w.uint(uint64(segs[i].Body.Smaller))
	}
	var all []chain.TxSize
	for i := range segs {
		w.count(len(segs[i].Body.Largest))
		all = append(all, segs[i].Body.Largest...)
	}
	var last chain.TxSize
	for i := range all {
		w.int(int64(all[i].First - last.Last))
		w.lsn(all[i].Last - all[i].First)
		last = all[i]
	}
	last = chain.TxSize{}
	for i := range all {
		w.int(int64(all[i].ID - last.ID))
		last = all[i]
	}
	last = chain.TxSize{}
	for i := range all {
		w.int(int64(all[i].Effective - last.Effective))
		last = all[i]
	}
	for i := range all {
		w.int(int64(all[i].Commit - all[i].Effective))
	}
	lists := make([][]chain.Count, len(all))
	for i := range all {
		lists[i] = all[i].Counts
	}
	w.counts(lists)
}
