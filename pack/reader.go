package pack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// Reader reads one pack. Its methods are safe for concurrent use, each with a
// Block of its own. None retries; an error of the bucket is wrapped and leaves
// nothing behind, so that the caller may call again.
type Reader struct {
	bucket storage.Bucket
	ref    Ref
	header header
	ix     *Index
	whole  []byte // the pack, when it was read at once

	mu      sync.Mutex
	filters [][]byte // guarded by mu: those proved so far, by block
}

// Open reads and proves the tail of a pack, with one request.
func Open(ctx context.Context, b storage.Bucket, ref Ref) (*Reader, error) {
	return open(ctx, b, ref, ref.Tail)
}

// OpenWhole is Open, but reads the whole pack with its one request and keeps
// it in memory; nothing more is then read from the bucket. It refuses a pack
// larger than [MaxWhole].
func OpenWhole(ctx context.Context, b storage.Bucket, ref Ref) (*Reader, error) {
	if ref.Size > MaxWhole {
		return nil, fmt.Errorf("pack %s: %d bytes are too many to be read at once, the limit is %d: %w", ref.Key, ref.Size, MaxWhole, ErrLimit)
	}
	return open(ctx, b, ref, ref.Size)
}

func open(ctx context.Context, b storage.Bucket, ref Ref, size int64) (*Reader, error) {
	if err := ref.check(); err != nil {
		return nil, err
	}
	r := &Reader{bucket: b, ref: ref}
	buf, err := r.readEnd(ctx, size)
	if err != nil {
		return nil, err
	}
	if size == ref.Size {
		r.whole = buf
	}
	if err := r.parseTail(buf[int64(len(buf))-ref.Tail:]); err != nil {
		return nil, r.corrupt(-1, ref.Size-ref.Tail, err)
	}
	if r.whole != nil {
		return r, r.checkHeader(r.whole)
	}
	return r, nil
}

// readEnd reads the last size bytes of the pack, and sees to it that nothing
// follows them.
func (r *Reader) readEnd(ctx context.Context, size int64) ([]byte, error) {
	start := r.ref.Size - size
	rc, err := r.bucket.Read(ctx, r.ref.Key, start, -1)
	if err != nil {
		return nil, r.readError(-1, start, err)
	}
	defer rc.Close()
	buf := make([]byte, size)
	if n, err := io.ReadFull(rc, buf); err != nil {
		return nil, r.readError(-1, start+int64(n), err)
	}
	var more [1]byte
	switch n, err := io.ReadFull(rc, more[:]); {
	case n > 0:
		return nil, r.corrupt(-1, r.ref.Size, fmt.Errorf("the object goes on after %d bytes", r.ref.Size))
	case err != io.EOF:
		return nil, r.readError(-1, r.ref.Size, err)
	}
	return buf, nil
}

// readError wraps an error of the bucket; an object that ends too early is damage.
func (r *Reader) readError(block int, offset int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return r.corrupt(block, offset, fmt.Errorf("the object ends there, want %d bytes: %w", r.ref.Size, err))
	}
	return fmt.Errorf("read pack %s at offset %d: %w", r.ref.Key, offset, err)
}

// corrupt says where the pack is damaged, unless it is whole and only newer.
func (r *Reader) corrupt(block int, offset int64, err error) error {
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("pack %s: %w", r.ref.Key, err)
	}
	return &CorruptError{Key: r.ref.Key, Block: block, Offset: offset, Err: err}
}

// parseTail proves index and footer against the reference and reads them.
func (r *Reader) parseTail(tail []byte) error {
	if got := change.Hash(sha256.Sum256(tail)); got != r.ref.Hash {
		return fmt.Errorf("tail has hash %v, want %v", got, r.ref.Hash)
	}
	f, err := parseFooter(tail)
	if err != nil {
		return err
	}
	got := Ref{Key: r.ref.Key, Size: f.size(), Tail: f.indexSize + footerSize, Hash: r.ref.Hash,
		Records: f.records, Raw: f.raw, MaxBlock: f.maxBlock}
	if got != r.ref {
		return fmt.Errorf("footer says %+v, the reference %+v", got, r.ref)
	}
	if r.ix, err = parseIndex(tail[:f.indexSize], f.indexOffset, f.header); err != nil {
		return err
	}
	if r.ix.Records != f.records || r.ix.Raw != f.raw || r.ix.maxBlock() != f.maxBlock {
		return fmt.Errorf("index has %d records, %d bytes, a block of %d; the footer %d, %d and %d",
			r.ix.Records, r.ix.Raw, r.ix.maxBlock(), f.records, f.raw, f.maxBlock)
	}
	r.header = f.header
	r.filters = make([][]byte, len(r.ix.Blocks))
	return nil
}

// checkHeader compares the header at the front of b with the one in the tail.
func (r *Reader) checkHeader(b []byte) error {
	if want := r.header.append(nil); string(b[:headerSize]) != string(want) {
		return r.corrupt(-1, 0, fmt.Errorf("header is % x, want % x", b[:headerSize], want))
	}
	return nil
}

// Ref returns the reference that the pack was opened with.
func (r *Reader) Ref() Ref { return r.ref }

// Index says what the pack holds. It is read-only.
func (r *Reader) Index() *Index { return r.ix }

// Close drops what the Reader holds in memory. Blocks read from it stay valid;
// the Reader is of no more use.
func (r *Reader) Close() { r.whole, r.bucket = nil, nil }

