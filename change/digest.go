package change

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
)

// Digest is an order-free fingerprint of a collection's rows: the sum modulo
// 2^256 of a SHA-256 per row, so that parts can be computed apart and added.
// It finds faults; it is not proof against someone who chooses rows.
type Digest struct {
	Rows int64
	sum  [4]uint64 // little-endian words
	buf  []byte
	norm []byte
}

const rowDomain = "tidemark row v1\x00"

// Add adds count copies of a row, brought to the schema first; a negative
// count takes copies away. −0 counts as 0. The key of a bag's row is not used.
// Key and image are only read. A failed Add changes nothing.
func (d *Digest) Add(s *Schema, key Key, image Image, count int64) error {
	n, err := s.Normalize(d.norm[:0], image)
	if err != nil {
		return err
	}
	if len(n) > 0 && &n[0] != &image[0] {
		d.norm = n[:0]
	}
	return d.AddNormal(s, key, n, count)
}

// AddNormal is Add for an image that is in the normal form of the schema
// already, as [Schema.Normalize] returns it; it does not check that.
func (d *Digest) AddNormal(s *Schema, key Key, image Image, count int64) error {
	b := append(d.buf[:0], rowDomain...)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Collection))
	if s.Bag() {
		key = nil // it is derived from the image, and tells −0 from 0
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = append(b, key...)
	start := len(b)
	b = append(b, image...)
	d.buf = b
	if s.hasFloat() {
		if err := zeroSigns(b[start:]); err != nil {
			return err
		}
	}
	h := sha256.Sum256(b)
	d.addTimes(h, count)
	d.Rows += count
	return nil
}

// hasFloat reports whether a row can hold a −0.
func (s *Schema) hasFloat() bool {
	for i := range s.Columns {
		if s.Columns[i].Type == Float64 {
			return true
		}
	}
	return false
}

// zeroSigns turns every −0 of an image into 0, in place.
func zeroSigns(m Image) error {
	b, err := m.body()
	var f field
	for err == nil && len(b) > 0 {
		f, b, err = nextField(b, f.id)
		if err == nil && f.k == kindFloat64 && binary.LittleEndian.Uint64(f.raw) == 1<<63 {
			binary.LittleEndian.PutUint64(f.raw, math.Float64bits(0))
		}
	}
	return err
}

func (d *Digest) addTimes(h [32]byte, count int64) {
	neg := count < 0
	n := uint64(count)
	if neg {
		n = -n
	}
	var hi uint64
	var term [4]uint64
	for i := range term {
		h1, lo := bits.Mul64(binary.LittleEndian.Uint64(h[8*i:]), n)
		var c uint64
		term[i], c = bits.Add64(lo, hi, 0)
		hi = h1 + c
	}
	var carry uint64
	for i := range d.sum {
		if neg {
			d.sum[i], carry = bits.Sub64(d.sum[i], term[i], carry)
		} else {
			d.sum[i], carry = bits.Add64(d.sum[i], term[i], carry)
		}
	}
}

// Merge adds another part of the same collection.
func (d *Digest) Merge(o *Digest) {
	var carry uint64
	for i := range d.sum {
		d.sum[i], carry = bits.Add64(d.sum[i], o.sum[i], carry)
	}
	d.Rows += o.Rows
}

// DigestOf returns the digest that has so many rows and this sum: one whose
// parts were computed earlier.
func DigestOf(rows int64, sum Hash) *Digest {
	d := &Digest{Rows: rows}
	for i := range d.sum {
		d.sum[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return d
}

// Sum returns the fingerprint.
func (d *Digest) Sum() Hash {
	var h Hash
	for i, w := range d.sum {
		binary.LittleEndian.PutUint64(h[8*i:], w)
	}
	return h
}
