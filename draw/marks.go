package draw

import (
	"cmp"
	"slices"
	"strings"
)

// marks draws the rows of a lane's marks, each kind in its own.
func (p *picture) marks(l *Lane) {
	var snapshots, labels, drills []Mark
	for _, m := range l.Marks {
		switch m.Kind {
		case Snapshot:
			snapshots = append(snapshots, m)
		case Label:
			labels = append(labels, m)
		default:
			drills = append(drills, m)
		}
	}
	p.signs(" snapshots", snapshots)
	p.labels(labels)
	p.signs(" drills", drills)
}

func (p *picture) sign(k MarkKind) rune {
	return [...]rune{Snapshot: p.snapshot, Label: p.label, DrillOK: p.ok, DrillFailed: p.failed}[k]
}

// signs draws marks without names. Where several share a column, a failed drill
// is shown before others, and else their number.
func (p *picture) signs(caption string, marks []Mark) {
	if len(marks) == 0 {
		return
	}
	row := p.row(strings.TrimSpace(caption))
	count := make(map[int]int)
	for _, m := range marks {
		at := p.column(m.Time)
		sign := p.sign(m.Kind)
		p.used[sign] = true
		count[at]++
		switch n := count[at]; {
		case row[at] == p.failed || sign == p.failed || n == 1:
			row[at] = sign
			if n > 1 {
				row[at] = p.failed
			}
		case n < 10:
			row[at] = rune('0' + n)
		default:
			row[at] = p.more
			p.used[p.more] = true
		}
	}
}

// labels draws marks with their names, in as many rows as it takes to show them
// all up to a few; the rest is in the table that comes with the picture.
func (p *picture) labels(marks []Mark) {
	const most = 3
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Or(cmp.Compare(a.Time, b.Time), strings.Compare(a.Name, b.Name)) })
	for n := 0; n < most && len(marks) > 0; n++ {
		caption := "labels"
		if n > 0 {
			caption = ""
		}
		marks = p.labelRow(p.row(caption), marks, n == most-1)
	}
}

// labelRow draws what has room in a row and returns the rest. In the last row
// names may be left out.
func (p *picture) labelRow(row []rune, marks []Mark, last bool) (rest []Mark) {
	free := p.left
	for _, m := range marks {
		at := p.column(m.Time)
		text := string(p.label) + m.Name
		if wide := p.Width - at; len([]rune(text)) > wide {
			start := p.Width - len([]rune(text))
			if start >= free && start > p.left {
				at, text = start, m.Name+string(p.label) // the sign stays near its moment
			}
		}
		runes := []rune(text)
		if at < free || len(runes) > p.Width-at {
			if !last || at < free {
				rest = append(rest, m)
				continue
			}
			runes = runes[:min(len(runes), p.Width-at)]
		}
		copy(row[at:], runes)
		p.used[p.label] = true
		free = at + len(runes) + 1
	}
	return rest
}

// legend says what the signs in the picture mean.
func (p *picture) legend() []string {
	var lines []string
	line := ""
	for _, e := range []struct {
		sign rune
		text string
	}{{p.band, "restorable"}, {p.open, "captured now"}, {p.gap, "gap"}, {p.lost, "lost"}, {p.empty, "before the first snapshot"}, {p.snapshot, "snapshot"},
		{p.label, "label"}, {p.ok, "drill passed"}, {p.failed, "drill failed"}, {p.more, "ten or more"}} {
		if !p.used[e.sign] {
			continue
		}
		item := string(e.sign) + " " + e.text
		switch {
		case line == "":
			line = item
		case len([]rune(line))+3+len([]rune(item)) > p.Width:
			lines, line = append(lines, line), item
		default:
			line += "   " + item
		}
	}
	return append(lines, line)
}
