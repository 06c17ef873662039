package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/rivo/uniseg"

	"github.com/tidemarkdb/tidemark/change"
)

func quote(s string) string { return strconv.Quote(s) }

// size writes a number of bytes for people.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count writes a number with thousands set apart.
func count(n int64) string { return humanize.Comma(n) }

// rows writes a number of rows, and so on for other things that are counted.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// instant writes a time for people, in UTC: to the millisecond, or to the
// microsecond where that says more.
func instant(t change.Time) string {
	if t == 0 {
		return "never"
	}
	layout := "2006-01-02 15:04:05.000Z"
	if t%1000 != 0 {
		layout = "2006-01-02 15:04:05.000000Z"
	}
	return t.Std().Format(layout)
}

// span writes a duration with two units at most.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-max(d, -math.MaxInt64))
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// ago says how long before now t was.
func ago(t change.Time, now time.Time) string {
	const year = 31_556_952e6 // in microseconds
	d := int64(change.TimeOf(now) - t)
	far := func(d int64) string {
		if d > 100*year {
			return plural(d/year, "year", "years")
		}
		return span(time.Duration(d) * time.Microsecond)
	}
	if d < 0 {
		return "in " + far(-d)
	}
	return far(d) + " ago"
}

// table prints columns under headings. Numbers stand at the right edge of
// their column: right says which do.
type table struct {
	head  []string
	right []bool
	rows  [][]string
}

// newTable starts a table; a heading that ends in '>' names a column of numbers.
func newTable(head ...string) *table {
	t := &table{}
	for _, h := range head {
		name, right := strings.CutSuffix(h, ">")
		t.head = append(t.head, name)
		t.right = append(t.right, right)
	}
	return t
}

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = shown(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// columns is how much room a text takes on a terminal.
func columns(s string) int {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return uniseg.StringWidth(s)
		}
	}
	return len(s)
}

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], columns(cell))
		}
	}
	line := func(row []string) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-columns(cell))
			if t.right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
			b.WriteString("  ")
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(t.head)
	for _, row := range t.rows {
		line(row)
	}
}
