package embedded

import (
	"fmt"
	"iter"
	"reflect"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/change"
)

// Collection stores Go structs of one type as rows of one collection. It holds
// no data and no connection: make it once with [Of] and use it in any
// transaction of any database, from any goroutine.
type Collection[T any] struct {
	name   string
	fields []field
	key    []string
	err    error // why T can't be mapped; every method returns it
	bound  atomic.Pointer[binding]
}

// binding says where a schema keeps a struct's fields.
type binding struct {
	schema *change.Schema
	column []int // place among the columns, for each field
	others []int // columns that the struct does not have
	full   bool  // no column is missing, so that the collection fits the struct
	keys   []int // field of each key column
}

// Of maps the struct type T to rows of a collection. Each exported field is a
// column, under the field's name or the one in its tag:
//
//	type City struct {
//		ID      int64  `tidemark:"id,key"`
//		Name    string `tidemark:"name"`
//		Area    string `tidemark:"area,decimal"`
//		Country *string                          // nullable
//		Cache   []int  `tidemark:"-"`            // not stored
//	}
//
// Fields marked key are the key, in their order; without any the collection is
// a bag. Integers except uint, uint64 and uintptr, floats, bool, string, []byte
// and [time.Time] (cut to microseconds, UTC) can be columns, and pointers to
// these as nullable ones. The options decimal and native=<type> store a string
// as such; default=<text> gives what rows hold that are older than the column;
// without it they hold the field's zero value, or null.
func Of[T any](collection string) *Collection[T] {
	c := &Collection[T]{name: collection}
	c.fields, c.err = structFields(reflect.TypeFor[T]())
	if c.err != nil {
		c.err = fmt.Errorf("collection %q: %w", collection, c.err)
	}
	for _, f := range c.fields {
		if f.key {
			c.key = append(c.key, f.column.Name)
		}
	}
	return c
}

// Create makes the collection when it is not there, and adds the columns that
// the struct has and the collection lacks. [Collection.Put], Insert and Add do
// so by themselves.
func (c *Collection[T]) Create(tx *Tx) error {
	_, err := c.forWrite(tx)
	return err
}

func (c *Collection[T]) forWrite(tx *Tx) (*binding, error) {
	if c.err != nil {
		return nil, c.err
	}
	if err := tx.check(true); err != nil {
		return nil, err
	}
	s := tx.rows.catalog.byName[c.name]
	if b := c.bound.Load(); b != nil && b.schema == s && b.full {
		return b, nil
	}
	var err error
	if s == nil {
		s, err = tx.CreateCollection(c.name, c.key, c.columns(nil)...)
	} else {
		s, err = tx.AddColumns(c.name, c.columns(s)...)
	}
	if err != nil {
		return nil, err
	}
	return c.bind(s)
}

// forRead returns the binding for what the transaction shows.
func (c *Collection[T]) forRead(tx *Tx) (*binding, error) {
	if c.err != nil {
		return nil, c.err
	}
	s, err := tx.Schema(c.name)
	if err != nil {
		return nil, err
	}
	return c.bind(s)
}

// columns returns the columns that a schema lacks; all of them for nil.
func (c *Collection[T]) columns(s *change.Schema) []change.Column {
	var out []change.Column
	for _, f := range c.fields {
		if s == nil || s.Column(f.column.Name) == nil {
			out = append(out, f.column)
		}
	}
	return out
}

// bind finds the struct's fields in a schema.
func (c *Collection[T]) bind(s *change.Schema) (*binding, error) {
	if b := c.bound.Load(); b != nil && b.schema == s {
		return b, nil
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("collection %q and %s: %s: %w", c.name, reflect.TypeFor[T](), fmt.Sprintf(format, args...), change.ErrSchema)
	}
	place := make(map[string]int)
	for i, col := range s.Columns {
		place[col.Name] = i
	}
	b := &binding{schema: s, full: true}
	mine := make(map[string]int)
	for n, f := range c.fields {
		mine[f.column.Name] = n
		i, ok := place[f.column.Name]
		if !ok {
			b.full = false
			b.column = append(b.column, -1)
			continue
		}
		col := &s.Columns[i]
		if col.Type != f.column.Type || col.NativeType != f.column.NativeType || col.Nullable != f.column.Nullable {
			return nil, bad("column %q is %s%s there, %s%s here", col.Name, col.Type, nullText(col), f.column.Type, nullText(&f.column))
		}
		b.column = append(b.column, i)
	}
	for i, col := range s.Columns {
		if _, ok := mine[col.Name]; !ok {
			b.others = append(b.others, i)
		}
	}
	if len(s.Key) != len(c.key) {
		return nil, bad("there are %d key columns there, %d here", len(s.Key), len(c.key))
	}
	for n, id := range s.Key {
		name := ""
		for _, col := range s.Columns {
			if col.ID == id {
				name = col.Name
			}
		}
		if name != c.key[n] {
			return nil, bad("key column %d is %q there, %q here", n+1, name, c.key[n])
		}
		b.keys = append(b.keys, mine[name])
	}
	c.bound.Store(b)
	return b, nil
}

func nullText(c *change.Column) string {
	if c.Nullable {
		return " or null"
	}
	return ""
}

// row turns a struct into a row; columns that it does not have stay Unchanged.
func (c *Collection[T]) row(b *binding, v *T) (change.Row, error) {
	row := make(change.Row, len(b.schema.Columns))
	rv := reflect.ValueOf(v).Elem()
	for n := range c.fields {
		f := &c.fields[n]
		val, err := f.get(rv.Field(f.index))
		if err != nil {
			return nil, fmt.Errorf("collection %q: column %q: %w: %w", c.name, f.column.Name, err, change.ErrSchema)
		}
		row[b.column[n]] = val
	}
	return row, nil
}

