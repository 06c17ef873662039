package change

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func genTx() *rapid.Generator[*Tx] {
	return rapid.Custom(func(t *rapid.T) *Tx {
		tx := &Tx{ID: TxID(rapid.Uint64().Draw(t, "id")), Commit: Time(genInt().Draw(t, "commit"))}
		n := rapid.IntRange(1, 5).Draw(t, "records")
		first := LSN(rapid.Uint64Range(1, math.MaxUint64-uint64(n)).Draw(t, "first"))
		for i := range n {
			r := Record{LSN: first + LSN(i), Op: Op(rapid.IntRange(1, int(opEnd)-1).Draw(t, "op")),
				Collection: CollectionID(rapid.Uint32Range(1, math.MaxUint32).Draw(t, "collection"))}
			if k := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "key"); len(k) > 0 {
				r.Key = k
			}
			if m := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "image"); len(m) > 0 {
				r.Image = m
			}
			tx.Records = append(tx.Records, r)
		}
		return tx
	})
}

func TestTxRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tx := genTx().Draw(t, "tx")
		rest := []byte("the next one")
		b := append(AppendTx([]byte("before"), tx)[6:], rest...)
		got, after, err := DecodeTx(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tx, got); d != "" {
			t.Fatal(d)
		}
		if !bytes.Equal(after, rest) {
			t.Fatalf("%q follows, want %q", after, rest)
		}
		// Effective time and position are no part of it.
		got.Effective, got.Position = 5, "0/16B3748"
		if again := AppendTx(nil, got); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("encoded again % x, want % x", again, b)
		}
		cut := rapid.IntRange(0, len(b)-len(rest)-1).Draw(t, "cut")
		if got, _, err := DecodeTx(b[:cut]); !errors.Is(err, errTx) {
			t.Fatalf("%d of %d bytes: got %v, %v", cut, len(b), got, err)
		}
	})
}

func TestDecodeLargeTx(t *testing.T) {
	tx := &Tx{Records: make([]Record, 100_000)}
	for i := range tx.Records {
		tx.Records[i] = Record{LSN: LSN(5 + i), Op: Insert, Collection: 1, Key: Key{1}, Image: Image{byte(i), byte(i >> 8), byte(i >> 16)}}
	}
	got, _, err := DecodeTx(AppendTx(nil, tx))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != len(tx.Records) {
		t.Fatalf("got %d records, want %d", len(got.Records), len(tx.Records))
	}
	for i := range tx.Records {
		if g, w := &got.Records[i], &tx.Records[i]; g.LSN != w.LSN || !bytes.Equal(g.Image, w.Image) {
			t.Fatalf("record %d is %v, want %v", i, g, w)
		}
	}
}

func TestDecodeTxRefuses(t *testing.T) {
	for name, b := range map[string]string{
		"nothing": "", "no records": "\x01\x02\x01\x00", "LSN 0": "\x01\x02\x00\x01\x04\x01\x00\x00",
		"last LSN above the largest": "\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x04\x01\x00\x00",
		"more records than bytes":    "\x01\x02\x01\x02\x04\x01\x00\x00", "2^64−1 records": "\x01\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x04\x01\x00\x00",
		"op 0": "\x01\x02\x01\x01\x00\x01\x00\x00", "op 6": "\x01\x02\x01\x01\x06\x01\x00\x00", "collection 0": "\x01\x02\x01\x01\x04\x00\x00\x00",
		"collection 2^32": "\x01\x02\x01\x01\x04\x80\x80\x80\x80\x10\x00\x00", "key cut": "\x01\x02\x01\x01\x04\x01\x03ab", "image cut": "\x01\x02\x01\x01\x04\x01\x00\x03ab",
		"key above the limit": "\x01\x02\x01\x01\x04\x01\x81\x80\x04", "image above the limit": "\x01\x02\x01\x01\x04\x01\x00\x81\x80\x80\x20",
		"ID not minimal": "\x81\x00\x02\x01\x01\x04\x01\x00\x00", "time not minimal": "\x01\x82\x00\x01\x01\x04\x01\x00\x00",
		"LSN not minimal": "\x01\x02\x81\x00\x01\x04\x01\x00\x00", "count not minimal": "\x01\x02\x01\x81\x00\x04\x01\x00\x00",
		"collection not minimal": "\x01\x02\x01\x01\x04\x81\x00\x00\x00", "key length not minimal": "\x01\x02\x01\x01\x04\x01\x80\x00\x00",
		"ID of 11 bytes": "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x02\x01\x01\x04\x01\x00\x00",
	} {
		if tx, _, err := DecodeTx([]byte(b)); !errors.Is(err, errTx) {
			t.Errorf("%s: got %v, %v", name, tx, err)
		}
	}
	tx, rest, err := DecodeTx([]byte("\x01\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x04\x01\x00\x00"))
	if err != nil || tx.Last() != MaxLSN-1 || len(rest) != 0 {
		t.Errorf("the last LSN there can be: %v, %v", tx, err)
	}
}

