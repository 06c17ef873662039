package flatfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// member is one name and value of a JSON object.
type member struct {
	name string
	raw  json.RawMessage
}

// members reads a JSON object, keeping the order of its members. A name that
// comes twice is refused, as is anything after the object.
func members(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%.60q is not a JSON object", raw)
	}
	var out []member
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("JSON: %w", err)
		}
		m := member{name: t.(string)} // inside an object a name is a string
		if seen[m.name] {
			return nil, fmt.Errorf("column %q is there twice", m.name)
		}
		seen[m.name] = true
		if err := d.Decode(&m.raw); err != nil {
			return nil, fmt.Errorf("column %q: %w", m.name, err)
		}
		out = append(out, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	return out, nil
}

// ParseObject reads a row from a JSON object of column names and values. A
// column that is left out holds its default. Errors wrap [change.ErrSchema].
func ParseObject(s *change.Schema, raw []byte) (change.Row, error) {
	all, err := members(raw)
	if err != nil {
		return nil, fmt.Errorf("row of collection %q: %w: %w", s.Name, err, change.ErrSchema)
	}
	row := make(change.Row, len(s.Columns))
	for _, m := range all {
		i := columnIndex(s, m.name)
		if i < 0 {
			return nil, unknownColumn(s, m.name)
		}
		if row[i], err = parseMember(&s.Columns[i], m.raw); err != nil {
			return nil, fmt.Errorf("row of collection %q: column %q: %w: %w", s.Name, m.name, err, change.ErrSchema)
		}
	}
	return row, fill(s, row)
}

// fill sets the columns that the input leaves out.
func fill(s *change.Schema, row change.Row) error {
	for i := range row {
		c := &s.Columns[i]
		switch {
		case !row[i].IsUnchanged():
		case c.Since > 1 || c.Nullable:
			row[i] = c.Default
		default:
			return fmt.Errorf("row of collection %q: column %q has no value and is not nullable: %w", s.Name, c.Name, change.ErrSchema)
		}
	}
	return nil
}

func parseMember(c *change.Column, raw json.RawMessage) (change.Value, error) {
	if c.NativeType == jsonNative && string(raw) != "null" {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return change.Value{}, err
		}
		return change.NativeValue(b.String()), nil
	}
	return change.ParseJSON(c.Type, raw)
}

// AppendObject appends a row as a JSON object, columns in the order of the
// schema.
func AppendObject(dst []byte, s *change.Schema, row change.Row) ([]byte, error) {
	dst = append(dst, '{')
	for i, v := range row {
		c := &s.Columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, name...), ':')
		if c.NativeType == jsonNative && !v.IsNull() {
			dst = append(dst, v.Str()...)
			continue
		}
		b, err := v.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		dst = append(dst, b...)
	}
	return append(dst, '}'), nil
}

// ParseKey reads the values of the key columns from plain text, one per key
// column. Errors wrap [change.ErrSchema].
func ParseKey(s *change.Schema, texts []string) ([]change.Value, error) {
	if s.Bag() {
		return nil, fmt.Errorf("collection %q is a bag: its rows have no key: %w", s.Name, change.ErrSchema)
	}
	if len(texts) != len(s.Key) {
		return nil, fmt.Errorf("collection %q has the key (%s), got %d values: %w", s.Name, strings.Join(KeyNames(s), ", "), len(texts), change.ErrSchema)
	}
	return ParseKeyPrefix(s, texts)
}

// ParseKeyPrefix is ParseKey for the first key columns, as many as there are
// texts.
func ParseKeyPrefix(s *change.Schema, texts []string) ([]change.Value, error) {
	if len(texts) > len(s.Key) {
		return nil, fmt.Errorf("collection %q has %d key columns, got %d values: %w", s.Name, len(s.Key), len(texts), change.ErrSchema)
	}
	values := make([]change.Value, len(texts))
	for i, c := range keyColumns(s)[:len(texts)] {
		v, err := change.ParseValue(c.Type, texts[i])
		if err != nil {
			return nil, fmt.Errorf("key of collection %q: column %q: %w: %w", s.Name, c.Name, err, change.ErrSchema)
		}
		values[i] = v
	}
	return values, nil
}

// KeyNames returns the names of the key columns in key order.
func KeyNames(s *change.Schema) []string {
	var names []string
	for _, c := range keyColumns(s) {
		names = append(names, c.Name)
	}
	return names
}

// KeyOf returns the values of a row's key columns in key order.
func KeyOf(s *change.Schema, row change.Row) []change.Value {
	var key []change.Value
	for _, c := range keyColumns(s) {
		key = append(key, row[columnIndex(s, c.Name)])
	}
	return key
}

// DefaultKey returns the key of a new collection: what was asked for, or else
// the column id if there is one that is never null, or else none.
func DefaultKey(columns []change.Column, asked []string) []string {
	if len(asked) > 0 {
		return asked
	}
	for _, c := range columns {
		if c.Name == "id" && !c.Nullable {
			return []string{"id"}
		}
	}
	return nil
}

// ParseMatch reads conditions, each column=value, and returns what tells
// whether a row meets all of them. An empty value of a nullable column is Null.
func ParseMatch(s *change.Schema, conditions []string) (func(change.Row) bool, error) {
	want := make(map[int]change.Value)
	for _, text := range conditions {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("condition %q is not column=value", text)
		}
		i := columnIndex(s, name)
		if i < 0 {
			return nil, unknownColumn(s, name)
		}
		v, err := parseField(&s.Columns[i], value)
		if err != nil {
			return nil, fmt.Errorf("condition on column %q: %w", name, err)
		}
		want[i] = v
	}
	return func(row change.Row) bool {
		for i, v := range want {
			if row[i] != v {
				return false
			}
		}
		return true
	}, nil
}

func keyColumns(s *change.Schema) []*change.Column {
	var out []*change.Column
	for _, id := range s.Key {
		for i := range s.Columns {
			if s.Columns[i].ID == id {
				out = append(out, &s.Columns[i])
			}
		}
	}
	return out
}

func columnIndex(s *change.Schema, name string) int {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

func unknownColumn(s *change.Schema, name string) error {
	names := make([]string, len(s.Columns))
	for i := range s.Columns {
		names[i] = s.Columns[i].Name
	}
	return fmt.Errorf("collection %q has no column %q; it has: %s: %w", s.Name, name, strings.Join(names, ", "), change.ErrSchema)
}
