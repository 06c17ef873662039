package archive

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
	counts map[change.CollectionID]*Count
	prev   change.Hash // log hash before the first transaction
	buf    []byte
}

// NewSegmentBuilder starts a segment after a log whose hash is prev.
func NewSegmentBuilder(prev change.Hash) *SegmentBuilder {
	return &SegmentBuilder{seg: Segment{LogHash: prev}, counts: make(map[change.CollectionID]*Count), prev: prev}
}

// Empty reports whether no transaction was added.
func (b *SegmentBuilder) Empty() bool { return b.seg.Txs == 0 }

// Txs returns how many transactions were added.
func (b *SegmentBuilder) Txs() int64 { return b.seg.Txs }

// Last returns the LSN, effective time and position of the last transaction added.
func (b *SegmentBuilder) Last() (change.LSN, change.Time, change.Position) {
	return b.seg.Last, b.seg.Effective.To, b.seg.Position
}

// LogHash returns the log hash after the last transaction added.
func (b *SegmentBuilder) LogHash() change.Hash { return b.seg.LogHash }

// Add counts in the next transaction, whose effective time is set. It refuses
// one that does not continue the segment.
func (b *SegmentBuilder) Add(tx *change.Tx) error {
	if len(tx.Records) == 0 {
		return fmt.Errorf("transaction %d holds no record", tx.ID)
	}
	s := &b.seg
	if s.Txs == 0 {
		s.First = tx.First()
		s.Effective.From = tx.Effective
		s.Commit = Span{From: tx.Commit, To: tx.Commit}
	} else if tx.First() != s.Last+1 {
		return fmt.Errorf("transaction %d starts at LSN %d, want %d", tx.ID, tx.First(), s.Last+1)
	} else if tx.Effective < s.Effective.To {
		return fmt.Errorf("transaction %d at LSN %d has effective time %s, before %s of its predecessor",
			tx.ID, tx.First(), tx.Effective, s.Effective.To)
	}
	for i := range tx.Records {
		r := &tx.Records[i]
		if want := tx.First() + change.LSN(i); r.LSN != want {
			return fmt.Errorf("transaction %d: record %d has LSN %d, want %d", tx.ID, i+1, r.LSN, want)
		}
		if err := b.note(r); err != nil {
			return err
		}
	}
	size := SizeOf(tx)
	for _, c := range size.Counts {
		countFor(b.counts, c.Collection).merge(c)
	}
	s.Last = size.Last
	s.Effective.To = tx.Effective
	s.Commit.From, s.Commit.To = min(s.Commit.From, tx.Commit), max(s.Commit.To, tx.Commit)
	s.Position = tx.Position
	s.Txs++
	b.buf = change.AppendTx(b.buf[:0], tx)
	s.LogHash = change.LogHash(s.LogHash, b.buf)
	b.rank(size)
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

// rank keeps the LargestTxs transactions with most records; of equals, the earlier.
func (b *SegmentBuilder) rank(size TxSize) {
	s := &b.seg
	if len(s.Largest) < LargestTxs {
		s.Largest = append(s.Largest, size)
		return
	}
	least := 0
	for i := range s.Largest {
		if s.Largest[i].Records() <= s.Largest[least].Records() {
			least = i
		}
	}
	if n := s.Largest[least].Records(); size.Records() <= n {
		s.Smaller = max(s.Smaller, size.Records())
		return
	} else {
		s.Smaller = max(s.Smaller, n)
	}
	s.Largest = append(slices.Delete(s.Largest, least, least+1), size)
}

// Segment returns the section for the manifest; packs and covered_until are
// the caller's to set. covered_until is the last effective time, the least it
// may be.
func (b *SegmentBuilder) Segment() Segment {
	s := b.seg
	s.CoveredUntil = s.Effective.To
	s.Counts = sortedCounts(b.counts)
	s.Largest = slices.Clone(s.Largest)
	return s
}

// SizeOf describes a transaction as a segment manifest does.
func SizeOf(tx *change.Tx) TxSize {
	own := make(map[change.CollectionID]*Count, 1)
	for i := range tx.Records {
		countFor(own, tx.Records[i].Collection).add(tx.Records[i].Op)
	}
	return TxSize{First: tx.First(), Last: tx.Last(), ID: tx.ID, Commit: tx.Commit, Effective: tx.Effective,
		Counts: sortedCounts(own)}
}

func countFor(m map[change.CollectionID]*Count, id change.CollectionID) *Count {
	c := m[id]
	if c == nil {
		c = &Count{Collection: id}
		m[id] = c
	}
	return c
}

func sortedCounts(m map[change.CollectionID]*Count) []Count {
	out := make([]Count, 0, len(m))
	for _, c := range m {
		out = append(out, *c)
	}
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
