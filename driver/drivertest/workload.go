package drivertest

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// workload makes up transactions that can be carried out.
type workload struct {
	columns map[string][]change.Column // of live collections
	bags    map[string][]change.Row    // rows in bags, once for each copy
}

const bagName = "bag"

var collectionNames = []string{"alpha", "beta", bagName}

func newWorkload() *workload {
	return &workload{columns: make(map[string][]change.Column), bags: make(map[string][]change.Row)}
}

func (w *workload) create(name string) Op {
	op := Op{Kind: Create, Collection: name, Key: []string{"region", "id"}, Columns: []change.Column{
		{Name: "id", Type: change.Int64},
		{Name: "body", Type: change.Text, Nullable: true},
		{Name: "region", Type: change.Text},
	}}
	if name == bagName {
		op.Key = nil
	}
	w.columns[name] = op.Columns
	delete(w.bags, name)
	return op
}

// createAll returns the operations that make every collection.
func (w *workload) createAll() []Op {
	var ops []Op
	for _, name := range collectionNames {
		ops = append(ops, w.create(name))
	}
	return ops
}

func (w *workload) row(rt *rapid.T, name string) change.Row {
	row := change.Row{
		change.IntValue(rapid.Int64Range(-4, 9).Draw(rt, "id")),
		change.Null(),
		change.TextValue(rapid.SampledFrom([]string{"", "n", "n\x00", "süd"}).Draw(rt, "region")),
	}
	if n := rapid.IntRange(0, 3).Draw(rt, "body"); n > 0 {
		row[1] = change.TextValue(strings.Repeat("b", n*n*40))
	}
	for _, c := range w.columns[name][3:] {
		row = append(row, rapid.SampledFrom([]change.Value{c.Default, change.IntValue(77)}).Draw(rt, c.Name))
	}
	return row
}

// op returns a random operation.
func (w *workload) op(rt *rapid.T) Op {
	name := rapid.SampledFrom(collectionNames).Draw(rt, "collection")
	if w.columns[name] == nil {
		return w.create(name)
	}
	switch n := rapid.IntRange(0, 40).Draw(rt, "op"); {
	case n == 0:
		delete(w.columns, name)
		delete(w.bags, name)
		return Op{Kind: Drop, Collection: name}
	case n == 1:
		delete(w.bags, name)
		return Op{Kind: Truncate, Collection: name}
	case n <= 3 && len(w.columns[name]) < 8:
		c := change.Column{Name: fmt.Sprint("extra", len(w.columns[name])), Type: change.Int64, Default: change.IntValue(int64(n))}
		w.columns[name] = append(slices.Clone(w.columns[name]), c)
		for i, row := range w.bags[name] {
			w.bags[name][i] = append(slices.Clone(row), c.Default)
		}
		return Op{Kind: AddColumn, Collection: name, Columns: []change.Column{c}}
	case name == bagName && n < 16 && len(w.bags[name]) > 0:
		i := rapid.IntRange(0, len(w.bags[name])-1).Draw(rt, "copy")
		row := w.bags[name][i]
		w.bags[name] = slices.Delete(w.bags[name], i, i+1)
		return Op{Kind: Remove, Collection: name, Row: row}
	case name == bagName:
		row := w.row(rt, name)
		w.bags[name] = append(w.bags[name], row)
		return Op{Kind: Add, Collection: name, Row: row}
	case n < 14:
		return Op{Kind: Delete, Collection: name, Row: w.row(rt, name)}
	}
	return Op{Kind: Put, Collection: name, Row: w.row(rt, name)}
}

// tx returns a random transaction, which may turn out to change nothing.
func (w *workload) tx(rt *rapid.T) []Op {
	var ops []Op
	for range rapid.IntRange(1, 8).Draw(rt, "operations") {
		ops = append(ops, w.op(rt))
	}
	return ops
}
