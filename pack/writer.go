package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/change"
)

// WriterOptions shape a pack. The zero value is ready for use.
type WriterOptions struct {
	BlockSize int  // raw bytes of a block; a larger record gets one of its own; default 1 MiB, at most 16 MiB
	NoFilter  bool // leave out the key filters: a tenth of a byte to a byte and a half per record
}

const (
	defaultBlockSize = 1 << 20
	maxBlockSize     = 16 << 20
)

var errClosed = errors.New("pack writer is closed")

// writer is what both kinds of writer share. Blocks go to w as they fill.
type writer struct {
	w       io.Writer
	opts    WriterOptions
	header  header
	b       builder
	z       *zstd.Encoder
	ix      Index
	offset  int64 // bytes written
	stored  int64 // of them, blocks; and what they held:
	raw     int64
	out     []byte
	filters []byte
	stats   map[change.CollectionID]*CollectionInfo
	last    *CollectionInfo // the one used last
	row     RowKey          // run: the last row, and the first of the block
	first   RowKey
	err     error // after it nothing more is written
}

func newWriter(w io.Writer, kind Kind, o WriterOptions) *writer {
	if o.BlockSize <= 0 {
		o.BlockSize = defaultBlockSize
	}
	o.BlockSize = min(o.BlockSize, maxBlockSize)
	wr := &writer{w: w, opts: o, header: header{FormatVersion, kind, codecZstd, 0}, stats: make(map[change.CollectionID]*CollectionInfo)}
	wr.b.kind, wr.ix.Kind = kind, kind
	wr.z = encoders.Get().(*zstd.Encoder)
	wr.out = wr.header.append(nil)
	return wr
}

// write sends out to w.
func (w *writer) write(out []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(out)
	w.offset += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write pack: %w", err)
	}
}

// size returns the bytes that the pack would have if it were closed now,
// taking the open block to compress as the earlier ones did.
func (w *writer) size() int64 {
	open := int64(w.b.raw + 4*w.b.records)
	if w.raw > 0 {
		open = open * w.stored / w.raw
	} else {
		open /= 2
	}
	filters := int64(len(w.filters)) + int64(len(w.b.hashes)*filterBits/8)
	if w.opts.NoFilter {
		filters = 0
	}
	const perBlock, perCollection = 120, 64
	return max(w.offset, headerSize) + open + filters + int64(len(w.ix.Blocks)*perBlock+len(w.stats)*perCollection) + footerSize
}

// checkRecord reports what the format can't hold of a record.
func checkRecord(r *change.Record) error {
	switch {
	case !r.Op.Valid() || r.Collection == 0:
		return fmt.Errorf("record at LSN %d has operation %s and collection %d", r.LSN, r.Op, r.Collection)
	case len(r.Key) > change.MaxKey:
		return fmt.Errorf("record at LSN %d has a key of %d bytes, the limit is %d: %w", r.LSN, len(r.Key), change.MaxKey, ErrLimit)
	case len(r.Image) > change.MaxImage:
		return fmt.Errorf("record at LSN %d has an image of %d bytes, the limit is %d: %w", r.LSN, len(r.Image), change.MaxImage, ErrLimit)
	}
	return nil
}

// count adds a record to the statistics.
func (w *writer) count(r *change.Record) {
	c := w.last
	if c == nil || c.ID != r.Collection {
		if c = w.stats[r.Collection]; c == nil {
			c = &CollectionInfo{ID: r.Collection}
			w.stats[r.Collection] = c
		}
		w.last = c
	}
	*c.count(r.Op)++
	c.Raw += int64(len(r.Key) + len(r.Image))
	if len(r.Key) == 0 {
		return
	}
	if len(c.MinKey) == 0 {
		c.MinKey, c.MaxKey = slices.Clone(r.Key), slices.Clone(r.Key)
	} else if r.Key.Compare(c.MaxKey) > 0 {
		c.MaxKey = append(c.MaxKey[:0], r.Key...)
	} else if r.Key.Compare(c.MinKey) < 0 {
		c.MinKey = append(c.MinKey[:0], r.Key...)
	}
}

// flush writes the open block, if it holds anything.
func (w *writer) flush() {
	if w.b.records == 0 || w.err != nil {
		return
	}
	if w.offset == 0 {
		w.write(w.out)
	}
	w.out = w.b.append(w.out[:0], w.z)
	info := BlockInfo{
		Offset: w.offset, Stored: int64(len(w.out)), Raw: int64(w.b.raw), Hash: sha256.Sum256(w.out), Records: w.b.records,
		First: w.b.least, Last: w.b.most,
	}
	if w.header.kind == Log {
		info.FirstTime, info.LastTime = w.b.firstTime, w.b.lastTx.Effective
	} else {
		info.FirstRow, info.LastRow = w.first, RowKey{w.row.Collection, slices.Clone(w.row.Key)}
	}
	if !w.opts.NoFilter {
		start := len(w.filters)
		w.filters = appendFilter(w.filters, w.b.hashes, w.header.kind == Run)
		if f := w.filters[start:]; len(f) > 0 {
			info.filterSize, info.filterHash = int64(len(f)), sha256.Sum256(f)
		}
	}
	w.write(w.out)
	w.stored += info.Stored
	w.raw += info.Raw + 4*int64(info.Records)
	w.ix.Records += int64(info.Records)
	w.ix.Raw += info.Raw
	w.ix.Blocks = append(w.ix.Blocks, info)
	w.b.reset()
}

// close writes what is left and returns the reference without its key.
func (w *writer) close() (Ref, *Index, error) {
	if w.err != nil {
		w.release()
		return Ref{}, nil, w.err
	}
	w.flush()
	if w.offset == 0 && w.err == nil {
		w.write(w.out) // an empty pack: the header still waits there
	}
	for _, c := range w.stats {
		w.ix.Collections = append(w.ix.Collections, *c)
	}
	slices.SortFunc(w.ix.Collections, func(a, b CollectionInfo) int { return int(int64(a.ID) - int64(b.ID)) })
	w.write(w.filters)
	f := footer{indexOffset: w.offset, records: w.ix.Records, raw: w.ix.Raw, maxBlock: w.ix.maxBlock(), header: w.header}
	tail := w.ix.append(nil, w.header)
	f.indexSize = int64(len(tail))
	tail = f.append(tail)
	if len(tail) > MaxTail && w.err == nil {
		w.err = fmt.Errorf("index of %d bytes, the limit is %d: %w", len(tail), MaxTail, ErrLimit)
	}
	w.write(tail)
	w.release()
	if w.err != nil {
		return Ref{}, nil, w.err
	}
	w.err = errClosed
	if err := w.ix.place(f.indexOffset); err != nil {
		return Ref{}, nil, err
	}
	return Ref{Size: w.offset, Tail: int64(len(tail)), Hash: sha256.Sum256(tail),
		Records: w.ix.Records, Raw: w.ix.Raw, MaxBlock: f.maxBlock}, &w.ix, nil
}

// release gives back what the writer borrowed.
func (w *writer) release() {
	if w.z != nil {
		encoders.Put(w.z)
		w.z = nil
	}
}
