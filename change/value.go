package change

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Type is the type of a column.
type Type uint8

// The column types. A Decimal is text of the form [-]digits[.digits], NaN,
// Infinity or -Infinity. A Native value is text whose meaning the column's
// NativeType names (uuid, inet, jsonb …).
const (
	Bool Type = 1 + iota
	Int64
	Float64
	Text
	Bytes
	Timestamp
	Decimal
	Native
)

var typeNames = map[Type]string{Bool: "bool", Int64: "int64", Float64: "float64", Text: "text",
	Bytes: "bytes", Timestamp: "time", Decimal: "decimal", Native: "native"}

func (t Type) String() string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads a type's name.
func ParseType(s string) (Type, error) {
	for t, n := range typeNames {
		if n == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown column type %q (want bool, int64, float64, text, bytes, time, decimal or native)", s)
}

// MarshalText writes the type's name; a type that has none is refused.
func (t Type) MarshalText() ([]byte, error) {
	if typeNames[t] == "" {
		return nil, fmt.Errorf("unknown column type %d", uint8(t))
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads the type's name.
func (t *Type) UnmarshalText(b []byte) (err error) { *t, err = ParseType(string(b)); return err }

// kind is what a Value holds. The numbers are those of the image encoding.
type kind uint8

const (
	kindUnchanged kind = iota // a partial image does not say; never stored
	kindNull
	kindFalse
	kindTrue
	kindInt64
	kindFloat64
	kindText
	kindBytes
	kindTimestamp
	kindDecimal
	kindNative
	kindEnd
)

// Value is one column's value. The zero Value is [Unchanged]. Values compare
// with ==, except that floats follow their bits.
type Value struct {
	kind kind
	num  uint64
	str  string
}

// Unchanged is the value of a column that a partial image leaves as it was.
func Unchanged() Value { return Value{} }

// Null is the absent value.
func Null() Value { return Value{kind: kindNull} }

// BoolValue returns a value of type [Bool].
func BoolValue(b bool) Value {
	if b {
		return Value{kind: kindTrue}
	}
	return Value{kind: kindFalse}
}

// IntValue returns a value of type [Int64].
func IntValue(i int64) Value { return Value{kind: kindInt64, num: uint64(i)} }

// FloatValue returns a value of type [Float64]. Every NaN becomes the same NaN.
func FloatValue(f float64) Value {
	if f != f {
		return Value{kind: kindFloat64, num: canonicalNaN}
	}
	return Value{kind: kindFloat64, num: math.Float64bits(f)}
}

// canonicalNaN is the bits of the only NaN that is stored.
const canonicalNaN = 0x7ff8000000000001

// TextValue returns a value of type [Text].
func TextValue(s string) Value { return Value{kind: kindText, str: s} }

// BytesValue returns a value of type [Bytes], copying b.
func BytesValue(b []byte) Value { return Value{kind: kindBytes, str: string(b)} }

// TimeValue returns a value of type [Timestamp].
func TimeValue(t Time) Value { return Value{kind: kindTimestamp, num: uint64(t)} }

// NativeValue returns a value of type [Native].
func NativeValue(s string) Value { return Value{kind: kindNative, str: s} }

// ParseDecimal returns a value of type [Decimal], keeping its text as it is.
func ParseDecimal(s string) (Value, error) {
	if _, err := parseDecimal(s); err != nil {
		return Value{}, err
	}
	return Value{kind: kindDecimal, str: s}, nil
}

// IsNull reports whether the value is [Null].
func (v Value) IsNull() bool { return v.kind == kindNull }

// IsUnchanged reports whether the value is [Unchanged].
func (v Value) IsUnchanged() bool { return v.kind == kindUnchanged }

// Type returns the type of the value, or 0 for Null and Unchanged.
func (v Value) Type() Type {
	return types[v.kind&15]
}

// typeName names what the value is, for messages.
func (v Value) typeName() string {
	switch v.kind {
	case kindUnchanged:
		return "unchanged"
	case kindNull:
		return "null"
	}
	return v.Type().String()
}

// types maps kinds to types.
var types = [16]Type{kindFalse: Bool, kindTrue: Bool, kindInt64: Int64, kindFloat64: Float64, kindText: Text,
	kindBytes: Bytes, kindTimestamp: Timestamp, kindDecimal: Decimal, kindNative: Native}

// Bool returns a Bool value's content; false for any other.
func (v Value) Bool() bool { return v.kind == kindTrue }

// Int returns an Int64 value's content; 0 for any other.
func (v Value) Int() int64 {
	if v.kind != kindInt64 {
		return 0
	}
	return int64(v.num)
}

// Float returns a Float64 value's content; 0 for any other.
func (v Value) Float() float64 {
	if v.kind != kindFloat64 {
		return 0
	}
	return math.Float64frombits(v.num)
}

// Str returns the content of a Text, Bytes, Decimal or Native value; "" for any other.
func (v Value) Str() string { return v.str }

// Time returns a Timestamp value's content; 0 for any other.
func (v Value) Time() Time {
	if v.kind != kindTimestamp {
		return 0
	}
	return Time(v.num)
}

// String returns the value as a person would read it; text is quoted.
func (v Value) String() string {
	switch v.kind {
	case kindUnchanged:
		return "(unchanged)"
	case kindText, kindNative:
		return strconv.Quote(v.str)
	case kindBytes:
		return "0x" + fmt.Sprintf("%x", v.str)
	}
	b, _ := v.MarshalJSON()
	return strings.Trim(string(b), `"`)
}

// MarshalJSON writes the value as plain JSON: numbers for Int64 and finite
// Float64, strings for Text, Timestamp (RFC 3339), Decimal, Native, Bytes
// (base64) and the floats JSON lacks. The column's type is needed to read it
// back: [ParseJSON].
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case kindUnchanged:
		return nil, errors.New("an unchanged value has no JSON form")
	case kindNull:
		return []byte("null"), nil
	case kindFalse, kindTrue:
		return strconv.AppendBool(nil, v.Bool()), nil
	case kindInt64:
		return strconv.AppendInt(nil, v.Int(), 10), nil
	case kindFloat64:
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) || (f == 0 && math.Signbit(f)) {
			return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
		}
		return json.Marshal(f)
	case kindTimestamp:
		return json.Marshal(v.Time().String())
	case kindBytes:
		return json.Marshal(base64.StdEncoding.EncodeToString([]byte(v.str)))
	}
	return marshalText(v.str)
}

