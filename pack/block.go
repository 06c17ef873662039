package pack

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/change"
)

// A block is stored as a header, a stream directory, and the streams. Its
// records are sorted into classes: those of one class have the same operation
// and collection and the same parts. Each stream holds one part of all
// records, class by class, in the order of the records within a class, so
// that like stands beside like and decoding is one tight loop per class.
const (
	blockHeaderSize = 40
	streamEntrySize = 12
)

// The streams of a block. A reader refuses one it does not know below
// optionalStream and skips one from there on.
const (
	streamClasses    = 1  // the classes: op, parts, collection, number of records
	streamClassOf    = 2  // per record its class, one byte; absent when there is one class
	streamKeyShared  = 3  // per key: bytes shared with the one before it in its class, one byte
	streamKeyLen     = 4  // per key: bytes that follow
	streamKeys       = 5  // those bytes
	streamImageLen   = 6  // per image that is stored as it is: its length
	streamImages     = 7  // those images
	streamLSN        = 8  // run: LSN minus that of the block, zigzag; absent when all are 0
	streamCounts     = 9  // run: counts of bag rows, zigzag
	streamColumns    = 10 // of each split class: its columns
	streamKinds      = 11 // of each column whose kind varies: the kinds, one byte each
	streamNums       = 12 // of each column: its numbers
	streamLens       = 13 // of each column: the lengths of its strings
	streamBytes      = 14 // of each column: its strings
	streamTxRecords  = 16 // log: per transaction its records, also those in other blocks
	streamTxID       = 17 // ID minus the one before, zigzag
	streamTxCommit   = 18 // commit time minus the one before, zigzag
	streamTxTime     = 19 // effective time minus commit time, zigzag
	streamTxPosLen   = 20 // position: bytes shared with the one before, bytes that follow; absent when all are empty
	streamTxPosition = 21 // those bytes
	optionalStream   = 128
)

// Encodings of a stream.
const (
	encodingRaw  = 0
	encodingZstd = 1
)

// Parts of the records of a class.
const (
	partKey     = 1 << 0
	partImage   = 1 << 1
	partCount   = 1 << 2
	partPartial = 1 << 3 // the images have imagePartial in front
	partSplit   = 1 << 4 // the images are stored by column
	partsAll    = 1<<5 - 1
)

// Skip says which parts of records a [Block] is to leave out, to save the time
// of decoding them.
type Skip uint8

// What can be skipped.
const (
	SkipKeys Skip = 1 << iota
	SkipImages
)

// TxPart is a transaction, or the part of it that lies in one block.
type TxPart struct {
	ID        change.TxID
	Commit    change.Time
	Effective change.Time
	Position  change.Position
	First     change.LSN // of the whole transaction
	Count     int64      // records of the whole transaction
	From, To  int        // its records in this block: Records()[From:To]
	Before    bool       // it began in an earlier block
	After     bool       // it goes on in a later block
	posLen    int
}

// Last returns the LSN of the last record of the whole transaction.
func (p *TxPart) Last() change.LSN { return p.First + change.LSN(p.Count) - 1 }

// Block holds the records of one block of a pack. The zero Block is ready for
// use; reading another block into it reuses its memory.
type Block struct {
	// Skip says what to leave out of the records; set it before reading.
	Skip Skip

	records []change.Record
	txs     []TxPart
	arena   []byte // what records and transactions point to
	stored  []byte // what was read
	order   []uint32
	join    joiner
	classes []class
}

// class is what its records have in common.
type class struct {
	op         change.Op
	parts      uint8
	collection change.CollectionID
	records    int
}

// Records returns the records of the block in the order of the pack. They and
// what they point to are valid until the next block is read into b.
func (b *Block) Records() []change.Record { return b.records }

// Txs returns the transactions of a log block, in order; together they hold
// every record of the block. They are valid until the next block is read into b.
func (b *Block) Txs() []TxPart { return b.txs }

// Tx returns transaction i of the block, or the piece of it that lies there. It
// is valid as long as Records.
func (b *Block) Tx(i int) change.Tx {
	p := &b.txs[i]
	tx := change.Tx{ID: p.ID, Commit: p.Commit, Effective: p.Effective, Position: p.Position, Records: b.records[p.From:p.To:p.To]}
	tx.Before = int64(tx.First() - p.First)
	tx.After = p.Count - tx.Before - int64(len(tx.Records))
	return tx
}

