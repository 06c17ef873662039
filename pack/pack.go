// Package pack is the container of records. A pack is one immutable object
// that holds blocks of records in one of two orders: a log pack in LSN order,
// grouped in transactions; a run pack in order of (collection, key), one
// version per key. Segments are made of log packs, snapshots of run packs.
//
// A pack proves every part of itself. A [Ref], which manifests carry, commits
// to the tail; the tail holds the SHA-256 of every block and filter. A
// [Reader] uses no byte before its hash was proved, checks every length
// against a limit before it allocates, and bounds decompression by the
// declared size. FORMAT.md describes the bytes.
//
// Writers and Blocks belong to one goroutine at a time; a Reader may be used
// by several.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// Kind is the order of a pack's records.
type Kind uint8

// The kinds of pack.
const (
	Log Kind = 1 // by LSN, in transactions
	Run Kind = 2 // by (collection, key)
)

func (k Kind) String() string {
	switch k {
	case Log:
		return "log"
	case Run:
		return "run"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// FormatVersion is the version of the format that this package writes, and
// the newest that it reads.
const FormatVersion = 1

// Limits of the format. Writers refuse to exceed them, readers refuse to
// believe what does.
const (
	MaxPosition     = 64 << 10  // bytes of a transaction's position
	MaxBlockRecords = 1 << 16   // records of a block
	MaxBlockRaw     = 128 << 20 // bytes of keys, images and positions of a block, decoded
	MaxTail         = 256 << 20 // bytes of index and footer
	MaxWhole        = 1 << 30   // bytes of a pack that OpenWhole takes
	maxBlockStored  = 2 * MaxBlockRaw
	maxClasses      = 256       // classes of a block: a class has one op, one collection, one shape
	maxStreams      = 64        // streams of a block
	maxFilter       = 256 << 10 // bytes of the filter of a block
)

var (
	// ErrCorrupt is wrapped by every error that says a pack is not what its
	// Ref commits to, or not well formed: [CorruptError] has the facts.
	ErrCorrupt = errors.New("pack is damaged")

	// ErrVersion says that a pack was written in a newer format.
	ErrVersion = errors.New("pack has a newer format than this version of tidemark reads; upgrade tidemark")

	// ErrLimit says that something is larger than the format allows.
	ErrLimit = errors.New("exceeds a limit of the pack format")

	// ErrOrder says that what was appended does not follow what was appended
	// before. The writer is as it was.
	ErrOrder = errors.New("out of order in a pack")
)

// CorruptError says where a pack is damaged. It wraps [ErrCorrupt], and Err.
type CorruptError struct {
	Key    string // of the object
	Block  int    // number of the block, or −1: header, filters or tail
	Offset int64  // where the damaged part starts in the object
	Err    error  // what was wanted, and what was found
}

func (e *CorruptError) Error() string {
	part := "outside the blocks"
	if e.Block >= 0 {
		part = fmt.Sprintf("block %d", e.Block)
	}
	return fmt.Sprintf("pack %s: %s at offset %d: %v: %v", e.Key, part, e.Offset, ErrCorrupt, e.Err)
}

// Unwrap returns ErrCorrupt and Err.
func (e *CorruptError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// Header and footer. Both are little-endian and of fixed size.
const (
	headerSize = 16
	footerSize = 64

	headMagic = "\x8fTDMPCK\n"
	footMagic = "\n\x8fTDMEND"

	codecZstd = 1 // streams are zstd frames or stored as they are
)

// header is the first 16 bytes of a pack, repeated at the front of the index.
type header struct {
	version uint16
	kind    Kind
	codec   uint8
	flags   uint32
}

func (h header) append(dst []byte) []byte {
	dst = append(dst, headMagic...)
	dst = binary.LittleEndian.AppendUint16(dst, h.version)
	dst = append(dst, byte(h.kind), h.codec)
	return binary.LittleEndian.AppendUint32(dst, h.flags)
}

// parseHeader reads the header at the front of b.
func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize || string(b[:8]) != headMagic {
		return h, fmt.Errorf("header starts with % x, want % x", b[:min(8, len(b))], headMagic)
	}
	h.version = binary.LittleEndian.Uint16(b[8:])
	h.kind, h.codec = Kind(b[10]), b[11]
	h.flags = binary.LittleEndian.Uint32(b[12:])
	return h, h.check()
}

func (h header) check() error {
	switch {
	case h.version > FormatVersion:
		return fmt.Errorf("version %d, want at most %d: %w", h.version, FormatVersion, ErrVersion)
	case h.version == 0:
		return errors.New("version 0")
	case h.kind != Log && h.kind != Run:
		return fmt.Errorf("pack kind %d, want %d or %d", h.kind, Log, Run)
	case h.codec != codecZstd:
		return fmt.Errorf("codec %d, want %d: %w", h.codec, codecZstd, ErrVersion)
	case h.flags != 0:
		return fmt.Errorf("unknown flags %#x: %w", h.flags, ErrVersion)
	}
	return nil
}

// footer is the last 64 bytes of a pack.
type footer struct {
	indexOffset int64
	indexSize   int64
	records     int64
	raw         int64
	maxBlock    int64
	header      header
}

func (f footer) size() int64 { return f.indexOffset + f.indexSize + footerSize }

func (f footer) append(dst []byte) []byte {
	for _, v := range []int64{f.indexOffset, f.indexSize, f.size(), f.records, f.raw, f.maxBlock} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(v))
	}
	dst = binary.LittleEndian.AppendUint16(dst, f.header.version)
	dst = append(dst, byte(f.header.kind), f.header.codec)
	dst = binary.LittleEndian.AppendUint32(dst, f.header.flags)
	return append(dst, footMagic...)
}

