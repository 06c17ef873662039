package change

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// CollectionID names one incarnation of a collection within a timeline: drop
// and re-create, or another key, start a new one. IDs count from 1.
type CollectionID uint32

// ColumnID names a column within its collection's incarnation, for good; an
// ID is never given to a second column. IDs count from 1.
type ColumnID uint32

// Limits of a schema.
const (
	MaxColumns = 4096
	MaxName    = 1024 // bytes of a collection's or column's name
)

// ErrSchema is wrapped by every error that says a schema, or a row or key held
// against one, does not fit.
var ErrSchema = errors.New("does not fit the schema")

// Column is a named, typed column.
type Column struct {
	ID         ColumnID
	Name       string
	Type       Type
	NativeType string // what a Native value is in its database; "" otherwise
	Nullable   bool
	Since      uint32 // version of the schema that added it
	Default    Value  // what rows older than Since hold; Null when it was there from the start
}

// Schema is one version of a collection. A schema with no key columns makes
// the collection a bag.
type Schema struct {
	Collection CollectionID
	Name       string
	Version    uint32 // 1, 2, 3 …
	Columns    []Column
	Key        []ColumnID
	Dropped    bool // this version ends the collection
}

// Define returns version 1 of a new collection's schema. Of each column it
// takes name, type, native type and nullability, and gives it its ID. key
// names the key columns in key order; none makes a bag.
func Define(id CollectionID, name string, key []string, columns ...Column) (*Schema, error) {
	s := &Schema{Collection: id, Name: name, Version: 1}
	for i, c := range columns {
		c.ID, c.Since, c.Default = ColumnID(i+1), 1, Null()
		s.Columns = append(s.Columns, c)
	}
	for _, k := range key {
		c := s.Column(k)
		if c == nil {
			return nil, fmt.Errorf("collection %q has no column %q for its key: %w", name, k, ErrSchema)
		}
		s.Key = append(s.Key, c.ID)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// AddColumns returns the next version of the schema with columns added. A
// column that is not nullable needs a Default, which rows of before then hold;
// a zero Default stands for Null.
func (s *Schema) AddColumns(columns ...Column) (*Schema, error) {
	next := *s
	next.Version++
	next.Columns = slices.Clone(s.Columns)
	for _, c := range columns {
		c.ID, c.Since = next.Columns[len(next.Columns)-1].ID+1, next.Version
		if c.Default.IsUnchanged() {
			c.Default = Null()
		}
		next.Columns = append(next.Columns, c)
	}
	if err := next.Validate(); err != nil {
		return nil, err
	}
	if err := next.Follows(s); err != nil {
		return nil, err
	}
	return &next, nil
}

// Bag reports whether the collection has no key.
func (s *Schema) Bag() bool { return len(s.Key) == 0 }

// Column returns the column called name, or nil.
func (s *Schema) Column(name string) *Column {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return &s.Columns[i]
		}
	}
	return nil
}

// index returns the place of a column in Columns, or -1. Columns are in order of ID.
func (s *Schema) index(id ColumnID) int {
	if i := int(id) - 1; i < len(s.Columns) && i >= 0 && s.Columns[i].ID == id {
		return i
	}
	i, ok := slices.BinarySearchFunc(s.Columns, id, func(c Column, id ColumnID) int {
		return cmp.Compare(c.ID, id)
	})
	if !ok {
		return -1
	}
	return i
}

