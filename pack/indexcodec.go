package pack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// Sections of the index, in this order. A reader refuses one it does not know
// below optionalSection and skips one from there on.
const (
	sectionBlocks      = 1
	sectionCollections = 2
	sectionTombstones  = 3
	sectionSchemas     = 4
	sectionFilters     = 5
	optionalSection    = 128
)

const filterBloom = 1 // the kind of filter that filter.go builds

// append writes the index: the header again, then the sections.
func (ix *Index) append(dst []byte, h header) []byte {
	dst = h.append(dst)
	dst = appendSection(dst, sectionBlocks, ix.appendBlocks(nil))
	dst = appendSection(dst, sectionCollections, ix.appendCollections(nil))
	if len(ix.Tombstones) > 0 {
		b := binary.AppendUvarint(nil, uint64(len(ix.Tombstones)))
		for _, t := range ix.Tombstones {
			b = binary.AppendUvarint(b, uint64(t.Collection))
			b = binary.AppendUvarint(b, uint64(t.LSN))
			b = append(b, boolByte(t.Dropped))
		}
		dst = appendSection(dst, sectionTombstones, b)
	}
	if len(ix.Schemas) > 0 {
		b := binary.AppendUvarint(nil, uint64(len(ix.Schemas)))
		for _, s := range ix.Schemas {
			b = binary.AppendUvarint(b, uint64(s.Collection))
			b = binary.AppendUvarint(b, uint64(s.LSN))
		}
		dst = appendSection(dst, sectionSchemas, b)
	}
	b := []byte{filterBloom}
	for i := range ix.Blocks {
		b = binary.AppendUvarint(b, uint64(ix.Blocks[i].filterSize))
		if ix.Blocks[i].filterSize > 0 {
			b = append(b, ix.Blocks[i].filterHash[:]...)
		}
	}
	return appendSection(dst, sectionFilters, b)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendSection(dst []byte, id byte, body []byte) []byte {
	return appendBytes(append(dst, id), body)
}

func (ix *Index) appendBlocks(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(ix.Txs))
	b = binary.AppendUvarint(b, uint64(ix.Before))
	b = binary.AppendUvarint(b, uint64(ix.After))
	b = binary.AppendUvarint(b, uint64(len(ix.Blocks)))
	var lsn change.LSN
	var t change.Time
	var row RowKey
	for i := range ix.Blocks {
		k := &ix.Blocks[i]
		b = binary.AppendUvarint(b, uint64(k.Stored))
		b = binary.AppendUvarint(b, uint64(k.Raw))
		b = append(b, k.Hash[:]...)
		b = binary.AppendUvarint(b, uint64(k.Records))
		b = binary.AppendVarint(b, int64(k.First-lsn))
		b = binary.AppendUvarint(b, uint64(k.Last-k.First))
		lsn = k.Last
		if ix.Kind == Log {
			b = binary.AppendVarint(b, int64(k.FirstTime-t))
			b = binary.AppendVarint(b, int64(k.LastTime-k.FirstTime))
			t = k.LastTime
		} else {
			b = appendRow(b, row, k.FirstRow)
			b = appendRow(b, k.FirstRow, k.LastRow)
			row = k.LastRow
		}
	}
	return b
}

// appendRow writes a row key, its key without what it shares with the one before.
func appendRow(b []byte, before, row RowKey) []byte {
	shared := sharedPrefix(before.Key, row.Key, len(row.Key))
	b = binary.AppendUvarint(b, uint64(row.Collection))
	b = binary.AppendUvarint(b, uint64(shared))
	return appendBytes(b, row.Key[shared:])
}

// row reads what appendRow wrote.
func (c *cursor) row(before RowKey) RowKey {
	id := c.uvarint()
	shared := c.uvarint()
	rest := c.bytes(change.MaxKey)
	if c.bad || id > 1<<32-1 || shared > uint64(len(before.Key)) || shared+uint64(len(rest)) > change.MaxKey {
		c.fail()
		return RowKey{}
	}
	key := make(change.Key, 0, int(shared)+len(rest))
	return RowKey{change.CollectionID(id), append(append(key, before.Key[:shared]...), rest...)}
}

func (ix *Index) appendCollections(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(ix.Collections)))
	for i := range ix.Collections {
		c := &ix.Collections[i]
		b = binary.AppendUvarint(b, uint64(c.ID))
		for _, n := range []int64{c.Inserts, c.Updates, c.Deletes, c.Truncates, c.Schemas, c.Raw} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		b = appendBytes(b, c.MinKey)
		b = appendBytes(b, c.MaxKey)
	}
	return b
}

// parseIndex reads an index that ends at offset end of its pack, where it starts at offset start.
func parseIndex(b []byte, start int64, want header) (*Index, error) {
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	if h != want {
		return nil, fmt.Errorf("header in the index %v, in the footer %v", h, want)
	}
	ix := &Index{Kind: h.kind}
	c := cursor{b: b[headerSize:]}
	var seen byte
	for len(c.b) > 0 {
		id := c.byte()
		body := cursor{b: c.bytes(MaxTail)}
		if c.bad || id <= seen {
			return nil, fmt.Errorf("index section %d after %d: %w", id, seen, errShort)
		}
		if id > seen+1 && seen < sectionCollections {
			return nil, fmt.Errorf("index section %d is missing", seen+1)
		}
		seen = id
		switch {
		case id == sectionBlocks:
			ix.parseBlocks(&body)
		case id == sectionCollections:
			ix.parseCollections(&body)
		case id == sectionTombstones:
			ix.parseTombstones(&body)
		case id == sectionSchemas:
			ix.parseSchemas(&body)
		case id == sectionFilters:
			ix.parseFilters(&body)
		case id < optionalSection:
			return nil, fmt.Errorf("index section %d: %w", id, ErrVersion)
		default:
			body.b = nil
		}
		if err := body.end(); err != nil {
			return nil, fmt.Errorf("index section %d: %w", id, err)
		}
	}
	if seen < sectionCollections {
		return nil, errors.New("index ends before its blocks and collections")
	}
	return ix, ix.place(start)
}

