package change

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// compareValues is the order that keys promise, by other means than keys.
func compareValues(a, b Value) int {
	if a.Type() != b.Type() {
		panic("types differ")
	}
	switch a.Type() {
	case Bool:
		return cmp.Compare(a.kind, b.kind)
	case Int64:
		return cmp.Compare(a.Int(), b.Int())
	case Timestamp:
		return cmp.Compare(a.Time(), b.Time())
	case Float64:
		x, y := a.Float(), b.Float()
		if math.IsNaN(x) || math.IsNaN(y) { // last
			return cmp.Compare(b2i(math.IsNaN(x)), b2i(math.IsNaN(y)))
		}
		return cmp.Compare(x, y)
	case Decimal:
		return compareDecimals(a.Str(), b.Str())
	}
	return strings.Compare(a.Str(), b.Str())
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareDecimals(a, b string) int {
	rank := map[string]int{"-Infinity": -1, "Infinity": 1, "NaN": 2}
	ra, rb := rank[a], rank[b]
	if ra != 0 || rb != 0 {
		return cmp.Compare(ra, rb)
	}
	x, _ := new(big.Rat).SetString(a)
	y, _ := new(big.Rat).SetString(b)
	return x.Cmp(y)
}

func TestKeyOrderTable(t *testing.T) {
	text := func(ss ...string) (vs []Value) {
		for _, s := range ss {
			vs = append(vs, TextValue(s))
		}
		return vs
	}
	var ints, floats, decimals, times []Value
	for _, i := range []int64{math.MinInt64, math.MinInt64 + 1, -1 << 56, -1<<32 - 1, -1 << 32, -65536, -65535, -257, -256, -255, -2, -1,
		0, 1, 2, 255, 256, 257, 65535, 65536, 1 << 32, 1<<56 - 1, 1 << 56, math.MaxInt64 - 1, math.MaxInt64} {
		ints = append(ints, IntValue(i))
		times = append(times, TimeValue(Time(i)))
	}
	for _, f := range []float64{math.Inf(-1), -math.MaxFloat64, -1.5, -1, -math.SmallestNonzeroFloat64, 0,
		math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1), math.NaN()} {
		floats = append(floats, FloatValue(f))
	}
	for _, s := range []string{"-Infinity", "-1000", "-999.9", "-100", "-10.5", "-10", "-1", "-0.1", "-0.01", "-0.0001", "0",
		"0.0001", "0.00011", "0.01", "0.1", "0.9", "1", "1.01", "1.1", "9", "10", "10.5", "100", "123", "1230", "Infinity", "NaN"} {
		decimals = append(decimals, mustDecimal(s))
	}
	for name, vs := range map[string][]Value{
		"bool": {BoolValue(false), BoolValue(true)},
		"int":  ints, "time": times, "float": floats, "decimal": decimals,
		"text": text("", "\x00", "\x00\x00", "\x00\x01", "\x00a", "\x01", "a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "aa", "b", "é", "\U0010ffff"),
		"bytes": {BytesValue(nil), BytesValue([]byte{0}), BytesValue([]byte{0, 0xff}), BytesValue([]byte{0xfe}), BytesValue([]byte{0xff}),
			BytesValue([]byte{0xff, 0}), BytesValue([]byte{0xff, 0xff})},
		"kinds": {Null(), BoolValue(false), BoolValue(true), IntValue(math.MinInt64), IntValue(0), IntValue(math.MaxInt64), FloatValue(math.Inf(-1)),
			TimeValue(math.MinInt64), mustDecimal("-Infinity"), TextValue(""), BytesValue(nil), NativeValue("")},
	} {
		for i := 1; i < len(vs); i++ {
			a, b := appendKeyValue(nil, vs[i-1]), appendKeyValue(nil, vs[i])
			if bytes.Compare(a, b) >= 0 {
				t.Errorf("%s: key of %v is % x, not below % x of %v", name, vs[i-1], a, b, vs[i])
			}
		}
	}
}

func TestKeyOrder(t *testing.T) {
	for _, typ := range allTypes {
		t.Run(typ.String(), rapid.MakeCheck(func(t *rapid.T) {
			a, b := genValue(typ).Draw(t, "a"), genValue(typ).Draw(t, "b")
			ka, kb := appendKeyValue(nil, a), appendKeyValue(nil, b)
			if got, want := bytes.Compare(ka, kb), compareValues(a, b); got != want {
				t.Fatalf("keys % x and % x compare %d, values %v and %v %d", ka, kb, got, a, b, want)
			}
		}))
	}
}

func TestKeyOrderOfColumns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(false).Draw(t, "schema")
		draw := func(like []Value) (vs []Value) {
			for i, id := range s.Key {
				if like != nil && rapid.Bool().Draw(t, "same") {
					vs = append(vs, like[i])
					continue
				}
				vs = append(vs, genValue(s.Columns[s.index(id)].Type).Draw(t, "value"))
			}
			return vs
		}
		a := draw(nil)
		b := draw(a)
		want := 0
		for i := range a {
			if want = compareValues(a[i], b[i]); want != 0 {
				break
			}
		}
		ka, err := s.EncodeKey(nil, a...)
		if err != nil {
			t.Fatal(err)
		}
		kb, err := s.EncodeKey([]byte("prefix"), b...)
		if err != nil {
			t.Fatal(err)
		}
		if got := ka.Compare(kb[6:]); got != want {
			t.Fatalf("keys %x, %x compare %d, values %v, %v %d", ka, kb, got, a, b, want)
		}
	})
}

