package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkdb/tidemark/change"
)

// Collections returns the schema of every collection in order of collection
// ID. Schemas must not be modified.
func (tx *Tx) Collections() ([]*change.Schema, error) {
	if err := tx.check(false); err != nil {
		return nil, err
	}
	return tx.rows.catalog.schemas(), nil
}

// Schema returns the schema of a collection, which must not be modified.
func (tx *Tx) Schema(collection string) (*change.Schema, error) {
	if err := tx.check(false); err != nil {
		return nil, err
	}
	return tx.rows.catalog.find(collection)
}

// Get returns the row with this key; ok is false when there is none.
func (tx *Tx) Get(collection string, key ...change.Value) (row change.Row, ok bool, err error) {
	s, err := tx.keyed(collection, false)
	if err != nil {
		return nil, false, err
	}
	k, err := s.EncodeKey(nil, key...)
	if err != nil {
		return nil, false, err
	}
	image, ok, err := tx.rows.value(s.Collection, k)
	if err != nil || !ok {
		return nil, false, err
	}
	row, err = s.DecodeRow(nil, k, image)
	return row, err == nil, err
}

// Range says which rows a scan yields, in key order. The zero value means all.
// From, To and Prefix hold values for the first key columns, not necessarily
// for all; bags have no key and take none.
type Range struct {
	Prefix  []change.Value // rows whose first key columns hold these
	From    []change.Value // rows at or after these
	To      []change.Value // rows before these
	Reverse bool           // last row first
}

// Scan yields the rows of a collection, as the transaction shows them when the
// scan starts; rows of a bag once for each copy. A row is the caller's.
func (tx *Tx) Scan(collection string, r Range) iter.Seq2[change.Row, error] {
	return func(yield func(change.Row, error) bool) {
		stopped := false
		err := tx.scan(collection, r, func(row change.Row, err error) bool {
			stopped = !yield(row, err)
			return !stopped
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

func (tx *Tx) scan(collection string, r Range, yield func(change.Row, error) bool) (err error) {
	if err := tx.check(false); err != nil {
		return err
	}
	s, err := tx.rows.catalog.find(collection)
	if err != nil {
		return err
	}
	lower, upper, err := r.bounds(s)
	if err != nil {
		return err
	}
	c, err := tx.rows.cursor(s.Collection, lower, upper, r.Reverse)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for c.next() {
		image, count := change.Image(c.value), int64(1)
		if s.Bag() {
			if count, image, err = bagValue(c.value); err != nil {
				return err
			}
		}
		key := change.Key(c.key[rowPrefix:])
		for range count {
			row, err := s.DecodeRow(nil, key, image)
			if err != nil {
				return err
			}
			if !yield(row, nil) {
				return nil
			}
			if tx.over {
				return ErrTxDone
			}
		}
	}
	return c.err
}

// bounds turns a range into keys of the state store.
func (r *Range) bounds(s *change.Schema) (lower, upper []byte, err error) {
	lower, upper = rowBounds(s.Collection)
	if s.Bag() && len(r.Prefix)+len(r.From)+len(r.To) > 0 {
		return nil, nil, fmt.Errorf("collection %q is a bag and has no key to scan by: %w", s.Name, change.ErrSchema)
	}
	edge := func(values []change.Value) ([]byte, error) {
		if len(values) > len(s.Key) {
			return nil, fmt.Errorf("collection %q has %d key columns, got %d values: %w", s.Name, len(s.Key), len(values), change.ErrSchema)
		}
		part := *s
		part.Key = s.Key[:len(values)]
		key, err := part.EncodeKey(nil, values...)
		return appendRowKey(nil, s.Collection, key), err
	}
	if len(r.Prefix) > 0 {
		if lower, err = edge(r.Prefix); err != nil {
			return nil, nil, err
		}
		upper = successor(bytes.Clone(lower))
	}
	if len(r.From) > 0 {
		from, err := edge(r.From)
		if err != nil {
			return nil, nil, err
		}
		if bytes.Compare(from, lower) > 0 {
			lower = from
		}
	}
	if len(r.To) > 0 {
		to, err := edge(r.To)
		if err != nil {
			return nil, nil, err
		}
		if bytes.Compare(to, upper) < 0 {
			upper = to
		}
	}
	return lower, upper, nil
}

// cursor walks over the keys of a stack between two bounds. key and value are
// valid until the next call.
type cursor struct {
	key, value []byte
	err        error

	reverse bool
	items   []item // what the layers say, in the order of the walk
	it      *pebble.Iterator
	valid   bool // it stands on a row
	moved   bool // it was moved to its first row
	onStore bool // the cursor's row is the one that it stands on
}

// cursor opens a walk over the rows of one collection.
func (s *stack) cursor(c change.CollectionID, lower, upper []byte, reverse bool) (*cursor, error) {
	cur := &cursor{reverse: reverse}
	if bytes.Compare(lower, upper) >= 0 {
		return cur, nil
	}
	hidden := cur.collect(s.layers, c, lower, upper)
	if hidden {
		return cur, nil
	}
	it, err := s.base.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	cur.it = it
	return cur, nil
}

// collect gathers what the layers say; hidden is true when a layer hides what
// the state store holds.
func (c *cursor) collect(layers []*layer, id change.CollectionID, lower, upper []byte) (hidden bool) {
	merged := newLayer()
	for _, l := range layers { // newest first
		l.items.AscendRange(item{key: lower}, item{key: upper}, func(it item) bool {
			if !merged.items.Has(it) {
				merged.items.ReplaceOrInsert(it)
			}
			return true
		})
		if l.cleared[id] {
			hidden = true
			break
		}
	}
	if merged.items.Len() == 0 {
		return hidden
	}
	c.items = make([]item, 0, merged.items.Len())
	add := func(it item) bool {
		c.items = append(c.items, it)
		return true
	}
	if c.reverse {
		merged.items.Descend(add)
	} else {
		merged.items.Ascend(add)
	}
	return hidden
}

// step moves the iterator of the state store.
func (c *cursor) step() {
	switch {
	case c.it == nil:
		return
	case !c.moved && c.reverse:
		c.valid = c.it.Last()
	case !c.moved:
		c.valid = c.it.First()
	case c.reverse:
		c.valid = c.it.Prev()
	default:
		c.valid = c.it.Next()
	}
	c.moved = true
}

// next moves to the next row.
func (c *cursor) next() bool {
	if !c.moved || c.onStore {
		c.step()
	}
	c.onStore = false
	for {
		order := 1 // which comes first: -1 the layers' item, 1 the store's row
		switch {
		case len(c.items) == 0 && !c.valid:
			if c.it != nil {
				c.err = c.it.Error()
			}
			return false
		case len(c.items) > 0 && !c.valid:
			order = -1
		case len(c.items) > 0:
			order = bytes.Compare(c.items[0].key, c.it.Key())
			if c.reverse {
				order = -order
			}
		}
		if order > 0 {
			c.key = c.it.Key()
			c.value, c.err = c.it.ValueAndErr()
			c.onStore = true
			return c.err == nil
		}
		top := c.items[0]
		c.items = c.items[1:]
		if order == 0 {
			c.step()
		}
		if top.value != nil {
			c.key, c.value = top.key, top.value
			return true
		}
	}
}

func (c *cursor) close() error {
	if c.it == nil {
		return nil
	}
	return c.it.Close()
}
