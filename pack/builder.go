package pack

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/change"
)

// builder collects the records of one block and encodes them.
type builder struct {
	kind    Kind
	records int
	raw     int // bytes of keys, images and positions
	keys    int
	pos     int
	base    change.LSN // of the first record
	least   change.LSN
	most    change.LSN

	classes []column
	classOf []byte
	byClass map[classID]int
	last    int // class of the last record

	txs       int
	before    int64 // records of the first transaction in earlier blocks
	txRecords []byte
	txID      []byte
	txCommit  []byte
	txTime    []byte
	txPosLen  []byte
	txPos     []byte
	lastTx    change.TxHead
	firstTime change.Time

	hashes []uint64 // of the rows, for the filter

	splits    []*splitter
	used      []*splitter // of splits: those of this block's split classes
	columns   []byte      // streamColumns
	directory []byte      // streamClasses
	parts     [][]byte
	scratch   []byte // small parts of a stream
	streams   []stream
	zipped    [][]byte // memory of the compressed streams
	z         *zstd.Encoder
}

// column is one class with its parts of the streams.
type column struct {
	classID
	records  int
	shared   []byte
	keyLen   []byte
	keys     []byte
	imageLen []byte
	images   []byte
	lsns     []byte
	counts   []byte
	anyLSN   bool // one differs from the block's
	lastKey  []byte
}

type classID struct {
	op         change.Op
	parts      uint8
	collection change.CollectionID
}

// reset empties the builder, keeping its memory.
func (b *builder) reset() {
	for i := range b.classes {
		c := &b.classes[i]
		*c = column{shared: c.shared[:0], keyLen: c.keyLen[:0], keys: c.keys[:0], imageLen: c.imageLen[:0],
			images: c.images[:0], lsns: c.lsns[:0], counts: c.counts[:0], lastKey: c.lastKey[:0]}
	}
	clear(b.byClass)
	*b = builder{kind: b.kind, classes: b.classes[:0], classOf: b.classOf[:0], byClass: b.byClass,
		txRecords: b.txRecords[:0], txID: b.txID[:0], txCommit: b.txCommit[:0], txTime: b.txTime[:0],
		txPosLen: b.txPosLen[:0], txPos: b.txPos[:0], hashes: b.hashes[:0],
		splits: b.splits, columns: b.columns, directory: b.directory, parts: b.parts,
		scratch: b.scratch, streams: b.streams[:0], zipped: b.zipped}
}

// partsOf returns which parts the record has.
func partsOf(r *change.Record) uint8 {
	var p uint8
	if len(r.Key) > 0 {
		p |= partKey
	}
	if len(r.Image) > 0 {
		p |= partImage
		if r.Image[0] == imagePartial {
			p |= partPartial
		}
	}
	if r.Count != 0 {
		p |= partCount
	}
	return p
}

// class returns the number of the record's class, adding one if need be, or
// −1 when the block has no room for another.
func (b *builder) class(id classID) int {
	if b.last < len(b.classes) && b.classes[b.last].classID == id {
		return b.last
	}
	i, ok := b.byClass[id]
	if !ok {
		if i = len(b.classes); i == maxClasses {
			return -1
		}
		if i < cap(b.classes) {
			b.classes = b.classes[:i+1]
		} else {
			b.classes = append(b.classes, column{})
		}
		b.classes[i].classID = id
		if b.byClass == nil {
			b.byClass = make(map[classID]int)
		}
		b.byClass[id] = i
	}
	b.last = i
	return i
}

// fits reports whether a record and raw more bytes have room in the block of
// this target size. An empty block has room for anything.
func (b *builder) fits(r *change.Record, raw, target int) bool {
	return b.records == 0 ||
		b.records < MaxBlockRecords && b.raw+raw <= target && b.class(classID{r.Op, partsOf(r), r.Collection}) >= 0
}

