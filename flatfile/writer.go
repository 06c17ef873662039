package flatfile

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
)

// Writer writes the rows of one collection. It is for one goroutine.
type Writer struct {
	schema *change.Schema
	out    *bufio.Writer
	csv    *csv.Writer // nil for JSON Lines
	buf    []byte
	fields []string
}

// NewWriter starts a file on w; for CSV it writes the header line. The caller
// calls Flush after the last row.
func NewWriter(w io.Writer, f Format, s *change.Schema) (*Writer, error) {
	out := &Writer{schema: s, out: bufio.NewWriterSize(w, 64<<10)}
	switch f {
	case JSONL:
		return out, nil
	case CSV:
	default:
		return nil, fmt.Errorf("unknown file format %q (want csv or jsonl)", f)
	}
	out.csv = csv.NewWriter(out.out)
	for i := range s.Columns {
		out.fields = append(out.fields, s.Columns[i].Name)
	}
	return out, out.csv.Write(out.fields)
}

// Write writes one row of the schema.
func (w *Writer) Write(row change.Row) error {
	if w.csv != nil {
		for i, v := range row {
			text, err := FieldText(v)
			if err != nil {
				return fmt.Errorf("column %q: %w", w.schema.Columns[i].Name, err)
			}
			w.fields[i] = text
		}
		return w.csv.Write(w.fields)
	}
	var err error
	if w.buf, err = AppendObject(w.buf[:0], w.schema, row); err != nil {
		return err
	}
	w.buf = append(w.buf, '\n')
	_, err = w.out.Write(w.buf)
	return err
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// FieldText writes a value as a field of CSV, the form that
// [change.ParseValue] reads; Null is empty.
func FieldText(v change.Value) (string, error) {
	switch {
	case v.IsNull():
		return "", nil
	case v.Type() == change.Text, v.Type() == change.Bytes, v.Type() == change.Native, v.Type() == change.Decimal:
		return v.Str(), nil
	case v.Type() == change.Timestamp:
		return v.Time().String(), nil
	}
	b, err := v.MarshalJSON()
	if err != nil {
		return "", err
	}
	if len(b) > 1 && b[0] == '"' { // a float that JSON lacks
		b = b[1 : len(b)-1]
	}
	return string(b), nil
}
