package pack

import (
	"sort"

	"github.com/tidemarkdb/tidemark/change"
)

// Index says what a pack holds and where. It is read-only.
type Index struct {
	Kind        Kind
	Records     int64
	Raw         int64 // bytes of keys, images and positions, decoded
	Txs         int64 // transactions that begin in the pack (log)
	Before      int64 // records of the first transaction that lie in packs before this one (log)
	After       int64 // records of the last transaction that lie in packs after this one (log)
	Blocks      []BlockInfo
	Collections []CollectionInfo // in order of ID
	Tombstones  []Tombstone      // in order of appending: for a log, LSN order
	Schemas     []SchemaMark     // SetSchema records, in LSN order (log)
}

// BlockInfo describes one block.
type BlockInfo struct {
	Offset  int64       // in the pack
	Stored  int64       // bytes in the pack
	Raw     int64       // bytes of keys, images and positions, decoded
	Hash    change.Hash // SHA-256 of the stored bytes
	Records int

	// The least and the greatest LSN; in a log those of the first and the last record.
	First, Last change.LSN
	// Effective times of the first and the last transaction (log).
	FirstTime, LastTime change.Time
	// The first and the last row (run).
	FirstRow, LastRow RowKey

	filterOffset int64
	filterSize   int64 // 0: no filter, any row may be in the block
	filterHash   change.Hash
}

// CollectionInfo says what a pack holds of one collection.
type CollectionInfo struct {
	ID             change.CollectionID
	Inserts        int64
	Updates        int64
	Deletes        int64
	Truncates      int64
	Schemas        int64
	Raw            int64      // bytes of keys and images, decoded
	MinKey, MaxKey change.Key // of the records that have a key; both empty when none has
}

// Records returns how many records of the collection the pack holds.
func (c *CollectionInfo) Records() int64 {
	return c.Inserts + c.Updates + c.Deletes + c.Truncates + c.Schemas
}

// count returns the counter of an operation.
func (c *CollectionInfo) count(op change.Op) *int64 {
	switch op {
	case change.Insert:
		return &c.Inserts
	case change.Update:
		return &c.Updates
	case change.Delete:
		return &c.Deletes
	case change.Truncate:
		return &c.Truncates
	}
	return &c.Schemas
}

// Tombstone says that every version of a collection's rows before LSN is gone.
type Tombstone struct {
	Collection change.CollectionID
	LSN        change.LSN
	Dropped    bool // by a schema that ends the collection, not by a truncate
}

// SchemaMark is where a pack holds a schema change.
type SchemaMark struct {
	Collection change.CollectionID
	LSN        change.LSN
}

// First returns the least LSN of the pack; 0 when it is empty.
func (ix *Index) First() change.LSN {
	if len(ix.Blocks) == 0 {
		return 0
	}
	first := ix.Blocks[0].First
	for i := range ix.Blocks {
		first = min(first, ix.Blocks[i].First)
	}
	return first
}

// Last returns the greatest LSN of the pack; 0 when it is empty.
func (ix *Index) Last() change.LSN {
	var last change.LSN
	for i := range ix.Blocks {
		last = max(last, ix.Blocks[i].Last)
	}
	return last
}

// Collection returns what the pack holds of a collection, or nil for nothing.
func (ix *Index) Collection(id change.CollectionID) *CollectionInfo {
	i := sort.Search(len(ix.Collections), func(i int) bool { return ix.Collections[i].ID >= id })
	if i == len(ix.Collections) || ix.Collections[i].ID != id {
		return nil
	}
	return &ix.Collections[i]
}

// SeekLSN returns the number of the first block of a log pack that holds a
// record at or after lsn; len(Blocks) when none does.
func (ix *Index) SeekLSN(lsn change.LSN) int {
	return sort.Search(len(ix.Blocks), func(i int) bool { return ix.Blocks[i].Last >= lsn })
}

// SeekTime returns the number of the first block of a log pack that holds
// records of a transaction with an effective time at or after t; len(Blocks)
// when none does.
func (ix *Index) SeekTime(t change.Time) int {
	return sort.Search(len(ix.Blocks), func(i int) bool { return ix.Blocks[i].LastTime >= t })
}

// SeekRow returns the number of the first block of a run pack that holds a row
// at or after row; len(Blocks) when none does.
func (ix *Index) SeekRow(row RowKey) int {
	return sort.Search(len(ix.Blocks), func(i int) bool { return ix.Blocks[i].LastRow.Compare(row) >= 0 })
}

// maxBlock returns the raw bytes of the largest block.
func (ix *Index) maxBlock() int64 {
	var n int64
	for i := range ix.Blocks {
		n = max(n, ix.Blocks[i].Raw)
	}
	return n
}
