package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// The object of a checkpoint; FORMAT.md has the layout.
const (
	magic      = "TIDECKPT"
	version    = 1
	entrySize  = 56
	headerSize = len(magic) + 4 + int(sections)*entrySize + sha256.Size
)

// section numbers the parts of an object, in order.
type section int

const (
	sectionLog       section = iota // chunks, one after the other
	sectionChunks                   // where the chunks of the whole log lie
	sectionState                    // JSON: the state without its log
	sectionTail                     // the segments that are in no chunk
	sectionManifests                // as they are stored
	sections
)

func (s section) String() string {
	return [...]string{"log", "chunks", "state", "tail", "manifests"}[s]
}

// entry says where a section lies.
type entry struct {
	offset, size, raw int64
	hash              change.Hash
}

// DefaultChunk is how many segments a chunk holds.
const DefaultChunk = 1024

// chunkBytes bounds roughly how many raw bytes of columns a chunk has, where
// segments are unusually rich.
const chunkBytes = 8 << 20

// Object is an encoded checkpoint.
type Object struct {
	Key    string
	Bytes  []byte
	Index  change.Hash   // what the announcing manifest states
	Chunks []chain.Chunk // of the log through the state's last manifest, wherever they lie
}

// Encode returns the object that holds the state after the last of its
// manifests, which are given as they are stored, from number first on. New
// chunks hold so many segments (0: [DefaultChunk]).
func Encode(s *chain.State, first chain.Seq, manifests [][]byte, chunk int) (*Object, error) {
	if chunk <= 0 {
		chunk = DefaultChunk
	}
	if first < 1 || first+chain.Seq(len(manifests))-1 != s.Seq {
		return nil, fmt.Errorf("a checkpoint of %d manifests from number %d on, with the state after %d", len(manifests), first, s.Seq)
	}
	o := &Object{Key: chain.CheckpointKey(s.Timeline, first, s.Seq), Chunks: s.Segments.Chunks()}
	stored := [sections][]byte{}
	raw := [sections]int{}
	rest := s.Segments.Rest()
	for n := chunkLen(rest, chunk); n > 0; n = chunkLen(rest, chunk) {
		b, content, err := encodeChunk(rest[:n])
		if err != nil {
			return nil, err
		}
		c := chain.ChunkOf(rest[:n])
		c.Content = content
		c.Key, c.Offset, c.Size, c.Hash = o.Key, int64(headerSize+len(stored[sectionLog])), int64(len(b)), sha256.Sum256(b)
		o.Chunks = append(o.Chunks, c)
		stored[sectionLog] = append(stored[sectionLog], b...)
		rest = rest[n:]
	}
	var err error
	if stored[sectionTail], _, err = encodeChunk(rest); err != nil {
		return nil, err
	}
	raw[sectionLog], raw[sectionTail] = len(stored[sectionLog]), len(stored[sectionTail])
	directory, err := encodeDirectory(o.Chunks)
	if err != nil {
		return nil, err
	}
	saved, err := json.Marshal(s.Save())
	if err != nil {
		return nil, fmt.Errorf("encode the state after manifest %d: %w", s.Seq, err)
	}
	var all writer
	for _, m := range manifests {
		all.text(string(m))
	}
	for id, b := range map[section][]byte{sectionChunks: directory, sectionState: saved, sectionManifests: all.b} {
		raw[id] = len(b)
		if stored[id], err = compress(b); err != nil {
			return nil, err
		}
	}
	return o, o.assemble(stored, raw)
}

// assemble puts header and sections together.
func (o *Object) assemble(stored [sections][]byte, raw [sections]int) error {
	out := append([]byte(nil), magic...)
	out = binary.LittleEndian.AppendUint16(out, version)
	out = binary.LittleEndian.AppendUint16(out, uint16(sections))
	offset := headerSize
	for id := range sections {
		if len(stored[id]) > maxRaw || raw[id] > maxRaw {
			return fmt.Errorf("the section %s of %s has %d bytes, the limit is %d", id, o.Key, max(len(stored[id]), raw[id]), maxRaw)
		}
		out = binary.LittleEndian.AppendUint64(out, uint64(offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(len(stored[id])))
		out = binary.LittleEndian.AppendUint64(out, uint64(raw[id]))
		sum := sha256.Sum256(stored[id])
		out = append(out, sum[:]...)
		offset += len(stored[id])
	}
	o.Index = sha256.Sum256(out)
	out = append(out, o.Index[:]...)
	for id := range sections {
		out = append(out, stored[id]...)
	}
	o.Bytes = out
	return nil
}

// parseHeader reads the header and proves it by its own hash.
func parseHeader(b []byte) (entries [sections]entry, index change.Hash, err error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return entries, index, malformed("it does not start with %s", magic)
	}
	v, n := binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])
	if v > version {
		return entries, index, fmt.Errorf("checkpoint of version %d, this tidemark reads %d: %w", v, version, chain.ErrVersion)
	}
	if v != version || n != uint16(sections) || len(b) < headerSize {
		return entries, index, malformed("version %d with %d sections, in %d bytes", v, n, len(b))
	}
	index = sha256.Sum256(b[:headerSize-sha256.Size])
	if index != change.Hash(b[headerSize-sha256.Size:headerSize]) {
		return entries, index, malformed("the header does not match its hash")
	}
	next := int64(headerSize)
	for id := range sections {
		e := b[len(magic)+4+int(id)*entrySize:]
		offset, size, raw := binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:]), binary.LittleEndian.Uint64(e[16:])
		if offset != uint64(next) || size > maxRaw || raw > maxRaw {
			return entries, index, malformed("the section %s has %d bytes (%d raw) at %d, want it at %d", id, size, raw, offset, next)
		}
		entries[id] = entry{int64(offset), int64(size), int64(raw), change.Hash(e[24:entrySize])}
		next += int64(size)
	}
	return entries, index, nil
}

