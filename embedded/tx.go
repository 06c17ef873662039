package embedded

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// Tx is a transaction, for one goroutine, until its function returns. Names of
// collections that do not exist give [ErrNoCollection], rows and keys that do
// not fit wrap [change.ErrSchema].
type Tx struct {
	rows     *rows
	records  []change.Record
	size     int64 // of keys and images in records
	limit    int64
	writable bool
	over     bool
	failed   error // the first failed write after which the transaction can't commit
}

func (tx *Tx) check(write bool) error {
	switch {
	case tx.over:
		return ErrTxDone
	case write && !tx.writable:
		return ErrReadOnly
	}
	return nil
}

// log adds a record, whose change has been made.
func (tx *Tx) log(r change.Record) error {
	const least = 4 // bytes of a record beside key and image
	tx.size += int64(len(r.Key) + len(r.Image) + least)
	if tx.size > tx.limit && tx.failed == nil {
		tx.failed = fmt.Errorf("transaction holds over %d bytes after %d records; nothing of it was stored: %w", tx.limit, len(tx.records), ErrTooLarge)
	}
	if tx.failed != nil {
		return tx.failed
	}
	tx.records = append(tx.records, r)
	return nil
}

// keyed returns the schema of a collection that has keys.
func (tx *Tx) keyed(collection string, write bool) (*change.Schema, error) {
	if err := tx.check(write); err != nil {
		return nil, err
	}
	s, err := tx.rows.catalog.find(collection)
	if err == nil && s.Bag() {
		err = fmt.Errorf("collection %q is a bag; use Add, Remove and Scan: %w", collection, change.ErrSchema)
	}
	return s, err
}

// Put stores a row, whether its key is there already or not.
func (tx *Tx) Put(collection string, row change.Row) error {
	return tx.store(collection, row, true, true)
}

// Insert stores a row whose key must not be there: [ErrExists].
func (tx *Tx) Insert(collection string, row change.Row) error {
	return tx.store(collection, row, true, false)
}

// Update replaces a row whose key must be there: [ErrNotFound].
func (tx *Tx) Update(collection string, row change.Row) error {
	return tx.store(collection, row, false, true)
}

func (tx *Tx) store(collection string, row change.Row, insert, update bool) error {
	s, err := tx.keyed(collection, true)
	if err != nil {
		return err
	}
	key, image, err := s.EncodeRow(row)
	if err != nil {
		return err
	}
	if image.Partial() {
		return fmt.Errorf("collection %q: a column is unchanged, which only Patch allows: %w", collection, change.ErrSchema)
	}
	old, ok, err := tx.rows.value(s.Collection, key)
	switch {
	case err != nil:
		return err
	case ok && !update:
		return fmt.Errorf("collection %q, row %s: %w", collection, keyText(key), ErrExists)
	case !ok && !insert:
		return fmt.Errorf("collection %q, row %s: %w", collection, keyText(key), ErrNotFound)
	case ok && bytes.Equal(old, image):
		return nil
	}
	return tx.set(s, key, image, ok)
}

// set stores an image and logs it.
func (tx *Tx) set(s *change.Schema, key change.Key, image change.Image, update bool) error {
	op := change.Insert
	if update {
		op = change.Update
	}
	if err := tx.rows.Set(s.Collection, key, image, 1); err != nil {
		return err
	}
	return tx.log(change.Record{Op: op, Collection: s.Collection, Key: key, Image: image})
}

// Patch changes those columns of a row that are not [change.Unchanged]. The
// row must be there: [ErrNotFound].
func (tx *Tx) Patch(collection string, row change.Row) error {
	s, err := tx.keyed(collection, true)
	if err != nil {
		return err
	}
	key, partial, err := s.EncodeRow(row)
	if err != nil {
		return err
	}
	old, ok, err := tx.rows.value(s.Collection, key)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("collection %q, row %s: %w", collection, keyText(key), ErrNotFound)
	}
	base, err := s.Normalize(nil, old)
	if err != nil {
		return err
	}
	image, err := change.Compose(make([]byte, 0, len(base)+len(partial)), base, partial)
	if err != nil {
		return err
	}
	switch {
	case len(image) > change.MaxImage:
		return fmt.Errorf("row of collection %q has %d bytes, the limit is %d: %w", collection, len(image), change.MaxImage, change.ErrSchema)
	case bytes.Equal(old, image):
		return nil
	}
	return tx.set(s, key, image, true)
}

// Delete removes the row with this key and reports whether it was there.
func (tx *Tx) Delete(collection string, key ...change.Value) (bool, error) {
	s, err := tx.keyed(collection, true)
	if err != nil {
		return false, err
	}
	k, err := s.EncodeKey(nil, key...)
	if err != nil {
		return false, err
	}
	_, ok, err := tx.rows.value(s.Collection, k)
	if err != nil || !ok {
		return false, err
	}
	if err := tx.rows.Remove(s.Collection, k); err != nil {
		return false, err
	}
	return true, tx.log(change.Record{Op: change.Delete, Collection: s.Collection, Key: k})
}