// marshalText quotes s for JSON without HTML escapes, refusing what JSON
// would silently replace.
func marshalText(s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("text is not UTF-8 and has no JSON form")
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// ParseJSON reads a value of type t from the form that [Value.MarshalJSON]
// writes. Numbers may also stand in a string. A float becomes the nearest one;
// every other number is exact or refused, as is text that JSON can't hold.
func ParseJSON(t Type, raw []byte) (Value, error) {
	if !json.Valid(raw) {
		return Value{}, fmt.Errorf("%.40q is not JSON", raw)
	}
	s := strings.TrimSpace(string(raw))
	if s == "null" {
		return Null(), nil
	}
	if s == "true" || s == "false" {
		if t != Bool {
			return Value{}, fmt.Errorf("got %s, want a value of type %s", s, t)
		}
		return BoolValue(s == "true"), nil
	}
	if strings.HasPrefix(s, `"`) {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return Value{}, err
		}
		if strings.Count(text, "\ufffd") != replacements(s) {
			return Value{}, fmt.Errorf("%.40q is not UTF-8, or has half a surrogate pair", s)
		}
		if t == Bytes {
			b, err := base64.StdEncoding.Strict().DecodeString(text)
			if err != nil {
				return Value{}, fmt.Errorf("bytes are not base64: %w", err)
			}
			return BytesValue(b), nil
		}
		return ParseValue(t, text)
	}
	switch {
	case t != Int64 && t != Float64 && t != Decimal, s[0] == '{', s[0] == '[':
		return Value{}, fmt.Errorf("got %.40s, want a value of type %s", s, t)
	}
	return ParseValue(t, s)
}

// replacements counts the U+FFFD that the JSON string s writes itself, so that
// those which the decoder put in the place of damage can be told from them.
func replacements(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "\ufffd"):
			n++
		case s[i] == '\\':
			if strings.EqualFold(s[i+1:min(i+6, len(s))], "ufffd") {
				n++
			}
			i++ // what is escaped; the decoder has checked that it is there
		}
	}
	return n
}

// ParseValue reads a value of type t from plain text, as a person types it or
// a CSV file holds it: Bool true or false, Timestamp as [Time.UnmarshalText]
// reads it, Bytes, Text and Native as they are. A float becomes the nearest
// one; every other number is exact or refused.
func ParseValue(t Type, s string) (Value, error) {
	var v Value
	var err error
	switch t {
	case Bool:
		if s != "true" && s != "false" {
			return v, fmt.Errorf("%q is not true or false", s)
		}
		v = BoolValue(s == "true")
	case Int64:
		var i int64
		i, err = strconv.ParseInt(s, 10, 64)
		v = IntValue(i)
	case Float64:
		var f float64
		f, err = strconv.ParseFloat(s, 64)
		v = FloatValue(f)
	case Text:
		v = TextValue(s)
	case Bytes:
		v = BytesValue([]byte(s))
	case Timestamp:
		var at Time
		if err := at.UnmarshalText([]byte(s)); err != nil {
			return v, err
		}
		v = TimeValue(at)
	case Decimal:
		return ParseDecimal(s)
	case Native:
		v = NativeValue(s)
	default:
		return v, fmt.Errorf("unknown column type %s", t)
	}
	if err != nil {
		return Value{}, fmt.Errorf("%q is not a value of type %s", s, t)
	}
	return v, nil
}