// read returns size bytes of the pack at offset, in buf if they have to be read.
func (r *Reader) read(ctx context.Context, block int, offset, size int64, buf []byte) ([]byte, error) {
	if r.whole != nil {
		return r.whole[offset : offset+size], ctx.Err()
	}
	rc, err := r.bucket.Read(ctx, r.ref.Key, offset, size)
	if err != nil {
		return nil, r.readError(block, offset, err)
	}
	defer rc.Close()
	if int64(cap(buf)) < size {
		buf = make([]byte, size, size+size/8)
	}
	buf = buf[:size]
	if n, err := io.ReadFull(rc, buf); err != nil {
		return nil, r.readError(block, offset+int64(n), err)
	}
	return buf, nil
}

// prove checks the hash of a part of the pack.
func (r *Reader) prove(block int, offset int64, b []byte, want change.Hash) error {
	if got := change.Hash(sha256.Sum256(b)); got != want {
		return r.corrupt(block, offset, fmt.Errorf("%d bytes have hash %v, want %v", len(b), got, want))
	}
	return nil
}

// Stored reads block i as it is stored, with one request and without proving
// it, for [Reader.Decode]. The result is in buf if that is large enough; that of a
// pack opened whole is its own memory, not to be written to.
func (r *Reader) Stored(ctx context.Context, i int, buf []byte) ([]byte, error) {
	info := &r.ix.Blocks[i]
	return r.read(ctx, i, info.Offset, info.Stored, buf)
}

// Decode proves the stored bytes of block i and decodes them into b, which
// goes on using them.
func (r *Reader) Decode(i int, stored []byte, b *Block) error {
	info := &r.ix.Blocks[i]
	b.records, b.txs = b.records[:0], b.txs[:0]
	if err := r.prove(i, info.Offset, stored, info.Hash); err != nil {
		return err
	}
	if err := b.decode(stored, r.ix.Kind, info); err != nil {
		return r.corrupt(i, info.Offset, err)
	}
	return nil
}

// Block reads block i into b, with one request.
func (r *Reader) Block(ctx context.Context, i int, b *Block) error {
	info := &r.ix.Blocks[i]
	if b.stored == nil && r.whole == nil {
		b.stored = *idleBuffers.Get().(*[]byte)
	}
	stored, err := r.read(ctx, i, info.Offset, info.Stored, b.stored)
	if err != nil {
		b.records, b.txs = b.records[:0], b.txs[:0]
		return err
	}
	if r.whole == nil {
		b.stored = stored
	}
	return r.Decode(i, stored, b)
}

// A request for consecutive blocks asks for at most readAhead bytes, unless a
// single block is larger. One that starts at a place sought out may want no
// more than that block: it asks for firstAhead, then for twice as much each time.
const (
	readAhead  = 4 << 20
	firstAhead = 256 << 10
)

// window reads consecutive blocks with few requests.
type window struct {
	r          *Reader
	end        int    // no block from here on is wanted
	ahead      int64  // the most bytes of the next request
	buf, bytes []byte // bytes holds what was read, from offset on
	offset     int64
}

// stored returns the stored bytes of block i.
func (w *window) stored(ctx context.Context, i int) ([]byte, error) {
	blocks := w.r.ix.Blocks
	info := &blocks[i]
	if at := info.Offset - w.offset; w.bytes == nil || at < 0 || at+info.Stored > int64(len(w.bytes)) {
		size := info.Stored
		for j := i + 1; j < w.end && size+blocks[j].Stored <= w.ahead; j++ {
			size += blocks[j].Stored
		}
		w.ahead = min(2*w.ahead, readAhead)
		w.bytes = nil
		b, err := w.r.read(ctx, i, info.Offset, size, w.buf)
		if err != nil {
			return nil, err
		}
		if w.r.whole == nil {
			w.buf = b
		}
		w.bytes, w.offset = b, info.Offset
	}
	at := info.Offset - w.offset
	return w.bytes[at : at+info.Stored], nil
}

// idle holds windows' buffers and Blocks between uses: touching fresh memory
// costs more than decoding into it.
var (
	idleBlocks  = sync.Pool{New: func() any { return new(Block) }}
	idleBuffers = sync.Pool{New: func() any { return new([]byte) }}
)

// keepAtMost is the size in bytes above which memory is not kept for reuse.
const keepAtMost = 16 << 20

func getBlock(skip Skip) *Block {
	b := idleBlocks.Get().(*Block)
	b.Skip = skip
	return b
}

func putBlock(b *Block) {
	if cap(b.arena) <= keepAtMost && cap(b.stored) <= keepAtMost {
		idleBlocks.Put(b)
	}
}

func (r *Reader) window(end int, ahead int64) *window {
	return &window{r: r, end: end, ahead: ahead, buf: *idleBuffers.Get().(*[]byte)}
}

// aheadFrom returns how much the first request asks for when reading starts at
// block i.
func aheadFrom(i int) int64 {
	if i == 0 {
		return readAhead
	}
	return firstAhead
}

func (w *window) close() {
	if cap(w.buf) <= keepAtMost {
		idleBuffers.Put(&w.buf)
	}
}

// Blocks yields the blocks from number from on, up to but not including
// number to, with few requests. A Block is valid until the next one. The
// sequence ends at the first error.
func (r *Reader) Blocks(ctx context.Context, from, to int, skip Skip) iter.Seq2[*Block, error] {
	return r.blocks(ctx, from, to, skip, readAhead)
}

func (r *Reader) blocks(ctx context.Context, from, to int, skip Skip, ahead int64) iter.Seq2[*Block, error] {
	return func(yield func(*Block, error) bool) {
		w := r.window(to, ahead)
		defer w.close()
		b := getBlock(skip)
		defer putBlock(b)
		for i := from; i < to; i++ {
			stored, err := w.stored(ctx, i)
			if err == nil {
				err = r.Decode(i, stored, b)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}
