package change

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValueContents(t *testing.T) {
	at := Time(1)
	for _, c := range []struct {
		v    Value
		typ  Type
		text string
	}{
		{Unchanged(), 0, "(unchanged)"}, {Value{}, 0, "(unchanged)"}, {Null(), 0, "null"}, {BoolValue(true), Bool, "true"}, {BoolValue(false), Bool, "false"},
		{IntValue(-5), Int64, "-5"}, {FloatValue(1.5), Float64, "1.5"}, {FloatValue(math.NaN()), Float64, "NaN"}, {FloatValue(math.Inf(1)), Float64, "+Inf"},
		{FloatValue(math.Copysign(0, -1)), Float64, "-0"}, {FloatValue(1e21), Float64, "1e+21"}, {TextValue("a\"b"), Text, `"a\"b"`}, {TextValue("\xff"), Text, `"\xff"`},
		{BytesValue([]byte("a\xff")), Bytes, "0x61ff"}, {BytesValue(nil), Bytes, "0x"}, {TimeValue(at), Timestamp, "1970-01-01T00:00:00.000001Z"},
		{mustDecimal("1.50"), Decimal, "1.50"}, {NativeValue("u"), Native, `"u"`},
	} {
		if c.v.Type() != c.typ || c.v.String() != c.text {
			t.Errorf("got %v %s, want %v %s", c.v.Type(), c.v, c.typ, c.text)
		}
		if c.v.IsNull() != (c.text == "null") || c.v.IsUnchanged() != (c.text == "(unchanged)") {
			t.Errorf("%s: null %v, unchanged %v", c.v, c.v.IsNull(), c.v.IsUnchanged())
		}
		if (c.v.Int() != 0) != (c.typ == Int64) || (c.v.Time() != 0) != (c.typ == Timestamp) || c.v.Bool() != (c.text == "true") {
			t.Errorf("%s: read as another type: %d %d %v", c.v, c.v.Int(), c.v.Time(), c.v.Bool())
		}
	}
	if v := FloatValue(math.Float64frombits(0xfff8000000001234)); v != FloatValue(math.NaN()) || math.Float64bits(math.NaN()) != canonicalNaN {
		t.Errorf("a strange NaN is kept: %x", v.num)
	}
}

func TestTypeNames(t *testing.T) {
	for _, typ := range allTypes {
		var got Type
		b, err := typ.MarshalText()
		if err != nil || got.UnmarshalText(b) != nil || got != typ {
			t.Errorf("%v: %s, %v, %v", typ, b, err, got)
		}
	}
	for _, bad := range []Type{0, Native + 1} {
		if b, err := bad.MarshalText(); err == nil {
			t.Errorf("%v was written as %s", bad, b)
		}
	}
	if typ, err := ParseType("Text"); err == nil {
		t.Errorf("Text was read as %v", typ)
	}
}

func TestValueJSON(t *testing.T) {
	for _, typ := range allTypes {
		t.Run(typ.String(), rapid.MakeCheck(func(t *rapid.T) {
			v := genValue(typ).Draw(t, "value")
			j, err := v.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ParseJSON(typ, j); err != nil || got != v {
				t.Fatalf("%s: got %v, %v, want %v", j, got, err, v)
			}
			wrapped, err := json.Marshal(map[string]Value{"v": v}) // escapes <, > and &
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]json.RawMessage
			if err := json.Unmarshal(wrapped, &m); err != nil {
				t.Fatal(err)
			}
			if got, err := ParseJSON(typ, m["v"]); err != nil || got != v {
				t.Fatalf("%s: got %v, %v, want %v", wrapped, got, err, v)
			}
		}))
	}
	for _, v := range []Value{Unchanged(), TextValue("\xff"), NativeValue("a\xc0")} {
		if j, err := v.MarshalJSON(); err == nil {
			t.Errorf("%v was written as %s", v, j)
		}
	}
}

