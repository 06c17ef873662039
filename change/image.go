package change

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Image is an encoded row: the columns that the key does not hold, by ID, so
// that it can be read, and a partial one laid over a full one, without a
// schema. A full image leaves out only columns added after it was written; a
// partial image leaves out the columns it does not change.
type Image []byte

// MaxImage is the largest row image in bytes that a transaction may hold.
const MaxImage = 64 << 20

const imagePartial = 0x01

var errImage = errors.New("row image is damaged")

// Partial reports whether the image leaves columns unchanged.
func (m Image) Partial() bool { return len(m) > 0 && m[0]&imagePartial != 0 }

func appendField(dst []byte, delta ColumnID, v Value) []byte {
	if delta < 15 {
		dst = append(dst, byte(delta)<<4|byte(v.kind))
	} else {
		dst = append(dst, 15<<4|byte(v.kind))
		dst = binary.AppendUvarint(dst, uint64(delta))
	}
	switch v.kind {
	case kindInt64, kindTimestamp:
		dst = binary.AppendVarint(dst, int64(v.num))
	case kindFloat64:
		dst = binary.LittleEndian.AppendUint64(dst, v.num)
	case kindText, kindBytes, kindDecimal, kindNative:
		dst = binary.AppendUvarint(dst, uint64(len(v.str)))
		dst = append(dst, v.str...)
	}
	return dst
}

// field is one column of an image, still encoded.
type field struct {
	id  ColumnID
	raw []byte // payload as stored, length prefix included
	k   kind
}

// next splits the first field off b, whose predecessor had ID prev.
func nextField(b []byte, prev ColumnID) (f field, rest []byte, err error) {
	f.k = kind(b[0] & 15)
	delta := uint64(b[0] >> 4)
	b = b[1:]
	if delta == 15 {
		n := 0
		if delta, n = binary.Uvarint(b); delta < 15 || !minimal(b, n) {
			return f, nil, errImage
		}
		b = b[n:]
	}
	id := uint64(prev) + delta
	if delta == 0 || id > math.MaxUint32 || f.k == kindUnchanged || f.k >= kindEnd {
		return f, nil, errImage
	}
	f.id = ColumnID(id)
	size := payload(f.k, b)
	if size < 0 {
		return f, nil, errImage
	}
	f.raw = b[:size]
	return f, b[size:], nil
}

// payload returns how many bytes at the front of b a field of kind k has after
// its head, or -1 when they are not all there or not in their one form.
func payload(k kind, b []byte) int {
	size := 0
	switch k {
	case kindInt64, kindTimestamp:
		if size = varintSize(b); size == 0 {
			return -1
		}
	case kindFloat64:
		if size = 8; len(b) >= size && strangeNaN(binary.LittleEndian.Uint64(b)) {
			return -1
		}
	case kindText, kindBytes, kindDecimal, kindNative:
		if len(b) > 0 && b[0] < 0x80 {
			size = 1 + int(b[0])
			break
		}
		l, n := binary.Uvarint(b)
		if !minimal(b, n) || l > uint64(len(b)-n) {
			return -1
		}
		size = n + int(l)
	}
	if size > len(b) {
		return -1
	}
	return size
}

// varintSize returns the size of the varint at the front of b, or 0 when it is
// not all there, too large or not in its shortest form.
func varintSize(b []byte) int {
	for i, c := range b[:min(len(b), binary.MaxVarintLen64-1)] {
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0
			}
			return i + 1
		}
	}
	if _, n := binary.Uvarint(b); minimal(b, n) {
		return n
	}
	return 0
}

// minimal reports whether a varint of n bytes at the front of b, as
// encoding/binary counts them, is there and is the shortest form of its number.
func minimal(b []byte, n int) bool {
	return n == 1 || (n > 1 && b[n-1] != 0)
}

// strangeNaN reports whether bits are a NaN other than the one of [FloatValue].
func strangeNaN(bits uint64) bool {
	const inf = 0x7ff << 52
	return bits&^(1<<63) > inf && bits != canonicalNaN
}

// value returns the field's value, which is refused when no constructor could
// have made it: text that is not UTF-8, a decimal that is none.
func (f field) value() (Value, error) {
	v := f.unchecked()
	switch {
	case v.kind == kindText || v.kind == kindNative:
		if !utf8.ValidString(v.str) {
			return v, errImage
		}
	case v.kind == kindDecimal:
		if class, _, _ := splitDecimal(v.str); class == 0 {
			return v, errImage
		}
	}
	return v, nil
}

func (f field) unchecked() Value {
	v := Value{kind: f.k}
	switch f.k {
	case kindInt64, kindTimestamp:
		i, _ := binary.Varint(f.raw)
		v.num = uint64(i)
	case kindFloat64:
		v.num = binary.LittleEndian.Uint64(f.raw)
	case kindText, kindBytes, kindDecimal, kindNative:
		_, n := binary.Uvarint(f.raw)
		v.str = string(f.raw[n:])
	}
	return v
}

