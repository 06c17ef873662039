package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// painted is text that this program has coloured; it is printed as it is.
type painted string

// page is text of several lines that this program has written.
type page string

// shown writes what came from elsewhere, such as a name or a remark, so that it
// can't do anything to a terminal and stays in its line: control characters,
// those that turn the direction of text, line separators and bytes that are no
// UTF-8 become escapes as in Go and JSON.
func shown(s string) string { return escaped(s, "") }

// shownLines is shown for a text that may have several lines, as errors do.
func shownLines(s string) string { return escaped(s, "\n\t") }

func escaped(s, keep string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		clean = clean && s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case strings.ContainsRune(keep, r) && r != utf8.RuneError:
			b.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// shownArgs replaces texts among the arguments of a format.
func shownArgs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case string:
			out[i] = shown(a)
		case error:
			out[i] = shown(a.Error())
		case fmt.Stringer:
			out[i] = stringer{a, shown(a.String())}
		default:
			out[i] = a
		}
	}
	return out
}

// stringer is a value that is printed as words where its own type would be, and
// as itself with the verbs for numbers.
type stringer struct {
	v    fmt.Stringer
	text string
}

// Format prints it.
func (s stringer) Format(f fmt.State, verb rune) {
	if verb == 's' || verb == 'v' {
		fmt.Fprintf(f, fmt.FormatString(f, verb), s.text)
		return
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), s.v)
}
