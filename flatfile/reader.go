package flatfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// maxLine bounds a line of JSON Lines: a row's image in base64 and then some.
const maxLine = 96 << 20

// Reader yields the rows of a file. It is for one goroutine.
type Reader struct {
	schema *change.Schema
	next   func() (change.Row, error)
	line   int
}

// NewReader reads rows that fit a schema from r. Columns may come in any
// order; one that the file lacks holds its default.
func NewReader(r io.Reader, f Format, s *change.Schema) (*Reader, error) {
	out := &Reader{schema: s}
	switch f {
	case CSV:
		c := newCSV(r)
		head, err := header(c)
		if err != nil {
			return nil, err
		}
		places := make([]int, len(head))
		for i, name := range head {
			if places[i] = columnIndex(s, name); places[i] < 0 {
				return nil, lineError(1, unknownColumn(s, name))
			}
		}
		out.next = func() (change.Row, error) { return out.csvRow(c, places) }
	case JSONL:
		sc := newLines(r)
		out.next = func() (change.Row, error) { return out.jsonRow(sc) }
	default:
		return nil, fmt.Errorf("unknown file format %q (want csv or jsonl)", f)
	}
	return out, nil
}

// Next returns the next row, which is the caller's, or io.EOF after the last.
// Errors name the line and wrap [ErrInput].
func (r *Reader) Next() (change.Row, error) { return r.next() }

// Line returns the line that the last row came from, counted from 1.
func (r *Reader) Line() int { return r.line }

func (r *Reader) csvRow(c *csv.Reader, places []int) (change.Row, error) {
	fields, err := c.Read()
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInput)
	}
	r.line, _ = c.FieldPos(0)
	row := make(change.Row, len(r.schema.Columns))
	for i, text := range fields {
		c := &r.schema.Columns[places[i]]
		if row[places[i]], err = parseField(c, text); err != nil {
			return nil, lineError(r.line, fmt.Errorf("column %q: %w", c.Name, err))
		}
	}
	if err := fill(r.schema, row); err != nil {
		return nil, lineError(r.line, err)
	}
	return row, nil
}

// parseField reads one field of CSV. An empty one is Null where that may be.
func parseField(c *change.Column, text string) (change.Value, error) {
	if text == "" && c.Nullable {
		return change.Null(), nil
	}
	return change.ParseValue(c.Type, text)
}

func (r *Reader) jsonRow(sc *bufio.Scanner) (change.Row, error) {
	line, err := nextLine(sc, &r.line)
	if err != nil {
		return nil, err
	}
	row, err := ParseObject(r.schema, line)
	if err != nil {
		return nil, lineError(r.line, err)
	}
	return row, nil
}

// newCSV reads CSV whose lines have as many fields as the header, quoted or not.
func newCSV(r io.Reader) *csv.Reader {
	c := csv.NewReader(skipBOM(r))
	c.ReuseRecord = true
	return c
}

// header reads the names of the columns.
func header(c *csv.Reader) ([]string, error) {
	head, err := c.Read()
	if err == io.EOF {
		return nil, lineError(1, errors.New("the file is empty, want a header line with the names of the columns"))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrInput)
	}
	for i, name := range head {
		if name == "" || slices.Contains(head[:i], name) {
			return nil, lineError(1, fmt.Errorf("column %d of the header is called %q, want a name that no other has", i+1, name))
		}
	}
	return slices.Clone(head), nil
}

func newLines(r io.Reader) *bufio.Scanner {
	sc := bufio.NewScanner(skipBOM(r))
	sc.Buffer(make([]byte, 64<<10), maxLine)
	return sc
}

// nextLine returns the next line that is not blank, or io.EOF.
func nextLine(sc *bufio.Scanner, n *int) ([]byte, error) {
	for sc.Scan() {
		*n++
		if line := bytes.TrimSpace(sc.Bytes()); len(line) > 0 {
			return line, nil
		}
	}
	if err := sc.Err(); err != nil {
		return nil, lineError(*n+1, err)
	}
	return nil, io.EOF
}

// skipBOM drops the byte order mark that some programs put first.
func skipBOM(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if head, _ := b.Peek(3); string(head) == "\ufeff" {
		b.Discard(3) // what was peeked is there
	}
	return b
}
