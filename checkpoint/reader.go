package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// Reader reads the object of a checkpoint in parts. Errors of its methods wrap
// [chain.ErrDamaged] where the object is not what it must be.
type Reader struct {
	Key   string
	Index change.Hash // over the header: what the announcing manifest states proves the rest

	bucket   storage.Bucket
	whole    []byte // the object, when it is in memory
	timeline chain.TimelineID
	first    chain.Seq
	last     chain.Seq
	entries  [sections]entry
}

// Open reads an object's header. Whether it is the one that was announced is
// for the caller to prove by Index.
func Open(ctx context.Context, bucket storage.Bucket, key string) (*Reader, error) {
	return open(ctx, &Reader{Key: key, bucket: bucket})
}

// Of is [Open] of an object that is in memory; bucket holds the others.
func Of(ctx context.Context, bucket storage.Bucket, key string, object []byte) (*Reader, error) {
	r, err := open(ctx, &Reader{Key: key, bucket: bucket, whole: object})
	if err == nil && r.Size() != int64(len(object)) {
		return nil, malformed("%s: it has %d bytes, its header says %d", key, len(object), r.Size())
	}
	return r, err
}

func open(ctx context.Context, r *Reader) (*Reader, error) {
	var err error
	if r.timeline, r.first, r.last, err = chain.ParseCheckpointKey(r.Key); err != nil {
		return nil, err
	}
	b, err := r.read(ctx, 0, int64(headerSize))
	if err != nil {
		return nil, err
	}
	if r.entries, r.Index, err = parseHeader(b); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Key, err)
	}
	return r, nil
}

// read returns a part of the object.
func (r *Reader) read(ctx context.Context, offset, size int64) ([]byte, error) {
	if r.whole == nil {
		return readRange(ctx, r.bucket, r.Key, offset, size)
	}
	if offset > int64(len(r.whole)) || size > int64(len(r.whole))-offset {
		return nil, malformed("%s: it has %d bytes, wanted %d at %d", r.Key, len(r.whole), size, offset)
	}
	return r.whole[offset : offset+size : offset+size], nil
}

// Last returns the last manifest of the range.
func (r *Reader) Last() chain.Seq { return r.last }

// Size returns the bytes of the object, as its header states them.
func (r *Reader) Size() int64 {
	e := r.entries[sections-1]
	return e.offset + e.size
}

// readRange reads a part of an object. One that ends early is damaged.
func readRange(ctx context.Context, bucket storage.Bucket, key string, offset, size int64) ([]byte, error) {
	if size < 0 || size > int64(sections)*maxRaw {
		return nil, malformed("%s: %d bytes at %d", key, size, offset)
	}
	body, err := bucket.Read(ctx, key, offset, size)
	if err == nil {
		defer body.Close()
		out := make([]byte, size)
		if _, err = io.ReadFull(body, out); err == nil {
			return out, nil
		}
	}
	if isShort(err) {
		return nil, fmt.Errorf("read %s: %w: %w", key, err, errMalformed)
	}
	return nil, fmt.Errorf("read %s: %w", key, err)
}

// sectionsOf reads consecutive sections, proves each and returns their raw bytes.
func (r *Reader) sectionsOf(ctx context.Context, from, to section) ([sections][]byte, error) {
	var out [sections][]byte
	start, end := r.entries[from].offset, r.entries[to].offset+r.entries[to].size
	b, err := r.read(ctx, start, end-start)
	if err != nil {
		return out, err
	}
	for id := from; id <= to; id++ {
		e := r.entries[id]
		body := b[e.offset-start : e.offset-start+e.size]
		if sum := sha256.Sum256(body); sum != e.hash {
			return out, malformed("%s: the section %s does not match its hash", r.Key, id)
		}
		switch id {
		case sectionLog, sectionTail:
			if int64(len(body)) != e.raw {
				return out, malformed("%s: the section %s has %d bytes, want %d", r.Key, id, len(body), e.raw)
			}
			out[id] = body
		default:
			if out[id], err = decompress(body, e.raw); err != nil {
				return out, fmt.Errorf("%s: section %s: %w", r.Key, id, err)
			}
		}
	}
	return out, nil
}

// State returns the state after the last manifest of the range. loader reads
// its log, of which only the end is in memory.
func (r *Reader) State(ctx context.Context, loader chain.Loader) (*chain.State, error) {
	b, err := r.sectionsOf(ctx, sectionChunks, sectionTail)
	if err != nil {
		return nil, err
	}
	s, err := decodeState(b, loader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Key, err)
	}
	if s.Timeline != r.timeline || s.Seq != r.last {
		return nil, malformed("%s: it holds the state of timeline %s after manifest %d", r.Key, s.Timeline, s.Seq)
	}
	return s, nil
}

func decodeState(b [sections][]byte, loader chain.Loader) (*chain.State, error) {
	chunks, err := decodeDirectory(b[sectionChunks])
	if err != nil {
		return nil, fmt.Errorf("directory of chunks: %w", err)
	}
	tail, err := decodeChunk(b[sectionTail], false)
	if err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	log, err := chain.NewSegments(chunks, loader, tail)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errMalformed)
	}
	saved := new(chain.Saved)
	d := json.NewDecoder(bytes.NewReader(b[sectionState]))
	d.DisallowUnknownFields()
	if err := d.Decode(saved); err != nil {
		return nil, fmt.Errorf("state: %w: %w", err, errMalformed)
	}
	s, err := saved.State(log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errMalformed)
	}
	return s, nil
}

