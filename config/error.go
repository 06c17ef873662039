package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// ErrConfig is wrapped by every error of what a configuration says.
var ErrConfig = errors.New("malformed configuration")

// Problem is one thing that is wrong in the file.
type Problem struct {
	File         string
	Line, Column int    // from 1; Column counts characters
	Text         string // the line
	Length       int    // characters that are meant, at least 1
	Message      string
}

// Error returns file:line:column, the message, the line and a caret below what
// is meant.
func (p *Problem) Error() string {
	number := strconv.Itoa(p.Line)
	margin := strings.Repeat(" ", len(number))
	line := []rune(p.Text)
	var pad strings.Builder
	for i := range p.Column - 1 {
		if i < len(line) && line[i] == '\t' {
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
	}
	return fmt.Sprintf("%s:%d:%d: %s\n  %s | %s\n  %s | %s%s", p.File, p.Line, p.Column, p.Message,
		number, p.Text, margin, pad.String(), strings.Repeat("^", max(1, p.Length)))
}

// Problems is everything that is wrong in the file, in its order. It wraps
// [ErrConfig].
type Problems []*Problem

// shown is how many problems an error shows.
const shown = 10

func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		switch {
		case i == shown:
			fmt.Fprintf(&b, "\nand %d more", len(ps)-shown)
			return b.String()
		case i > 0:
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap returns ErrConfig.
func (Problems) Unwrap() error { return ErrConfig }

// report gathers problems.
type report struct {
	file  string
	lines []string
	found Problems
	other []error // outside the file
}

// at notes a problem with what a token holds.
func (r *report) at(tk *token.Token, format string, args ...any) {
	line, column := 1, 1
	if tk != nil && tk.Position != nil {
		line, column = max(1, tk.Position.Line), max(1, tk.Position.Column)
	}
	p := &Problem{File: r.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
	if line <= len(r.lines) {
		p.Text = r.lines[line-1]
	}
	if tk != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(tk.Origin), "\n")
		p.Length = utf8.RuneCountInString(first)
	}
	p.Length = max(1, min(p.Length, utf8.RuneCountInString(p.Text)-column+1))
	r.found = append(r.found, p)
}

// outside notes a problem with what is not in the file.
func (r *report) outside(format string, args ...any) {
	r.other = append(r.other, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrConfig))
}

func (r *report) err() error {
	if len(r.found) > 0 {
		slices.SortStableFunc(r.found, func(a, b *Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return errors.Join(append([]error{r.found}, r.other...)...)
	}
	return errors.Join(r.other...)
}

// nearest returns the candidate that s is most likely a misspelling of, or "".
func nearest(s string, candidates []string) string {
	best, least := "", 3
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "_")) }
	for _, c := range candidates {
		d := distance(plain(s), plain(c))
		if d < least && d*2 < len(c) {
			best, least = c, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, change or swap with their
// neighbour between a and b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}

// didYouMean is the end of a message about a word that is not known.
func didYouMean(s string, candidates []string) string {
	if n := nearest(s, candidates); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return "; want " + oneOf(candidates)
}

// oneOf lists words for people.
func oneOf(words []string) string {
	switch n := len(words); n {
	case 0:
		return "nothing"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}
