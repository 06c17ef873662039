// Package flatfile reads and writes the rows of a collection as text: CSV with
// a header line, or JSON Lines (one object per line).
//
// CSV can't tell an absent value from an empty text: an empty field is Null in
// a nullable column, and an empty text in a text column that is not. JSON
// Lines keeps every value of every type.
package flatfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// Format is a kind of text file.
type Format string

// The formats.
const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
)

// ErrInput says that a file does not hold what was expected; the message names
// the line.
var ErrInput = errors.New("unusable input")

// ParseFormat reads a format's name.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case CSV, JSONL:
		return f, nil
	}
	return "", fmt.Errorf("unknown file format %q (want csv or jsonl)", s)
}

// FormatOf tells a file's format by its name: .csv, .jsonl, .ndjson or .json.
func FormatOf(name string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".csv":
		return CSV, nil
	case ".jsonl", ".ndjson", ".json":
		return JSONL, nil
	}
	return "", fmt.Errorf("can't tell the format of %q by its name (want .csv or .jsonl)", name)
}

// jsonNative is the native type of values that are JSON arrays and objects.
const jsonNative = "json"

// ParseColumns reads declarations of columns, each
//
//	name:type[?][=default]
//
// where type is bool, int64, float64, text, bytes, time, decimal or json and
// '?' makes the column nullable. A default, in the form that
// [change.ParseValue] reads, is what rows hold that are older than the column.
func ParseColumns(specs []string) ([]change.Column, error) {
	var columns []change.Column
	for _, spec := range specs {
		decl, def, hasDefault := strings.Cut(spec, "=")
		name, typ, ok := strings.Cut(decl, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("column %q is not name:type, such as id:int64 or note:text?", spec)
		}
		c := change.Column{Name: name, Default: change.Null()}
		typ, c.Nullable = strings.CutSuffix(typ, "?")
		var err error
		if typ == jsonNative {
			c.Type, c.NativeType = change.Native, jsonNative
		} else if c.Type, err = change.ParseType(typ); err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		} else if c.Type == change.Native {
			return nil, fmt.Errorf("column %q: type native needs a database that defines it; json is one that can be declared", name)
		}
		if hasDefault {
			if c.Default, err = change.ParseValue(c.Type, def); err != nil {
				return nil, fmt.Errorf("default of column %q: %w", name, err)
			}
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// DescribeColumn writes a column as [ParseColumns] reads it, without the default.
func DescribeColumn(c *change.Column) string {
	typ := c.Type.String()
	if c.Type == change.Native {
		typ = c.NativeType
	}
	if c.Nullable {
		typ += "?"
	}
	return c.Name + ":" + typ
}

// lineError says which line of the input is wrong.
func lineError(line int, err error) error {
	return fmt.Errorf("line %d: %w: %w", line, err, ErrInput)
}