func TestDecodeTxAllocatesLittle(t *testing.T) {
	b := append([]byte("\x01\x02\x01\x80\x80\x80\x01\x00"), make([]byte, 8<<20)...) // says 2 Mi records; the first is bad
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if tx, _, err := DecodeTx(b); err == nil {
		t.Fatalf("decoded %d records", len(tx.Records))
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("refusing it took %d bytes", n)
	}
}

func TestSchemaRecord(t *testing.T) {
	s, err := Define(3, "t", []string{"k"}, Column{Name: "k", Type: Int64})
	if err != nil {
		t.Fatal(err)
	}
	r, err := SchemaRecord(s)
	if err != nil || r.Op != SetSchema || r.Collection != 3 || r.Key != nil {
		t.Fatalf("got %v, %v", r, err)
	}
	got, err := r.Schema()
	if err != nil || !got.Equal(s) {
		t.Errorf("got %v, %v, want %v", got, err, s)
	}
	r.Collection = 4
	if got, err := r.Schema(); err == nil {
		t.Errorf("another collection's schema: %v", got)
	}
	r.Image = Image("{}")
	if got, err := r.Schema(); err == nil {
		t.Errorf("an empty schema: %v", got)
	}
	bad := *s
	bad.Version = 0
	if r, err := SchemaRecord(&bad); !errors.Is(err, ErrSchema) {
		t.Errorf("a schema that is not valid: %v, %v", r, err)
	}
	large, err := s.AddColumns(Column{Name: "d", Type: Text, Default: TextValue(strings.Repeat("x", MaxImage))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SchemaRecord(large); !errors.Is(err, ErrSchema) {
		t.Errorf("a schema above the limit: %v", err)
	}
}

func TestOp(t *testing.T) {
	for o := Insert; o < opEnd; o++ {
		if got, err := ParseOp(o.String()); err != nil || got != o || !o.Valid() {
			t.Errorf("%v: got %v, %v", o, got, err)
		}
	}
	for _, o := range []Op{0, opEnd, 255} {
		if got, err := ParseOp(o.String()); err == nil || o.Valid() {
			t.Errorf("%v was read as %v", o, got)
		}
	}
}

func TestLogHash(t *testing.T) {
	a := &Tx{ID: 1, Commit: 2, Records: []Record{{LSN: 1, Op: Truncate, Collection: 1}}}
	b := &Tx{ID: 2, Commit: 2, Records: []Record{{LSN: 2, Op: Truncate, Collection: 1}}}
	seen := map[Hash]string{{}: "nothing"}
	for name, txs := range map[string][]*Tx{"a": {a}, "b": {b}, "ab": {a, b}, "ba": {b, a}, "aa": {a, a}} {
		var h Hash
		for _, tx := range txs {
			h = LogHash(h, AppendTx(nil, tx))
		}
		if seen[h] != "" {
			t.Errorf("%s hashes as %s", name, seen[h])
		}
		seen[h] = name
	}
}
