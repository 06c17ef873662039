package spine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

// op is one step of a transaction. What it comes to depends on the state that
// it meets; it is drawn without knowing it, so that a plan stays the same plan
// whatever a crash has left.
type op struct {
	kind    string
	coll    string
	id      int
	variant uint
}

var (
	collNames = []string{"alpha", "beta", "bag"}
	// The weights of the operations, by how often they are named.
	opKinds = strings.Fields("put put put put put insert insert update patch patch delete delete delete " +
		"add add take take fill large truncate column drop")
)

var opGen = rapid.Custom(func(rt *rapid.T) op {
	return op{
		kind:    rapid.SampledFrom(opKinds).Draw(rt, "op"),
		coll:    rapid.SampledFrom(collNames).Draw(rt, "collection"),
		id:      rapid.IntRange(0, 5).Draw(rt, "id"),
		variant: rapid.UintRange(0, 1<<20).Draw(rt, "variant"),
	}
})

// txPlan is one transaction; it is rolled back if fail is set.
type txPlan struct {
	ops  []op
	fail bool
}

var txGen = rapid.Custom(func(rt *rapid.T) txPlan {
	return txPlan{
		ops:  rapid.SliceOfN(opGen, 0, 5).Draw(rt, "ops"),
		fail: rapid.IntRange(0, 14).Draw(rt, "fail") == 14,
	}
})

// mix spreads a number, so that one draw decides several things.
func mix(variant uint, salt int) uint {
	x := uint64(variant)*0x9e3779b97f4a7c15 + uint64(salt)*0xbf58476d1ce4e5b9
	x ^= x >> 29
	x *= 0x94d049bb133111eb
	return uint(x>>33) & math.MaxInt32
}

func pick[T any](variant uint, from ...T) T { return from[variant%uint(len(from))] }

func decimal(text string) change.Value {
	v, err := change.ParseDecimal(text)
	if err != nil {
		panic(err)
	}
	return v
}

// value returns one of a few values that a column may hold.
func value(c *change.Column, variant uint) change.Value {
	if c.Nullable && variant%4 == 3 {
		return change.Null()
	}
	switch variant /= 4; c.Type {
	case change.Bool:
		return change.BoolValue(variant%2 == 1)
	case change.Int64:
		return change.IntValue(pick[int64](variant, 0, 7, -5, math.MinInt64))
	case change.Float64:
		return change.FloatValue(pick(variant, 0, math.Copysign(0, -1), 1.5, math.NaN()))
	case change.Text:
		return change.TextValue(pick(variant, "", "n", "n\x00", "süd", strings.Repeat("b", 150)))
	case change.Bytes:
		return change.BytesValue([]byte(pick(variant, "", "\x00", "\xff\x00\xff")))
	case change.Timestamp:
		return change.TimeValue(change.Time(pick(variant, 0, -1, 1_700_000_000_000_001)))
	case change.Decimal:
		return decimal(pick(variant, "1.0", "1", "-3.25"))
	}
	return change.NativeValue(pick(variant, "10.0.0.0/8", ""))
}

// define returns the columns and key that a new collection of this name has.
// Sometimes what was keyed becomes a bag.
func define(name string, variant uint) (columns []change.Column, key []string) {
	columns = []change.Column{
		{Name: "id", Type: change.Int64},
		{Name: "region", Type: change.Text},
		{Name: "body", Type: change.Text, Nullable: true},
		{Name: "amount", Type: change.Float64},
	}
	switch {
	case name == "bag" || variant%5 == 4:
		return columns, nil
	case name == "beta":
		columns[0] = change.Column{Name: "price", Type: change.Decimal}
		columns[1] = change.Column{Name: "weight", Type: change.Float64}
		columns[3] = change.Column{Name: "blob", Type: change.Bytes}
		return columns, []string{"price", "weight"}
	}
	return columns, []string{"region", "id"} // not in the order of the columns
}

// added returns a column that may be added; defaults are as many as types.
func added(n int, variant uint) change.Column {
	c := pick(variant,
		change.Column{Type: change.Int64, Default: change.IntValue(7)},
		change.Column{Type: change.Text, Nullable: true, Default: change.Null()},
		change.Column{Type: change.Decimal, Default: decimal("1.0")},
		change.Column{Type: change.Float64, Default: change.FloatValue(math.Copysign(0, -1))},
		change.Column{Type: change.Bool, Default: change.BoolValue(false)},
		change.Column{Type: change.Timestamp, Nullable: true, Default: change.TimeValue(-1)},
		change.Column{Type: change.Native, NativeType: "cidr", Default: change.NativeValue("10.0.0.0/8")})
	c.Name = fmt.Sprint("extra", n)
	return c
}

// row returns one of the rows that an id can have.
func (c *coll) row(id int, variant uint) []change.Value {
	out := make([]change.Value, len(c.columns))
	for i := range c.columns {
		col := &c.columns[i]
		out[i] = value(col, mix(variant, i))
		switch {
		case col.Name == "id":
			out[i] = change.IntValue(int64(id))
		case col.Name == "region":
			out[i] = change.TextValue(pick(uint(id), "", "n", "n\x00"))
		case col.Name == "price":
			out[i] = decimal(pick(uint(id), "1", "1.0", "1.00", "-2.5", "0"))
		case col.Name == "weight":
			out[i] = change.FloatValue(pick(uint(id), 0, math.Copysign(0, -1), 3))
		}
	}
	return out
}