// Manifests returns the manifests of the range as they are stored.
func (r *Reader) Manifests(ctx context.Context) ([][]byte, error) {
	b, err := r.sectionsOf(ctx, sectionManifests, sectionManifests)
	if err != nil {
		return nil, err
	}
	all := &reader{b: b[sectionManifests]}
	var out [][]byte
	for len(all.b) > 0 {
		m := all.bytes(all.count(1))
		if len(m) == 0 || len(m) > chain.MaxManifest {
			all.fail(fmt.Errorf("a manifest of %d bytes", len(m)))
		}
		out = append(out, m)
	}
	if err := all.end(); err != nil {
		return nil, fmt.Errorf("%s: manifests: %w", r.Key, err)
	}
	if n := chain.Seq(len(out)); n != r.last-r.first+1 {
		return nil, malformed("%s: it holds %d manifests", r.Key, n)
	}
	return out, nil
}

// Derive proves that the object holds what follows from the chain: s is the
// state after its last manifest, worked out from the manifests, whose hashes
// are given. It returns all chunks of the log that the object knows, each of
// which it has compared with s or found in s. What differs is an error that
// wraps [chain.ErrDamaged], of type [*ChunkError] where it is a chunk.
func (r *Reader) Derive(ctx context.Context, s *chain.State, manifests []change.Hash) ([]chain.Chunk, error) {
	stored, err := r.Manifests(ctx)
	if err != nil {
		return nil, err
	}
	for i, m := range stored {
		if i >= len(manifests) || chain.HashManifest(m) != manifests[i] {
			return nil, malformed("%s: manifest %d is not the one that is stored", r.Key, r.first+chain.Seq(i))
		}
	}
	b, err := r.sectionsOf(ctx, sectionLog, sectionTail)
	if err != nil {
		return nil, err
	}
	saved, err := json.Marshal(s.Save())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(saved, b[sectionState]) {
		return nil, malformed("%s: its state is not the one that follows from the manifests", r.Key)
	}
	chunks, err := decodeDirectory(b[sectionChunks])
	if err != nil {
		return nil, fmt.Errorf("%s: directory of chunks: %w", r.Key, err)
	}
	return chunks, r.deriveLog(ctx, s, chunks, b)
}

// deriveLog compares the chunks that are new, and the tail, with the log of s.
func (r *Reader) deriveLog(ctx context.Context, s *chain.State, chunks []chain.Chunk, b [sections][]byte) error {
	known := s.Segments.Chunks()
	n, from := 0, change.LSN(0)
	for n < len(known) && n < len(chunks) && chunks[n] == known[n] {
		from = known[n].Last + 1
		n++
	}
	var own int64 // bytes of the section that are in chunks
	for i := n; i < len(chunks); i++ {
		c := &chunks[i]
		body, err := r.chunk(ctx, c, b[sectionLog], &own)
		if err == nil {
			err = sameSegments(ctx, body, s, from, c.Last)
		}
		if err != nil {
			return &ChunkError{By: r.Key, Chunk: *c, Err: err}
		}
		from = c.Last + 1
	}
	if own != int64(len(b[sectionLog])) {
		return malformed("%s: of %d bytes of log, %d are in chunks", r.Key, len(b[sectionLog]), own)
	}
	if err := sameSegments(ctx, b[sectionTail], s, from, s.Last); err != nil {
		return fmt.Errorf("%s: the tail of the log: %w", r.Key, err)
	}
	return nil
}

// ChunkError says that a chunk is not what a checkpoint's directory says: the
// fault may lie in the object that holds it.
type ChunkError struct {
	By    string // the object with the directory
	Chunk chain.Chunk
	Err   error
}

func (e *ChunkError) Error() string {
	return fmt.Sprintf("%s: the chunk of LSN %d to %d in %s: %v", e.By, e.Chunk.First, e.Chunk.Last, e.Chunk.Key, e.Err)
}

// Unwrap returns what is wrong.
func (e *ChunkError) Unwrap() error { return e.Err }

// chunk returns a chunk's bytes, proved by their hash: from the section of this
// object, in order, or from another.
func (r *Reader) chunk(ctx context.Context, c *chain.Chunk, log []byte, own *int64) (body []byte, err error) {
	if c.Key != r.Key {
		if body, err = readRange(ctx, r.bucket, c.Key, c.Offset, c.Size); err != nil {
			return nil, err
		}
	} else {
		if c.Offset != r.entries[sectionLog].offset+*own || c.Size > int64(len(log))-*own {
			return nil, malformed("it is not where the directory says")
		}
		body = log[*own : *own+c.Size]
		*own += c.Size
	}
	if sha256.Sum256(body) != c.Hash {
		return nil, malformed("it does not match its hash")
	}
	segs, err := decodeChunk(body, true)
	if err != nil {
		return nil, err
	}
	return body, matches(c, segs)
}

// matches reports whether a chunk holds what its directory says.
func matches(c *chain.Chunk, segs []segment) error {
	if len(segs) == 0 {
		return malformed("it is empty")
	}
	got := chain.ChunkOf(segs)
	got.Key, got.Offset, got.Size, got.Hash, got.Content = c.Key, c.Offset, c.Size, c.Hash, c.Content
	if got != *c {
		return malformed("it holds something else than the directory says")
	}
	return nil
}

// sameSegments reports how a chunk differs from the log between two LSNs.
func sameSegments(ctx context.Context, chunk []byte, s *chain.State, from, to change.LSN) error {
	var segs []segment
	for seg, err := range s.Segments.From(ctx, from) {
		if err != nil {
			return err
		}
		if seg.Body.First > to {
			break
		}
		segs = append(segs, *seg)
	}
	first, second, err := chunkFrames(chunk, false)
	if err != nil {
		return err
	}
	wantFirst, wantSecond, err := encodeSegments(segs)
	if err != nil {
		return err
	}
	if !bytes.Equal(first, wantFirst) || !bytes.Equal(second, wantSecond) {
		return malformed("it does not hold what the manifests say")
	}
	return nil
}