// parseFooter reads the footer at the end of b, which ends the pack.
func parseFooter(b []byte) (footer, error) {
	var f footer
	if len(b) < footerSize {
		return f, fmt.Errorf("%d bytes, want a footer of %d", len(b), footerSize)
	}
	b = b[len(b)-footerSize:]
	if string(b[56:]) != footMagic {
		return f, fmt.Errorf("footer ends with % x, want % x", b[56:], footMagic)
	}
	f.header = header{version: binary.LittleEndian.Uint16(b[48:]), kind: Kind(b[50]), codec: b[51],
		flags: binary.LittleEndian.Uint32(b[52:])}
	if err := f.header.check(); err != nil {
		return f, err
	}
	var size int64
	for i, p := range []*int64{&f.indexOffset, &f.indexSize, &size, &f.records, &f.raw, &f.maxBlock} {
		v := binary.LittleEndian.Uint64(b[8*i:])
		if v > 1<<62 {
			return f, fmt.Errorf("footer field %d is %d", i, v)
		}
		*p = int64(v)
	}
	switch {
	case f.indexOffset < headerSize || f.indexSize > MaxTail || f.size() != size:
		return f, fmt.Errorf("footer has an index of %d bytes at %d in a pack of %d", f.indexSize, f.indexOffset, size)
	case f.maxBlock > MaxBlockRaw:
		return f, fmt.Errorf("largest block has %d bytes, the limit is %d: %w", f.maxBlock, MaxBlockRaw, ErrLimit)
	}
	return f, nil
}

// check reports what is wrong with a Ref by itself.
func (r *Ref) check() error {
	switch {
	case r.Size < headerSize+footerSize+headerSize || r.Tail < headerSize+footerSize || r.Tail > r.Size-headerSize:
		return fmt.Errorf("pack %s: a reference to %d bytes with a tail of %d can't be right", r.Key, r.Size, r.Tail)
	case r.Tail > MaxTail:
		return fmt.Errorf("pack %s: tail of %d bytes, the limit is %d: %w", r.Key, r.Tail, MaxTail, ErrLimit)
	case r.MaxBlock < 0 || r.MaxBlock > MaxBlockRaw:
		return fmt.Errorf("pack %s: largest block of %d bytes, the limit is %d: %w", r.Key, r.MaxBlock, MaxBlockRaw, ErrLimit)
	case r.Records < 0 || r.Raw < 0:
		return fmt.Errorf("pack %s: a reference to %d records and %d bytes can't be right", r.Key, r.Records, r.Raw)
	}
	return nil
}

// RowKey names a row: the order of run packs, and of states everywhere.
type RowKey struct {
	Collection change.CollectionID
	Key        change.Key
}

// Compare orders by collection, then by key.
func (k RowKey) Compare(o RowKey) int {
	switch {
	case k.Collection < o.Collection:
		return -1
	case k.Collection > o.Collection:
		return 1
	}
	return k.Key.Compare(o.Key)
}

func (k RowKey) String() string { return fmt.Sprintf("(%d, %x)", k.Collection, []byte(k.Key)) }
