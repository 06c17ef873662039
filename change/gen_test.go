package change

import (
	"fmt"
	"math"
	"slices"

	"pgregory.net/rapid"
)

var allTypes = []Type{Bool, Int64, Float64, Text, Bytes, Timestamp, Decimal, Native}

// genInt prefers the edges of every byte length.
func genInt() *rapid.Generator[int64] {
	return rapid.Custom(func(t *rapid.T) int64 {
		switch rapid.IntRange(0, 3).Draw(t, "int kind") {
		case 0:
			return rapid.Int64Range(-300, 300).Draw(t, "small")
		case 1:
			edge := int64(1) << rapid.IntRange(0, 63).Draw(t, "bit")
			return edge + rapid.Int64Range(-1, 1).Draw(t, "off")
		case 2:
			return rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64, 0, -1, -256, -255, -257}).Draw(t, "edge")
		}
		return rapid.Int64().Draw(t, "any")
	})
}

func genFloat() *rapid.Generator[float64] {
	return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1),
		math.Inf(-1), math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, math.MaxFloat64, -math.MaxFloat64, 1, -1}))
}

// genText makes UTF-8 text with many NULs and shared prefixes.
func genText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xff, 0xfffd, 0x10ffff}), 0, 6, -1), rapid.StringN(0, 20, 60))
}

func genBytes() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xfe, 0xff}), 0, 6).Draw(t, "bytes"))
	})
}

func genDecimal() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "special") == 0 {
			return rapid.SampledFrom([]string{"NaN", "Infinity", "-Infinity", "0", "-0", "0.00", "-000.000"}).Draw(t, "word")
		}
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		whole := rapid.StringMatching(`0{0,2}[0-9]{1,4}0{0,3}`).Draw(t, "whole")
		if rapid.Bool().Draw(t, "dot") {
			return sign + whole + "." + rapid.StringMatching(`0{0,3}[0-9]{1,4}0{0,2}`).Draw(t, "fraction")
		}
		return sign + whole
	})
}

func mustDecimal(s string) Value {
	v, err := ParseDecimal(s)
	if err != nil {
		panic(err)
	}
	return v
}

func genValue(typ Type) *rapid.Generator[Value] {
	return rapid.Custom(func(t *rapid.T) Value {
		switch typ {
		case Bool:
			return BoolValue(rapid.Bool().Draw(t, "bool"))
		case Int64:
			return IntValue(genInt().Draw(t, "int"))
		case Float64:
			return FloatValue(genFloat().Draw(t, "float"))
		case Text:
			return TextValue(genText().Draw(t, "text"))
		case Bytes:
			return BytesValue([]byte(genBytes().Draw(t, "bytes")))
		case Timestamp:
			return TimeValue(Time(genInt().Draw(t, "time")))
		case Decimal:
			return mustDecimal(genDecimal().Draw(t, "decimal"))
		case Native:
			return NativeValue(genText().Draw(t, "native"))
		}
		panic("type")
	})
}

// genColumn makes the n-th column of a schema.
func genColumn(t *rapid.T, n int) Column {
	c := Column{Name: fmt.Sprintf("c%d", n), Type: rapid.SampledFrom(allTypes).Draw(t, "type"), Nullable: rapid.Bool().Draw(t, "nullable")}
	if c.Type == Native {
		c.NativeType = "uuid"
	}
	return c
}

// genSchema makes a version 1, often with more than 15 IDs between columns.
func genSchema(bags bool) *rapid.Generator[*Schema] {
	return rapid.Custom(func(t *rapid.T) *Schema {
		s := &Schema{Collection: CollectionID(rapid.Uint32Range(1, math.MaxUint32).Draw(t, "collection")), Name: "t", Version: 1}
		var id ColumnID
		for i := range rapid.IntRange(1, 6).Draw(t, "columns") {
			c := genColumn(t, i)
			id += ColumnID(rapid.SampledFrom([]uint32{1, 1, 2, 14, 15, 16, 200, 100_000}).Draw(t, "gap"))
			c.ID, c.Since, c.Default = id, 1, Null()
			s.Columns = append(s.Columns, c)
		}
		if !bags || rapid.Bool().Draw(t, "keyed") {
			order := rapid.Permutation(s.Columns).Draw(t, "order")
			for _, c := range order[:rapid.IntRange(1, len(order)).Draw(t, "key columns")] {
				s.Key = append(s.Key, c.ID)
				s.Columns[s.index(c.ID)].Nullable = false
			}
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// genNext adds columns to a schema.
func genNext(s *Schema) *rapid.Generator[*Schema] {
	return rapid.Custom(func(t *rapid.T) *Schema {
		var add []Column
		for i := range rapid.IntRange(1, 3).Draw(t, "added") {
			c := genColumn(t, len(s.Columns)+i)
			if !c.Nullable || rapid.Bool().Draw(t, "has default") {
				c.Default = genValue(c.Type).Draw(t, "default")
			}
			add = append(add, c)
		}
		next, err := s.AddColumns(add...)
		if err != nil {
			t.Fatal(err)
		}
		return next
	})
}

func genRow(s *Schema, partial bool) *rapid.Generator[Row] {
	return rapid.Custom(func(t *rapid.T) Row {
		row := make(Row, len(s.Columns))
		for i, c := range s.Columns {
			isKey := slices.Contains(s.Key, c.ID)
			switch k := rapid.IntRange(0, 4).Draw(t, "which"); {
			case k == 0 && c.Nullable:
				row[i] = Null()
			case k <= 2 && partial && !isKey:
				row[i] = Unchanged()
			case k == 3 && c.Since > 1:
				row[i] = c.Default
			default:
				row[i] = genValue(c.Type).Draw(t, c.Name)
			}
		}
		return row
	})
}