// Validate reports what is wrong with the schema by itself.
func (s *Schema) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("schema of collection %q: %s: %w", s.Name, fmt.Sprintf(format, args...), ErrSchema)
	}
	switch {
	case s.Name == "" || len(s.Name) > MaxName:
		return bad("the name has %d bytes, want 1 to %d", len(s.Name), MaxName)
	case !utf8.ValidString(s.Name):
		return bad("the name is not UTF-8")
	case s.Collection == 0:
		return bad("collection ID 0")
	case s.Version == 0:
		return bad("version 0")
	case len(s.Columns) == 0 || len(s.Columns) > MaxColumns:
		return bad("%d columns, want 1 to %d", len(s.Columns), MaxColumns)
	}
	names := make(map[string]bool, len(s.Columns))
	last := Column{Since: 1}
	for i := range s.Columns {
		c := &s.Columns[i]
		switch {
		case c.ID <= last.ID:
			return bad("column %q has ID %d after %d", c.Name, c.ID, last.ID)
		case names[c.Name]:
			return bad("column %q is there twice", c.Name)
		case c.Since < last.Since || c.Since > s.Version:
			return bad("column %q is there since version %d, want %d to %d", c.Name, c.Since, last.Since, s.Version)
		}
		if err := c.validate(); errors.Is(err, ErrSchema) {
			return fmt.Errorf("schema of collection %q: %w", s.Name, err)
		} else if err != nil {
			return bad("%v", err)
		}
		names[c.Name] = true
		last = *c
	}
	seen := make(map[ColumnID]bool, len(s.Key))
	for _, id := range s.Key {
		i := s.index(id)
		switch {
		case i < 0 || seen[id]:
			return bad("key column %d is missing or there twice", id)
		case s.Columns[i].Nullable:
			return bad("key column %q is nullable", s.Columns[i].Name)
		case s.Columns[i].Since != 1:
			return bad("key column %q was not there from the start", s.Columns[i].Name)
		}
		seen[id] = true
	}
	return nil
}

// validate reports what is wrong with a column by itself.
func (c *Column) validate() error {
	switch {
	case c.Name == "" || len(c.Name) > MaxName:
		return fmt.Errorf("a column name has %d bytes, want 1 to %d", len(c.Name), MaxName)
	case !utf8.ValidString(c.Name) || !utf8.ValidString(c.NativeType):
		return fmt.Errorf("column %q: the name or the native type is not UTF-8", c.Name)
	case typeNames[c.Type] == "":
		return fmt.Errorf("column %q has unknown type %d", c.Name, c.Type)
	case (c.NativeType != "") != (c.Type == Native) || len(c.NativeType) > MaxName:
		return fmt.Errorf("column %q of type %s has native type %.40q (want 1 to %d bytes for native, none otherwise)",
			c.Name, c.Type, c.NativeType, MaxName)
	case c.Default.IsUnchanged():
		return fmt.Errorf("column %q has no default; Null is one", c.Name)
	case c.Since == 1 && !c.Default.IsNull():
		return fmt.Errorf("column %q was there from the start and has a default", c.Name)
	case c.Since == 1:
		return nil
	case c.Default.IsNull() && !c.Nullable:
		return fmt.Errorf("added column %q needs a default or to be nullable", c.Name)
	}
	if err := c.accepts(c.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// Follows reports whether s may come after prev as the next version of the
// same incarnation: version + 1, same key, columns only added, with a default
// where they are not nullable.
func (s *Schema) Follows(prev *Schema) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("schema version %d of collection %q: %s: %w", s.Version, prev.Name, fmt.Sprintf(format, args...), ErrSchema)
	}
	switch {
	case prev.Dropped:
		return bad("the collection was dropped")
	case s.Collection != prev.Collection || s.Version != prev.Version+1:
		return bad("follows collection %d version %d", prev.Collection, prev.Version)
	case !slices.Equal(s.Key, prev.Key):
		return bad("the key changed; that makes a new collection")
	case len(s.Columns) < len(prev.Columns):
		return bad("a column was removed")
	}
	for i, c := range s.Columns {
		if i < len(prev.Columns) {
			p := prev.Columns[i]
			p.Name = c.Name // a rename keeps the ID
			if c != p {
				return bad("column %q changed", c.Name)
			}
			continue
		}
		switch {
		case c.Since != s.Version:
			return bad("added column %q says it is there since version %d", c.Name, c.Since)
		case c.Default.IsNull() && !c.Nullable:
			return bad("added column %q needs a default or to be nullable", c.Name)
		}
	}
	return nil
}