// add appends a record that fits.
func (b *builder) add(r *change.Record) {
	id := classID{r.Op, partsOf(r), r.Collection}
	k := b.class(id)
	c := &b.classes[k]
	if b.records == 0 {
		b.base, b.least, b.most = r.LSN, r.LSN, r.LSN
	}
	b.least, b.most = min(b.least, r.LSN), max(b.most, r.LSN)
	b.records++
	c.records++
	b.classOf = append(b.classOf, byte(k))
	if id.parts&partKey != 0 {
		shared := sharedPrefix(c.lastKey, r.Key, 255)
		c.shared = append(c.shared, byte(shared))
		c.keyLen = binary.AppendUvarint(c.keyLen, uint64(len(r.Key)-shared))
		c.keys = append(c.keys, r.Key[shared:]...)
		c.lastKey = append(c.lastKey[:shared], r.Key[shared:]...)
		b.keys += len(r.Key)
		b.hashes = append(b.hashes, rowHash(r.Collection, r.Key))
	}
	if id.parts&partImage != 0 {
		c.imageLen = binary.AppendUvarint(c.imageLen, uint64(len(r.Image)))
		c.images = append(c.images, r.Image...)
	}
	if id.parts&partCount != 0 {
		c.counts = binary.AppendVarint(c.counts, r.Count)
	}
	if b.kind == Run {
		c.lsns = binary.AppendVarint(c.lsns, int64(r.LSN-b.base))
		c.anyLSN = c.anyLSN || r.LSN != b.base
	}
	b.raw += len(r.Key) + len(r.Image)
}

// begin says that the records added next are of a transaction of which before
// records lie in earlier blocks.
func (b *builder) begin(t change.TxHead, before int64) {
	if b.txs == 0 {
		b.before, b.firstTime, b.lastTx = before, t.Effective, change.TxHead{}
	}
	b.txs++
	b.txRecords = binary.AppendUvarint(b.txRecords, uint64(t.Count))
	b.txID = binary.AppendVarint(b.txID, int64(t.ID-b.lastTx.ID))
	b.txCommit = binary.AppendVarint(b.txCommit, int64(t.Commit-b.lastTx.Commit))
	b.txTime = binary.AppendVarint(b.txTime, int64(t.Effective-t.Commit))
	shared := sharedPrefix([]byte(b.lastTx.Position), []byte(t.Position), len(t.Position))
	b.txPosLen = binary.AppendUvarint(b.txPosLen, uint64(shared))
	b.txPosLen = binary.AppendUvarint(b.txPosLen, uint64(len(t.Position)-shared))
	b.txPos = append(b.txPos, t.Position[shared:]...)
	b.pos += len(t.Position)
	b.raw += len(t.Position)
	b.lastTx = t
}

// append encodes the block.
func (b *builder) append(dst []byte, z *zstd.Encoder) []byte {
	b.streams = b.streams[:0]
	b.z = z
	b.splitImages()
	b.directory = binary.AppendUvarint(b.directory[:0], uint64(len(b.classes)))
	anyLSN := false
	for i := range b.classes {
		c := &b.classes[i]
		b.directory = append(b.directory, byte(c.op), c.parts)
		b.directory = binary.AppendUvarint(b.directory, uint64(c.collection))
		b.directory = binary.AppendUvarint(b.directory, uint64(c.records))
		anyLSN = anyLSN || c.anyLSN
	}
	b.stream(streamClasses, b.directory)
	if len(b.classes) > 1 {
		b.stream(streamClassOf, b.classOf)
	}
	b.gather(streamKeyShared, func(c *column) []byte { return c.shared })
	b.gather(streamKeyLen, func(c *column) []byte { return c.keyLen })
	b.gather(streamKeys, func(c *column) []byte { return c.keys })
	b.gather(streamImageLen, func(c *column) []byte { return c.imageLen })
	b.gather(streamImages, func(c *column) []byte { return c.images })
	if anyLSN {
		b.gather(streamLSN, func(c *column) []byte { return c.lsns })
	}
	b.gather(streamCounts, func(c *column) []byte { return c.counts })
	b.appendSplit()
	b.stream(streamTxRecords, b.txRecords)
	b.stream(streamTxID, b.txID)
	b.stream(streamTxCommit, b.txCommit)
	b.stream(streamTxTime, b.txTime)
	if b.pos > 0 {
		b.stream(streamTxPosLen, b.txPosLen)
		b.stream(streamTxPosition, b.txPos)
	}
	b.z = nil
	return b.appendStreams(dst)
}

// splitImages splits the images of every class for which that can be done.
func (b *builder) splitImages() {
	b.columns = b.columns[:0]
	n := 0
	for i := range b.classes {
		c := &b.classes[i]
		if c.parts&partImage == 0 {
			continue
		}
		if n == len(b.splits) {
			b.splits = append(b.splits, new(splitter))
		}
		if s := b.splits[n]; s.split(c.images, c.imageLen, c.records) {
			c.parts |= partSplit
			c.images, c.imageLen = c.images[:0], c.imageLen[:0]
			b.columns = s.appendDirectory(b.columns)
			n++
		}
	}
	b.used = b.splits[:n]
}

