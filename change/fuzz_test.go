package change

import (
	"bytes"
	"encoding/json"
	"testing"
)

func FuzzDecodeTx(f *testing.F) {
	f.Add(AppendTx(nil, goldenTx(f)))
	f.Add([]byte("\x01\x02\x01\x01\x04\x01\x00\x00"))
	f.Add([]byte("\x01\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x04\x01\x00\x00"))
	f.Add([]byte("\x81\x00\x02\x01\x01\x04\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tx, rest, err := DecodeTx(b)
		if err != nil {
			return
		}
		if again := append(AppendTx(nil, tx), rest...); !bytes.Equal(again, b) {
			t.Fatalf("% x is written again as % x", b, again)
		}
		for i := range tx.Records {
			if r := &tx.Records[i]; r.Op == SetSchema {
				_, _ = r.Schema()
			}
		}
	})
}

func FuzzImage(f *testing.F) {
	for _, r := range goldenTx(f).Records {
		f.Add([]byte(r.Image), []byte(r.Key))
	}
	for _, m := range badImages {
		f.Add([]byte(m), []byte{keyIntZero})
	}
	s := goldenSchema(f)
	bag := *s
	bag.Key = nil
	next, err := s.AddColumns(Column{Name: "late", Type: Text, Default: TextValue("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, image, key []byte) {
		m := Image(image)
		ok := m.Check() == nil
		before := bytes.Clone(image)
		if row, err := s.DecodeRow(nil, key, m); err == nil && ok {
			k, again, err := s.EncodeRow(row)
			if err != nil || !bytes.Equal(k, key) {
				t.Fatalf("row %v has key % x, %v, was read with % x", row, k, err, key)
			}
			if row2, err := s.DecodeRow(nil, k, again); err != nil || len(row2) != len(row) {
				t.Fatalf("row %v does not come back: %v", row, err)
			}
		}
		if n, err := next.Normalize(nil, m); err == nil {
			if again, err := next.Normalize(nil, n); err != nil || !bytes.Equal(again, n) {
				t.Fatalf("normal form % x becomes % x, %v", n, again, err)
			}
			if ok && n.Check() != nil {
				t.Fatalf("the normal form % x of % x is damaged", n, m)
			}
		}
		if c, err := Compose(nil, m, m); err == nil && ok && !bytes.Equal(c, m) {
			t.Fatalf("% x over itself gives % x", m, c)
		}
		_, _ = bag.BagKey(m)
		_ = new(Digest).Add(&bag, key, m, -1)
		if !bytes.Equal(image, before) {
			t.Fatalf("the image % x became % x", before, image)
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, v := range goldenValues() {
		f.Add(appendKeyValue(nil, v))
	}
	f.Add([]byte("\x30a\x00\x14\x31\x00\xff\x00"))
	f.Add([]byte("\x22\x04\x80\x10\x00\x00\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		vs, err := DecodeKey(b)
		if err != nil {
			return
		}
		var again []byte
		for _, v := range vs {
			again = appendKeyValue(again, v)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("% x decodes to %v, which is % x", b, vs, again)
		}
	})
}

func FuzzSchemaJSON(f *testing.F) {
	j, err := goldenSchema(f).MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j)
	f.Add([]byte(`{"collection":1,"name":"t","version":2,"columns":[{"id":1,"name":"a","type":"int64","since":1},{"id":2,"name":"\u003c","type":"time","since":2,"default":"@1"}],"key":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Schema
		if json.Unmarshal(b, &s) != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("%s was read, but %v", b, err)
		}
		j, err := s.MarshalJSON()
		if err != nil {
			t.Fatalf("%s was read, but not written: %v", b, err)
		}
		var again Schema
		if err := json.Unmarshal(j, &again); err != nil || !again.Equal(&s) {
			t.Fatalf("%s comes back from %s as %v, %v", b, j, again, err)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, v := range goldenValues() {
		if j, err := v.MarshalJSON(); err == nil {
			f.Add(byte(v.Type()), j)
		}
	}
	f.Add(byte(Text), []byte(`"\ud800\\ufffd"`))
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		v, err := ParseJSON(Type(typ), b)
		if err != nil {
			return
		}
		j, err := v.MarshalJSON()
		if err != nil {
			t.Fatalf("%s was read as %v, but not written: %v", b, v, err)
		}
		if again, err := ParseJSON(Type(typ), j); err != nil || again != v {
			t.Fatalf("%s is %v, %s is %v, %v", b, v, j, again, err)
		}
	})
}