// bagRow encodes a row for a collection without a key.
func (tx *Tx) bagRow(collection string, row change.Row) (*change.Schema, change.Key, change.Image, error) {
	if err := tx.check(true); err != nil {
		return nil, nil, nil, err
	}
	s, err := tx.rows.catalog.find(collection)
	if err != nil {
		return nil, nil, nil, err
	}
	if !s.Bag() {
		return nil, nil, nil, fmt.Errorf("collection %q has a key; use Put and Delete: %w", collection, change.ErrSchema)
	}
	key, image, err := s.EncodeRow(row)
	return s, key, image, err
}

// Add adds count copies of a row to a bag.
func (tx *Tx) Add(collection string, row change.Row, count int64) error {
	s, key, image, err := tx.bagRow(collection, row)
	if err != nil {
		return err
	}
	if count < 1 {
		return fmt.Errorf("collection %q: %d copies to add, want at least 1", collection, count)
	}
	have, err := tx.rows.Count(s.Collection, key)
	if err != nil {
		return err
	}
	for range count {
		if err := tx.log(change.Record{Op: change.Insert, Collection: s.Collection, Key: key, Image: image}); err != nil {
			return err
		}
	}
	return tx.rows.Set(s.Collection, key, image, have+count)
}

// Remove takes one copy of a row out of a bag: [ErrNotFound] when it holds none.
func (tx *Tx) Remove(collection string, row change.Row) error {
	s, key, image, err := tx.bagRow(collection, row)
	if err != nil {
		return err
	}
	have, err := tx.rows.Count(s.Collection, key)
	switch {
	case err != nil:
		return err
	case have == 0:
		return fmt.Errorf("collection %q: %w in the bag", collection, ErrNotFound)
	case have == 1:
		err = tx.rows.Remove(s.Collection, key)
	default:
		err = tx.rows.Set(s.Collection, key, image, have-1)
	}
	return errors.Join(err, tx.log(change.Record{Op: change.Delete, Collection: s.Collection, Key: key, Image: image}))
}

// CreateCollection makes a collection. key names the key columns in key order;
// none makes a bag, whose rows are only told apart by what they hold.
func (tx *Tx) CreateCollection(name string, key []string, columns ...change.Column) (*change.Schema, error) {
	if err := tx.check(true); err != nil {
		return nil, err
	}
	if tx.rows.catalog.byName[name] != nil {
		return nil, fmt.Errorf("collection %q %w", name, ErrExists)
	}
	s, err := change.Define(tx.rows.catalog.nextID, name, key, columns...)
	if err != nil {
		return nil, err
	}
	return s, tx.setSchema(s)
}

// AddColumns adds columns to a collection. Rows that are already there hold
// their Default; a column that is not nullable must have one.
func (tx *Tx) AddColumns(collection string, columns ...change.Column) (*change.Schema, error) {
	if err := tx.check(true); err != nil {
		return nil, err
	}
	prev, err := tx.rows.catalog.find(collection)
	if err != nil || len(columns) == 0 {
		return prev, err
	}
	s, err := prev.AddColumns(columns...)
	if err != nil {
		return nil, err
	}
	return s, tx.setSchema(s)
}

// DropCollection removes a collection and its rows.
func (tx *Tx) DropCollection(name string) error {
	if err := tx.check(true); err != nil {
		return err
	}
	prev, err := tx.rows.catalog.find(name)
	if err != nil {
		return err
	}
	s := *prev
	s.Version++
	s.Dropped = true
	if err := tx.rows.Clear(s.Collection); err != nil {
		return err
	}
	return tx.setSchema(&s)
}

func (tx *Tx) setSchema(s *change.Schema) error {
	r, err := change.SchemaRecord(s)
	if err != nil {
		return err
	}
	if err := tx.rows.SetSchema(s); err != nil {
		return err
	}
	return tx.log(r)
}

// Truncate removes every row of a collection.
func (tx *Tx) Truncate(collection string) error {
	if err := tx.check(true); err != nil {
		return err
	}
	s, err := tx.rows.catalog.find(collection)
	if err != nil {
		return err
	}
	if err := tx.rows.Clear(s.Collection); err != nil {
		return err
	}
	return tx.log(change.Record{Op: change.Truncate, Collection: s.Collection})
}

// keyText shows a key to a person.
func keyText(key change.Key) string {
	vs, err := change.DecodeKey(key)
	if err != nil {
		return fmt.Sprintf("%x", []byte(key))
	}
	var b bytes.Buffer
	for i, v := range vs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.String())
	}
	return b.String()
}
