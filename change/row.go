package change

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Row holds one value per column of a schema, in the order of its columns.
type Row []Value

// check reports whether the row fits the schema; partial rows may hold
// Unchanged outside the key.
func (s *Schema) check(row Row, partial bool) error {
	if len(row) != len(s.Columns) {
		return fmt.Errorf("collection %q has %d columns, the row has %d values: %w", s.Name, len(s.Columns), len(row), ErrSchema)
	}
	for i := range s.Columns {
		if partial && row[i].IsUnchanged() {
			continue
		}
		if err := s.Columns[i].accepts(row[i]); err != nil {
			return fmt.Errorf("collection %q: %w", s.Name, err)
		}
	}
	return nil
}

// EncodeKey appends the key made of the values of the key columns, in key order.
func (s *Schema) EncodeKey(dst []byte, key ...Value) (Key, error) {
	if s.Bag() {
		return nil, fmt.Errorf("collection %q is a bag and has no key: %w", s.Name, ErrSchema)
	}
	if len(key) != len(s.Key) {
		return nil, fmt.Errorf("collection %q has %d key columns, got %d values: %w", s.Name, len(s.Key), len(key), ErrSchema)
	}
	start, decimals := len(dst), 0
	for n, id := range s.Key {
		if err := s.Columns[s.index(id)].accepts(key[n]); err != nil {
			return nil, fmt.Errorf("key of collection %q: %w", s.Name, err)
		}
		if key[n].kind == kindDecimal {
			decimals += len(key[n].str)
		}
		dst = appendKeyValue(dst, key[n])
	}
	if decimals > maxDecimal {
		return nil, fmt.Errorf("key of collection %q: its decimals take %d bytes as text, the limit is %d: %w", s.Name, decimals, maxDecimal, ErrSchema)
	}
	if len(dst)-start > MaxKey {
		return nil, fmt.Errorf("key of collection %q has %d bytes, the limit is %d: %w", s.Name, len(dst)-start, MaxKey, ErrSchema)
	}
	return dst, nil
}

// EncodeRow returns the key and image of a row. A value that is Unchanged
// makes the image partial; key columns and bags need all values.
func (s *Schema) EncodeRow(row Row) (Key, Image, error) {
	if err := s.check(row, true); err != nil {
		return nil, nil, err
	}
	size := 1
	for i := range row {
		size += 2 + binary.MaxVarintLen64 + len(row[i].str)
	}
	image := append(make(Image, 0, min(size, MaxImage)), 0)
	var last ColumnID
	for i := range s.Columns {
		if s.keyOnly(i) {
			continue
		}
		if row[i].IsUnchanged() {
			image[0] |= imagePartial
			continue
		}
		image = appendField(image, s.Columns[i].ID-last, row[i])
		last = s.Columns[i].ID
	}
	if len(image) > MaxImage {
		return nil, nil, fmt.Errorf("row of collection %q has %d bytes, the limit is %d: %w", s.Name, len(image), MaxImage, ErrSchema)
	}
	if s.Bag() {
		key, err := s.BagKey(image)
		return key, image, err
	}
	var few [8]Value
	keyValues := few[:0]
	size = 0
	for _, id := range s.Key {
		v := row[s.index(id)]
		keyValues = append(keyValues, v)
		size += 10 + len(v.str)
	}
	key, err := s.EncodeKey(make([]byte, 0, min(size, MaxKey)), keyValues...)
	if err != nil {
		return nil, nil, err
	}
	return key, image, nil
}

// DecodeRow returns the row with this key and image. Columns that a full image
// lacks hold their default, those that a partial one lacks are Unchanged;
// columns the schema does not know are left out. row's storage is reused.
func (s *Schema) DecodeRow(row Row, key Key, image Image) (Row, error) {
	b, err := image.body()
	if err != nil {
		return nil, err
	}
	row = row[:0]
	for i := range s.Columns {
		if c := &s.Columns[i]; image.Partial() || c.Since == 1 {
			row = append(row, Unchanged())
		} else {
			row = append(row, c.Default)
		}
	}
	var f field
	for len(b) > 0 {
		if f, b, err = nextField(b, f.id); err != nil {
			return nil, fmt.Errorf("collection %q: %w", s.Name, err)
		}
		i := s.index(f.id)
		if i < 0 {
			continue
		}
		if err := s.Columns[i].holds(f.k); err != nil {
			return nil, fmt.Errorf("row of collection %q: %w", s.Name, err)
		}
		if row[i], err = f.value(); err != nil {
			return nil, fmt.Errorf("collection %q, column %q: %w", s.Name, s.Columns[i].Name, err)
		}
	}
	if !s.Bag() {
		if err := s.decodeKeyInto(row, key); err != nil {
			return nil, err
		}
	}
	for i := range row {
		if row[i].IsUnchanged() && !image.Partial() {
			return nil, s.missing(&s.Columns[i])
		}
	}
	return row, nil
}

// decodeKeyInto sets the columns of row that only the key holds.
func (s *Schema) decodeKeyInto(row Row, key Key) error {
	d := keyDecoder{b: key, decimals: maxDecimal}
	for n, id := range s.Key {
		if len(d.b) == 0 {
			return fmt.Errorf("key of collection %q holds %d values, want %d: %w", s.Name, n, len(s.Key), ErrSchema)
		}
		v, err := d.next()
		if err != nil {
			return fmt.Errorf("collection %q: %w", s.Name, err)
		}
		i := s.index(id)
		if v.Type() != s.Columns[i].Type {
			return fmt.Errorf("key of collection %q: column %q is %s, got %s: %w", s.Name, s.Columns[i].Name, s.Columns[i].Type, v.typeName(), ErrSchema)
		}
		if s.keyOnly(i) {
			row[i] = v
		}
	}
	if len(d.b) > 0 {
		return fmt.Errorf("key of collection %q holds more than %d values: %w", s.Name, len(s.Key), ErrSchema)
	}
	return nil
}

// bagKeySize is the length of a bag's key in bytes.
const bagKeySize = 16

// BagKey returns the key of a bag's row: the first 16 bytes of a SHA-256 over
// its reduced image, which leaves out added columns that hold their default.
// So a row has one key, whether it was written before or after the column came.
func (s *Schema) BagKey(image Image) (Key, error) {
	b, err := image.body()
	if err != nil {
		return nil, err
	}
	if image.Partial() {
		return nil, fmt.Errorf("collection %q is a bag, its rows can't be partial: %w", s.Name, ErrSchema)
	}
	reduced := append(make([]byte, 0, len(image)+len(bagDomain)), bagDomain...)
	var f field
	var last ColumnID
	for len(b) > 0 {
		if f, b, err = nextField(b, f.id); err != nil {
			return nil, err
		}
		if i := s.index(f.id); i >= 0 && s.Columns[i].Since > 1 && f.unchecked() == s.Columns[i].Default {
			continue
		}
		reduced = appendRawField(reduced, f, last)
		last = f.id
	}
	h := sha256.Sum256(reduced)
	return h[:bagKeySize], nil
}

const bagDomain = "tidemark bag row v1\x00"
