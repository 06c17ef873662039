package pack

import (
	"encoding/binary"
	"errors"
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
	streamImageLen   = 6  // per image: its length
	streamImages     = 7  // the images
	streamLSN        = 8  // run: LSN minus that of the block, zigzag; absent when all are 0
	streamCounts     = 9  // run: counts of bag rows, zigzag
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
	partKey   = 1 << 0
	partImage = 1 << 1
	partCount = 1 << 2
	partsAll  = partKey | partImage | partCount
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
	arena   []byte // decoded streams, and keys put together again
	stored  []byte // what was read
	order   []uint32
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
	case streamImages:
		return info.Raw
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
	case streamImageLen, streamImages:
		return b.Skip&SkipImages == 0
	}
	return id < optionalStream
}

// zstdSlack is room after a stream's memory that lets the decoder take its
// fast path up to the stream's end.
const zstdSlack = 64

// streams is what inflate yields: the decoded streams by ID.
type streams [streamTxPosition + 1][]byte

// inflate decodes the streams that are wanted into b.arena, and returns with
// them room for keys and positions. Memory is bounded by what the directory,
// already held against the index, declares.
func (b *Block) inflate(h *blockHeader) (s *streams, keys, positions []byte, err error) {
	need := h.keys + h.pos
	for i := range h.n {
		st := &h.streams[i]
		if st.id < optionalStream && st.id > streamTxPosition {
			return nil, nil, nil, fmt.Errorf("stream %d: %w", st.id, ErrVersion)
		}
		if b.wanted(st.id) {
			need += st.raw + zstdSlack
		}
	}
	if cap(b.arena) < need {
		b.arena = make([]byte, need+need/8)
	}
	free := b.arena[:cap(b.arena)]
	keys, free = free[:h.keys:h.keys], free[h.keys:]
	positions, free = free[:h.pos:h.pos], free[h.pos:]
	s = new(streams)
	var zd *zstd.Decoder
	for i := range h.n {
		st := &h.streams[i]
		if !b.wanted(st.id) {
			continue
		}
		out := free[: 0 : st.raw+zstdSlack]
		free = free[st.raw+zstdSlack:]
		if st.encoding == encodingRaw {
			s[st.id] = append(out, st.data...)
			continue
		}
		if zd == nil {
			zd = decoders.Get().(*zstd.Decoder)
			defer decoders.Put(zd)
		}
		out, err = zd.DecodeAll(st.data, out)
		if err != nil || len(out) != st.raw {
			return nil, nil, nil, fmt.Errorf("stream %d decompresses to %d bytes, want %d: %w", st.id, len(out), st.raw, errors.Join(err))
		}
		s[st.id] = out
	}
	return s, keys, positions, nil
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
		zstd.WithDecoderMaxMemory(MaxBlockRaw+maxBlockStored))
	if err != nil {
		panic("pack: zstd refuses its options: " + err.Error())
	}
	return z
}}