// fill gives the columns that the struct does not have what a new row holds.
func (b *binding) fill(row change.Row) {
	for _, i := range b.others {
		row[i] = b.schema.Columns[i].Default
	}
}

// Put stores structs, whether their keys are there already or not. Columns
// that the struct does not have keep their values.
func (c *Collection[T]) Put(tx *Tx, values ...T) error {
	return c.store(tx, values, func(b *binding, row change.Row) error {
		if len(b.others) == 0 {
			return tx.Put(c.name, row)
		}
		key := make([]change.Value, len(b.keys))
		for n, f := range b.keys {
			key[n] = row[b.column[f]]
		}
		_, ok, err := tx.Get(c.name, key...)
		if err != nil {
			return err
		}
		if ok {
			return tx.Patch(c.name, row)
		}
		b.fill(row)
		return tx.Insert(c.name, row)
	})
}

// Insert stores structs whose keys must not be there: [ErrExists].
func (c *Collection[T]) Insert(tx *Tx, values ...T) error {
	return c.store(tx, values, func(b *binding, row change.Row) error {
		b.fill(row)
		return tx.Insert(c.name, row)
	})
}

// Add adds structs to a bag.
func (c *Collection[T]) Add(tx *Tx, values ...T) error {
	return c.store(tx, values, func(b *binding, row change.Row) error {
		b.fill(row)
		return tx.Add(c.name, row, 1)
	})
}

// Remove takes one copy of each struct out of a bag: [ErrNotFound].
func (c *Collection[T]) Remove(tx *Tx, values ...T) error {
	return c.store(tx, values, func(b *binding, row change.Row) error {
		b.fill(row)
		return tx.Remove(c.name, row)
	})
}

func (c *Collection[T]) store(tx *Tx, values []T, do func(*binding, change.Row) error) error {
	b, err := c.forWrite(tx)
	if err != nil {
		return err
	}
	for i := range values {
		row, err := c.row(b, &values[i])
		if err != nil {
			return err
		}
		if err := do(b, row); err != nil {
			return err
		}
	}
	return nil
}

// Key turns Go values of the key's fields, or of the first of them, into key
// values, for [Range].
func (c *Collection[T]) Key(values ...any) ([]change.Value, error) {
	if c.err != nil {
		return nil, c.err
	}
	if len(values) > len(c.key) {
		return nil, fmt.Errorf("collection %q has %d key columns, got %d values: %w", c.name, len(c.key), len(values), change.ErrSchema)
	}
	out := make([]change.Value, 0, len(values))
	for n := range c.fields {
		f := &c.fields[n]
		if !f.key || len(out) == len(values) {
			continue
		}
		rv := reflect.ValueOf(values[len(out)])
		if !converts(rv, f.typ) {
			return nil, fmt.Errorf("collection %q: key column %q is a %s, got %T: %w", c.name, f.column.Name, f.typ, values[len(out)], change.ErrSchema)
		}
		val, err := f.get(rv.Convert(f.typ))
		if err != nil {
			return nil, fmt.Errorf("collection %q: key column %q: %w: %w", c.name, f.column.Name, err, change.ErrSchema)
		}
		out = append(out, val)
	}
	return out, nil
}

// converts reports whether a value can become one of type t and stay what it is.
func converts(v reflect.Value, t reflect.Type) bool {
	if !v.IsValid() || !v.CanConvert(t) || (t.Kind() == reflect.String) != (v.Kind() == reflect.String) {
		return false
	}
	if v.CanInt() || v.CanUint() || v.CanFloat() {
		return v.Convert(t).Convert(v.Type()).Equal(v)
	}
	return true
}

// Get returns the struct with this key; ok is false when there is none.
func (c *Collection[T]) Get(tx *Tx, key ...any) (v T, ok bool, err error) {
	b, err := c.forRead(tx)
	if err != nil {
		return v, false, err
	}
	k, err := c.Key(key...)
	if err != nil {
		return v, false, err
	}
	row, ok, err := tx.Get(c.name, k...)
	if err != nil || !ok {
		return v, false, err
	}
	err = c.set(b, &v, row)
	return v, err == nil, err
}

// Delete removes the struct with this key and reports whether it was there.
func (c *Collection[T]) Delete(tx *Tx, key ...any) (bool, error) {
	k, err := c.Key(key...)
	if err != nil {
		return false, err
	}
	return tx.Delete(c.name, k...)
}

// set fills a struct from a row. Fields whose column is not there stay zero.
func (c *Collection[T]) set(b *binding, v *T, row change.Row) error {
	rv := reflect.ValueOf(v).Elem()
	for n := range c.fields {
		f := &c.fields[n]
		if b.column[n] < 0 {
			continue
		}
		if err := f.set(rv.Field(f.index), row[b.column[n]]); err != nil {
			return fmt.Errorf("collection %q: column %q: %w", c.name, f.column.Name, err)
		}
	}
	return nil
}

// All yields every struct in key order.
func (c *Collection[T]) All(tx *Tx) iter.Seq2[T, error] { return c.Scan(tx, Range{}) }

// Scan yields the structs of a range in key order.
func (c *Collection[T]) Scan(tx *Tx, r Range) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		b, err := c.forRead(tx)
		if err != nil {
			yield(zero, err)
			return
		}
		for row, err := range tx.Scan(c.name, r) {
			var v T
			if err == nil {
				err = c.set(b, &v, row)
			}
			if err != nil {
				yield(zero, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