// canonical is what a value becomes in a key.
func canonical(v Value) Value {
	switch v.Type() {
	case Float64:
		return FloatValue(v.Float() + 0) // −0 becomes 0
	case Decimal:
		d, _ := parseDecimal(v.Str())
		return mustDecimal(d.text())
	}
	return v
}

func TestKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(false).Draw(t, "schema")
		var vs []Value
		for _, id := range s.Key {
			vs = append(vs, genValue(s.Columns[s.index(id)].Type).Draw(t, "value"))
		}
		k, err := s.EncodeKey(nil, vs...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeKey(k)
		if err != nil {
			t.Fatalf("key % x: %v", k, err)
		}
		for i := range vs {
			if got[i] != canonical(vs[i]) || compareValues(got[i], vs[i]) != 0 {
				t.Fatalf("value %d of key % x is %v, want %v", i, k, got[i], canonical(vs[i]))
			}
		}
		again, err := s.EncodeKey(nil, got...)
		if err != nil || !bytes.Equal(again, k) {
			t.Fatalf("encoded again % x (%v), want % x", again, err, k)
		}
		for n := range k {
			if vs, err := DecodeKey(k[:n]); err == nil && len(vs) >= len(s.Key) && k[n] != 0xff {
				t.Fatalf("%d of %d bytes hold %v", n, len(k), vs)
			}
		}
	})
}

