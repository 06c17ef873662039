package txlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/tidemarkdb/tidemark/change"
)

// scanner reads the transactions of one file in order, and no byte of a frame
// before all of the frame was proved. A frame larger than a piece is never in
// memory as a whole: it is proved by a first reading, which notes the checksums
// of its parts, and each part is held against them when it is read again.
type scanner struct {
	f     io.ReaderAt
	key   frameKey
	piece int64 // bytes from which on a transaction comes in pieces
	at    place // LSN and Hash: after the last whole transaction; the rest: after the last whole frame

	ahead []byte // of the file from at.Offset on, while no frame is open

	size    int64  // of the open frame; 0: none is open
	payload []byte // of the open frame: proved and not yet decoded
	off     int64  // in the file, of what follows payload
	left    int64  // how many bytes of the frame that are
	sums    []uint32

	head   change.TxHead // of the open transaction
	came   int64         // its records that were returned
	hasher change.LogHasher
}

const (
	readChunk = 256 << 10 // how much is read at once; transactions point into it
	leastPart = 64        // bytes
)

// part returns the size of the parts of a frame that have checksums of their own.
func (s *scanner) part() int64 { return min(max(s.piece, leastPart), readChunk) }

// errChanged says that a frame is not what it was a moment ago.
var errChanged = errors.New("it changed while it was read")

// open proves the next frame, which must end at or before limit, and opens it;
// false when there is none.
func (s *scanner) open(limit int64) (bool, error) {
	if err := s.look(frameHeaderSize, limit); err != nil {
		return false, err
	}
	size := s.key.frameSize(s.ahead)
	if size == 0 || size > limit-s.at.Offset {
		return false, nil
	}
	if size > frameHeaderSize+max(s.piece, s.part()) {
		return s.openLarge(size)
	}
	if err := s.look(size, limit); err != nil {
		return false, err
	}
	payload, n, ok := s.key.open(s.ahead, s.at.Offset)
	if !ok || n != s.at.Frame+1 {
		s.ahead = nil // it may have been read while it was written
		return false, nil
	}
	s.size, s.payload, s.ahead = size, payload, s.ahead[size:]
	return true, nil
}

func (s *scanner) openLarge(size int64) (bool, error) {
	s.ahead = nil
	s.sums = s.sums[:0]
	n, ok, err := s.key.prove(s.f, s.at.Offset, size, s.part(), func(sum uint32) { s.sums = append(s.sums, sum) })
	if err != nil || !ok || n != s.at.Frame+1 {
		return false, err
	}
	s.size, s.payload = size, nil
	s.off, s.left = s.at.Offset+frameHeaderSize, size-frameHeaderSize
	return true, nil
}

// look makes ahead hold at least n bytes, or all there are before limit.
func (s *scanner) look(n, limit int64) error {
	left := limit - s.at.Offset
	n = min(n, left)
	if int64(len(s.ahead)) >= n {
		return nil
	}
	buf := make([]byte, min(left, max(n, readChunk)))
	got, err := s.f.ReadAt(buf, s.at.Offset)
	if err != nil && err != io.EOF {
		return err
	}
	s.ahead = buf[:got]
	return nil
}

// more makes payload hold at least n bytes, or all there are of the frame. What
// was returned before stays as it is.
func (s *scanner) more(n int64) error {
	have := int64(len(s.payload))
	if have >= n || s.left == 0 {
		return nil
	}
	part := s.part()
	read := min((n-have+part-1)/part*part, s.left)
	buf := make([]byte, have+read)
	copy(buf, s.payload)
	if _, err := s.f.ReadAt(buf[have:], s.off); err != nil && err != io.EOF {
		return err
	}
	for b := buf[have:]; len(b) > 0; s.sums = s.sums[1:] {
		k := min(part, int64(len(b)))
		if crc32.Checksum(b[:k], castagnoli) != s.sums[0] {
			return errChanged
		}
		b = b[k:]
	}
	s.payload, s.off, s.left = buf, s.off+read, s.left-read
	return nil
}

// between reports whether the next record begins a transaction of the open
// frame; if nothing is left of the frame it is closed, and between is false.
func (s *scanner) between() bool {
	if s.size == 0 || s.came > 0 {
		return false
	}
	if len(s.payload) > 0 || s.left > 0 {
		return true
	}
	s.at.Frame++
	s.at.Offset += s.size
	s.size, s.payload = 0, nil
	return false
}

