package change

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// decimal is the parsed form of a Decimal value: sign · 0.digits · 10^exp,
// digits without leading or trailing zeros (empty for zero).
type decimal struct {
	class  byte // one of the dec constants, in order
	exp    int32
	digits string
}

const (
	decNegInf   byte = 1
	decNegative byte = 2
	decZero     byte = 3
	decPositive byte = 4
	decPosInf   byte = 5
	decNaN      byte = 6
)

// maxDecimal is the longest decimal text, sign left out. It also bounds what
// the decimals of one key take when they are written out again, together: a
// key of few bytes can hold many numbers with a large exponent.
const maxDecimal = 1 << 20

// splitDecimal checks a decimal's text and takes it apart: for a number its
// class as if it were not zero and its digits before and after the point; for
// NaN, Infinity and -Infinity only their class; 0 when it is no decimal.
func splitDecimal(s string) (class byte, whole, frac string) {
	switch s {
	case "NaN":
		return decNaN, "", ""
	case "Infinity":
		return decPosInf, "", ""
	case "-Infinity":
		return decNegInf, "", ""
	}
	class = decPositive
	body, minus := strings.CutPrefix(s, "-")
	if minus {
		class = decNegative
	}
	whole, frac, dot := strings.Cut(body, ".")
	if whole == "" || (dot && frac == "") || !allDigits(whole) || !allDigits(frac) || len(body) > maxDecimal {
		return 0, "", ""
	}
	return class, whole, frac
}

// parseDecimal reads [-]digits[.digits], NaN, Infinity and -Infinity.
func parseDecimal(s string) (decimal, error) {
	class, whole, frac := splitDecimal(s)
	d := decimal{class: class}
	switch class {
	case 0:
		return d, fmt.Errorf("%.40q is not a decimal (want [-]digits[.digits] of at most %d bytes, NaN, Infinity or -Infinity)", s, maxDecimal)
	case decNaN, decPosInf, decNegInf:
		return d, nil
	}
	whole = strings.TrimLeft(whole, "0")
	d.exp = int32(len(whole))
	if whole == "" {
		trimmed := strings.TrimLeft(frac, "0")
		d.exp = -int32(len(frac) - len(trimmed))
		frac = trimmed
	}
	d.digits = strings.TrimRight(whole+frac, "0")
	if d.digits == "" {
		return decimal{class: decZero}, nil
	}
	return d, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// appendKey writes the decimal so that bytes order as numbers do.
func (d decimal) appendKey(dst []byte) []byte {
	dst = append(dst, d.class)
	if d.digits == "" {
		return dst
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(d.exp)^1<<31)
	for i := range len(d.digits) {
		dst = append(dst, d.digits[i]-'0'+1)
	}
	dst = append(dst, 0)
	if d.class == decNegative {
		for i := start; i < len(dst); i++ {
			dst[i] = ^dst[i]
		}
	}
	return dst
}

// decodeDecimalKey reads what appendKey wrote and returns the rest of b.
func decodeDecimalKey(b []byte) (d decimal, rest []byte, err error) {
	if len(b) == 0 {
		return d, nil, errKeyShort
	}
	d.class, b = b[0], b[1:]
	switch d.class {
	case decNaN, decPosInf, decNegInf, decZero:
		return d, b, nil
	case decPositive, decNegative:
	default:
		return d, nil, fmt.Errorf("key: unknown decimal class %d", d.class)
	}
	var flip byte
	if d.class == decNegative {
		flip = 0xff
	}
	end := -1
	if len(b) > 4 {
		end = bytes.IndexByte(b[4:], flip)
	}
	if end < 0 {
		return d, nil, errKeyShort
	}
	exp := binary.BigEndian.Uint32(b)
	if flip != 0 {
		exp = ^exp
	}
	d.exp = int32(exp ^ 1<<31)
	digits := make([]byte, end)
	for i, c := range b[4 : 4+end] {
		if c ^= flip; c > 10 {
			return d, nil, fmt.Errorf("key: decimal digit %d", c)
		}
		digits[i] = c - 1 + '0'
	}
	if end == 0 || digits[0] == '0' || digits[end-1] == '0' || d.exp > maxDecimal || d.exp < -maxDecimal {
		return d, nil, fmt.Errorf("key: decimal with %d digits and exponent %d is not in canonical form", end, d.exp)
	}
	d.digits = string(digits)
	return d, b[4+end+1:], nil
}

// textLen returns the length of the number's shortest text, sign left out.
func (d decimal) textLen() int {
	switch n := len(d.digits); {
	case n == 0:
		return 1
	case d.exp <= 0:
		return 2 + int(-d.exp) + n
	case int(d.exp) >= n:
		return int(d.exp)
	default:
		return n + 1
	}
}

// text returns the shortest text of the number.
func (d decimal) text() string {
	switch d.class {
	case decNaN:
		return "NaN"
	case decPosInf:
		return "Infinity"
	case decNegInf:
		return "-Infinity"
	case decZero:
		return "0"
	}
	var b strings.Builder
	b.Grow(1 + d.textLen())
	if d.class == decNegative {
		b.WriteByte('-')
	}
	n := int32(len(d.digits))
	switch {
	case d.exp <= 0:
		b.WriteString("0.")
		b.WriteString(strings.Repeat("0", int(-d.exp)))
		b.WriteString(d.digits)
	case d.exp >= n:
		b.WriteString(d.digits)
		b.WriteString(strings.Repeat("0", int(d.exp-n)))
	default:
		b.WriteString(d.digits[:d.exp])
		b.WriteByte('.')
		b.WriteString(d.digits[d.exp:])
	}
	return b.String()
}