func TestParseJSON(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		json string
		want Value
	}{
		{Int64, "9007199254740993", IntValue(9007199254740993)}, {Int64, ` "9007199254740993" `, IntValue(9007199254740993)},
		{Int64, "-9223372036854775808", IntValue(math.MinInt64)}, {Int64, "9223372036854775807", IntValue(math.MaxInt64)}, {Int64, "-0", IntValue(0)}, {Int64, "null", Null()},
		{Float64, "1e3", FloatValue(1000)}, {Float64, "-0", FloatValue(math.Copysign(0, -1))}, {Float64, `"NaN"`, FloatValue(math.NaN())}, {Float64, `"-Inf"`, FloatValue(math.Inf(-1))},
		{Float64, "9007199254740993", FloatValue(9007199254740992)}, {Decimal, "1.50", mustDecimal("1.50")}, {Decimal, "123456789012345678901234567890.123", mustDecimal("123456789012345678901234567890.123")},
		{Decimal, `"NaN"`, mustDecimal("NaN")}, {Text, `"1"`, TextValue("1")}, {Text, `"\u0000\ud83d\ude00<"`, TextValue("\x00😀<")}, {Text, `"\ufffd` + "\ufffd" + `\\ufffd\uFFFD"`, TextValue("\ufffd\ufffd\\ufffd\ufffd")},
		{Bytes, `"AP8="`, BytesValue([]byte{0, 0xff})}, {Bytes, `""`, BytesValue(nil)}, {Bool, "true", BoolValue(true)}, {Bool, "\n false ", BoolValue(false)},
		{Timestamp, `"1970-01-01T01:00:00.000001+01:00"`, TimeValue(1)}, {Timestamp, `"@-9223372036854775808"`, TimeValue(math.MinInt64)}, {Native, `"{}"`, NativeValue("{}")},
	} {
		if got, err := ParseJSON(c.typ, []byte(c.json)); err != nil || got != c.want {
			t.Errorf("%s of %s: got %v, %v, want %v", c.typ, c.json, got, err, c.want)
		}
	}
	for _, c := range []struct {
		typ  Type
		json []string
	}{
		{Bool, []string{"0", "1", `"yes"`, `"True"`, "True", "tru"}},
		{Int64, []string{"", " ", "1e3", "1.0", "1.5", "9223372036854775808", "-9223372036854775809", "+5", "007", "0x10", "1_000", "true", "{}", "[1]", `""`, `"1e3"`, `"one"`, "1 2", "1,"}},
		{Float64, []string{"1e400", "-1e400", "NaN", "Infinity", "inf", ".5", "0x1p-2", "true", "{}", `""`, `"one"`}},
		{Text, []string{"1", "true", "{}", `["a"]`, `'a'`, `"a`, `"a"b`, "\"\xff\"", `"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, "\"\ufffd\xff\""}},
		{Bytes, []string{"1", `"A"`, `"A-_="`, `"AP9="`, "[0]"}},
		{Timestamp, []string{"0", `"1970-01-01"`, `"1970-01-01T00:00:00"`, `"1970-01-01T00:00:00.0000001Z"`, `"@"`, `"@1.5"`, `"@9223372036854775808"`, `""`}},
		{Decimal, []string{"1e3", "-", "true", `"1e3"`, `""`, "{}"}},
		{Native, []string{"1", "true", "{}"}},
		{0, []string{"1", `"a"`}},
		{Native + 1, []string{"1", `"a"`}},
	} {
		for _, j := range c.json {
			if v, err := ParseJSON(c.typ, []byte(j)); err == nil {
				t.Errorf("%s of %s was read as %v", c.typ, j, v)
			}
		}
	}
}

func TestParseValue(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		text string
		want Value
	}{
		{Bool, "true", BoolValue(true)}, {Int64, "9007199254740993", IntValue(9007199254740993)}, {Float64, "1e3", FloatValue(1000)}, {Text, "", TextValue("")},
		{Text, "null", TextValue("null")}, {Bytes, "AP8=", BytesValue([]byte("AP8="))}, {Timestamp, "2026-11-22T17:41:58.123456Z", TimeValue(1795369318123456)},
		{Decimal, "-1.50", mustDecimal("-1.50")}, {Native, "x", NativeValue("x")},
	} {
		if got, err := ParseValue(c.typ, c.text); err != nil || got != c.want {
			t.Errorf("%s of %q: got %v, %v, want %v", c.typ, c.text, got, err, c.want)
		}
	}
	for typ, texts := range map[Type][]string{Bool: {"", "1", "TRUE"}, Int64: {"", "1e3", "1.0", " 1", "9223372036854775808"}, Float64: {"", "1e400", "x"},
		Timestamp: {"", "now", "1970-01-01T00:00:00.0000001Z"}, Decimal: {"", "1e3"}, 0: {"x"}} {
		for _, s := range texts {
			if v, err := ParseValue(typ, s); err == nil || v != (Value{}) {
				t.Errorf("%s of %q: got %v, %v", typ, s, v, err)
			}
		}
	}
}

func TestTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := Time(genInt().Draw(t, "time"))
		if got := TimeOf(at.Std()); got != at {
			t.Fatalf("got %d, want %d", got, at)
		}
		var got Time
		b, err := at.MarshalText()
		if err != nil || got.UnmarshalText(b) != nil || got != at {
			t.Fatalf("%s: got %d, want %d", b, got, at)
		}
	})
	if got := TimeOf(time.Unix(-1, 999_999_999)); got != -1 {
		t.Errorf("the last nanosecond before 1970 is in microsecond %d, want -1", got)
	}
	first, last := Time(-62167219200000000), Time(253402300799999999) // years 0 and 9999
	for at, want := range map[Time]string{first: "0000-01-01T00:00:00.000000Z", first - 1: "@-62167219200000001", last: "9999-12-31T23:59:59.999999Z", last + 1: "@253402300800000000"} {
		if at.String() != want {
			t.Errorf("%d is %s, want %s", int64(at), at, want)
		}
	}
}

func TestLSN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := LSN(rapid.Uint64().Draw(t, "a")), LSN(rapid.Uint64().Draw(t, "b"))
		if got, err := ParseLSN(a.String()); err != nil || got != a {
			t.Fatalf("%s: got %d, %v", a, got, err)
		}
		if got, err := ParseHexLSN(a.Hex()); err != nil || got != a {
			t.Fatalf("%s: got %d, %v", a.Hex(), got, err)
		}
		if (a < b) != (a.Hex() < b.Hex()) {
			t.Fatalf("%s and %s sort otherwise than %d and %d", a.Hex(), b.Hex(), a, b)
		}
	})
	for _, s := range []string{"", "-1", "+1", "1x", "18446744073709551616", " 1"} {
		if l, err := ParseLSN(s); err == nil {
			t.Errorf("%q was read as %v", s, l)
		}
	}
	for _, s := range []string{"", "1", "000000000000000A", "00000000000000001", "000000000000000g", "+000000000000001", "0x00000000000001"} {
		if l, err := ParseHexLSN(s); err == nil {
			t.Errorf("%q was read as %v", s, l)
		}
	}
}

func TestHashText(t *testing.T) {
	h := LogHash(Hash{}, nil)
	var got Hash
	if err := got.UnmarshalText([]byte(h.String())); err != nil || got != h || got.IsZero() || !(Hash{}).IsZero() {
		t.Errorf("got %v, %v, want %v", got, err, h)
	}
	for _, s := range []string{"", "00", strings.Repeat("g", 64), h.String() + "00", strings.ToUpper(h.String())} {
		was := got
		if err := got.UnmarshalText([]byte(s)); err == nil || got != was {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
	}
}
