package change

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Key is the canonical key of a row: for a keyed collection its key columns
// in an encoding whose bytes order as the values do ([Schema.Key]); for a bag
// the hash of the row ([Schema.BagKey]).
type Key []byte

// MaxKey is the largest key in bytes.
const MaxKey = 64 << 10

// Compare orders keys bytewise.
func (k Key) Compare(o Key) int { return bytes.Compare(k, o) }

// Key tags; their order is the order of values of different types.
const (
	keyNull    = 0x01
	keyFalse   = 0x02
	keyTrue    = 0x03
	keyIntZero = 0x14 // keyIntZero ± n: an integer of n bytes
	keyFloat   = 0x20
	keyTime    = 0x21
	keyDecimal = 0x22
	keyText    = 0x30
	keyBytes   = 0x31
	keyNative  = 0x32
)

var errKeyShort = errors.New("key: ends inside a value")

// appendKeyValue appends one value in order-preserving form. v is not Unchanged.
func appendKeyValue(dst []byte, v Value) []byte {
	switch v.kind {
	case kindNull:
		return append(dst, keyNull)
	case kindFalse:
		return append(dst, keyFalse)
	case kindTrue:
		return append(dst, keyTrue)
	case kindInt64:
		return appendKeyInt(dst, int64(v.num))
	case kindFloat64:
		f := v.Float()
		if f == 0 {
			f = 0 // −0 and 0 are one key
		}
		bits := math.Float64bits(f)
		if bits>>63 != 0 {
			bits = ^bits
		} else {
			bits ^= 1 << 63
		}
		return binary.BigEndian.AppendUint64(append(dst, keyFloat), bits)
	case kindTimestamp:
		return binary.BigEndian.AppendUint64(append(dst, keyTime), v.num^1<<63)
	case kindDecimal:
		d, _ := parseDecimal(v.str) // a Decimal value was parsed when it was made
		return d.appendKey(append(dst, keyDecimal))
	case kindText:
		return appendKeyString(append(dst, keyText), v.str)
	case kindBytes:
		return appendKeyString(append(dst, keyBytes), v.str)
	case kindNative:
		return appendKeyString(append(dst, keyNative), v.str)
	}
	panic(fmt.Sprintf("change: value of kind %d in a key", v.kind))
}

// appendKeyInt writes tag keyIntZero ± n and the n bytes of the magnitude,
// complemented when negative.
func appendKeyInt(dst []byte, i int64) []byte {
	if i == 0 {
		return append(dst, keyIntZero)
	}
	mag := uint64(i)
	if i < 0 {
		mag = -mag
	}
	n := 1
	for mag>>(8*n) != 0 && n < 8 {
		n++
	}
	if i < 0 {
		dst = append(dst, byte(keyIntZero-n))
		mag = ^mag
	} else {
		dst = append(dst, byte(keyIntZero+n))
	}
	for s := 8 * (n - 1); s >= 0; s -= 8 {
		dst = append(dst, byte(mag>>s))
	}
	return dst
}

// appendKeyString writes s with 0x00 as 0x00 0xff, ended by 0x00.
func appendKeyString(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			return append(append(dst, s...), 0)
		}
		dst = append(append(dst, s[:i]...), 0, 0xff)
		s = s[i+1:]
	}
}

// DecodeKey returns the values of a keyed collection's key. Floats and
// decimals come back in canonical form (0 for −0, 1.5 for 1.50). It refuses
// every byte string that encoding those values would not give again.
func DecodeKey(k Key) ([]Value, error) {
	var vs []Value
	d := keyDecoder{b: k, decimals: maxDecimal}
	for len(d.b) > 0 {
		v, err := d.next()
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	return vs, nil
}

// keyDecoder takes values off the front of a key.
type keyDecoder struct {
	b        []byte
	decimals int // bytes that decimal texts may still take
}

// next decodes one value; b is not empty.
func (d *keyDecoder) next() (Value, error) {
	tag, b := d.b[0], d.b[1:]
	d.b = b
	switch tag {
	case keyNull:
		return Null(), nil
	case keyFalse, keyTrue:
		return BoolValue(tag == keyTrue), nil
	case keyFloat, keyTime:
		if len(b) < 8 {
			return Value{}, errKeyShort
		}
		d.b = b[8:]
		n := binary.BigEndian.Uint64(b)
		if tag == keyFloat {
			return decodeKeyFloat(n)
		}
		return TimeValue(Time(n ^ 1<<63)), nil
	case keyDecimal:
		dec, rest, err := decodeDecimalKey(b)
		if err != nil {
			return Value{}, err
		}
		if d.decimals -= dec.textLen(); d.decimals < 0 {
			return Value{}, errKeyDecimals
		}
		d.b = rest
		return Value{kind: kindDecimal, str: dec.text()}, nil
	case keyText:
		return d.nextString(kindText)
	case keyBytes:
		return d.nextString(kindBytes)
	case keyNative:
		return d.nextString(kindNative)
	}
	if tag < keyIntZero-8 || tag > keyIntZero+8 {
		return Value{}, fmt.Errorf("key: unknown tag 0x%02x", tag)
	}
	return d.nextInt(int(tag) - keyIntZero)
}

var errKeyDecimals = fmt.Errorf("key: its decimals take more than %d bytes as text", maxDecimal)

func decodeKeyFloat(n uint64) (Value, error) {
	bits := n ^ 1<<63
	if n>>63 == 0 {
		bits = ^n
	}
	v := FloatValue(math.Float64frombits(bits))
	if v.num != bits || bits == 1<<63 {
		return Value{}, fmt.Errorf("key: float 0x%016x is not in canonical form", bits)
	}
	return v, nil
}

func (d *keyDecoder) nextInt(n int) (Value, error) {
	neg := n < 0
	if neg {
		n = -n
	}
	if len(d.b) < n {
		return Value{}, errKeyShort
	}
	var mag uint64
	for _, c := range d.b[:n] {
		if neg {
			c = ^c
		}
		mag = mag<<8 | uint64(c)
	}
	switch {
	case (neg && mag > 1<<63) || (!neg && mag > math.MaxInt64):
		return Value{}, errors.New("key: integer out of range")
	case n > 0 && mag>>(8*(n-1)) == 0:
		return Value{}, fmt.Errorf("key: integer of %d bytes is not in canonical form", n)
	}
	d.b = d.b[n:]
	if neg {
		mag = -mag
	}
	return IntValue(int64(mag)), nil
}

func (d *keyDecoder) nextString(k kind) (Value, error) {
	var out []byte
	b := d.b
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return Value{}, errKeyShort
		}
		part := b[:i]
		b = b[i+1:]
		if len(b) > 0 && b[0] == 0xff {
			out = append(append(out, part...), 0)
			b = b[1:]
			continue
		}
		d.b = b
		v := Value{kind: k}
		if out == nil {
			v.str = string(part)
		} else {
			v.str = string(append(out, part...))
		}
		if k != kindBytes && !utf8.ValidString(v.str) {
			return Value{}, errors.New("key: text is not UTF-8")
		}
		return v, nil
	}
}
