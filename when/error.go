package when

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Error says what is wrong with a time, where, and what to write instead.
type Error struct {
	Text     string   // what was written
	From, To int      // the part that is wrong: Text[From:To]; empty at the end where something is missing
	Detail   string   // what is wrong with it
	Write    []string // what to write instead: any of these
	Unknown  bool     // nothing about it looks like a time
}

func (e *Error) Error() string {
	s := fmt.Sprintf("time %q: %s", e.Text, e.Detail)
	switch n := len(e.Write); n {
	case 0:
	case 1:
		s += "; write " + e.Write[0]
	default:
		s += "; write " + strings.Join(e.Write[:n-1], ", ") + " or " + e.Write[n-1]
	}
	return s
}

// Caret returns a line that marks the wrong part when it is printed under Text
// in a font of fixed width.
func (e *Error) Caret() string {
	before := utf8.RuneCountInString(e.Text[:e.From])
	return strings.Repeat(" ", before) + strings.Repeat("^", max(1, utf8.RuneCountInString(e.Text[e.From:e.To])))
}
