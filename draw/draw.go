package draw

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// MinWidth is the least number of columns that a picture takes.
const MinWidth = 40

// Options are the options of [Timelines].
type Options struct {
	Width int            // in columns; default 80, at least MinWidth
	ASCII bool           // no other characters
	Zone  *time.Location // of the scale; default UTC
}

// glyphs are the characters of a picture.
type glyphs struct {
	band, gap, empty, open rune
	snapshot, label        rune
	ok, failed             rune
	leave, down, turn      rune // of a fork: on the parent, on the way, at the child
	tick, rule, more, cut  rune
	lost                   rune
}

var (
	plain = glyphs{'=', '/', '.', '>', '^', '*', 'v', 'X', '+', '|', '`', '|', '-', '#', '~', 'x'}
	fancy = glyphs{'━', '╱', '·', '▶', '▲', '◆', '✓', '✗', '┳', '┃', '┗', '┬', '─', '#', '…', '╳'}
)

// picture is what is being drawn.
type picture struct {
	Options
	glyphs
	left     int // columns of names
	from, to change.Time
	rows     [][]rune // of Width columns each
	used     map[rune]bool
}

// Timelines draws lanes under a common scale, and says below what the signs
// mean. Parents come before their children in lanes.
func Timelines(lanes []Lane, o Options) []string {
	p := &picture{Options: o, glyphs: fancy, used: make(map[rune]bool)}
	if o.Width == 0 {
		p.Width = 80
	}
	p.Width = max(p.Width, MinWidth)
	if p.Zone == nil {
		p.Zone = time.UTC
	}
	if o.ASCII {
		p.glyphs = plain
	}
	if !p.span(lanes) {
		return nil
	}
	for _, l := range lanes {
		p.left = max(p.left, min(len(l.Name), p.Width/4)+1)
	}
	p.left = max(p.left, len("snapshots")+1)
	p.scale()
	at := make(map[chain.TimelineID]int) // the row of a lane's band
	for _, l := range order(lanes) {
		p.lane(l, at)
	}
	var out []string
	for _, row := range p.rows {
		out = append(out, strings.TrimRight(string(row), " "))
	}
	return append(out, p.legend()...)
}

// span finds the first and the last moment of the picture.
func (p *picture) span(lanes []Lane) bool {
	include := func(t change.Time) {
		if t != 0 && (p.from == 0 || t < p.from) {
			p.from = t
		}
		p.to = max(p.to, t)
	}
	for i := range lanes {
		for _, s := range lanes[i].Stretches {
			include(s.From)
			include(s.To)
		}
		for _, m := range lanes[i].Marks {
			include(m.Time)
		}
		include(lanes[i].Fork)
	}
	if p.from == p.to { // a moment has no width
		p.from, p.to = p.from-1e6, p.to+1e6
	}
	return len(lanes) > 0 && p.to > 1e6
}

// column returns the column of a moment.
func (p *picture) column(t change.Time) int {
	if t == 0 {
		return p.left // not known: from the start
	}
	last := p.Width - 1 - p.left
	at := int(float64(t-p.from) / float64(p.to-p.from) * float64(last))
	return p.left + min(max(at, 0), last)
}

// row adds an empty row with a caption.
func (p *picture) row(caption string) []rune {
	row := []rune(strings.Repeat(" ", p.Width))
	if len(caption) > p.left-1 {
		caption = caption[:p.left-2] + string(p.cut)
	}
	copy(row, []rune(caption))
	p.rows = append(p.rows, row)
	return row
}

// order puts the children of a lane under it with all that is theirs, the one
// that left last first, so that the ways down to them don't cross.
func order(lanes []Lane) []*Lane {
	var out []*Lane
	var add func(parent chain.TimelineID)
	add = func(parent chain.TimelineID) {
		var children []*Lane
		for i := range lanes {
			if lanes[i].Parent == parent {
				children = append(children, &lanes[i])
			}
		}
		slices.SortStableFunc(children, func(a, b *Lane) int { return cmp.Compare(b.Fork, a.Fork) })
		for _, c := range children {
			out = append(out, c)
			add(c.Name)
		}
	}
	add("")
	return out
}

// lane draws one timeline: the way from its parent, its band, its marks.
func (p *picture) lane(l *Lane, at map[chain.TimelineID]int) {
	band := p.row(string(l.Name))
	at[l.Name] = len(p.rows) - 1
	for _, s := range l.Stretches {
		from, to := p.column(s.From), p.column(s.To)
		switch s.Kind {
		case recovery.StretchRestorable:
			p.fill(band, from, to, p.band)
		case recovery.StretchNoBase:
			if to > from || len(l.Stretches) == 1 {
				p.fill(band, from, to, p.empty)
			}
		}
	}
	p.gaps(band, l)
	if n := len(l.Stretches); n > 0 && l.Capturing {
		end := p.column(l.Stretches[n-1].To)
		p.set(band, end, p.open)
	}
	if parent, ok := at[l.Parent]; ok && l.Parent != "" {
		p.join(parent, at[l.Name], p.column(l.Fork))
	}
	if l.Broken != "" {
		at := min(p.column(l.Fork)+2, p.Width)
		copy(band[at:], []rune("can't be read"))
	}
	p.marks(l)
}

// gaps draws what is missing: between the columns of the moments before and
// after it, and over a neighbour where there is no column between, so that
// nothing is so short that it is not seen.
func (p *picture) gaps(band []rune, l *Lane) {
	for _, s := range l.Stretches {
		sign := p.gap
		switch s.Kind {
		case recovery.StretchGap:
		case recovery.StretchLost:
			sign = p.lost
		default:
			continue
		}
		from, to := p.column(s.From), p.column(s.To)
		if to-from > 1 {
			from, to = from+1, to-1
		}
		p.fill(band, from, to, sign)
	}
}

func (p *picture) fill(row []rune, from, to int, r rune) {
	for i := from; i <= to; i++ {
		p.set(row, i, r)
	}
}

func (p *picture) set(row []rune, at int, r rune) {
	row[at] = r
	p.used[r] = true
}

// join draws the way from a parent's band down to its child's.
func (p *picture) join(parent, child, at int) {
	if r := p.rows[parent][at]; r == p.band || r == ' ' {
		p.rows[parent][at] = p.leave
	}
	for i := parent + 1; i < child; i++ {
		if r := p.rows[i][at]; r == ' ' {
			p.rows[i][at] = p.down
		}
	}
	p.rows[child][at] = p.turn
}