// chunkLen returns how many of the segments the next chunk takes: 0 when they
// stay in the tail, where at least one must.
func chunkLen(segs []segment, most int) int {
	size := 0
	for i := range min(len(segs)-1, most) {
		size += rawSize(&segs[i].Body)
		if i+1 == most || size > chunkBytes {
			return i + 1
		}
	}
	return 0
}

// rawSize estimates the bytes of a segment's columns.
func rawSize(b *chain.Segment) int {
	n := 100 + 100*len(b.Packs) + 10*(len(b.Counts)+len(b.Tombstones)) + len(b.Position)
	for i := range b.Largest {
		n += 20 + 10*len(b.Largest[i].Counts)
	}
	for i := range b.Schemas {
		n += 200 + 100*len(b.Schemas[i].Schema.Columns)
	}
	return n
}

// chunkHeader is the size of the lengths before a chunk's two frames.
const chunkHeader = 12

// encodeChunk returns consecutive segments as two frames, after the stored
// length of the first and the raw lengths of both, and the hash of their content.
func encodeChunk(segs []segment) (chunk []byte, content change.Hash, err error) {
	first, second, err := encodeSegments(segs)
	if err != nil {
		return nil, content, err
	}
	a, err := compress(first)
	if err != nil {
		return nil, content, err
	}
	b, err := compress(second)
	if err != nil {
		return nil, content, err
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(a)))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(first)))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(second)))
	return append(append(out, a...), b...), contentHash(first, second), nil
}

// contentHash is the hash of a chunk's columns. Unlike that of its bytes it does
// not depend on how they were compressed.
func contentHash(first, second []byte) (content change.Hash) {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(first))))
	h.Write(first)
	h.Write(second)
	h.Sum(content[:0])
	return content
}

// chunkFrames takes a chunk apart. With brief, the second frame is left out.
func chunkFrames(b []byte, brief bool) (first, second []byte, err error) {
	if len(b) < chunkHeader {
		return nil, nil, malformed("a chunk of %d bytes", len(b))
	}
	stored, rawA, rawB := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	b = b[chunkHeader:]
	if uint64(stored) > uint64(len(b)) {
		return nil, nil, malformed("a frame of %d bytes in %d", stored, len(b))
	}
	if first, err = decompress(b[:stored], int64(rawA)); err != nil || brief {
		return first, nil, err
	}
	if second, err = decompress(b[stored:], int64(rawB)); second == nil {
		second = []byte{}
	}
	return first, second, err
}

func decodeChunk(b []byte, brief bool) ([]segment, error) {
	first, second, err := chunkFrames(b, brief)
	if err != nil {
		return nil, err
	}
	return decodeSegments(first, second)
}

// encodeDirectory returns the columns of a list of chunks.
func encodeDirectory(chunks []chain.Chunk) ([]byte, error) {
	w := new(writer)
	w.count(len(chunks))
	key := ""
	for i := range chunks { // an object where it is another than before
		if chunks[i].Key == key {
			w.count(0)
			continue
		}
		key = chunks[i].Key
		t, first, last, err := chain.ParseCheckpointKey(key)
		if err != nil {
			return nil, err
		}
		w.text(string(t))
		w.uint(uint64(first))
		w.uint(uint64(last - first))
	}
	var lsn change.LSN
	var at change.Time
	for i := range chunks {
		c := &chunks[i]
		w.uint(uint64(c.Offset))
		w.uint(uint64(c.Size))
		w.lsn(c.First - lsn)
		w.lsn(c.Last - c.First)
		w.int(int64(c.Effective.From - at))
		w.int(int64(c.Effective.To - c.Effective.From))
		for _, n := range []int64{c.Totals.Segments, c.Totals.Txs, c.Totals.Records, c.Totals.Bytes} {
			w.uint(uint64(n))
		}
		lsn, at = c.Last, c.Effective.To
	}
	for i := range chunks {
		w.hash(chunks[i].Hash)
		w.hash(chunks[i].Content)
	}
	return w.b, nil
}

// decodeDirectory reads what encodeDirectory wrote.
func decodeDirectory(b []byte) ([]chain.Chunk, error) {
	r := &reader{b: b}
	chunks := make([]chain.Chunk, r.count(70))
	key := ""
	for i := range chunks {
		if n := r.count(1); n > 0 {
			t, first := chain.TimelineID(r.bytes(n)), chain.Seq(r.uint())
			last := first + chain.Seq(r.uint())
			key = chain.CheckpointKey(t, first, last)
			if _, _, _, err := chain.ParseCheckpointKey(key); err != nil && r.err == nil {
				r.fail(err)
			}
		}
		chunks[i].Key = key
	}
	var lsn change.LSN
	var at change.Time
	for i := range chunks {
		c := &chunks[i]
		c.Offset, c.Size = r.amount(), r.amount()
		c.First = lsn + change.LSN(r.uint())
		c.Last = c.First + change.LSN(r.uint())
		c.Effective.From = at + change.Time(r.int())
		c.Effective.To = c.Effective.From + change.Time(r.int())
		c.Totals = chain.Totals{Segments: r.amount(), Txs: r.amount(), Records: r.amount(), Bytes: r.amount()}
		if c.Size > maxRaw && r.err == nil {
			r.fail(fmt.Errorf("a chunk of %d bytes", c.Size))
		}
		lsn, at = c.Last, c.Effective.To
	}
	for i := range chunks {
		chunks[i].Hash, chunks[i].Content = r.hash(), r.hash()
	}
	return chunks, r.end()
}
