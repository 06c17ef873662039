package change

import (
	"fmt"
	"testing"
)

// benchRow is about 130 bytes of an ordinary table: a number, a short text, a
// longer one, a time, a decimal and a flag.
func benchRow(b *testing.B) (*Schema, Row) {
	b.Helper()
	s, err := Define(1, "orders", []string{"id"}, Column{Name: "id", Type: Int64}, Column{Name: "customer", Type: Text}, Column{Name: "note", Type: Text},
		Column{Name: "at", Type: Timestamp}, Column{Name: "amount", Type: Decimal}, Column{Name: "paid", Type: Bool, Nullable: true})
	if err != nil {
		b.Fatal(err)
	}
	return s, Row{IntValue(123456789), TextValue("customer-000123"), TextValue("a note of eighty bytes, as people write them on an order when they are in a hurry"),
		TimeValue(1795369318123456), mustDecimal("1234.50"), BoolValue(true)}
}

func BenchmarkEncodeRow(b *testing.B) {
	s, row := benchRow(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.EncodeRow(row); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	s, row := benchRow(b)
	k, m := encode(b, s, row)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if row, err = s.DecodeRow(row, k, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeKey(b *testing.B) {
	s, err := Define(1, "t", []string{"s", "i"}, Column{Name: "i", Type: Int64}, Column{Name: "s", Type: Text})
	if err != nil {
		b.Fatal(err)
	}
	var k Key
	b.ReportAllocs()
	for b.Loop() {
		if k, err = s.EncodeKey(k[:0], TextValue("customer-000123"), IntValue(123456789)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeKey(b *testing.B) {
	k := appendKeyValue(appendKeyValue(nil, TextValue("customer-000123")), IntValue(123456789))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeKey(k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBagKey(b *testing.B) {
	s, row := benchRow(b)
	s.Key = nil
	_, m := encode(b, s, row)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.BagKey(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	s, row := benchRow(b)
	_, full := encode(b, s, row)
	part := Row{row[0], Unchanged(), Unchanged(), TimeValue(1), Unchanged(), BoolValue(false)}
	_, m := encode(b, s, part)
	var dst Image
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = Compose(dst[:0], full, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalize(b *testing.B) {
	s, row := benchRow(b)
	_, m := encode(b, s, row)
	next, err := s.AddColumns(Column{Name: "added", Type: Int64, Default: IntValue(1)})
	if err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]*Schema{"same": s, "added": next} {
		b.Run(name, func(b *testing.B) {
			var dst Image
			b.ReportAllocs()
			for b.Loop() {
				n, err := s.Normalize(dst[:0], m)
				if err != nil {
					b.Fatal(err)
				}
				if s == next {
					dst = n
				}
			}
		})
	}
}

func BenchmarkDigestAdd(b *testing.B) {
	s, row := benchRow(b)
	k, m := encode(b, s, row)
	var d Digest
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Add(s, k, m, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTx(b *testing.B) {
	s, row := benchRow(b)
	k, m := encode(b, s, row)
	for _, n := range []int{1, 1000} {
		tx := &Tx{ID: 1, Commit: 1795369318123456}
		for i := range n {
			tx.Records = append(tx.Records, Record{LSN: LSN(1000 + i), Op: Insert, Collection: 1, Key: k, Image: m})
		}
		enc := AppendTx(nil, tx)
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			b.SetBytes(int64(len(enc)))
			for b.Loop() {
				dst = AppendTx(dst[:0], tx)
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(enc)))
			for b.Loop() {
				if _, _, err := DecodeTx(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
