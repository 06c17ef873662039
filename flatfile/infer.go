package flatfile

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// Infer reads a whole file and returns columns that hold every one of its rows.
//
// A type is inferred only if nothing is lost by it: numbers in their usual
// form become int64 or float64 (007 stays text), true and false bool, RFC 3339
// times time, JSON arrays and objects json; anything else, and a mixture, is
// text. A column with an empty or missing value is nullable, except that an
// empty field of CSV stays an empty text.
func Infer(r io.Reader, f Format) ([]change.Column, error) {
	t := &table{index: make(map[string]int)}
	var err error
	switch f {
	case CSV:
		err = t.readCSV(r)
	case JSONL:
		err = t.readJSON(r)
	default:
		err = fmt.Errorf("unknown file format %q (want csv or jsonl)", f)
	}
	if err != nil {
		return nil, err
	}
	columns := make([]change.Column, len(t.seen))
	for i := range t.seen {
		columns[i] = t.seen[i].column(t.rows)
	}
	return columns, nil
}

// table is what is known of a file's columns.
type table struct {
	rows  int64
	seen  []sighting
	index map[string]int
}

// sighting is what is known of one column.
type sighting struct {
	name   string
	values int64 // not null, not empty
	empty  int64 // empty fields of CSV
	could  uint8 // types that fit every value so far
}

// The types that are inferred, as bits.
const (
	couldBool uint8 = 1 << iota
	couldInt
	couldFloat
	couldTime
	couldText
	couldJSON
	couldAny = couldBool | couldInt | couldFloat | couldTime | couldText | couldJSON
)

func (t *table) column(name string) *sighting {
	i, ok := t.index[name]
	if !ok {
		i = len(t.seen)
		t.index[name] = i
		t.seen = append(t.seen, sighting{name: name, could: couldAny})
	}
	return &t.seen[i]
}

func (t *table) readCSV(r io.Reader) error {
	c := newCSV(r)
	head, err := header(c)
	if err != nil {
		return err
	}
	for _, name := range head {
		t.column(name)
	}
	for {
		fields, err := c.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrInput)
		}
		t.rows++
		for i, text := range fields {
			if text == "" {
				t.seen[i].empty++
				continue
			}
			t.seen[i].note(fits(text) &^ couldJSON)
		}
	}
}

func (t *table) readJSON(r io.Reader) error {
	sc := newLines(r)
	n := 0
	for {
		line, err := nextLine(sc, &n)
		if err == io.EOF {
			if len(t.seen) == 0 {
				return lineError(n+1, errors.New("the file holds no row, so that its columns are not known"))
			}
			return nil
		}
		if err != nil {
			return err
		}
		all, err := members(line)
		if err != nil {
			return lineError(n, err)
		}
		t.rows++
		for _, m := range all {
			s := t.column(m.name)
			switch m.raw[0] {
			case 'n':
			case 't', 'f':
				s.note(couldBool)
			case '{', '[':
				s.note(couldJSON)
			case '"':
				v, err := change.ParseJSON(change.Text, m.raw)
				if err != nil {
					return lineError(n, fmt.Errorf("column %q: %w", m.name, err))
				}
				s.note(couldText | fits(v.Str())&couldTime)
			default:
				s.note(fits(string(m.raw)) & (couldInt | couldFloat))
			}
		}
	}
}

func (s *sighting) note(could uint8) {
	s.values++
	s.could &= could
}

// column decides. Values that have no type in common make JSON, which holds
// anything, unless all are text somehow.
func (s *sighting) column(rows int64) change.Column {
	c := change.Column{Name: s.name, Default: change.Null(), Nullable: s.values < rows}
	switch {
	case s.values == 0:
		c.Type = change.Text
	case s.could&couldBool != 0:
		c.Type = change.Bool
	case s.could&couldInt != 0:
		c.Type = change.Int64
	case s.could&couldFloat != 0:
		c.Type = change.Float64
	case s.could&couldTime != 0:
		c.Type = change.Timestamp
	case s.could&couldText != 0:
		c.Type = change.Text
	default:
		c.Type, c.NativeType = change.Native, jsonNative
	}
	if c.Type == change.Text && s.empty == rows-s.values {
		c.Nullable = false // CSV: empty fields are empty texts
	}
	return c
}

// fits returns the types that text can be read as and written from again
// without loss of meaning.
func fits(text string) uint8 {
	could := couldText
	if text == "true" || text == "false" {
		could |= couldBool
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		could |= couldInt
		if i >= -exactInt && i <= exactInt {
			could |= couldFloat
		}
	} else if plainFloat(text) {
		could |= couldFloat
	}
	var t change.Time
	if len(text) >= len("2006-01-02T15:04:05Z") && text[0] != '@' && t.UnmarshalText([]byte(text)) == nil {
		could |= couldTime
	}
	return could
}

// exactInt is the greatest integer up to which a float64 holds every one.
const exactInt = 1 << 53

// plainFloat reports whether text is a number as JSON writes it, with a
// fraction or an exponent, and small enough for a float64.
func plainFloat(text string) bool {
	b := []byte(text)
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) == 0 || b[0] < '0' || b[0] > '9' || (len(b) > 1 && b[0] == '0' && b[1] >= '0' && b[1] <= '9') {
		return false
	}
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return false
		}
	}
	if !strings.ContainsAny(text, ".eE") {
		return false
	}
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}