// appendSplit encodes the streams of the split images.
func (b *builder) appendSplit() {
	b.stream(streamColumns, b.columns)
	for _, part := range []struct {
		id byte
		of func(*splitColumn) []byte
	}{
		{streamKinds, func(c *splitColumn) []byte {
			if c.kind&^deltaBit == kindMixed {
				return c.kinds
			}
			return nil
		}},
		{streamNums, func(c *splitColumn) []byte { return c.nums }},
		{streamLens, func(c *splitColumn) []byte { return c.lens }},
		{streamBytes, func(c *splitColumn) []byte { return c.bytes }},
	} {
		b.parts = b.parts[:0]
		for _, s := range b.used {
			for i := range s.used {
				b.parts = append(b.parts, part.of(&s.columns[i]))
			}
		}
		b.stream(part.id, b.parts...)
	}
}

func (b *builder) appendStreams(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(b.records))
	dst = le.AppendUint32(dst, uint32(b.keys))
	dst = le.AppendUint32(dst, uint32(b.pos))
	dst = le.AppendUint32(dst, uint32(b.txs))
	dst = le.AppendUint64(dst, uint64(b.base))
	dst = le.AppendUint64(dst, uint64(b.before))
	dst = le.AppendUint32(dst, uint32(len(b.streams)))
	dst = le.AppendUint32(dst, 0) // flags
	for i := range b.streams {
		s := &b.streams[i]
		dst = append(dst, s.id, s.encoding, 0, 0)
		dst = le.AppendUint32(dst, uint32(len(s.data)))
		dst = le.AppendUint32(dst, uint32(s.raw))
	}
	for i := range b.streams {
		dst = append(dst, b.streams[i].data...)
	}
	return dst
}

// gather encodes one stream from its parts in all classes.
func (b *builder) gather(id byte, part func(*column) []byte) {
	b.parts = b.parts[:0]
	for i := range b.classes {
		b.parts = append(b.parts, part(&b.classes[i]))
	}
	b.stream(id, b.parts...)
}

// leastFrame is the size in bytes from which on parts of a stream get a zstd
// frame, with its own entropy tables; smaller neighbours share one. A stream
// smaller than leastZip, or not made smaller by a part of 1/worthIt, is stored
// as it is.
const (
	leastFrame = 4 << 10
	leastZip   = 64
	worthIt    = 32
)

// stream encodes one stream that is the parts one after another; one without
// bytes is left out. The parts need not live on after the call.
func (b *builder) stream(id byte, parts ...[]byte) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if total == 0 {
		return
	}
	n := len(b.streams)
	if n == len(b.zipped) {
		b.zipped = append(b.zipped, nil)
	}
	s := stream{id: id, encoding: encodingRaw, raw: total}
	out := b.zipped[n][:0]
	if total >= leastZip {
		out = b.zip(out, parts)
		s.encoding = encodingZstd
	}
	if s.encoding == encodingRaw || len(out) > total-total/worthIt {
		s.encoding = encodingRaw
		out = out[:0]
		for _, p := range parts {
			out = append(out, p...)
		}
	}
	b.zipped[n], s.data = out, out
	b.streams = append(b.streams, s)
}

// zip appends the parts as zstd frames.
func (b *builder) zip(out []byte, parts [][]byte) []byte {
	b.scratch = b.scratch[:0]
	for _, p := range parts {
		if len(p) < leastFrame && len(b.scratch) < leastFrame {
			b.scratch = append(b.scratch, p...)
			continue
		}
		if len(b.scratch) > 0 {
			out = b.z.EncodeAll(b.scratch, out)
			b.scratch = b.scratch[:0]
		}
		if len(p) < leastFrame {
			b.scratch = append(b.scratch, p...)
			continue
		}
		out = b.z.EncodeAll(p, out)
	}
	if len(b.scratch) > 0 {
		out = b.z.EncodeAll(b.scratch, out)
	}
	return out
}

// encoders holds idle encoders: each has tables of some hundred kilobytes that
// are dear to make and to clear.
var encoders = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		panic("pack: zstd refuses its options: " + err.Error())
	}
	return z
}}
