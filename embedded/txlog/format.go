package txlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tidemarkdb/tidemark/change"
)

// The format of a log file; FORMAT.md is its description.
const (
	fileMagic   = "tdmklog\x00"
	fileVersion = 1
	headerSize  = 128

	frameMagic      = "tmfr"
	frameHeaderSize = 32

	// maxFrame bounds a frame's payload: one transaction at the largest limit
	// that can be set, after a full group.
	maxFrame = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DatabaseID is what ties log files to their database. It is random.
type DatabaseID [16]byte

// header is the first part of a log file.
type header struct {
	Number   uint64 // of the file, its generation; in its name, never used twice
	First    change.LSN
	Hash     change.Hash // log hash through First-1
	Database DatabaseID
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], fileVersion)
	binary.LittleEndian.PutUint64(b[16:], h.Number)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.First))
	copy(b[32:], h.Hash[:])
	copy(b[64:], h.Database[:])
	binary.LittleEndian.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
	return b
}

// parseHeader reads the header of the file with this number in this
// database. ok is false when there is none: never written, torn or damaged,
// or left from the file's earlier use. An error is a header of another kind.
func parseHeader(b []byte, number uint64, id DatabaseID) (h header, ok bool, err error) {
	if len(b) < headerSize || string(b[:8]) != fileMagic {
		return h, false, nil
	}
	if binary.LittleEndian.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli) {
		return h, false, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileVersion {
		return h, false, fmt.Errorf("log file has format version %d, this program reads %d: a newer one is needed", v, fileVersion)
	}
	for _, c := range append(b[12:16:16], b[80:headerSize-4]...) {
		if c != 0 {
			return h, false, fmt.Errorf("log file has features that this program does not know: a newer one is needed")
		}
	}
	h.Number = binary.LittleEndian.Uint64(b[16:])
	h.First = change.LSN(binary.LittleEndian.Uint64(b[24:]))
	copy(h.Hash[:], b[32:])
	copy(h.Database[:], b[64:])
	if h.Database != id {
		return h, false, fmt.Errorf("log file belongs to database %x, not to %x", h.Database, id)
	}
	return h, h.Number == number && h.First > 0, nil
}

// frameKey is what makes a frame valid in one place only.
type frameKey struct {
	database DatabaseID
	number   uint64 // of the file
}

func (k *frameKey) checksum(off int64, frame []byte) uint32 {
	var b [24]byte
	copy(b[:], k.database[:])
	binary.LittleEndian.PutUint64(b[16:], uint64(off))
	crc := crc32.Update(0, castagnoli, b[:])
	return crc32.Update(crc, castagnoli, frame[8:])
}

// NewFrame returns an empty frame that reuses buf, which may be nil: append
// canonical transactions to it and give it to [Log.Append].
func NewFrame(buf []byte) []byte {
	var header [frameHeaderSize]byte
	return append(buf[:0], header[:]...)
}

// seal fills in the header of a frame whose payload follows it, for offset off.
func (k *frameKey) seal(frame []byte, off int64, n uint64, txs int) {
	copy(frame, frameMagic)
	binary.LittleEndian.PutUint64(frame[8:], k.number)
	binary.LittleEndian.PutUint64(frame[16:], n)
	binary.LittleEndian.PutUint32(frame[24:], uint32(len(frame)-frameHeaderSize))
	binary.LittleEndian.PutUint32(frame[28:], uint32(txs))
	binary.LittleEndian.PutUint32(frame[4:], k.checksum(off, frame))
}

// frameSize returns the size of the frame that a header starts, or 0 when it
// can't be a frame of this file.
func (k *frameKey) frameSize(header []byte) int64 {
	if len(header) < frameHeaderSize || string(header[:4]) != frameMagic ||
		binary.LittleEndian.Uint64(header[8:]) != k.number {
		return 0
	}
	n := int64(binary.LittleEndian.Uint32(header[24:]))
	if n == 0 || n > maxFrame {
		return 0
	}
	return frameHeaderSize + n
}

// open returns the payload and number of the frame at the front of b, which
// lies at offset off of its file; ok is false when it is not whole.
func (k *frameKey) open(b []byte, off int64) (payload []byte, n uint64, ok bool) {
	size := k.frameSize(b)
	if size == 0 || size > int64(len(b)) {
		return nil, 0, false
	}
	frame := b[:size:size]
	if binary.LittleEndian.Uint32(frame[4:]) != k.checksum(off, frame) {
		return nil, 0, false
	}
	return frame[frameHeaderSize:], binary.LittleEndian.Uint64(frame[16:]), true
}

// findFrame returns the offset of the first whole frame at or after off, or -1.
func (k *frameKey) findFrame(file []byte, off int64) int64 {
	for off < int64(len(file)) {
		i := bytes.Index(file[off:], []byte(frameMagic))
		if i < 0 {
			return -1
		}
		off += int64(i)
		if _, _, ok := k.open(file[off:], off); ok {
			return off
		}
		off++
	}
	return -1
}

// place is a place in the log between two frames.
type place struct {
	Number uint64 // of the file
	Offset int64
	Frame  uint64 // of the last frame before it
	LSN    change.LSN
	Hash   change.Hash
}

func (h *header) start() place {
	return place{Number: h.Number, Offset: headerSize, LSN: h.First - 1, Hash: h.Hash}
}

// Tx is a transaction of the log. It and what it points to are the receiver's
// to keep and must not be modified.
type Tx struct {
	*change.Tx
	Canonical []byte      // its encoding
	Hash      change.Hash // log hash through it
}

// walk calls each for every transaction in a file's content, in order, and
// returns where the last whole frame ends. What follows there is a torn tail,
// unless a whole frame follows it: that is [ErrCorrupt].
func walk(file []byte, h *header, each func(t Tx) error) (place, error) {
	k := frameKey{h.Database, h.Number}
	end := h.start()
	for {
		payload, n, ok := k.open(file[end.Offset:], end.Offset)
		if !ok || n != end.Frame+1 {
			if later := k.findFrame(file, end.Offset); later >= 0 {
				return end, fmt.Errorf("frame %d at offset %d is damaged, a whole one follows at %d: %w", end.Frame+1, end.Offset, later, ErrCorrupt)
			}
			return end, nil
		}
		size := int64(frameHeaderSize + len(payload))
		if err := splitFrame(payload, &end, each); err != nil {
			return end, fmt.Errorf("frame %d at offset %d: %w", n, end.Offset, err)
		}
		end.Frame = n
		end.Offset += size
		if end.Offset >= int64(len(file)) {
			return end, nil
		}
	}
}

// splitFrame calls each for the transactions of a frame that follows on end,
// and moves end's LSN and hash on.
func splitFrame(payload []byte, end *place, each func(t Tx) error) error {
	for len(payload) > 0 {
		t, rest, err := change.DecodeTx(payload)
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		if t.First() != end.LSN+1 {
			return fmt.Errorf("transaction starts at LSN %d, want %d: %w", t.First(), end.LSN+1, ErrCorrupt)
		}
		canonical := payload[:len(payload)-len(rest)]
		end.LSN = t.Last()
		end.Hash = change.LogHash(end.Hash, canonical)
		if err := each(Tx{t, canonical, end.Hash}); err != nil {
			return err
		}
		payload = rest
	}
	return nil
}
