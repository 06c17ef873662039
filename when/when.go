package when

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Reader reads times. Its zero value reads only those that need nothing
// beside them.
type Reader struct {
	Now  time.Time      // what ago, today and yesterday count from; zero: they are refused
	Zone *time.Location // of a time that names none; nil: it is refused
}

// Parse reads a time, which is whole microseconds and between the years 1 and
// 9999 in UTC. Its error is an [*Error].
func (r Reader) Parse(s string) (time.Time, error) {
	p := parser{Reader: r, text: s}
	t := p.time()
	if p.err == nil && (t.UTC().Year() < 1 || t.UTC().Year() > 9999) {
		p.fail(0, len(s), "it is not between the years 1 and 9999")
	}
	if p.err != nil {
		return time.Time{}, p.err
	}
	return t, nil
}

// Write writes a time so that [Reader.Parse] reads the same one, whatever the
// reader: with the offset of its zone, or in UTC where that offset has seconds.
func Write(t time.Time) string {
	if _, offset := t.Zone(); offset%60 != 0 {
		t = t.UTC()
	}
	return t.Format("2006-01-02T15:04:05.999999Z07:00")
}

// A parser reads one text. Once err is set, what its methods return means nothing.
type parser struct {
	Reader
	text string
	err  error
}

// fail notes that text[from:to] is wrong, unless something before it was.
func (p *parser) fail(from, to int, detail string, write ...string) {
	if p.err == nil {
		p.err = &Error{Text: p.text, From: from, To: to, Detail: detail, Write: write}
	}
}

// A word is a part of the text without spaces.
type word struct {
	text     string
	from, to int
}

// words splits the text at spaces.
func (p *parser) words() []word {
	var out []word
	for at := 0; at < len(p.text); {
		if p.text[at] == ' ' {
			at++
			continue
		}
		end := at
		for end < len(p.text) && p.text[end] != ' ' {
			end++
		}
		out = append(out, word{p.text[at:end], at, end})
		at = end
	}
	return out
}

// forms are what to write when nothing else is known of what was meant.
var forms = []string{"2026-11-22T17:41:58Z", "2026-11-22 17:41 Europe/Zurich", "today 17:41Z", "2h30m ago"}

func (p *parser) time() time.Time {
	words := p.words()
	if len(words) == 0 {
		p.fail(0, len(p.text), "it is empty", forms...)
		return time.Time{}
	}
	first, last := words[0], words[len(words)-1]
	switch strings.ToLower(first.text) {
	case "today", "yesterday":
		return p.day(words)
	case "now":
		p.fail(first.from, first.to, "no archive holds the present moment; the last one is the target latest")
		return time.Time{}
	case "tomorrow", "in":
		p.fail(first.from, first.to, "that is in the future")
		return time.Time{}
	}
	switch {
	case strings.EqualFold(last.text, "ago"):
		return p.ago(words[:len(words)-1], last)
	case isDate(first.text):
		return p.dateTime(first)
	}
	p.unknown(words)
	return time.Time{}
}

// unknown says why a text is no time.
func (p *parser) unknown(words []word) {
	first := words[0]
	digit := digits(first.text[:1])
	switch {
	case digit && len(first.text) >= 5 && first.text[2] == ':':
		p.fail(first.from, first.from, "it has no date", "today "+p.text[first.from:], "2026-11-22 "+p.text[first.from:])
	case digits(first.text) && len(words) == 1:
		p.fail(first.from, first.to, "a number alone is no time", forms...)
	case digit && strings.ContainsAny(first.text[len(first.text)-1:], "dhms"):
		p.fail(len(p.text), len(p.text), "that is how long, not when", strings.TrimSpace(p.text)+" ago")
	case digit && strings.ContainsAny(first.text, "./-"):
		p.fail(first.from, first.to, fmt.Sprintf("%q is not a date such as 2026-11-22: year, month, day, with two digits each for the last two", first.text))
	default:
		p.fail(first.from, first.to, fmt.Sprintf("%q does not start a time", first.text), forms...)
		if e, ok := errors.AsType[*Error](p.err); ok {
			e.Unknown = true
		}
	}
}

// isDate reports whether a word starts like 2026-….
func isDate(s string) bool { return len(s) > 4 && digits(s[:4]) && s[4] == '-' }

// digits reports whether s is one decimal digit or more.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// number is the value of a few decimal digits.
func number(s string) (n int) {
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
