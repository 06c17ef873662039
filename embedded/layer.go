package embedded

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/btree"

	"github.com/tidemarkdb/tidemark/change"
)

// item is what a layer says about one key of the state store. value is nil
// when the row is gone.
type item struct {
	key   []byte
	value []byte
}

func lessItem(a, b item) bool { return bytes.Compare(a.key, b.key) < 0 }

// layer holds writes that lie over the state store: those of one transaction,
// or of a group that is logged but not yet applied. Keys and values are never
// modified once they are in.
type layer struct {
	items   *btree.BTreeG[item]
	cleared map[change.CollectionID]bool // what lies below is hidden; nil for none
}

const layerDegree = 16

func newLayer() *layer {
	return &layer{items: btree.NewG(layerDegree, lessItem)}
}

// get returns what the layer says about a row; known is false when what lies
// below decides.
func (l *layer) get(c change.CollectionID, key []byte) (value []byte, known bool) {
	if it, ok := l.items.Get(item{key: key}); ok {
		return it.value, true
	}
	return nil, l.cleared[c]
}

func (l *layer) set(key, value []byte) { l.items.ReplaceOrInsert(item{key, value}) }

// clear hides every row of a collection.
func (l *layer) clear(c change.CollectionID) {
	lower, upper := rowBounds(c)
	var gone []item
	l.items.AscendRange(item{key: lower}, item{key: upper}, func(it item) bool {
		gone = append(gone, it)
		return true
	})
	for _, it := range gone {
		l.items.Delete(it)
	}
	if l.cleared == nil {
		l.cleared = make(map[change.CollectionID]bool)
	}
	l.cleared[c] = true
}

// merge lays a newer layer over l.
func (l *layer) merge(newer *layer) {
	for c := range newer.cleared {
		l.clear(c)
	}
	newer.items.Ascend(func(it item) bool {
		l.items.ReplaceOrInsert(it)
		return true
	})
}

// writeTo puts the layer's content into a batch.
func (l *layer) writeTo(b *pebble.Batch) error {
	for c := range l.cleared {
		lower, upper := rowBounds(c)
		if err := b.DeleteRange(lower, upper, nil); err != nil {
			return err
		}
	}
	var err error
	l.items.Ascend(func(it item) bool {
		if it.value == nil {
			err = b.Delete(it.key, nil)
		} else {
			err = b.Set(it.key, it.value, nil)
		}
		return err == nil
	})
	return err
}

// reader is the part of the state store that reads need: the store or a snapshot of it.
type reader interface {
	pebble.Reader
}

// stack is layers, newest first, over the state store.
type stack struct {
	layers []*layer
	base   reader
}

// get appends a row's value to dst; ok is false when there is no row.
func (s *stack) get(dst []byte, c change.CollectionID, key []byte) (value []byte, ok bool, err error) {
	for _, l := range s.layers {
		if v, known := l.get(c, key); known {
			return append(dst, v...), v != nil, nil
		}
	}
	v, closer, err := s.base.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, err
	}
	dst = append(dst, v...)
	return dst, true, closer.Close()
}
