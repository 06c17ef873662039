package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// maxRaw is the limit of a section, raw and stored, in bytes.
const maxRaw = 256 << 20

// errMalformed is wrapped by every error of a malformed object.
var errMalformed = fmt.Errorf("malformed checkpoint: %w", chain.ErrDamaged)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errMalformed)
}

// compress returns b as one zstd frame; nothing for nothing.
func compress(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > maxRaw {
		return nil, fmt.Errorf("a section of a checkpoint has %d bytes, the limit is %d", len(b), maxRaw)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.EncodeAll(b, nil), nil
}

// decompress returns what compress was given: raw bytes, no more.
func decompress(b []byte, raw int64) ([]byte, error) {
	if raw < 0 || raw > maxRaw {
		return nil, malformed("%d raw bytes", raw)
	}
	if len(b) == 0 && raw == 0 {
		return nil, nil
	}
	var h zstd.Header // which states the length, but for short ones
	if err := h.Decode(b); err != nil || h.HasFCS && h.FrameContentSize != uint64(raw) || !h.HasFCS && raw >= 256 {
		return nil, malformed("a frame of %d bytes, want %d raw ones (%v)", h.FrameContentSize, raw, err)
	}
	// Of up to MinWindowSize bytes, that many included, the encoder makes a frame
	// with a window of twice as many; of more the window is no larger than they are.
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(raw, 2*zstd.MinWindowSize))))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out, err := z.DecodeAll(b, make([]byte, 0, raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errMalformed)
	}
	if int64(len(out)) != raw {
		return nil, malformed("%d raw bytes, want %d", len(out), raw)
	}
	return out, nil
}

// writer gathers columns.
type writer struct{ b []byte }

func (w *writer) uint(n uint64)    { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) int(n int64)      { w.b = binary.AppendVarint(w.b, n) }
func (w *writer) count(n int)      { w.uint(uint64(n)) }
func (w *writer) hash(h [32]byte)  { w.b = append(w.b, h[:]...) }
func (w *writer) text(s string)    { w.count(len(s)); w.b = append(w.b, s...) }
func (w *writer) lsn(n change.LSN) { w.uint(uint64(n)) }

// reader takes columns apart. After an error it yields zeros.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends early")

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", err, errMalformed)
	}
	r.b = nil
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := uint64(r.b[0])
		r.b = r.b[1:]
		return n
	}
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reader) int() int64 {
	u := r.uint()
	n := int64(u >> 1)
	if u&1 != 0 {
		n = ^n
	}
	return n
}

// amount reads a number that is not negative.
func (r *reader) amount() int64 {
	n := r.uint()
	if n > math.MaxInt64 {
		r.fail(fmt.Errorf("the number %d", n))
		return 0
	}
	return int64(n)
}

// count reads how many things of at least size bytes each follow.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail(fmt.Errorf("%d entries in %d bytes", n, len(r.b)))
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) hash() (h change.Hash) {
	copy(h[:], r.bytes(len(h)))
	return h
}

// end reports an error, or what is left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Errorf("%d bytes follow", len(r.b)))
	}
	return r.err
}
