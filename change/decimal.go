package change

import (
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

// parseDecimal reads [-]digits[.digits], NaN, Infinity and -Infinity.
func parseDecimal(s string) (decimal, error) {
	switch s {
	case "NaN":
		return decimal{class: decNaN}, nil
	case "Infinity":
		return decimal{class: decPosInf}, nil
	case "-Infinity":
		return decimal{class: decNegInf}, nil
	}
	d := decimal{class: decPositive}
	body := s
	if strings.HasPrefix(body, "-") {
		d.class, body = decNegative, body[1:]
	}
	whole, frac, dot := strings.Cut(body, ".")
	if whole == "" || (dot && frac == "") || !allDigits(whole) || !allDigits(frac) || len(body) > 1<<20 {
		return d, fmt.Errorf("%.40q is not a decimal (want [-]digits[.digits], NaN, Infinity or -Infinity)", s)
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
func decodeDecimalKey(b []byte) (text string, rest []byte, err error) {
	if len(b) == 0 {
		return "", nil, errKeyShort
	}
	class := b[0]
	b = b[1:]
	switch class {
	case decNaN:
		return "NaN", b, nil
	case decPosInf:
		return "Infinity", b, nil
	case decNegInf:
		return "-Infinity", b, nil
	case decZero:
		return "0", b, nil
	case decPositive, decNegative:
	default:
		return "", nil, fmt.Errorf("key: unknown decimal class %d", class)
	}
	var flip byte
	if class == decNegative {
		flip = 0xff
	}
	if len(b) < 4 {
		return "", nil, errKeyShort
	}
	var be [4]byte
	for i := range be {
		be[i] = b[i] ^ flip
	}
	exp := int32(binary.BigEndian.Uint32(be[:]) ^ 1<<31)
	b = b[4:]
	var digits []byte
	for {
		if len(b) == 0 {
			return "", nil, errKeyShort
		}
		c := b[0] ^ flip
		b = b[1:]
		if c == 0 {
			break
		}
		if c > 10 {
			return "", nil, fmt.Errorf("key: decimal digit %d", c)
		}
		digits = append(digits, c-1+'0')
	}
	if len(digits) == 0 || exp > 1<<20 || exp < -(1<<20) {
		return "", nil, fmt.Errorf("key: decimal with %d digits and exponent %d", len(digits), exp)
	}
	return decimal{class: class, exp: exp, digits: string(digits)}.text(), b, nil
}

// text returns the shortest text of the number.
func (d decimal) text() string {
	var b strings.Builder
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
