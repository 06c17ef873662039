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
	own    tally // of the transaction being added; kept for its memory
	least  int   // of a full seg.Largest: the one to give way, the latest of those with fewest records
	buf    []byte
}

// NewSegmentBuilder starts a segment after a log whose hash is prev.
func NewSegmentBuilder(prev change.Hash) *SegmentBuilder {
	return &SegmentBuilder{seg: Segment{LogHash: prev}}
}

// Empty reports whether no transaction was added.
func (b *SegmentBuilder) Empty() bool { return b.seg.Txs == 0 }

// Txs returns how many transactions were added.
func (b *SegmentBuilder) Txs() int64 { return b.seg.Txs }

// Marks returns how many schema changes and tombstones the manifest will list.
func (b *SegmentBuilder) Marks() int { return len(b.seg.Schemas) + len(b.seg.Tombstones) }

// LogHash returns the log hash after the last transaction added.
func (b *SegmentBuilder) LogHash() change.Hash { return b.seg.LogHash }

// Add counts in the next transaction, whose effective time is set, and keeps
// nothing of its memory. It refuses one that does not continue the segment,
// which then is as it was.
func (b *SegmentBuilder) Add(tx *change.Tx) error {
	s := &b.seg
	if err := b.check(tx); err != nil {
		return err
	}
	schemas, tombstones := len(s.Schemas), len(s.Tombstones)
	b.own.reset()
	for i := range tx.Records {
		r := &tx.Records[i]
		b.own.of(r.Collection).add(r.Op)
		if err := b.note(r); err != nil {
			s.Schemas, s.Tombstones = s.Schemas[:schemas], s.Tombstones[:tombstones]
			return err
		}
	}
	for i := range b.own.list {
		b.counts.of(b.own.list[i].Collection).merge(b.own.list[i])
	}
	if s.Txs == 0 {
		s.First = tx.First()
		s.Effective.From = tx.Effective
		s.Commit = Span{From: tx.Commit, To: tx.Commit}
	}
	s.Last = tx.Last()
	s.Effective.To = tx.Effective
	s.Commit.From, s.Commit.To = min(s.Commit.From, tx.Commit), max(s.Commit.To, tx.Commit)
	s.Position = tx.Position
	s.Txs++
	b.buf = change.AppendTx(b.buf[:0], tx)
	s.LogHash = change.LogHash(s.LogHash, b.buf)
	b.rank(tx)
	return nil
}

// check reports why a transaction does not continue the segment.
func (b *SegmentBuilder) check(tx *change.Tx) error {
	s := &b.seg
	switch {
	case len(tx.Records) == 0:
		return fmt.Errorf("transaction %d holds no record", tx.ID)
	case s.Txs > 0 && tx.First() != s.Last+1:
		return fmt.Errorf("transaction %d starts at LSN %d, want %d", tx.ID, tx.First(), s.Last+1)
	case s.Txs > 0 && tx.Effective < s.Effective.To:
		return fmt.Errorf("transaction %d at LSN %d has effective time %s, before %s of its predecessor",
			tx.ID, tx.First(), tx.Effective, s.Effective.To)
	}
	for i := range tx.Records {
		r := &tx.Records[i]
		if want := tx.First() + change.LSN(i); r.LSN != want {
			return fmt.Errorf("transaction %d: record %d has LSN %d, want %d", tx.ID, i+1, r.LSN, want)
		}
		if !r.Op.Valid() {
			return fmt.Errorf("transaction %d: record %d is a %s", tx.ID, i+1, r.Op)
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
// earlier. b.own holds the counts of tx.
func (b *SegmentBuilder) rank(tx *change.Tx) {
	s := &b.seg
	records := int64(len(tx.Records))
	if len(s.Largest) == LargestTxs {
		n := s.Largest[b.least].Records()
		s.Smaller = max(s.Smaller, min(n, records))
		if records <= n {
			return
		}
		s.Largest = slices.Delete(s.Largest, b.least, b.least+1)
	}
	s.Largest = append(s.Largest, txSize(tx, &b.own))
	b.least = 0
	for i := range s.Largest {
		if s.Largest[i].Records() <= s.Largest[b.least].Records() {
			b.least = i
		}
	}
}

// Segment returns the section for the manifest; packs and covered_until are
// the caller's to set. covered_until is the last effective time, the least it
// may be.
func (b *SegmentBuilder) Segment() Segment {
	s := b.seg
	s.CoveredUntil = s.Effective.To
	s.Counts = b.counts.sorted()
	s.Largest, s.Tombstones, s.Schemas = slices.Clone(s.Largest), slices.Clone(s.Tombstones), slices.Clone(s.Schemas)
	return s
}

// SizeOf describes a transaction as a segment manifest does.
func SizeOf(tx *change.Tx) TxSize {
	var own tally
	for i := range tx.Records {
		own.of(tx.Records[i].Collection).add(tx.Records[i].Op)
	}
	return txSize(tx, &own)
}

func txSize(tx *change.Tx, own *tally) TxSize {
	return TxSize{First: tx.First(), Last: tx.Last(), ID: tx.ID, Commit: tx.Commit, Effective: tx.Effective,
		Counts: own.sorted()}
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
