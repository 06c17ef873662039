package spine

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// state is what a database holds after a transaction, as the model sees it.
type state struct {
	colls map[string]*coll
	next  change.CollectionID // of the next collection to be made
	lines []string            // of show, once asked for
}

// coll is one incarnation of a collection.
type coll struct {
	id      change.CollectionID
	version uint32
	columns []change.Column
	key     []string // names; none for a bag
	rows    map[string]mrow
}

// mrow is a row, or in a bag all copies of it.
type mrow struct {
	values []change.Value
	width  int // columns that its stored image holds: writing it again wider is a change
	count  int64
}

func newState() *state { return &state{colls: make(map[string]*coll), next: 1} }

func (s *state) clone() *state {
	out := &state{colls: make(map[string]*coll, len(s.colls)), next: s.next}
	for name, c := range s.colls {
		d := *c
		d.rows = maps.Clone(c.rows)
		out.colls[name] = &d
	}
	return out
}

// normal is the state as a restore leaves it: every stored row has all columns.
func (s *state) normal(next change.CollectionID) *state {
	out := s.clone()
	out.next = next
	for _, c := range out.colls {
		for k, r := range c.rows {
			r.width = len(c.columns)
			c.rows[k] = r
		}
	}
	return out
}

// show returns every schema and row as one line, sorted.
func (s *state) show() []string {
	if s.lines != nil {
		return s.lines
	}
	out := []string{}
	for name, c := range s.colls {
		out = append(out, schemaLine(c.id, name, c.version, c.columns, c.key))
		for _, r := range c.rows {
			out = append(out, rowLine(c.id, r.values, r.count))
		}
	}
	slices.Sort(out)
	s.lines = out
	return out
}

// rows returns how many rows there are, each copy in a bag counted.
func (s *state) rows() (n int64) {
	for _, c := range s.colls {
		for _, r := range c.rows {
			n += r.count
		}
	}
	return n
}

func schemaLine(id change.CollectionID, name string, version uint32, columns []change.Column, key []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s v%d key%v", id, name, version, key)
	for _, c := range columns {
		fmt.Fprintf(&b, ", %s %s %t %s", c.Name, c.Type, c.Nullable, c.Default)
	}
	return b.String()
}

func rowLine(id change.CollectionID, values []change.Value, count int64) string {
	return fmt.Sprintf("%d| %s ×%d", id, valuesText(values), count)
}

func valuesText(values []change.Value) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(v.String())
	}
	return b.String()
}

// shownSchema is schemaLine of a schema.
func shownSchema(s *change.Schema) string {
	var key []string
	for _, id := range s.Key {
		key = append(key, s.Columns[id-1].Name)
	}
	columns := slices.Clone(s.Columns)
	for i := range columns {
		if columns[i].ID != change.ColumnID(i+1) {
			return fmt.Sprintf("column %d has ID %d", i, columns[i].ID)
		}
	}
	return schemaLine(s.Collection, s.Name, s.Version, columns, key)
}

func (c *coll) bag() bool { return len(c.key) == 0 }

// keyText is equal for rows that have the same key: in a bag the whole row,
// else the key columns, of which numbers that are equal have one text.
func (c *coll) keyText(row []change.Value) string {
	if c.bag() {
		return valuesText(row)
	}
	var parts []string
	for i, col := range c.columns {
		if !slices.Contains(c.key, col.Name) {
			continue
		}
		v := row[i].String()
		switch col.Type {
		case change.Decimal:
			r, ok := new(big.Rat).SetString(row[i].Str())
			if !ok {
				panic("the model made a decimal that is none")
			}
			v = r.RatString()
		case change.Float64:
			if row[i].Float() == 0 {
				v = "0"
			}
		}
		parts = append(parts, v)
	}
	return strings.Join(parts, " | ")
}

// keyValues returns the values of the key columns, in key order.
func (c *coll) keyValues(row []change.Value) []change.Value {
	var out []change.Value
	for _, name := range c.key {
		i := slices.IndexFunc(c.columns, func(col change.Column) bool { return col.Name == name })
		out = append(out, row[i])
	}
	return out
}

// boundary is a place between two transactions.
type boundary struct {
	lsn    change.LSN
	tx     change.TxID // that ends there
	commit change.Time // of it
	state  *state
}