// body checks the flag byte and returns the fields.
func (m Image) body() ([]byte, error) {
	if len(m) == 0 || m[0]&^imagePartial != 0 {
		return nil, errImage
	}
	return m[1:], nil
}

// Check reports whether the image is one that [Schema.EncodeRow] could have
// written for some schema: every field in the only form that its value has.
func (m Image) Check() error {
	b, err := m.body()
	var f field
	for err == nil && len(b) > 0 {
		if f, b, err = nextField(b, f.id); err == nil {
			_, err = f.value()
		}
	}
	return err
}

// Compose lays a newer image over an older one: a full newer image replaces
// it, a partial one changes the columns it holds. The result is appended to
// dst, which must not overlap either image, and is partial when both are. It
// can be larger than [MaxImage]; who keeps it as a row checks that.
func Compose(dst []byte, older, newer Image) (Image, error) {
	nb, err := newer.body()
	if err != nil {
		return nil, err
	}
	if !newer.Partial() {
		return append(dst, newer...), nil
	}
	ob, err := older.body()
	if err != nil {
		return nil, err
	}
	dst = append(dst, older[0])
	var of, nf field
	var oid, nid, last ColumnID // IDs of the last fields split off; the last one written
	haveO, haveN := false, false
	for {
		if !haveO && len(ob) > 0 {
			if of, ob, err = nextField(ob, oid); err != nil {
				return nil, err
			}
			oid, haveO = of.id, true
		}
		if !haveN && len(nb) > 0 {
			if nf, nb, err = nextField(nb, nid); err != nil {
				return nil, err
			}
			nid, haveN = nf.id, true
		}
		switch {
		case haveN && (!haveO || nf.id <= of.id):
			if haveO && nf.id == of.id {
				haveO = false
			}
			dst = appendRawField(dst, nf, last)
			last, haveN = nf.id, false
		case haveO:
			dst = appendRawField(dst, of, last)
			last, haveO = of.id, false
		default:
			return dst, nil
		}
	}
}

func appendRawField(dst []byte, f field, last ColumnID) []byte {
	if delta := f.id - last; delta < 15 {
		dst = append(dst, byte(delta)<<4|byte(f.k))
	} else {
		dst = append(dst, 15<<4|byte(f.k))
		dst = binary.AppendUvarint(dst, uint64(delta))
	}
	return append(dst, f.raw...)
}

// fieldsMatch reports whether a full image holds exactly the columns that the
// schema wants in images, so that it is in normal form already.
func (s *Schema) fieldsMatch(m Image) (bool, error) {
	b, err := m.body()
	if err != nil {
		return false, err
	}
	var last ColumnID
	for i := range s.Columns {
		if s.keyOnly(i) {
			continue
		}
		if len(b) == 0 {
			return false, nil
		}
		c := &s.Columns[i]
		k := kind(b[0] & 15)
		if b[0]>>4 < 15 && k < kindEnd && last+ColumnID(b[0]>>4) == c.ID && c.fits(k) { // most often
			size := payload(k, b[1:])
			if size < 0 {
				return false, errImage
			}
			b, last = b[1+size:], c.ID
			continue
		}
		var f field
		if f, b, err = nextField(b, last); err != nil || f.id != c.ID {
			return false, err
		}
		if err := c.holds(f.k); err != nil {
			return false, fmt.Errorf("row of collection %q: %w", s.Name, err)
		}
		last = f.id
	}
	return len(b) == 0, nil
}

// Normalize brings a full image to the schema: every column of it that the key
// does not hold, in order, added ones with their recorded default, others
// left out. The result is m itself, and not an extension of dst, when nothing
// changes; otherwise dst extended. dst must not overlap m.
func (s *Schema) Normalize(dst []byte, m Image) (Image, error) {
	if m.Partial() {
		return nil, fmt.Errorf("collection %q: a partial row image where a full one is needed: %w", s.Name, ErrSchema)
	}
	if ok, err := s.fieldsMatch(m); ok || err != nil {
		return m, err
	}
	b, err := m.body()
	if err != nil {
		return nil, err
	}
	dst = append(dst, 0)
	var f field
	var last ColumnID
	have := false
	for i := range s.Columns {
		if s.keyOnly(i) {
			continue
		}
		c := &s.Columns[i]
		for (!have || f.id < c.ID) && len(b) > 0 {
			if f, b, err = nextField(b, f.id); err != nil {
				return nil, err
			}
			have = true
		}
		if have && f.id == c.ID {
			if err := c.holds(f.k); err != nil {
				return nil, fmt.Errorf("row of collection %q: %w", s.Name, err)
			}
			dst = appendRawField(dst, f, last)
		} else {
			if c.Since == 1 {
				return nil, s.missing(c)
			}
			dst = appendField(dst, c.ID-last, c.Default)
		}
		last = c.ID
	}
	for err == nil && len(b) > 0 {
		f, b, err = nextField(b, f.id)
	}
	return dst, err
}

// missing says that a full image lacks a column that was there from the start.
func (s *Schema) missing(c *Column) error {
	return fmt.Errorf("row of collection %q lacks column %q, which every full image of it has: %w", s.Name, c.Name, ErrSchema)
}