// blockHeader is the first 40 bytes of a block and what its directory says.
type blockHeader struct {
	records int
	keys    int // bytes of keys, put together again
	pos     int // bytes of positions, put together again
	txs     int
	lsn     change.LSN // of the first record
	before  uint64     // records of the first transaction in earlier blocks
	streams [maxStreams]stream
	n       int // streams in use
}

type stream struct {
	id, encoding byte
	raw          int
	data         []byte
}

// parseBlockHeader checks header and directory of a stored block against what
// the index says of it.
func parseBlockHeader(b []byte, kind Kind, info *BlockInfo) (h *blockHeader, err error) {
	if len(b) < blockHeaderSize {
		return nil, errShort
	}
	le := binary.LittleEndian
	records, keys, pos, txs := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	if int64(records) != int64(info.Records) || int64(keys)+int64(pos) > info.Raw || txs > records {
		return nil, fmt.Errorf("%d records, %d bytes of keys, %d of positions, %d transactions; want %d records and at most %d bytes",
			records, keys, pos, txs, info.Records, info.Raw)
	}
	h = &blockHeader{records: int(records), keys: int(keys), pos: int(pos), txs: int(txs),
		lsn: change.LSN(le.Uint64(b[16:])), before: le.Uint64(b[24:])}
	if (kind == Log) != (txs > 0) || (kind == Log && h.lsn != info.First) {
		return nil, fmt.Errorf("%d transactions from LSN %d on in a %s pack, want LSN %d", txs, h.lsn, kind, info.First)
	}
	if flags := le.Uint32(b[36:]); flags != 0 {
		return nil, fmt.Errorf("unknown flags %#x: %w", flags, ErrVersion)
	}
	n := le.Uint32(b[32:])
	b = b[blockHeaderSize:]
	if n > maxStreams || len(b) < int(n)*streamEntrySize {
		return nil, fmt.Errorf("%d streams: %w", n, ErrLimit)
	}
	h.n = int(n)
	data := b[h.n*streamEntrySize:]
	last := byte(0)
	for i := range h.n {
		e := b[i*streamEntrySize:]
		s := &h.streams[i]
		s.id, s.encoding = e[0], e[1]
		stored, raw := le.Uint32(e[4:]), le.Uint32(e[8:])
		switch {
		case s.id <= last:
			return nil, fmt.Errorf("stream %d after %d", s.id, last)
		case s.encoding > encodingZstd || le.Uint16(e[2:]) != 0:
			return nil, fmt.Errorf("stream %d has encoding %d: %w", s.id, s.encoding, ErrVersion)
		case uint64(stored) > uint64(len(data)):
			return nil, fmt.Errorf("stream %d has %d bytes, %d are left: %w", s.id, stored, len(data), errShort)
		case s.encoding == encodingRaw && raw != stored:
			return nil, fmt.Errorf("stream %d has %d bytes, stored as %d", s.id, raw, stored)
		}
		last = s.id
		if s.id < optionalStream {
			if s.id > streamTxPosition {
				return nil, fmt.Errorf("stream %d: %w", s.id, ErrVersion)
			}
			if limit := h.streamLimit(s.id, kind, info); int64(raw) > limit {
				return nil, fmt.Errorf("stream %d has %d bytes, at most %d are possible: %w", s.id, raw, limit, ErrLimit)
			}
		}
		s.raw, s.data = int(raw), data[:stored]
		data = data[stored:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%d bytes after the last stream", len(data))
	}
	return h, nil
}

// streamLimit returns how many bytes a stream of this block can have at most;
// a negative number for a stream that does not belong there.
func (h *blockHeader) streamLimit(id byte, kind Kind, info *BlockInfo) int64 {
	const varint = 10 // longest, in bytes
	n, txs := int64(h.records), int64(h.txs)
	if kind == Log && (id == streamLSN || id == streamCounts) {
		return -1
	}
	switch id {
	case streamClasses:
		return varint + maxClasses*(2+2*varint)
	case streamClassOf, streamKeyShared:
		return n
	case streamKeys:
		return int64(h.keys)
	case streamImages, streamNums, streamLens, streamBytes:
		return info.Raw
	case streamKinds:
		return 2 * info.Raw
	case streamColumns:
		return varint*maxClasses + min(info.Raw, maxClasses*change.MaxColumns)*(1+4*varint)
	case streamKeyLen, streamImageLen, streamLSN, streamCounts:
		return n * varint
	case streamTxRecords, streamTxID, streamTxCommit, streamTxTime:
		return txs * varint
	case streamTxPosLen:
		return 2 * txs * varint
	case streamTxPosition:
		return int64(h.pos)
	}
	return -1
}

// wanted reports whether a stream is to be decoded.
func (b *Block) wanted(id byte) bool {
	switch id {
	case streamKeyShared, streamKeyLen, streamKeys:
		return b.Skip&SkipKeys == 0
	case streamImageLen, streamImages, streamColumns, streamKinds, streamNums, streamLens, streamBytes:
		return b.Skip&SkipImages == 0
	}
	return id < optionalStream
}

// zstdSlack is room after a stream's memory that lets the decoder take its
// fast path up to the stream's end.
const zstdSlack = 64

// streams is what inflate yields: the decoded streams by ID, and room for what
// is put together from them.
type streams struct {
	by        [streamTxPosition + 1][]byte
	keys      []byte
	positions []byte
	images    []byte // of split classes, and joinSlack bytes more
}

// inflate decodes the streams that are wanted: what records point to into
// b.arena, the rest into scratch, which the caller may reuse once the records
// are decoded. Memory is bounded by what index and directory declare, which
// were held against each other.
func (b *Block) inflate(h *blockHeader, info *BlockInfo, scratch *[]byte) (*streams, error) {
	split := int(info.Raw) - h.keys - h.pos
	kept, used := h.keys+h.pos+joinSlack, 0
	for i := range h.n {
		st := &h.streams[i]
		if st.id == streamImages {
			split -= st.raw
		}
		switch {
		case !b.wanted(st.id):
		case st.id == streamImages:
			kept += st.raw + zstdSlack
		default:
			used += st.raw + zstdSlack
		}
	}
	if b.Skip&SkipImages != 0 || split < 0 {
		split = 0 // when it is negative the sizes do not add up; decodeAll finds out
	}
	b.arena = atLeast(b.arena, kept+split)
	*scratch = atLeast(*scratch, used)
	keep, free := b.arena, *scratch
	s := &streams{keys: carve(&keep, h.keys), positions: carve(&keep, h.pos), images: carve(&keep, split+joinSlack)}
	zd := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(zd)
	for i := range h.n {
		st := &h.streams[i]
		if !b.wanted(st.id) {
			continue
		}
		from := &free
		if st.id == streamImages {
			from = &keep
		}
		out, err := inflateStream(zd, st, carve(from, st.raw+zstdSlack)[:0])
		if err != nil {
			return nil, fmt.Errorf("stream %d: %w", st.id, err)
		}
		s.by[st.id] = out
	}
	return s, nil
}

// atLeast returns b with all its memory, or other memory of at least n bytes.
func atLeast(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n+n/8)
	}
	return b[:cap(b)]
}

