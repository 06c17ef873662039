package txlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

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

// Payload returns the transactions in a frame that [NewFrame] began.
func Payload(frame []byte) []byte { return frame[frameHeaderSize:] }

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

func frameSum(header []byte) uint32    { return binary.LittleEndian.Uint32(header[4:]) }
func frameNumber(header []byte) uint64 { return binary.LittleEndian.Uint64(header[16:]) }

// findFrame returns the offset of the first whole frame of a file of this size
// at or after off, or -1.
func (k *frameKey) findFrame(f io.ReaderAt, size, off int64) (int64, error) {
	buf := make([]byte, min(readChunk, max(size-off, 0)))
	for off < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 {
			return -1, ignoreEOF(err)
		}
		b := buf[:n]
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], []byte(frameMagic))
			if i < 0 {
				break
			}
			at += i
			if ok, err := k.wholeAt(f, size, off+int64(at)); ok || err != nil {
				return off + int64(at), err
			}
		}
		if off+int64(n) >= size {
			break
		}
		off += int64(max(n-len(frameMagic)+1, 1)) // one may lie across
	}
	return -1, nil
}

// wholeAt reports whether a whole frame lies at an offset.
func (k *frameKey) wholeAt(f io.ReaderAt, size, off int64) (bool, error) {
	var header [frameHeaderSize]byte
	if n, err := f.ReadAt(header[:], off); n < len(header) {
		return false, ignoreEOF(err)
	}
	frame := k.frameSize(header[:])
	if frame == 0 || frame > size-off {
		return false, nil
	}
	_, ok, err := k.prove(f, off, frame, readChunk, func(uint32) {})
	return ok, err
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

// Tx is a whole transaction of the log. It and what it points to are the
// receiver's to keep and must not be modified.
type Tx struct {
	*change.Tx
	Canonical []byte      // its encoding
	Hash      change.Hash // log hash through it
}

// walk calls each for every transaction after an LSN in a file of this size, in
// order, and returns where the last whole frame ends. What follows there is a
// torn tail, unless a whole frame follows it: that is [ErrCorrupt]. What lies
// at or before the LSN is read in little memory; when it ends there with
// another log hash, that is [ErrForeign].
func walk(f io.ReaderAt, size int64, h *header, after change.LSN, hash change.Hash, each func(t Tx) error) (place, error) {
	s := scanner{f: f, key: frameKey{h.Database, h.Number}, piece: readChunk, at: h.start()}
	if err := s.meets(after, hash); err != nil {
		return s.at, err
	}
	for {
		ok, err := s.open(size)
		if err != nil {
			return s.at, err
		}
		if !ok {
			later, err := s.key.findFrame(f, size, s.at.Offset)
			if err == nil && later >= 0 {
				err = fmt.Errorf("frame %d at offset %d is damaged, a whole one follows at %d: %w", s.at.Frame+1, s.at.Offset, later, ErrCorrupt)
			}
			return s.at, err
		}
		if err := s.walkFrame(after, hash, each); err != nil {
			return s.at, fmt.Errorf("frame %d at offset %d: %w", s.at.Frame+1, s.at.Offset, err)
		}
		if s.at.Offset >= size {
			return s.at, nil
		}
	}
}

// walkFrame is walk for one frame.
func (s *scanner) walkFrame(after change.LSN, hash change.Hash, each func(t Tx) error) error {
	for s.between() {
		head, _, err := s.peek()
		if err != nil {
			return err
		}
		if head.Last() > after {
			t, err := s.whole()
			if err == nil {
				err = each(t)
			}
			if err != nil {
				return err
			}
			continue
		}
		for t := (*change.Tx)(nil); t == nil || t.After > 0; {
			if t, err = s.next(); err != nil {
				return err
			}
		}
		if err := s.meets(after, hash); err != nil {
			return err
		}
	}
	return nil
}

// meets compares the log hash, where the scanner stands at the LSN.
func (s *scanner) meets(lsn change.LSN, hash change.Hash) error {
	if s.at.LSN == lsn && s.at.Hash != hash {
		return fmt.Errorf("log hash at LSN %d is %s, wanted %s: %w", lsn, s.at.Hash, hash, ErrForeign)
	}
	return nil
}
