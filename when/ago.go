package when

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// units are those of a duration, in the order in which they stand, in microseconds.
var units = []struct {
	name string
	size int64
}{{"d", 86400e6}, {"h", 3600e6}, {"m", 60e6}, {"s", 1e6}}

// longest is how far back ago may reach, in microseconds: a hundred years.
const longest = 36525 * 86400e6

// otherUnits are what people write for a unit, and for units that have no
// fixed length or no letter here.
var otherUnits = map[string]string{
	"day": "d", "days": "d", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"sec": "s", "secs": "s", "second": "s", "seconds": "s", "w": "7d for a week", "week": "7d", "weeks": "7d for each",
	"month": "days (d)", "months": "days (d)", "mo": "days (d)", "y": "days (d)", "year": "days (d)", "years": "days (d)",
	"ms": "0.001s for a millisecond", "us": "0.000001s for a microsecond", "µs": "0.000001s for a microsecond",
}

// ago reads a duration before the present. words are those before last, the ago.
func (p *parser) ago(words []word, last word) time.Time {
	if len(words) == 0 {
		p.fail(last.from, last.from, "it doesn't say how long", "2h30m ago")
		return time.Time{}
	}
	if p.Now.IsZero() {
		p.fail(last.from, last.to, "only a date makes sense here: nothing says what time it is")
		return time.Time{}
	}
	total, unit := int64(0), 0
	for at := words[0].from; at < last.from && p.err == nil; {
		if p.text[at] == ' ' {
			at++
			continue
		}
		total, unit, at = p.component(total, unit, at)
	}
	if total > longest {
		p.fail(words[0].from, last.from-1, "that is further back than a hundred years")
	}
	return p.Now.Truncate(time.Microsecond).Add(-time.Duration(min(total, longest)) * time.Microsecond)
}

// component reads a number and its unit at text[at:], adds it to total, and
// returns where the next one starts. unit is the first one that may come.
func (p *parser) component(total int64, unit, at int) (int64, int, int) {
	from := at
	for at < len(p.text) && (digits(p.text[at:at+1]) || p.text[at] == '.') {
		at++
	}
	number, to := p.text[from:at], at
	for at < len(p.text) && p.text[at] == ' ' {
		at++
	}
	letter := at
	for at < len(p.text) && p.text[at] != ' ' && !digits(p.text[at:at+1]) {
		at++
	}
	which := -1
	for i, u := range units {
		if u.name == p.text[letter:at] {
			which = i
		}
	}
	switch {
	case number == "":
		p.fail(from, at, fmt.Sprintf("%q is not how long ago: a number and d, h, m or s", p.text[from:at]), "2h30m ago")
	case which < 0:
		p.failUnit(to, letter, at)
	case which < unit:
		p.fail(letter, at, "days, hours, minutes and seconds stand in this order, each once")
	default:
		total += p.amount(from, to, which)
	}
	return total, which + 1, at
}

func (p *parser) failUnit(to, letter, at int) {
	unit := p.text[letter:at]
	want, known := otherUnits[strings.ToLower(unit)]
	switch {
	case strings.EqualFold(unit, "ago"):
		p.fail(to, to, "the number has no unit: d, h, m or s")
	case known:
		p.fail(letter, at, fmt.Sprintf("%q is no unit here", unit), want)
	default:
		p.fail(letter, at, fmt.Sprintf("%q is no unit: d, h, m or s", unit))
	}
}

// amount is a number in text[from:to] of the unit with that index, in microseconds.
func (p *parser) amount(from, to, which int) int64 {
	whole, fraction, pointed := strings.Cut(p.text[from:to], ".")
	switch {
	case !digits(whole) || pointed && !digits(fraction):
		p.fail(from, to, fmt.Sprintf("%q is not a number", p.text[from:to]))
	case pointed && units[which].name != "s":
		p.fail(from, to, "only seconds have a fraction", "the smaller unit, such as 1h30m for 1.5h")
	case len(strings.TrimRight(fraction, "0")) > 6:
		p.fail(from, to, "it is finer than a microsecond, the unit of an archive's times")
	case len(strings.TrimLeft(whole, "0")) > 10:
		p.fail(from, to, "that is further back than a hundred years")
	}
	if p.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil { // ten digits at most: can't be
		p.fail(from, to, err.Error())
	}
	if n > longest/units[which].size {
		p.fail(from, to, "that is further back than a hundred years")
		return 0
	}
	return n*units[which].size + int64(number((fraction + "000000")[:6]))
}
