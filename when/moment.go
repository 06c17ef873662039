package when

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// offsetAt returns a zone's offset at a moment, in seconds east of UTC.
func offsetAt(loc *time.Location, t time.Time) int {
	_, offset := t.In(loc).Zone()
	return offset
}

// A jump is a moment at which a zone's offset changes.
type jump struct {
	at      time.Time
	was, is int // offsets
}

// jumps returns the offset of a zone 26 hours before utc and its jumps within
// 26 hours of it, in order: no place is further from UTC, and no offset was in
// force for less than a step. (Time.ZoneBounds would do, but for the last day
// of leap years it returns bounds that are wrong.)
func jumps(loc *time.Location, utc time.Time) (first int, _ []jump) {
	const reach, step = 26 * time.Hour, 30 * time.Minute
	var out []jump
	at := utc.Truncate(time.Second).Add(-reach)
	first = offsetAt(loc, at)
	for was := first; at.Before(utc.Add(reach)); at = at.Add(step) {
		is := offsetAt(loc, at.Add(step))
		if is == was {
			continue
		}
		n := sort.Search(int(step/time.Second), func(n int) bool { return offsetAt(loc, at.Add(time.Duration(n)*time.Second)) != was })
		out = append(out, jump{at.Add(time.Duration(n) * time.Second), was, is})
		was = is
	}
	return first, out
}

// moment finds the one moment that a civil time means in a zone.
func (p *parser) moment(c civil, loc *time.Location) time.Time {
	if p.err != nil {
		return time.Time{}
	}
	utc := c.utc()
	first, near := jumps(loc, utc)
	var found []time.Time
	try := func(offset int) {
		if t := utc.Add(-time.Duration(offset) * time.Second); offsetAt(loc, t) == offset && !slices.ContainsFunc(found, t.Equal) {
			found = append(found, t.In(loc))
		}
	}
	try(first)
	for _, j := range near {
		try(j.is)
	}
	slices.SortFunc(found, time.Time.Compare)
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		p.skipped(&c, utc, near, loc)
	default:
		p.repeated(&c, found, loc)
	}
	return time.Time{}
}

// name is what a person calls a zone.
func name(loc *time.Location) string {
	if loc == time.Local {
		return "the local zone"
	}
	return loc.String()
}

// skipped refuses a civil time that a clock jumped over.
func (p *parser) skipped(c *civil, utc time.Time, near []jump, loc *time.Location) {
	for _, j := range near {
		before := utc.Add(-time.Duration(j.was) * time.Second)
		after := utc.Add(-time.Duration(j.is) * time.Second)
		if before.Before(j.at) || !after.Before(j.at) {
			continue
		}
		was, is := j.at.In(time.FixedZone("", j.was)), j.at.In(loc)
		p.fail(c.from, c.to, fmt.Sprintf("there was no such time in %s: the clocks went from %s to %s",
			name(loc), was.Format("2006-01-02 15:04:05 -07:00"), is.Format("2006-01-02 15:04:05 -07:00")),
			Write(was.Add(-time.Second)), Write(is))
		return
	}
	p.fail(c.from, c.to, "there was no such time in "+name(loc))
}

// repeated refuses a civil time that came more than once.
func (p *parser) repeated(c *civil, found []time.Time, loc *time.Location) {
	var write []string
	for _, t := range found {
		write = append(write, Write(t))
	}
	p.fail(c.from, c.to, fmt.Sprintf("the clocks in %s went back then, and showed it %d times", name(loc), len(found)), write...)
}
