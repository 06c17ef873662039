package change

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew; only before a format is released")

// goldenValues holds one value of every kind and edge.
func goldenValues() []Value {
	return []Value{Null(), BoolValue(false), BoolValue(true),
		IntValue(0), IntValue(1), IntValue(-1), IntValue(255), IntValue(256), IntValue(-256), IntValue(-257), IntValue(math.MaxInt64), IntValue(math.MinInt64),
		FloatValue(0), FloatValue(math.Copysign(0, -1)), FloatValue(1.5), FloatValue(-1.5), FloatValue(math.Inf(1)), FloatValue(math.Inf(-1)), FloatValue(math.NaN()),
		TextValue(""), TextValue("aé"), TextValue("a\x00b"), BytesValue([]byte{0, 0xff, 0}), TimeValue(0), TimeValue(1795369318123456), TimeValue(-1),
		mustDecimal("0"), mustDecimal("-0.00"), mustDecimal("1.50"), mustDecimal("-120"), mustDecimal("0.0012"), mustDecimal("NaN"), mustDecimal("Infinity"), mustDecimal("-Infinity"),
		NativeValue("8b2a3f0e-0000-4000-8000-000000000001")}
}

// goldenSchema has every type, a key of two columns in another order than the
// columns', a gap of more than 14 between column IDs, and an added column.
func goldenSchema(t testing.TB) *Schema {
	t.Helper()
	s := &Schema{Collection: 300, Name: "göld <en>", Version: 2, Key: []ColumnID{2, 1}, Columns: []Column{
		{ID: 1, Name: "i", Type: Int64, Since: 1, Default: Null()},
		{ID: 2, Name: "s", Type: Text, Since: 1, Default: Null()},
		{ID: 3, Name: "b", Type: Bool, Since: 1, Nullable: true, Default: Null()},
		{ID: 4, Name: "f", Type: Float64, Since: 1, Default: Null()},
		{ID: 18, Name: "y", Type: Bytes, Since: 1, Nullable: true, Default: Null()},
		{ID: 33, Name: "t", Type: Timestamp, Since: 1, Default: Null()},
		{ID: 34, Name: "d", Type: Decimal, Since: 1, Default: Null()},
		{ID: 1000, Name: "n", Type: Native, NativeType: "uuid", Since: 1, Default: Null()},
		{ID: 1001, Name: "added", Type: Int64, Since: 2, Default: IntValue(1<<53 + 1)}}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func goldenTx(t testing.TB) *Tx {
	t.Helper()
	s := goldenSchema(t)
	full := Row{IntValue(-257), TextValue("a\x00é"), BoolValue(true), FloatValue(-1.5), BytesValue([]byte{0, 0xff}), TimeValue(1795369318123456),
		mustDecimal("-01.50"), NativeValue("u"), IntValue(7)}
	k, m, err := s.EncodeRow(full)
	if err != nil {
		t.Fatal(err)
	}
	part := Row{full[0], full[1], Null(), Unchanged(), Unchanged(), TimeValue(-1), Unchanged(), Unchanged(), Unchanged()}
	_, p, err := s.EncodeRow(part)
	if err != nil {
		t.Fatal(err)
	}
	sr, err := SchemaRecord(s)
	if err != nil {
		t.Fatal(err)
	}
	tx := &Tx{ID: 70000, Commit: 1795369318123456, Records: []Record{sr, {Op: Insert, Collection: 300, Key: k, Image: m},
		{Op: Update, Collection: 300, Key: k, Image: p}, {Op: Delete, Collection: 300, Key: k}, {Op: Truncate, Collection: 300}}}
	for i := range tx.Records {
		tx.Records[i].LSN = LSN(1000 + i)
	}
	return tx
}

// golden renders every encoding of the package as text.
func golden(t *testing.T) string {
	var b strings.Builder
	line := func(name string, data []byte) { fmt.Fprintf(&b, "%s: %s\n", name, hex.EncodeToString(data)) }
	for _, v := range goldenValues() {
		line(fmt.Sprintf("key %s %v", v.typeName(), v), appendKeyValue(nil, v))
	}
	for _, v := range goldenValues() {
		line(fmt.Sprintf("field %s %v", v.typeName(), v), appendField(nil, 1, v))
	}
	for _, d := range []ColumnID{14, 15, 16, 142, math.MaxUint32} {
		line(fmt.Sprintf("field null, ID %d after 0", d), appendField(nil, d, Null()))
	}
	s, tx := goldenSchema(t), goldenTx(t)
	j, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "schema: %s\n", j)
	line("key", tx.Records[1].Key)
	line("image", tx.Records[1].Image)
	line("partial image", tx.Records[2].Image)
	c, err := Compose(nil, tx.Records[1].Image, tx.Records[2].Image)
	if err != nil {
		t.Fatal(err)
	}
	line("composed image", c)
	bag := *s
	bag.Key = nil
	image := Image{0, 0x14, 2, 0x16, 1, 'a', 0x11, 0x15, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xe1, 0xf8, 0x0f, 0, 0x19, 1, '1', 0xfa, 0xc6, 0x07, 1, 'u'}
	key, err := bag.BagKey(image)
	if err != nil {
		t.Fatal(err)
	}
	line("bag image", image)
	line("bag key", key)
	n, err := bag.Normalize(nil, image)
	if err != nil {
		t.Fatal(err)
	}
	line("bag image in normal form", n)
	var d Digest
	if err := d.Add(s, tx.Records[1].Key, tx.Records[1].Image, 1); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "digest of the image: %v\n", d.Sum())
	if err := d.Add(s, tx.Records[1].Key, c, -3); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "digest of it and -3 of the composed one: %v\n", d.Sum())
	var bd Digest
	if err := bd.Add(&bag, key, image, 2); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "digest of 2 of the bag image: %v\n", bd.Sum())
	enc := AppendTx(nil, tx)
	line("transaction", enc)
	one := LogHash(Hash{}, enc)
	fmt.Fprintf(&b, "log hash of it: %v\nlog hash of it twice: %v\n", one, LogHash(one, enc))
	return b.String()
}

// TestGolden pins every encoding: what was written once must be read for ever.
func TestGolden(t *testing.T) {
	const name = "testdata/golden.txt"
	got := golden(t)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(string(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(want) || line != want[i] {
			t.Fatalf("line %d of %s is no longer what is written: %s", i+1, name, line)
		}
	}
	if len(want) != strings.Count(got, "\n")+1 {
		t.Errorf("%s has %d lines, want %d", name, len(want), strings.Count(got, "\n")+1)
	}
}
