package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// batchSize is how many versions a source hands over at a time at most.
const batchSize = 256

// Merge composes the versions that sources yield, given oldest first. When
// final is set the sources are the whole history of their keys and the result
// is the rows that exist, as Insert records; else it is a version of each key
// that can be laid over older ones. Closing the result closes the sources.
func Merge(rules *Rules, final bool, sources ...Source) Source {
	m := &merger{rules: rules, final: final, out: make([]change.Record, 0, batchSize)}
	for age, s := range sources {
		m.sources = append(m.sources, s)
		m.empty = append(m.empty, &cursor{src: s, age: age})
	}
	return m
}

// cursor is a place in one source.
type cursor struct {
	recs []change.Record
	i    int
	src  Source
	age  int // greater is newer
}

func (c *cursor) rec() *change.Record { return &c.recs[c.i] }

// before orders cursors by (collection, key), the newer source first.
func (c *cursor) before(o *cursor) bool {
	a, b := c.rec(), o.rec()
	if a.Collection != b.Collection {
		return a.Collection < b.Collection
	}
	if d := bytes.Compare(a.Key, b.Key); d != 0 {
		return d < 0
	}
	return c.age > o.age
}

type merger struct {
	rules   *Rules
	final   bool
	sources []Source
	heap    []*cursor // with records; the least first
	empty   []*cursor // to be filled before the next key
	fold    fold
	out     []change.Record

	collection change.CollectionID // for which bag holds
	bag        bool

	last    pack.RowKey // of the last key begun
	lastKey []byte      // where it is kept from one batch to the next
}

func (m *merger) Next(ctx context.Context) ([]change.Record, error) {
	m.out = m.out[:0]
	m.fold.arena.reset()
	for len(m.out) == 0 {
		if err := m.fill(ctx); err != nil {
			return nil, err
		}
		if len(m.heap) == 0 {
			return nil, nil
		}
		if err := m.batch(); err != nil {
			return nil, err
		}
	}
	return m.out, nil
}

// fill asks every emptied source for more, which takes away the memory that
// the last batch points to.
func (m *merger) fill(ctx context.Context) error {
	m.lastKey = append(m.lastKey[:0], m.last.Key...)
	m.last.Key = m.lastKey
	for _, c := range m.empty {
		recs, err := c.src.Next(ctx)
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			continue
		}
		c.recs, c.i = recs, 0
		m.heap = append(m.heap, c)
		m.up(len(m.heap) - 1)
	}
	m.empty = m.empty[:0]
	return nil
}

// batch composes keys until the batch is full or a source is empty: what that
// yields next could come before the others, and filling it would take away the
// memory that the batch points to.
func (m *merger) batch() error {
	for len(m.out) < batchSize && len(m.empty) == 0 && !m.fold.arena.full() {
		r := m.heap[0].rec()
		if err := m.inOrder(r); err != nil {
			return err
		}
		if r.Collection != m.collection {
			m.collection, m.bag = r.Collection, m.rules.Bags[r.Collection]
		}
		if err := m.fold.start(m.bag, r); err != nil {
			return err
		}
		m.advance()
		for len(m.heap) > 0 {
			o := m.heap[0].rec()
			if o.Collection != r.Collection || !bytes.Equal(o.Key, r.Key) {
				break
			}
			if err := m.fold.older(o); err != nil {
				return err
			}
			m.advance()
		}
		ok, err := m.fold.finish(m.final)
		if err != nil {
			return err
		}
		if ok {
			m.out = append(m.out, m.fold.out)
		}
	}
	return nil
}

// inOrder checks that a key comes after the one before: a source that is not
// sorted would make rows come back from the dead.
func (m *merger) inOrder(r *change.Record) error {
	last := m.last
	m.last = pack.RowKey{Collection: r.Collection, Key: r.Key}
	if last.Collection < r.Collection || bytes.Compare(last.Key, r.Key) < 0 && last.Collection == r.Collection {
		return nil
	}
	return fmt.Errorf("rows are not sorted: %s follows %s", m.last, last)
}

// advance moves the least cursor on.
func (m *merger) advance() {
	c := m.heap[0]
	c.i++
	if c.i == len(c.recs) {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
		m.empty = append(m.empty, c)
	}
	m.down()
}

func (m *merger) up(i int) {
	h := m.heap
	for i > 0 {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (m *merger) down() {
	h := m.heap
	for i := 0; ; {
		least := 2*i + 1
		if least >= len(h) {
			return
		}
		if least+1 < len(h) && h[least+1].before(h[least]) {
			least++
		}
		if !h[least].before(h[i]) {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (m *merger) Close() error {
	var errs []error
	for _, s := range m.sources {
		errs = append(errs, s.Close())
	}
	m.sources = nil
	return errors.Join(errs...)
}