// place gives blocks and filters their offsets: they lie one after another
// between the header and the index, and fill that space exactly.
func (ix *Index) place(indexStart int64) error {
	offset := int64(headerSize)
	for i := range ix.Blocks {
		ix.Blocks[i].Offset = offset
		offset += ix.Blocks[i].Stored
	}
	for i := range ix.Blocks {
		ix.Blocks[i].filterOffset = offset
		offset += ix.Blocks[i].filterSize
	}
	if offset != indexStart {
		return fmt.Errorf("blocks and filters end at %d, the index starts at %d", offset, indexStart)
	}
	return nil
}

const leastBlockEntry = 1 + 1 + 32 + 1 + 1 + 1 + 2 // bytes in the index

func (ix *Index) parseBlocks(c *cursor) {
	txs, before, after := c.uvarint(), c.uvarint(), c.uvarint()
	ix.Blocks = make([]BlockInfo, c.count(leastBlockEntry))
	var lsn change.LSN
	var t change.Time
	var row RowKey
	for i := range ix.Blocks {
		k := &ix.Blocks[i]
		stored, raw := c.uvarint(), c.uvarint()
		copy(k.Hash[:], c.take(32))
		records := c.uvarint()
		k.First = lsn + change.LSN(c.varint())
		span := c.uvarint()
		k.Last = k.First + change.LSN(span)
		if stored > maxBlockStored || raw > MaxBlockRaw || records == 0 || records > MaxBlockRecords || k.Last < k.First {
			c.fail()
			return
		}
		k.Stored, k.Raw, k.Records = int64(stored), int64(raw), int(records)
		if ix.Kind == Log {
			if span != records-1 || k.First == 0 || (i > 0 && k.First != lsn+1) {
				c.fail()
			}
			k.FirstTime = t + change.Time(c.varint())
			k.LastTime = k.FirstTime + change.Time(c.varint())
			if k.LastTime < k.FirstTime || (i > 0 && k.FirstTime < t) {
				c.fail()
			}
			t = k.LastTime
		} else {
			k.FirstRow = c.row(row)
			k.LastRow = c.row(k.FirstRow)
			if k.FirstRow.Compare(k.LastRow) > 0 || (i > 0 && row.Compare(k.FirstRow) >= 0) {
				c.fail()
			}
			row = k.LastRow
		}
		if c.bad {
			return
		}
		lsn = k.Last
		ix.Records += int64(records)
		ix.Raw += int64(raw)
	}
	switch {
	case len(ix.Blocks) == 0 || ix.Kind == Run:
		if txs+before+after > 0 {
			c.fail()
		}
	case txs > uint64(ix.Records) || txs == 0 && before == 0 || before >= uint64(ix.Blocks[0].First) || after > uint64(change.MaxLSN-lsn):
		c.fail()
	}
	ix.Txs, ix.Before, ix.After = int64(txs), int64(before), int64(after)
}

func (ix *Index) parseCollections(c *cursor) {
	ix.Collections = make([]CollectionInfo, c.count(9))
	var last, records uint64
	for i := range ix.Collections {
		k := &ix.Collections[i]
		id := c.uvarint()
		if id <= last || id > 1<<32-1 {
			c.fail()
		}
		last, k.ID = id, change.CollectionID(id)
		for _, p := range []*int64{&k.Inserts, &k.Updates, &k.Deletes, &k.Truncates, &k.Schemas, &k.Raw} {
			n := c.uvarint()
			if n > 1<<56 {
				c.fail()
			}
			*p = int64(n)
		}
		k.MinKey = c.bytes(change.MaxKey)
		k.MaxKey = c.bytes(change.MaxKey)
		if c.bad || k.MinKey.Compare(k.MaxKey) > 0 {
			c.fail()
			return
		}
		records += uint64(k.Records())
	}
	if records != uint64(ix.Records) {
		c.fail()
	}
}

// mark reads a collection and an LSN.
func (c *cursor) mark() (change.CollectionID, change.LSN) {
	id, lsn := c.uvarint(), c.uvarint()
	if id == 0 || id > 1<<32-1 {
		c.fail()
	}
	return change.CollectionID(id), change.LSN(lsn)
}

func (ix *Index) parseTombstones(c *cursor) {
	ix.Tombstones = make([]Tombstone, c.count(3))
	for i := range ix.Tombstones {
		t := &ix.Tombstones[i]
		t.Collection, t.LSN = c.mark()
		dropped := c.byte()
		if dropped > 1 {
			c.fail()
		}
		t.Dropped = dropped == 1
	}
}

func (ix *Index) parseSchemas(c *cursor) {
	ix.Schemas = make([]SchemaMark, c.count(2))
	for i := range ix.Schemas {
		ix.Schemas[i].Collection, ix.Schemas[i].LSN = c.mark()
	}
}

func (ix *Index) parseFilters(c *cursor) {
	if c.byte() != filterBloom {
		c.fail()
	}
	for i := range ix.Blocks {
		k := &ix.Blocks[i]
		size := c.uvarint()
		if size > maxFilter || size%filterLine != 0 {
			c.fail()
		}
		if size > 0 && !c.bad {
			k.filterSize = int64(size)
			copy(k.filterHash[:], c.take(32))
		}
	}
}