// expect returns an error unless err is the one wanted.
func expect(o op, err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%+v: got %v, want %v", o, err, want)
	}
	return nil
}

// do carries out one operation on the model and on the database, and returns
// how many records the database must have logged for it.
func (s *state) do(tx *embedded.Tx, o op) (records int, err error) {
	c := s.colls[o.coll]
	if c == nil {
		if err := expect(o, tx.Truncate(o.coll), embedded.ErrNoCollection); err != nil {
			return 0, err
		}
		columns, key := define(o.coll, mix(o.variant, 99))
		schema, err := tx.CreateCollection(o.coll, key, columns...)
		if err != nil {
			return 0, err
		}
		s.colls[o.coll] = &coll{id: s.next, version: 1, columns: schema.Columns, key: key, rows: make(map[string]mrow)}
		s.next++
		return 1, nil
	}
	switch o.kind {
	case "truncate":
		c.rows = make(map[string]mrow)
		return 1, tx.Truncate(o.coll)
	case "drop":
		delete(s.colls, o.coll)
		return 1, tx.DropCollection(o.coll)
	case "column":
		return c.addColumn(tx, o)
	}
	if c.bag() {
		return c.doBag(tx, o)
	}
	return c.doKeyed(tx, o)
}

func (c *coll) addColumn(tx *embedded.Tx, o op) (int, error) {
	if len(c.columns) == 8 {
		return 0, nil
	}
	col := added(len(c.columns), mix(o.variant, 98))
	schema, err := tx.AddColumns(o.coll, col)
	if err != nil {
		return 0, err
	}
	c.columns = schema.Columns
	c.version++
	rows := make(map[string]mrow, len(c.rows))
	for _, r := range c.rows {
		r.values = append(slices.Clone(r.values), col.Default)
		rows[c.keyText(r.values)] = r
	}
	c.rows = rows
	return 1, nil
}

// doBag reads every operation on rows as one that adds or takes.
func (c *coll) doBag(tx *embedded.Tx, o op) (int, error) {
	row := c.row(o.id, o.variant%8)
	key := c.keyText(row)
	r := c.rows[key]
	switch o.kind {
	case "take", "delete", "update", "patch":
		err := tx.Remove(o.coll, row)
		if r.count == 0 {
			return 0, expect(o, err, embedded.ErrNotFound)
		}
		if r.count--; r.count == 0 {
			delete(c.rows, key)
		} else {
			c.rows[key] = r
		}
		return 1, err
	}
	n := int64(1 + o.variant%3)
	c.rows[key] = mrow{values: row, width: len(row), count: r.count + n}
	return int(n), tx.Add(o.coll, row, n)
}

func (c *coll) doKeyed(tx *embedded.Tx, o op) (int, error) {
	row := c.row(o.id, o.variant)
	key := c.keyText(row)
	_, have := c.rows[key]
	switch o.kind {
	case "delete", "take":
		delete(c.rows, key)
		was, err := tx.Delete(o.coll, c.keyValues(row)...)
		if err == nil && was != have {
			err = fmt.Errorf("%+v: Delete says %t, want %t", o, was, have)
		}
		if have {
			return 1, err
		}
		return 0, err
	case "insert":
		if have {
			return 0, expect(o, tx.Insert(o.coll, row), embedded.ErrExists)
		}
		return c.set(key, row), tx.Insert(o.coll, row)
	case "update":
		if !have {
			return 0, expect(o, tx.Update(o.coll, row), embedded.ErrNotFound)
		}
		return c.set(key, row), tx.Update(o.coll, row)
	case "patch":
		return c.patch(tx, o, key, row)
	case "fill":
		n := 0
		for i := range 40 {
			row := c.row(100+i, o.variant+uint(i))
			n += c.set(c.keyText(row), row)
			if err := tx.Put(o.coll, row); err != nil {
				return n, err
			}
		}
		return n, nil
	case "large":
		row[2] = change.TextValue(strings.Repeat(fmt.Sprint(o.variant%10), 3000))
	}
	return c.set(key, row), tx.Put(o.coll, row)
}

// set stores a row and returns how many records that makes.
func (c *coll) set(key string, row []change.Value) int {
	old, have := c.rows[key]
	c.rows[key] = mrow{values: row, width: len(row), count: 1}
	if have && old.width == len(row) && slices.Equal(old.values, row) {
		return 0
	}
	return 1
}

func (c *coll) patch(tx *embedded.Tx, o op, key string, row []change.Value) (int, error) {
	partial := slices.Clone(row)
	old, have := c.rows[key]
	for i, col := range c.columns {
		if !slices.Contains(c.key, col.Name) && mix(o.variant, 50+i)%2 == 0 {
			partial[i] = change.Unchanged()
			if have {
				row[i] = old.values[i]
			}
		}
	}
	err := tx.Patch(o.coll, partial)
	if !have {
		return 0, expect(o, err, embedded.ErrNotFound)
	}
	return c.set(key, row), err
}
