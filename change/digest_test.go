package change

import (
	"bytes"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type stored struct {
	key   Key
	image Image
	count int64
}

func digestOf(t interface{ Fatalf(string, ...any) }, s *Schema, rows ...stored) *Digest {
	d := new(Digest)
	for _, r := range rows {
		key, image := bytes.Clone(r.key), bytes.Clone(r.image)
		if err := d.Add(s, r.key, r.image, r.count); err != nil {
			t.Fatalf("%v", err)
		}
		if !bytes.Equal(key, r.key) || !bytes.Equal(image, r.image) {
			t.Fatalf("Add changed its input: % x, % x", r.key, r.image)
		}
	}
	return d
}

func sameDigest(a, b *Digest) bool { return a.Rows == b.Rows && a.Sum() == b.Sum() }

func TestDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		var rows []stored
		for range rapid.IntRange(1, 6).Draw(t, "rows") {
			k, m := encode(t, s, genRow(s, false).Draw(t, "row"))
			rows = append(rows, stored{k, m, rapid.Int64Range(-3, 3).Draw(t, "count")})
		}
		whole := digestOf(t, s, rows...)
		if shuffled := digestOf(t, s, rapid.Permutation(rows).Draw(t, "order")...); !sameDigest(whole, shuffled) {
			t.Fatal("the digest depends on the order")
		}
		normal := new(Digest)
		for _, r := range rows {
			m, err := s.Normalize(nil, r.image)
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(m)
			if err := normal.AddNormal(s, r.key, m, r.count); err != nil || !bytes.Equal(before, m) {
				t.Fatalf("AddNormal: %v; its input % x is now % x", err, before, m)
			}
		}
		if !sameDigest(whole, normal) {
			t.Fatal("Add and AddNormal of rows in normal form differ")
		}
		cut := rapid.IntRange(0, len(rows)).Draw(t, "cut")
		parts := digestOf(t, s, rows[:cut]...)
		parts.Merge(digestOf(t, s, rows[cut:]...))
		if !sameDigest(whole, parts) {
			t.Fatal("the parts don't add up to the whole")
		}
		var single []stored
		for _, r := range rows {
			one := stored{r.key, r.image, 1}
			if r.count < 0 {
				one.count = -1
			}
			single = append(single, slices.Repeat([]stored{one}, int(max(r.count, -r.count)))...)
		}
		if !sameDigest(whole, digestOf(t, s, single...)) {
			t.Fatal("a count is not as many rows")
		}
		for _, r := range rows {
			r.count = -r.count
			if err := whole.Add(s, r.key, r.image, r.count); err != nil {
				t.Fatal(err)
			}
		}
		if !sameDigest(whole, new(Digest)) {
			t.Fatalf("rows taken away leave %v", whole.Sum())
		}
	})
}

func TestDigestAcrossVersions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		row := genRow(s, false).Draw(t, "row")
		k, m := encode(t, s, row)
		next := genNext(s).Draw(t, "next")
		later, err := next.DecodeRow(nil, k, m)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range later { // −0 counts as 0
			if c := &next.Columns[i]; c.Type == Float64 && v.Float() == 0 && !v.IsNull() {
				later[i] = FloatValue(math.Copysign(0, -math.Copysign(1, v.Float())))
			}
		}
		k2, m2 := encode(t, next, later)
		old, now := digestOf(t, next, stored{k, m, 1}), digestOf(t, next, stored{k2, m2, 1})
		if !sameDigest(old, now) {
			t.Fatalf("the row has digest %v before and %v after the columns came", old.Sum(), now.Sum())
		}
	})
}

func TestDigestTellsApart(t *testing.T) {
	s, _ := Define(1, "t", []string{"k"}, Column{Name: "k", Type: Int64}, Column{Name: "v", Type: Int64, Nullable: true})
	other, _ := Define(2, "t", []string{"k"}, Column{Name: "k", Type: Int64}, Column{Name: "v", Type: Int64, Nullable: true})
	seen := map[Hash]string{}
	add := func(name string, s *Schema, row Row, count int64) {
		k, m := encode(t, s, row)
		h := digestOf(t, s, stored{k, m, count}).Sum()
		if was, ok := seen[h]; ok {
			t.Errorf("%s has the digest of %s", name, was)
		}
		seen[h] = name
	}
	add("no row", s, Row{IntValue(1), IntValue(2)}, 0)
	add("1 2", s, Row{IntValue(1), IntValue(2)}, 1)
	add("twice", s, Row{IntValue(1), IntValue(2)}, 2)
	add("taken away", s, Row{IntValue(1), IntValue(2)}, -1)
	add("1 3", s, Row{IntValue(1), IntValue(3)}, 1)
	add("2 2", s, Row{IntValue(2), IntValue(2)}, 1)
	add("1 null", s, Row{IntValue(1), Null()}, 1)
	add("other collection", other, Row{IntValue(1), IntValue(2)}, 1)
}

func TestDigestRefusesPartial(t *testing.T) {
	s, _ := Define(1, "t", []string{"k"}, Column{Name: "k", Type: Int64}, Column{Name: "v", Type: Int64})
	k, m := encode(t, s, Row{IntValue(1), Unchanged()})
	d := new(Digest)
	if err := d.Add(s, k, m, 1); err == nil || !sameDigest(d, new(Digest)) {
		t.Errorf("a partial row: %v, sum %v", err, d.Sum())
	}
}

func TestAddTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Hash
		copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		n := genInt().Draw(t, "count")
		var d Digest
		d.addTimes(h, n)
		be := h
		slices.Reverse(be[:])
		want := new(big.Int).Mul(new(big.Int).SetBytes(be[:]), big.NewInt(n))
		want.Mod(want, new(big.Int).Lsh(big.NewInt(1), 256))
		sum := d.Sum()
		slices.Reverse(sum[:])
		if got := new(big.Int).SetBytes(sum[:]); got.Cmp(want) != 0 {
			t.Fatalf("%d times %v is %x, want %x", n, h, got, want)
		}
	})
}
