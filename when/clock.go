package when

import (
	"fmt"
	"strings"
	"time"
)

// civil is a date and a time of day in some zone, as it was written.
type civil struct {
	year       int
	month      time.Month
	day        int
	hour, min  int
	sec, nanos int
	from, to   int // where the text says so
}

// utc takes the civil time as one in UTC.
func (c *civil) utc() time.Time {
	return time.Date(c.year, c.month, c.day, c.hour, c.min, c.sec, c.nanos, time.UTC)
}

// dateTime reads a date, a time of day and a zone.
func (p *parser) dateTime(first word) time.Time {
	var c civil
	end := first.from + len("2006-01-02")
	if len(first.text) < len("2006-01-02") || !p.date(&c, first.from, end) {
		p.fail(first.from, first.to, fmt.Sprintf("%q is not a date such as 2026-11-22", first.text))
		return time.Time{}
	}
	switch rest := strings.TrimRight(p.text[end:], " "); {
	case rest == "":
		p.fail(end, end, "it has no time of day", p.text[first.from:end]+" 00:00")
		return time.Time{}
	case rest[0] != 'T' && rest[0] != 't' && rest[0] != ' ':
		p.fail(first.from, first.to, fmt.Sprintf("%q is not a date such as 2026-11-22", first.text))
		return time.Time{}
	case rest[0] != ' ':
		end++
	}
	c.from = first.from
	p.clockAt(&c, end)
	return p.moment(c, p.zoneAfter(&c, c.to))
}

// date reads YYYY-MM-DD from text[from:to].
func (p *parser) date(c *civil, from, to int) bool {
	s := p.text[from:to]
	if s[4] != '-' || s[7] != '-' || !digits(s[:4]) || !digits(s[5:7]) || !digits(s[8:]) {
		return false
	}
	c.year, c.month, c.day = number(s[:4]), time.Month(number(s[5:7])), number(s[8:])
	switch last := time.Date(c.year, c.month+1, 0, 0, 0, 0, 0, time.UTC).Day(); {
	case c.year == 0:
		p.fail(from, from+4, "there is no year 0")
	case c.month < 1 || c.month > 12:
		p.fail(from+5, from+7, fmt.Sprintf("there is no month %s: dates are year, month, day", s[5:7]))
	case c.day < 1 || c.day > last:
		p.fail(from+8, to, fmt.Sprintf("%s %d has the days 01 to %d", c.month, c.year, last))
	}
	return true
}

// clockAt reads the time of day that starts at text[from:], and notes where it ends.
func (p *parser) clockAt(c *civil, from int) {
	for from < len(p.text) && p.text[from] == ' ' {
		from++
	}
	end := from
	for end < len(p.text) && (digits(p.text[end:end+1]) || strings.IndexByte(":.,", p.text[end]) >= 0) {
		end++
	}
	p.clock(c, from, end)
	c.to = end
}

// clock reads HH:MM[:SS[.fraction]] from text[from:to].
func (p *parser) clock(c *civil, from, to int) {
	s := p.text[from:to]
	whole, fraction, pointed := strings.Cut(s, ".")
	parts := strings.Split(whole, ":")
	for _, part := range parts {
		if len(part) != 2 || !digits(part) || len(parts) < 2 || len(parts) > 3 || pointed && (len(parts) < 3 || !digits(fraction)) {
			p.failClock(from, to)
			return
		}
	}
	c.hour, c.min = number(parts[0]), number(parts[1])
	if len(parts) == 3 {
		c.sec = number(parts[2])
	}
	switch {
	case s == "24:00" || s == "24:00:00":
		p.fail(from, to, "the day ends before 24:00", "00:00 of the day after")
	case c.hour > 23:
		p.fail(from, from+2, fmt.Sprintf("there is no hour %s", parts[0]))
	case c.min > 59:
		p.fail(from+3, from+5, fmt.Sprintf("there is no minute %s", parts[1]))
	case c.sec == 60:
		p.fail(from+6, from+8, "leap seconds have no number of their own: second 60 counts as 59", whole[:6]+"59")
	case c.sec > 59:
		p.fail(from+6, from+8, fmt.Sprintf("there is no second %s", parts[2]))
	case len(strings.TrimRight(fraction, "0")) > 6:
		p.fail(to-len(fraction), to, "it is finer than a microsecond, the unit of an archive's times")
	}
	c.nanos = number((fraction + "000000000")[:9])
}

// failClock says why a text is no time of day.
func (p *parser) failClock(from, to int) {
	s := p.text[from:to]
	switch {
	case s == "":
		to = len(p.text)
		p.fail(from, to, "a time of day such as 17:41 is missing here")
	case len(s) <= 2 && digits(s):
		p.fail(from, to, "the minutes are missing", fmt.Sprintf("%02d:00", number(s)))
	case strings.Contains(s, ","):
		at := from + strings.IndexByte(s, ',')
		p.fail(at, at+1, "a fraction of a second stands after a point", strings.ReplaceAll(s, ",", "."))
	case len(s) >= 4 && s[1] == ':' && digits(s[:1]):
		p.fail(from, to, fmt.Sprintf("%q is not a time of day", s), "0"+s)
	default:
		p.fail(from, to, fmt.Sprintf("%q is not a time of day such as 17:41, 17:41:58 or 17:41:58.5", s))
	}
}

// zoneAfter reads the zone at text[from:], or returns the one given beside the text.
func (p *parser) zoneAfter(c *civil, from int) *time.Location {
	rest := strings.TrimRight(p.text[from:], " ")
	to := from + len(rest)
	for from < to && p.text[from] == ' ' {
		from++
	}
	name := p.text[from:to]
	switch lower := strings.ToLower(name); {
	case p.err != nil:
		return nil
	case name == "" && p.Zone == nil:
		said := p.text[c.from:c.to]
		return p.failZone(to, to, "it has no zone", said+"Z for UTC", said+" +01:00", said+" Europe/Zurich", said+" local")
	case name == "":
		return p.Zone
	case lower == "am" || lower == "pm" || strings.HasPrefix(lower, "am ") || strings.HasPrefix(lower, "pm "):
		return p.failZone(from, from+2, "hours go from 00 to 23, without am and pm")
	case strings.ContainsAny(name, " ["):
		at := from + strings.IndexAny(name, " [")
		return p.failZone(at, to, "one zone is enough")
	case from == c.to && name[0] != '+' && name[0] != '-' && lower != "z":
		return p.failZone(from, to, fmt.Sprintf("%q is neither Z nor an offset such as +01:00; a zone's name stands after a space", name))
	}
	return p.zone(from, to)
}

// day reads today or yesterday with a time of day.
func (p *parser) day(words []word) time.Time {
	first := words[0]
	if len(words) == 1 {
		p.fail(first.to, len(p.text), "it has no time of day", strings.ToLower(first.text)+" 00:00")
		return time.Time{}
	}
	if p.Now.IsZero() {
		p.fail(first.from, first.to, "only a date makes sense here: nothing says which day it is")
		return time.Time{}
	}
	c := civil{from: first.from}
	p.clockAt(&c, first.to)
	loc := p.zoneAfter(&c, c.to)
	if p.err != nil {
		return time.Time{}
	}
	c.year, c.month, c.day = p.Now.In(loc).Date()
	if strings.EqualFold(first.text, "yesterday") {
		c.year, c.month, c.day = time.Date(c.year, c.month, c.day-1, 0, 0, 0, 0, time.UTC).Date()
	}
	return p.moment(c, loc)
}
