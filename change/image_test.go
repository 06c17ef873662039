package change

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var diffRows = cmp.AllowUnexported(Value{})

// encode is EncodeRow for a row that must fit.
func encode(t interface{ Fatalf(string, ...any) }, s *Schema, row Row) (Key, Image) {
	k, m, err := s.EncodeRow(row)
	if err != nil {
		t.Fatalf("%v: %v", row, err)
	}
	if err := m.Check(); err != nil {
		t.Fatalf("%v: image % x: %v", row, m, err)
	}
	return k, m
}

func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		row := genRow(s, !s.Bag()).Draw(t, "row")
		k, m := encode(t, s, row)
		got, err := s.DecodeRow(make(Row, 3), k, m)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(row, got, diffRows); d != "" {
			t.Fatal(d)
		}
		// By the next version, and back by this one.
		next := genNext(s).Draw(t, "next")
		later, err := next.DecodeRow(nil, k, m)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range next.Columns[len(s.Columns):] {
			want := c.Default
			if m.Partial() {
				want = Unchanged()
			}
			if v := later[len(s.Columns)+i]; v != want {
				t.Fatalf("added column %q holds %v, want %v", c.Name, v, want)
			}
		}
		if !m.Partial() {
			k2, m2 := encode(t, next, later)
			if !bytes.Equal(k, k2) {
				t.Fatalf("the key changed with an added column: % x, % x", k, k2)
			}
			if got, err = s.DecodeRow(got, k2, m2); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(row, got, diffRows); d != "" {
				t.Fatal(d)
			}
		}
	})
}

func TestCompose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(false).Draw(t, "schema")
		a, b, c := genRow(s, rapid.Bool().Draw(t, "a partial")).Draw(t, "a"), genRow(s, true).Draw(t, "b"), genRow(s, rapid.Bool().Draw(t, "c partial")).Draw(t, "c")
		for _, id := range s.Key { // versions of one row
			i := s.index(id)
			b[i], c[i] = a[i], a[i]
		}
		k, ia := encode(t, s, a)
		_, ib := encode(t, s, b)
		_, ic := encode(t, s, c)
		compose := func(older, newer Image) Image {
			m, err := Compose([]byte("before"), older, newer)
			if err != nil {
				t.Fatal(err)
			}
			if err := m[6:].Check(); err != nil {
				t.Fatal(err)
			}
			return m[6:]
		}
		left, right := compose(compose(ia, ib), ic), compose(ia, compose(ib, ic))
		if !bytes.Equal(left, right) {
			t.Fatalf("(a b) c is % x, a (b c) is % x", left, right)
		}
		if left.Partial() != (ia.Partial() && ib.Partial() && ic.Partial()) {
			t.Fatalf("partial: %v from %v %v %v", left.Partial(), ia.Partial(), ib.Partial(), ic.Partial())
		}
		want := make(Row, len(a))
		for i := range want {
			for _, r := range []Row{c, b, a} {
				if want[i] = r[i]; !want[i].IsUnchanged() {
					break
				}
			}
		}
		got, err := s.DecodeRow(nil, k, left)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, diffRows); d != "" {
			t.Fatal(d)
		}
		_, m := encode(t, s, want)
		m[0] |= left[0] // partial images stay so, even when together they set every column
		if !bytes.Equal(m, left) {
			t.Fatalf("composed % x, the row itself is % x", left, m)
		}
	})
}

func TestComposeRefuses(t *testing.T) {
	full, partial := Image{0, 0x14, 2}, Image{1, 0x14, 4}
	for name, c := range map[string][2]Image{
		"no newer": {full, nil}, "no older": {nil, partial}, "unknown flag in newer": {full, {2}}, "unknown flag in older": {{2}, partial},
		"newer cut": {full, partial[:2]}, "older cut": {full[:2], partial}, "older cut behind newer": {{0, 0x24, 2, 0x14}, partial},
	} {
		if m, err := Compose(nil, c[0], c[1]); !errors.Is(err, errImage) {
			t.Errorf("%s: got % x, %v", name, m, err)
		}
	}
}