// carve takes n bytes off the front of free.
func carve(free *[]byte, n int) []byte {
	out := (*free)[:n:n]
	*free = (*free)[n:]
	return out
}

// inflateStream decodes one stream into out, within its capacity.
func inflateStream(zd *zstd.Decoder, st *stream, out []byte) ([]byte, error) {
	if st.encoding == encodingRaw {
		return append(out, st.data...), nil
	}
	out, err := zd.DecodeAll(st.data, out)
	if err != nil {
		return nil, err
	}
	if len(out) != st.raw {
		return nil, fmt.Errorf("decompresses to %d bytes, want %d", len(out), st.raw)
	}
	return out, nil
}

// Compact gives back the memory that only reading needs. It is for a Block
// whose records are kept for long; the next one read into it needs it again.
func (b *Block) Compact() {
	if b.stored != nil && cap(b.stored) <= keepAtMost {
		stored := b.stored
		idleBuffers.Put(&stored)
	}
	b.stored, b.order = nil, nil
}

// decoders holds idle decoders: each has buffers of some hundred kilobytes,
// more than many blocks whose records are kept. A decoder never writes past
// the capacity it is given.
var decoders = sync.Pool{New: func() any {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(2*MaxBlockRaw), zstd.WithDecoderMaxWindow(MaxBlockRaw))
	if err != nil {
		panic("pack: zstd refuses its options: " + err.Error())
	}
	return z
}}