// accepts reports whether v may stand in the column.
func (c *Column) accepts(v Value) error {
	if v.IsNull() && c.Nullable {
		return nil
	}
	if v.Type() != c.Type {
		return fmt.Errorf("column %q is %s, got %s: %w", c.Name, c.Type, v.typeName(), ErrSchema)
	}
	if (v.kind == kindText || v.kind == kindNative) && !utf8.ValidString(v.str) {
		return fmt.Errorf("column %q is %s, got bytes that are not UTF-8: %w", c.Name, c.Type, ErrSchema)
	}
	return nil
}

// fits reports whether a stored value of kind k may stand in the column.
func (c *Column) fits(k kind) bool {
	return types[k&15] == c.Type || (k == kindNull && c.Nullable)
}

// holds is fits with a reason.
func (c *Column) holds(k kind) error {
	if c.fits(k) {
		return nil
	}
	return fmt.Errorf("column %q is %s, got %s: %w", c.Name, c.Type, Value{kind: k}.typeName(), ErrSchema)
}

// keyOnly reports whether the column's value is held by the key alone. Floats
// and decimals are not: their key form is canonical, their own form is not.
func (s *Schema) keyOnly(i int) bool {
	c := &s.Columns[i]
	return c.Type != Float64 && c.Type != Decimal && slices.Contains(s.Key, c.ID)
}

type columnJSON struct {
	ID         ColumnID        `json:"id"`
	Name       string          `json:"name"`
	Type       Type            `json:"type"`
	NativeType string          `json:"native_type,omitempty"`
	Nullable   bool            `json:"nullable,omitempty"`
	Since      uint32          `json:"since"`
	Default    json.RawMessage `json:"default,omitempty"`
}

type schemaJSON struct {
	Collection CollectionID `json:"collection"`
	Name       string       `json:"name"`
	Version    uint32       `json:"version"`
	Columns    []columnJSON `json:"columns"`
	Key        []ColumnID   `json:"key,omitempty"`
	Dropped    bool         `json:"dropped,omitempty"`
}

// MarshalJSON writes the canonical JSON of the schema, which is also the image
// of a schema record.
func (s *Schema) MarshalJSON() ([]byte, error) {
	j := schemaJSON{Collection: s.Collection, Name: s.Name, Version: s.Version, Key: s.Key, Dropped: s.Dropped}
	for _, c := range s.Columns {
		cj := columnJSON{ID: c.ID, Name: c.Name, Type: c.Type, NativeType: c.NativeType, Nullable: c.Nullable, Since: c.Since}
		if !c.Default.IsNull() {
			d, err := c.Default.MarshalJSON()
			if err != nil {
				return nil, fmt.Errorf("default of column %q: %w", c.Name, err)
			}
			cj.Default = d
		}
		j.Columns = append(j.Columns, cj)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what [Schema.MarshalJSON] wrote and validates it.
func (s *Schema) UnmarshalJSON(b []byte) error {
	var j schemaJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("schema: something follows its JSON")
	}
	out := Schema{Collection: j.Collection, Name: j.Name, Version: j.Version, Key: j.Key, Dropped: j.Dropped}
	for _, cj := range j.Columns {
		c := Column{ID: cj.ID, Name: cj.Name, Type: cj.Type, NativeType: cj.NativeType,
			Nullable: cj.Nullable, Since: cj.Since, Default: Null()}
		if cj.Default != nil {
			v, err := ParseJSON(cj.Type, cj.Default)
			if err != nil {
				return fmt.Errorf("schema: default of column %q: %w", cj.Name, err)
			}
			c.Default = v
		}
		out.Columns = append(out.Columns, c)
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*s = out
	return nil
}

// Equal reports whether both schemas say the same.
func (s *Schema) Equal(o *Schema) bool {
	return s.Collection == o.Collection && s.Name == o.Name && s.Version == o.Version &&
		s.Dropped == o.Dropped && slices.Equal(s.Key, o.Key) && slices.Equal(s.Columns, o.Columns)
}
