package draw

import (
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// steps are the distances that ticks may have, with how each is labelled.
var steps = []struct {
	size   time.Duration
	layout string
}{
	{time.Millisecond, ".000"}, {10 * time.Millisecond, ".000"}, {100 * time.Millisecond, "05.000"},
	{time.Second, "15:04:05"}, {5 * time.Second, "15:04:05"}, {15 * time.Second, "15:04:05"},
	{time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {15 * time.Minute, "15:04"}, {30 * time.Minute, "15:04"},
	{time.Hour, "15:04"}, {3 * time.Hour, "15:04"}, {6 * time.Hour, "15:04"}, {12 * time.Hour, "15:04"},
	{day, "01-02"}, {2 * day, "01-02"}, {7 * day, "01-02"}, {14 * day, "01-02"}, {28 * day, "2006-01-02"}, {91 * day, "2006-01-02"},
	{182 * day, "2006-01-02"}, {364 * day, "2006-01-02"}, {2 * 364 * day, "2006-01-02"}, {5 * 364 * day, "2006-01-02"}, {50 * 364 * day, "2006-01-02"},
}

const day = 24 * time.Hour

// scale draws the first and the last moment and, under them, ticks at round
// times of the zone.
func (p *picture) scale() {
	const layout = "2006-01-02 15:04:05"
	first, last := p.from.Std().In(p.Zone), p.to.Std().In(p.Zone)
	ends := p.row("")
	text := []rune(first.Format(layout))
	copy(ends, text)
	end := []rune(last.Format(layout))
	if len(text)+1+len(end) <= p.Width {
		copy(ends[p.Width-len(end):], end)
	}
	labels, rule := p.row(""), p.row("")
	for i := p.left; i < p.Width; i++ {
		rule[i] = p.rule
	}
	columns := p.Width - p.left
	length := last.Sub(first)
	for _, s := range steps {
		apart := float64(columns) * float64(s.size) / float64(max(length, 1))
		if apart >= float64(len(s.layout)+2) {
			p.ticks(labels, rule, first, last, s.size, s.layout)
			return
		}
	}
}

// ticks draws the ticks of one distance. Those within a day start at its
// midnight in the zone, so that they stay round when clocks change.
func (p *picture) ticks(labels, rule []rune, first, last time.Time, step time.Duration, layout string) {
	free := 0
	y, m, d := first.Date()
	for {
		midnight := time.Date(y, m, d, 0, 0, 0, 0, p.Zone)
		if midnight.After(last) {
			return
		}
		next := time.Date(y, m, d+max(1, int(step/day)), 0, 0, 0, 0, p.Zone)
		from := midnight
		if step < day && first.After(midnight) {
			from = midnight.Add(first.Sub(midnight).Truncate(step))
		}
		for t := from; t.Before(next) && !t.After(last); t = t.Add(step) {
			if t.Before(first) {
				continue
			}
			at := p.column(change.TimeOf(t))
			rule[at] = p.tick
			text := []rune(t.Format(layout))
			if step < day && t.Equal(midnight) && step >= time.Minute {
				text = []rune(t.Format("01-02"))
			}
			if at >= free && at+len(text) <= p.Width {
				copy(labels[at:], text)
				free = at + len(text) + 1
			}
			if step >= day {
				break
			}
		}
		y, m, d = next.Date()
	}
}