// peek returns the head of the transaction that begins, and its size.
func (s *scanner) peek() (head change.TxHead, size int, err error) {
	if err := s.more(change.MaxTxHead); err != nil {
		return head, 0, err
	}
	head, rest, err := change.DecodeTxHead(s.payload)
	const leastRecord = 4 // bytes
	switch {
	case err != nil:
		return head, 0, fmt.Errorf("%w: %w", err, ErrCorrupt)
	case head.First != s.at.LSN+1:
		return head, 0, fmt.Errorf("transaction starts at LSN %d, want %d: %w", head.First, s.at.LSN+1, ErrCorrupt)
	case head.Count > (int64(len(rest))+s.left)/leastRecord:
		return head, 0, fmt.Errorf("transaction at LSN %d has %d records in %d bytes: %w", head.First, head.Count, int64(len(rest))+s.left, ErrCorrupt)
	}
	return head, len(s.payload) - len(rest), nil
}

// next returns the next transaction of the open frame, or the next piece of
// one; nil when the frame has no more.
func (s *scanner) next() (*change.Tx, error) {
	if s.came == 0 {
		if !s.between() {
			return nil, nil
		}
		head, size, err := s.peek()
		if err != nil {
			return nil, err
		}
		s.head = head
		s.hasher.BeginBytes(s.at.Hash)
		s.hasher.AddBytes(s.payload[:size])
		s.payload = s.payload[size:]
	}
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	t := &change.Tx{ID: s.head.ID, Commit: s.head.Commit, Records: records, Before: s.came}
	s.came += int64(len(records))
	t.After = s.head.Count - s.came
	if t.After == 0 {
		s.at.LSN, s.at.Hash, s.came = s.head.Last(), s.hasher.Sum(), 0
	}
	return t, nil
}

// records decodes the next records of the open transaction, about a piece.
func (s *scanner) records() ([]change.Record, error) {
	const firstAlloc = 1 << 14 // records; a false count costs no more than this
	first, n := s.head.First+change.LSN(s.came), s.head.Count-s.came
	for limit := s.piece; ; limit = min(2*limit, change.MaxRecord) {
		if err := s.more(limit); err != nil {
			return nil, err
		}
		b := s.payload[:min(limit, int64(len(s.payload)))]
		records, rest := change.DecodeRecords(make([]change.Record, 0, min(n, firstAlloc, int64(len(b)))), b, first, n)
		if len(records) > 0 {
			used := len(b) - len(rest)
			s.hasher.AddBytes(b[:used])
			s.payload = s.payload[used:]
			return records, nil
		}
		if int64(len(b)) < limit || limit == change.MaxRecord {
			return nil, fmt.Errorf("record %d of %d of the transaction at LSN %d is malformed: %w", s.came+1, s.head.Count, s.head.First, ErrCorrupt)
		}
	}
}

// whole returns the transaction that begins, however large it is.
func (s *scanner) whole() (Tx, error) {
	for {
		t, rest, err := change.DecodeTx(s.payload)
		if err == nil {
			canonical := s.payload[:len(s.payload)-len(rest)]
			s.payload = rest
			s.at.LSN, s.at.Hash = t.Last(), change.LogHash(s.at.Hash, canonical)
			return Tx{t, canonical, s.at.Hash}, nil
		}
		if s.left == 0 {
			return Tx{}, fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		if err := s.more(2 * int64(len(s.payload))); err != nil {
			return Tx{}, err
		}
	}
}

// prove reads a frame of which the header lies at offset off of a file, and
// reports its number and whether it is whole. Each is called with the checksum
// of each part of its payload.
func (k *frameKey) prove(f io.ReaderAt, off, size, part int64, each func(sum uint32)) (n uint64, ok bool, err error) {
	buf := make([]byte, max(part, frameHeaderSize))
	head := buf[:frameHeaderSize]
	if got, err := f.ReadAt(head, off); got < len(head) {
		return 0, false, ignoreEOF(err)
	}
	if k.frameSize(head) != size {
		return 0, false, nil
	}
	n, want := frameNumber(head), frameSum(head)
	crc := k.checksum(off, head)
	for at, end := off+frameHeaderSize, off+size; at < end; at += part {
		b := buf[:min(part, end-at)]
		if got, err := f.ReadAt(b, at); got < len(b) {
			return 0, false, ignoreEOF(err)
		}
		crc = crc32.Update(crc, castagnoli, b)
		each(crc32.Checksum(b, castagnoli))
	}
	return n, crc == want, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
