package change

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
	for i := range len(s) {
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0)
}

// DecodeKey returns the values of a keyed collection's key. Floats and
// decimals come back in canonical form (0 for −0, 1.5 for 1.50).
func DecodeKey(k Key) ([]Value, error) {
	var vs []Value
	b := []byte(k)
	for len(b) > 0 {
		v, rest, err := decodeKeyValue(b)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
		b = rest
	}
	return vs, nil
}

func decodeKeyValue(b []byte) (Value, []byte, error) {
	tag := b[0]
	b = b[1:]
	switch tag {
	case keyNull:
		return Null(), b, nil
	case keyFalse, keyTrue:
		return BoolValue(tag == keyTrue), b, nil
	case keyFloat, keyTime:
		if len(b) < 8 {
			return Value{}, nil, errKeyShort
		}
		n := binary.BigEndian.Uint64(b)
		if tag == keyTime {
			return TimeValue(Time(n ^ 1<<63)), b[8:], nil
		}
		if n>>63 != 0 {
			n ^= 1 << 63
		} else {
			n = ^n
		}
		return FloatValue(math.Float64frombits(n)), b[8:], nil
	case keyDecimal:
		text, rest, err := decodeDecimalKey(b)
		return Value{kind: kindDecimal, str: text}, rest, err
	case keyText, keyBytes, keyNative:
		s, rest, err := decodeKeyString(b)
		k := map[byte]kind{keyText: kindText, keyBytes: kindBytes, keyNative: kindNative}[tag]
		return Value{kind: k, str: s}, rest, err
	}
	if tag < keyIntZero-8 || tag > keyIntZero+8 {
		return Value{}, nil, fmt.Errorf("key: unknown tag 0x%02x", tag)
	}
	return decodeKeyInt(int(tag)-keyIntZero, b)
}

func decodeKeyInt(n int, b []byte) (Value, []byte, error) {
	neg := n < 0
	if neg {
		n = -n
	}
	if len(b) < n {
		return Value{}, nil, errKeyShort
	}
	var mag uint64
	for _, c := range b[:n] {
		if neg {
			c = ^c
		}
		mag = mag<<8 | uint64(c)
	}
	if (neg && mag > 1<<63) || (!neg && mag > math.MaxInt64) {
		return Value{}, nil, errors.New("key: integer out of range")
	}
	if neg {
		mag = -mag
	}
	return IntValue(int64(mag)), b[n:], nil
}

func decodeKeyString(b []byte) (string, []byte, error) {
	var out []byte
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return "", nil, errKeyShort
		}
		out = append(out, b[:i]...)
		b = b[i+1:]
		if len(b) == 0 || b[0] != 0xff {
			return string(out), b, nil
		}
		out = append(out, 0)
		b = b[1:]
	}
}