func TestNormalize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		row := genRow(s, false).Draw(t, "row")
		k, m := encode(t, s, row)
		same, err := s.Normalize([]byte("before"), m)
		if err != nil || &same[0] != &m[0] || len(same) != len(m) {
			t.Fatalf("an image in normal form came back as % x, %v", same, err)
		}
		next := genNext(s).Draw(t, "next")
		n, err := next.Normalize([]byte("before"), m)
		if err != nil {
			t.Fatal(err)
		}
		n = bytes.TrimPrefix(n, []byte("before"))
		again, err := next.Normalize(nil, n)
		if err != nil || !bytes.Equal(again, n) {
			t.Fatalf("normal form % x becomes % x, %v", n, again, err)
		}
		later, err := next.DecodeRow(nil, k, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, want := encode(t, next, later); !bytes.Equal(n, want) {
			t.Fatalf("normal form % x, want % x", n, want)
		}
		// A column the schema does not know is left out.
		back, err := s.Normalize(nil, n)
		if err != nil || !bytes.Equal(back, m) {
			t.Fatalf("back to % x, %v, want % x", back, err, m)
		}
	})
}

func TestNormalizeFillsHoles(t *testing.T) {
	s1, _ := Define(1, "t", nil, Column{Name: "a", Type: Int64})
	s2, err := s1.AddColumns(Column{Name: "b", Type: Int64, Default: IntValue(7)})
	if err != nil {
		t.Fatal(err)
	}
	s3, err := s2.AddColumns(Column{Name: "c", Type: Text, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	_, full := encode(t, s1, Row{IntValue(1)})
	m, err := Compose(nil, full, Image{1, 0x36, 1, 'x'}) // c = x laid over a row from before b
	if err != nil {
		t.Fatal(err)
	}
	n, err := s3.Normalize(nil, m)
	if want := (Image{0, 0x14, 2, 0x14, 14, 0x16, 1, 'x'}); err != nil || !bytes.Equal(n, want) {
		t.Errorf("got % x, %v, want % x", n, err, want)
	}
}

// badImages are refused by every reader of images.
var badImages = map[string]Image{
	"empty": {}, "unknown flag": {2}, "kind unchanged": {0, 0x10}, "kind above the last": {0, 0x1b}, "delta 0": {0, 0x01},
	"delta 14 in the long form": {0, 0xf1, 14}, "delta not minimal": {0, 0xf1, 0x8f, 0x00}, "delta cut": {0, 0xf1}, "delta of 10 bytes": {0, 0xf1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
	"ID above 32 bits": {0, 0xf1, 0x80, 0x80, 0x80, 0x80, 0x10}, "int cut": {0, 0x14, 0x80}, "int not minimal": {0, 0x14, 0x82, 0x00},
	"int of 11 bytes": {0, 0x14, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, "time not minimal": {0, 0x18, 0x82, 0x80, 0x00},
	"float cut": {0, 0x15, 0, 0, 0, 0, 0, 0, 0}, "another NaN": {0, 0x15, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, "a negative NaN": {0, 0x15, 1, 0, 0, 0, 0, 0, 0xf8, 0xff},
	"text longer than the image": {0, 0x16, 2, 'a'}, "text of 2^63": {0, 0x16, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
	"length not minimal": {0, 0x16, 0x81, 0x00, 'a'}, "trailing data": {0, 0x11, 0}, "columns out of order": {0, 0x21, 0x01},
}

func TestBadImages(t *testing.T) {
	s, err := Define(1, "t", nil, Column{Name: "a", Type: Int64, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range badImages {
		if err := m.Check(); !errors.Is(err, errImage) {
			t.Errorf("%s: Check gives %v", name, err)
		}
		if row, err := s.DecodeRow(nil, nil, m); err == nil {
			t.Errorf("%s: DecodeRow gives %v", name, row)
		}
		if n, err := s.Normalize(nil, m); err == nil {
			t.Errorf("%s: Normalize gives % x", name, n)
		}
		if k, err := s.BagKey(m); err == nil {
			t.Errorf("%s: BagKey gives % x", name, k)
		}
		if n, err := Compose(nil, m, Image{1}); err == nil {
			t.Errorf("%s: Compose gives % x", name, n)
		}
		if err := new(Digest).Add(s, nil, m, 1); err == nil {
			t.Errorf("%s: a digest takes it", name)
		}
	}
	for name, m := range map[string]Image{
		"text not UTF-8": {0, 0x16, 1, 0xff}, "native not UTF-8": {0, 0x1a, 1, 0xff}, "no decimal": {0, 0x19, 1, 'x'}, "empty decimal": {0, 0x19, 0},
	} {
		if err := m.Check(); !errors.Is(err, errImage) {
			t.Errorf("%s: Check gives %v", name, err)
		}
	}
	if err := (Image{0, 0x16, 1, 'a', 0x15, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f, 0x17, 1, 0xff}).Check(); err != nil {
		t.Errorf("a good image: %v", err)
	}
}

func TestImageAgainstSchema(t *testing.T) {
	s, err := Define(1, "t", []string{"k"}, Column{Name: "k", Type: Int64}, Column{Name: "v", Type: Decimal}, Column{Name: "n", Type: Bool, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.EncodeKey(nil, IntValue(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]Image{
		"wrong type": {0, 0x26, 1, '1', 0x11}, "null where there is none": {0, 0x21, 0x11}, "column missing": {0, 0x29, 1, '1'}, "no columns": {0},
	} {
		if row, err := s.DecodeRow(nil, k, m); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: DecodeRow gives %v, %v", name, row, err)
		}
		if n, err := s.Normalize(nil, m); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: Normalize gives % x, %v", name, n, err)
		}
	}
	if row, err := s.DecodeRow(nil, k, Image{0, 0x29, 1, 'x', 0x11}); !errors.Is(err, errImage) {
		t.Errorf("no decimal: DecodeRow gives %v, %v", row, err)
	}
	good := Image{0, 0x29, 1, '1', 0x11}
	two, text := append(Key{0x15, 2}, k...), appendKeyValue(nil, TextValue("1"))
	for name, key := range map[string]Key{"none": nil, "two values": two, "wrong type": text, "cut": k[:1]} {
		if row, err := s.DecodeRow(nil, key, good); err == nil {
			t.Errorf("key with %s: DecodeRow gives %v", name, row)
		}
	}
}

func TestEncodeRowRefuses(t *testing.T) {
	cols := []Column{{Name: "k", Type: Int64}, {Name: "f", Type: Float64}, {Name: "s", Type: Text, Nullable: true}, {Name: "u", Type: Native, NativeType: "uuid"}}
	keyed, err := Define(1, "keyed", []string{"k", "f"}, cols...)
	if err != nil {
		t.Fatal(err)
	}
	bag, err := Define(2, "bag", nil, cols...)
	if err != nil {
		t.Fatal(err)
	}
	good := Row{IntValue(1), FloatValue(1), TextValue("s"), NativeValue("u")}
	with := func(i int, v Value) Row {
		r := append(Row(nil), good...)
		r[i] = v
		return r
	}
	for _, c := range []struct {
		name string
		s    *Schema
		row  Row
	}{
		{"too few values", keyed, good[:3]}, {"too many values", keyed, append(with(0, IntValue(1)), Null())}, {"wrong type", keyed, with(2, IntValue(1))},
		{"null where there is none", keyed, with(3, Null())}, {"text not UTF-8", keyed, with(2, TextValue("\xff"))},
		{"native not UTF-8", keyed, with(3, NativeValue("\xff"))}, {"key unchanged", keyed, with(0, Unchanged())},
		{"float of the key unchanged", keyed, with(1, Unchanged())}, {"bag with unchanged", bag, with(2, Unchanged())},
	} {
		if _, m, err := c.s.EncodeRow(c.row); !errors.Is(err, ErrSchema) || m != nil && err == nil {
			t.Errorf("%s: got % x, %v", c.name, m, err)
		}
	}
	_, _, err = keyed.EncodeRow(with(0, Unchanged()))
	if err == nil || !strings.Contains(err.Error(), `"k" is int64, got unchanged`) {
		t.Errorf("the error is %v", err)
	}
}

func TestMaxImage(t *testing.T) {
	s, err := Define(1, "t", nil, Column{Name: "b", Type: Text})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", MaxImage-6) // flags, head, 4 bytes of length
	k, m, err := s.EncodeRow(Row{TextValue(text)})
	if err != nil || len(m) != MaxImage {
		t.Fatalf("an image of MaxImage bytes: %d bytes, %v", len(m), err)
	}
	if _, _, err := s.EncodeRow(Row{TextValue(text + "x")}); !errors.Is(err, ErrSchema) {
		t.Errorf("an image of MaxImage + 1 bytes: %v", err)
	}
	tx := &Tx{Records: []Record{{LSN: 1, Op: Insert, Collection: 1, Key: k, Image: m}}}
	if _, _, err := DecodeTx(AppendTx(nil, tx)); err != nil {
		t.Errorf("a transaction with an image of MaxImage bytes: %v", err)
	}
	tx.Records[0].Image = append(m, 0)
	if _, _, err := DecodeTx(AppendTx(nil, tx)); !errors.Is(err, errTx) {
		t.Errorf("a transaction with an image of MaxImage + 1 bytes: %v", err)
	}
	tx.Records[0].Image, tx.Records[0].Key = Image{0}, make(Key, MaxKey+1)
	if _, _, err := DecodeTx(AppendTx(nil, tx)); !errors.Is(err, errTx) {
		t.Errorf("a transaction with a key of MaxKey + 1 bytes: %v", err)
	}
}

func TestBagKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		s.Key = nil
		row := genRow(s, false).Draw(t, "row")
		k, m := encode(t, s, row)
		if len(k) != bagKeySize {
			t.Fatalf("bag key of %d bytes", len(k))
		}
		next := genNext(genNext(s).Draw(t, "2")).Draw(t, "3")
		for i := range next.Columns {
			next.Columns[i].Name += " renamed"
		}
		if got, err := next.BagKey(m); err != nil || !bytes.Equal(got, k) {
			t.Fatalf("the key of the old image is % x, %v, want % x", got, err, k)
		}
		later, err := next.DecodeRow(nil, k, m)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := encode(t, next, later); !bytes.Equal(got, k) {
			t.Fatalf("the key of the new image is % x, want % x", got, k)
		}
		other := genRow(s, false).Draw(t, "other")
		if ok, om := encode(t, s, other); bytes.Equal(ok, k) != bytes.Equal(om, m) {
			t.Fatalf("images % x and % x have keys % x and % x", m, om, k, ok)
		}
	})
}

func TestFloatsKeepTheirBits(t *testing.T) {
	s, err := Define(1, "t", []string{"f"}, Column{Name: "f", Type: Float64}, Column{Name: "d", Type: Decimal})
	if err != nil {
		t.Fatal(err)
	}
	row := Row{FloatValue(math.Copysign(0, -1)), mustDecimal("-01.50")}
	k, m := encode(t, s, row)
	got, err := s.DecodeRow(nil, k, m)
	if err != nil || !math.Signbit(got[0].Float()) || got[1] != row[1] {
		t.Errorf("got %v, %v, want %v", got, err, row)
	}
	plus, err := s.EncodeKey(nil, FloatValue(0))
	if err != nil || !bytes.Equal(plus, k) {
		t.Errorf("the key of 0 is % x, that of −0 % x", plus, k)
	}
}
