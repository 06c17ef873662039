package chain

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// LargestTxs is how many transactions a segment manifest describes one by one.
const LargestTxs = 16

// SegmentBuilder works out what a segment manifest says of its transactions.
// Capture fills one while it writes packs; verification fills one while it
// reads them, and compares.
type SegmentBuilder struct {
	seg    Segment
	counts tally
	sizer  Sizer // of the transaction being added
	hasher change.LogHasher
	least  int // of a full seg.Largest: the one to give way, the latest of those with fewest records
}

// NewSegmentBuilder starts a segment after a log whose hash is prev.
func NewSegmentBuilder(prev change.Hash) *SegmentBuilder {
	return &SegmentBuilder{seg: Segment{LogHash: prev}}
}

// Empty reports whether nothing was added.
func (b *SegmentBuilder) Empty() bool { return b.seg.Txs == 0 && !b.Inside() }

// Inside reports whether the last transaction added is still to be continued.
// What the segment says is then that before it.
func (b *SegmentBuilder) Inside() bool { return b.sizer.splice.Open() }

// Txs returns how many transactions were added.
func (b *SegmentBuilder) Txs() int64 { return b.seg.Txs }

// Marks returns how many schema changes and tombstones the manifest will list.
func (b *SegmentBuilder) Marks() int { return len(b.seg.Schemas) + len(b.seg.Tombstones) }

// LogHash returns the log hash after the last transaction added.
func (b *SegmentBuilder) LogHash() change.Hash { return b.seg.LogHash }

// Add counts in the next transaction, or piece of one, whose effective time is
// set, and keeps nothing of its memory. It refuses one that does not continue
// the segment, which then is as it was.
func (b *SegmentBuilder) Add(tx *change.Tx) error {
	s := &b.seg
	if err := b.check(tx); err != nil {
		return err
	}
	schemas, tombstones := len(s.Schemas), len(s.Tombstones)
	for i := range tx.Records {
		if err := b.note(&tx.Records[i]); err != nil {
			s.Schemas, s.Tombstones = s.Schemas[:schemas], s.Tombstones[:tombstones]
			return err
		}
	}
	hash := b.hasher.AddTx(s.LogHash, tx)
	if err := b.sizer.add(tx); err != nil || tx.After > 0 {
		return err
	}
	for _, c := range b.sizer.own.list {
		b.counts.of(c.Collection).merge(c)
	}
	head := tx.Head()
	if s.Txs == 0 {
		s.First = head.First
		s.Effective.From = tx.Effective
		s.Commit = Span{From: tx.Commit, To: tx.Commit}
	}
	s.Last = tx.Last()
	s.Effective.To = tx.Effective
	s.Commit.From, s.Commit.To = min(s.Commit.From, tx.Commit), max(s.Commit.To, tx.Commit)
	s.Position = tx.Position
	s.Txs++
	s.LogHash = hash
	b.rank(head.Count)
	return nil
}

// check reports why a transaction does not continue the segment.
func (b *SegmentBuilder) check(tx *change.Tx) error {
	s := &b.seg
	splice := b.sizer.splice
	if err := splice.Add(tx); err != nil {
		return err
	}
	switch {
	case tx.Before > 0:
	case s.Txs > 0 && tx.First() != s.Last+1:
		return fmt.Errorf("transaction %d starts at LSN %d, want %d", tx.ID, tx.First(), s.Last+1)
	case s.Txs > 0 && tx.Effective < s.Effective.To:
		return fmt.Errorf("transaction %d at LSN %d has effective time %s, before %s of its predecessor",
			tx.ID, tx.First(), tx.Effective, s.Effective.To)
	}
	for i := range tx.Records {
		if r := &tx.Records[i]; !r.Op.Valid() {
			return fmt.Errorf("transaction %d: record %d is a %s", tx.ID, tx.Before+int64(i)+1, r.Op)
		}
	}
	return nil
}

// note keeps what changes the meaning of other records.
func (b *SegmentBuilder) note(r *change.Record) error {
	switch r.Op {
	case change.Truncate:
		b.seg.Tombstones = append(b.seg.Tombstones, Tombstone{Collection: r.Collection, LSN: r.LSN})
	case change.SetSchema:
		schema, err := r.Schema()
		if err != nil {
			return err
		}
		b.seg.Schemas = append(b.seg.Schemas, SchemaChange{LSN: r.LSN, Schema: schema})
		if schema.Dropped {
			b.seg.Tombstones = append(b.seg.Tombstones, Tombstone{Collection: r.Collection, LSN: r.LSN, Dropped: true})
		}
	}
	return nil
}

// rank keeps the LargestTxs transactions with most records; of equals, the
// earlier. b.sizer describes the new one, which has so many records.
func (b *SegmentBuilder) rank(records int64) {
	s := &b.seg
	if len(s.Largest) == LargestTxs {
		n := s.Largest[b.least].Records()
		s.Smaller = max(s.Smaller, min(n, records))
		if records <= n {
			return
		}
		s.Largest = slices.Delete(s.Largest, b.least, b.least+1)
	}
	s.Largest = append(s.Largest, b.sizer.size())
	b.least = 0
	for i := range s.Largest {
		if s.Largest[i].Records() <= s.Largest[b.least].Records() {
			b.least = i
		}
	}
}

