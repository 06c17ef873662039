package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"item":                 "item",
		"日本語 👩‍👩‍👧 naïve":      "日本語 👩‍👩‍👧 naïve",
		"a\tb\nc":              `a\tb\nc`,
		"\x1b[31mred\x1b[0m":   `\u001b[31mred\u001b[0m`,
		"\u202Etxt.exe":        `\u202etxt.exe`,
		"a\u0085b\u2028c":      `a\u0085b\u2028c`,
		"\x7f":                 `\u007f`,
		"half\xe6\x97":         `half\xe6\x97`,
		"replaced \uFFFD":      "replaced \uFFFD",
		"\uFEFFmark":           `\ufeffmark`,
		"\u2066isolated\u2069": `\u2066isolated\u2069`,
	} {
		if got := shown(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := shownLines("a\n\tb\x1b"); got != "a\n\tb\\u001b" {
		t.Errorf("%q", got)
	}
}

// TestPrintf: what is printed keeps its numbers and colours, and no argument can
// do anything to the terminal.
func TestPrintf(t *testing.T) {
	var out strings.Builder
	c := newConsole(nil, &out, &out)
	c.printf("%s %d %v %8s|%s|%v %.4s\n", "a\x1b[2J", change.LSN(7), change.LSN(8), change.LSN(9), painted("\x1b[32mOK\x1b[0m"), errors.New("no\x07"), change.Hash{0xab, 0xcd})
	if want := "a\\u001b[2J 7 8        9|\x1b[32mOK\x1b[0m|no\\u0007 abcd\n"; out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
	out.Reset()
	c.printf("%s", page("two\nlines\n"))
	c.fail(t.Context(), errors.New("name \x1b]0;title\x07: first\nsecond"))
	if want := "two\nlines\nerror: name \\u001b]0;title\\u0007: first\n       second\n"; out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
}

// TestTableWidth: columns stand below each other also where characters are wide,
// or several of them are one.
func TestTableWidth(t *testing.T) {
	var out strings.Builder
	tab := newTable("NAME", "ROWS>")
	tab.add("item", "1")
	tab.add("日本語", "22")
	tab.add("👩‍👩‍👧", "3")
	tab.add("e\u0301te\u0301", "4")
	tab.add("a\nb", "5")
	tab.print(&out)
	want := "NAME    ROWS\nitem       1\n日本語    22\n👩‍👩‍👧         3\ne\u0301te\u0301        4\na\\nb       5\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestShell(t *testing.T) {
	for in, want := range map[string]string{
		"/backup/shop": "/backup/shop",
		"out dir":      "'out dir'",
		"it's":         `'it'\''s'`,
		"a\nb'\\":      `$'a\nb\'\\'`,
		"\x1b[0m":      `$'\u001b[0m'`,
		"a\u202eb":     `$'a\u202eb'`,
		"~x":           "'~x'",
		"":             "''",
		"日本":           "日本",
	} {
		if got := shell(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