func TestDecodeKeyRefuses(t *testing.T) {
	huge := appendKeyValue(nil, mustDecimal("1"+strings.Repeat("0", maxDecimal-1)))
	for _, c := range []struct {
		name string
		key  string
	}{
		{"unknown tag", "\x00"}, {"tag after integers", "\x1d"}, {"tag before integers", "\x0b"}, {"last tag", "\xff"},
		{"integer cut", "\x16\x01"}, {"integer with a leading zero", "\x16\x00\x01"}, {"zero of one byte", "\x15\x00"},
		{"negative integer too long", "\x12\xff\xfe"}, {"integer above the range", "\x1c\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"integer below the range", "\x0c\x7f\xff\xff\xff\xff\xff\xff\xfe"},
		{"float cut", "\x20\x80\x00"}, {"float −0", "\x20\x7f\xff\xff\xff\xff\xff\xff\xff"}, {"another NaN", "\x20\xff\xf8\x00\x00\x00\x00\x00\x02"},
		{"time cut", "\x21\x80\x00\x00\x00\x00\x00\x00"},
		{"decimal without class", "\x22"}, {"decimal class 0", "\x22\x00"}, {"decimal class 7", "\x22\x07"},
		{"decimal cut in exponent", "\x22\x04\x80\x00\x00"}, {"decimal without digits", "\x22\x04\x80\x00\x00\x00\x00"},
		{"decimal not ended", "\x22\x04\x80\x00\x00\x01\x02"}, {"decimal digit 10", "\x22\x04\x80\x00\x00\x01\x0b\x00"},
		{"decimal with a leading zero", "\x22\x04\x80\x00\x00\x02\x01\x02\x00"}, {"decimal with a trailing zero", "\x22\x04\x80\x00\x00\x02\x02\x01\x00"},
		{"decimal exponent too large", "\x22\x04\x80\x10\x00\x01\x02\x00"}, {"decimal exponent too small", "\x22\x04\x7f\xef\xff\xff\x02\x00"},
		{"decimals too long together", string(huge) + string(huge)},
		{"text not ended", "\x30a"}, {"text ended by an escape", "\x30a\x00\xff"}, {"text not UTF-8", "\x30\xff\x00"}, {"native not UTF-8", "\x32\xc0\x00"},
	} {
		if vs, err := DecodeKey(Key(c.key)); err == nil {
			t.Errorf("%s: decoded % x to %v", c.name, c.key[:min(len(c.key), 20)], vs)
		}
	}
	if _, err := DecodeKey(huge); err != nil {
		t.Errorf("one decimal of the largest size: %v", err)
	}
}

func TestKeyLimits(t *testing.T) {
	s, err := Define(1, "t", []string{"k"}, Column{Name: "k", Type: Text})
	if err != nil {
		t.Fatal(err)
	}
	fits := strings.Repeat("x", MaxKey-2)
	if k, err := s.EncodeKey(nil, TextValue(fits)); err != nil || len(k) != MaxKey {
		t.Errorf("a key of MaxKey bytes: %d bytes, %v", len(k), err)
	}
	if k, err := s.EncodeKey(make([]byte, 100), TextValue(fits)); err != nil || len(k) != 100+MaxKey {
		t.Errorf("a key of MaxKey bytes behind others: %d bytes, %v", len(k), err)
	}
	for _, c := range []string{fits + "x", fits[1:] + "\x00"} {
		if _, err := s.EncodeKey(nil, TextValue(c)); !errors.Is(err, ErrSchema) {
			t.Errorf("a key of MaxKey + 1 bytes: %v", err)
		}
	}
	d, err := Define(1, "t", []string{"a", "b"}, Column{Name: "a", Type: Decimal}, Column{Name: "b", Type: Decimal})
	if err != nil {
		t.Fatal(err)
	}
	large := mustDecimal("1" + strings.Repeat("0", maxDecimal-2))
	k, err := d.EncodeKey(nil, large, mustDecimal("7"))
	if err != nil {
		t.Fatalf("decimals of exactly the limit: %v", err)
	}
	if vs, err := DecodeKey(k); err != nil || vs[0] != large {
		t.Errorf("decimals of exactly the limit do not come back: %v", err)
	}
	if _, err := d.EncodeKey(nil, large, mustDecimal("17")); !errors.Is(err, ErrSchema) {
		t.Errorf("decimals above the limit: %v", err)
	}
	if _, err := ParseDecimal("-" + strings.Repeat("1", maxDecimal)); err != nil {
		t.Errorf("a decimal of the largest size: %v", err)
	}
	if _, err := ParseDecimal(strings.Repeat("1", maxDecimal+1)); err == nil {
		t.Error("a decimal above the largest size was read")
	}
}

func TestEncodeKeyRefuses(t *testing.T) {
	s, err := Define(1, "t", []string{"k"}, Column{Name: "k", Type: Int64}, Column{Name: "v", Type: Text})
	if err != nil {
		t.Fatal(err)
	}
	bag, err := Define(1, "b", nil, Column{Name: "v", Type: Text})
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() (Key, error){
		"none":       func() (Key, error) { return s.EncodeKey(nil) },
		"two":        func() (Key, error) { return s.EncodeKey(nil, IntValue(1), IntValue(2)) },
		"wrong type": func() (Key, error) { return s.EncodeKey(nil, TextValue("1")) },
		"null":       func() (Key, error) { return s.EncodeKey(nil, Null()) },
		"unchanged":  func() (Key, error) { return s.EncodeKey(nil, Unchanged()) },
		"bag":        func() (Key, error) { return bag.EncodeKey(nil, TextValue("")) },
	} {
		if k, err := f(); !errors.Is(err, ErrSchema) || k != nil {
			t.Errorf("%s: got % x, %v", name, k, err)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "-0": "0", "000": "0", "0.00": "0", "1": "1", "-1": "-1", "007": "7", "1.50": "1.5",
		"-00.0050": "-0.005", "100": "100", "10.01": "10.01", "0.1": "0.1", "NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"} {
		d, err := parseDecimal(in)
		if err != nil || d.text() != want {
			t.Errorf("%q: got %q, %v, want %q", in, d.text(), err, want)
		}
		if v := mustDecimal(in); v.Str() != in {
			t.Errorf("%q is kept as %q", in, v.Str())
		}
	}
	for _, in := range []string{"", "-", ".", "1.", ".5", "-.5", "+1", "--1", "1e3", "1E3", " 1", "1 ", "1,5", "1.2.3", "nan", "inf", "+Infinity", "-NaN", "١", "0x1"} {
		if v, err := ParseDecimal(in); err == nil {
			t.Errorf("%q was read as %v", in, v)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := genDecimal().Draw(t, "decimal")
		d, err := parseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.TrimPrefix(d.text(), "-")
		if compareDecimals(s, d.text()) != 0 {
			t.Fatalf("%q becomes %q", s, d.text())
		}
		if len(d.digits) > 0 && d.textLen() != len(text) {
			t.Fatalf("textLen of %q is %d, want %d", d.text(), d.textLen(), len(text))
		}
	})
}