// Segment returns the section for the manifest, which no transaction may be
// [SegmentBuilder.Inside] of; packs and covered_until are
// the caller's to set. covered_until is the last effective time, the least it
// may be.
func (b *SegmentBuilder) Segment() Segment {
	s := b.seg
	s.CoveredUntil = s.Effective.To
	s.Counts = b.counts.sorted()
	s.Largest, s.Tombstones, s.Schemas = slices.Clone(s.Largest), slices.Clone(s.Tombstones), slices.Clone(s.Schemas)
	return s
}

// SizeOf describes a whole transaction as a segment manifest does.
func SizeOf(tx *change.Tx) TxSize {
	var s Sizer
	s.count(tx)
	return sizeOf(tx.Head(), &s.own)
}

// Sizer describes transactions that come whole or in pieces as a segment
// manifest does. The zero Sizer is ready for use.
type Sizer struct {
	splice change.Splice
	own    tally // of the last transaction; kept for its memory
}

// Add takes the next transaction or piece. whole is true when that ends its
// transaction, which size then describes. A piece that does not fit is refused.
func (s *Sizer) Add(tx *change.Tx) (size TxSize, whole bool, err error) {
	if err := s.add(tx); err != nil || tx.After > 0 {
		return TxSize{}, false, err
	}
	return s.size(), true, nil
}

func (s *Sizer) add(tx *change.Tx) error {
	if err := s.splice.Add(tx); err != nil {
		return err
	}
	s.count(tx)
	return nil
}

func (s *Sizer) count(tx *change.Tx) {
	if tx.Before == 0 {
		s.own.reset()
	}
	for i := range tx.Records {
		s.own.of(tx.Records[i].Collection).add(tx.Records[i].Op)
	}
}

// Inside reports whether the last transaction is still to be continued.
func (s *Sizer) Inside() bool { return s.splice.Open() }

func (s *Sizer) size() TxSize { return sizeOf(s.splice.Head(), &s.own) }

func sizeOf(h change.TxHead, own *tally) TxSize {
	return TxSize{First: h.First, Last: h.Last(), ID: h.ID, Commit: h.Commit, Effective: h.Effective, Counts: own.sorted()}
}

// tally counts records by collection. The zero tally is empty.
type tally struct {
	list  []Count
	index map[change.CollectionID]int // into list, once it is long
	last  int                         // the one used last
}

// fewCounts is the length up to which a list is searched from end to end.
const fewCounts = 8

func (t *tally) reset() {
	t.list, t.last = t.list[:0], 0
	clear(t.index)
}

// of returns the count of a collection, valid until the next call.
func (t *tally) of(id change.CollectionID) *Count {
	if t.last >= len(t.list) || t.list[t.last].Collection != id {
		t.last = t.find(id)
	}
	return &t.list[t.last]
}

func (t *tally) find(id change.CollectionID) int {
	if len(t.list) <= fewCounts {
		for i := range t.list {
			if t.list[i].Collection == id {
				return i
			}
		}
	} else if i, ok := t.index[id]; ok {
		return i
	}
	t.list = append(t.list, Count{Collection: id})
	switch n := len(t.list); {
	case n == fewCounts+1:
		if t.index == nil {
			t.index = make(map[change.CollectionID]int)
		}
		for i := range t.list {
			t.index[t.list[i].Collection] = i
		}
	case n > fewCounts+1:
		t.index[id] = n - 1
	}
	return len(t.list) - 1
}

// sorted returns the counts in order of collection, in memory of their own.
func (t *tally) sorted() []Count {
	out := make([]Count, len(t.list))
	copy(out, t.list)
	slices.SortFunc(out, func(a, b Count) int { return cmp.Compare(a.Collection, b.Collection) })
	return out
}

func (c *Count) add(op change.Op) {
	switch op {
	case change.Insert:
		c.Inserts++
	case change.Update:
		c.Updates++
	case change.Delete:
		c.Deletes++
	case change.Truncate:
		c.Truncates++
	case change.SetSchema:
		c.Schemas++
	}
}

func (c *Count) merge(o Count) {
	c.Inserts += o.Inserts
	c.Updates += o.Updates
	c.Deletes += o.Deletes
	c.Truncates += o.Truncates
	c.Schemas += o.Schemas
}

// Of returns the count of one operation.
func (c Count) Of(op change.Op) int64 {
	return [...]int64{change.Insert: c.Inserts, change.Update: c.Updates, change.Delete: c.Deletes,
		change.Truncate: c.Truncates, change.SetSchema: c.Schemas}[op]
}

// Records returns how many records the count stands for.
func (c Count) Records() int64 {
	return c.Inserts + c.Updates + c.Deletes + c.Truncates + c.Schemas
}

// Records returns how many records the transaction has.
func (t *TxSize) Records() int64 { return int64(t.Last - t.First + 1) }
