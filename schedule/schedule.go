// Package schedule says when something that is done again and again is due
// next. It is pure: a [Rule] and a time give the next time, whatever the clock
// of the machine shows.
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrRule is wrapped by every error of a rule that can't be read.
var ErrRule = errors.New("malformed schedule")

// Shortest is the shortest interval that [Every] takes.
const Shortest = time.Second

// Rule says when something is due: every so often, or at a time of day in a
// zone, on every day or on some days of the week. The zero Rule is never due.
//
// Daylight saving: a time of day that the clocks skip is due at the first
// moment after the skip; one that they show twice is due at its first showing
// only. So a rule is due exactly once a day.
type Rule struct {
	every   time.Duration // or:
	seconds int           // since midnight, on the clock of zone
	days    [7]bool       // by time.Weekday; at least one
	zone    *time.Location
	text    string // of At, as it was given
}

// Every returns the rule that is due so long after it was done last.
func Every(d time.Duration) (Rule, error) {
	if d < Shortest {
		return Rule{}, fmt.Errorf("every %s is less than %s: %w", d, Shortest, ErrRule)
	}
	return Rule{every: d}, nil
}

// At returns the rule for a time of day, "03:10" or "03:10:30", with the days
// of the week before it if it is not every day: "Sun 04:00", "Mon,Thu 22:30".
// zone is where the clock hangs.
func At(text string, zone *time.Location) (Rule, error) {
	r := Rule{zone: zone, text: text}
	clock := text
	if days, rest, ok := strings.Cut(text, " "); ok {
		clock = strings.TrimLeft(rest, " ")
		for _, name := range strings.Split(days, ",") {
			day, err := weekday(name)
			if err != nil {
				return Rule{}, err
			}
			r.days[day] = true
		}
	} else {
		r.days = [7]bool{true, true, true, true, true, true, true}
	}
	var err error
	r.seconds, err = timeOfDay(clock)
	return r, err
}

func weekday(name string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if full := d.String(); len(name) >= 3 && strings.EqualFold(name, full[:min(len(name), len(full))]) && len(name) <= len(full) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is no day of the week (want Mon, Tue, Wed, Thu, Fri, Sat or Sun): %w", name, ErrRule)
}

// timeOfDay returns the seconds since midnight of HH:MM or HH:MM:SS.
func timeOfDay(s string) (int, error) {
	parts := strings.Split(s, ":")
	bad := fmt.Errorf("%q is no time of day such as 03:10 or Sun 04:00: %w", s, ErrRule)
	if len(parts) < 2 || len(parts) > 3 {
		return 0, bad
	}
	limits, total := []int{24, 60, 60}, 0
	for i, limit := range limits {
		n := 0
		if i < len(parts) {
			v, err := strconv.ParseUint(parts[i], 10, 8)
			if err != nil || len(parts[i]) != 2 || int(v) >= limit {
				return 0, bad
			}
			n = int(v)
		}
		total = total*60 + n
	}
	return total, nil
}

// IsZero reports whether the rule is never due.
func (r Rule) IsZero() bool { return r.every == 0 && r.zone == nil }

// Interval returns how far apart the rule's times are when it was made by
// [Every], and whether it was.
func (r Rule) Interval() (time.Duration, bool) { return r.every, r.every > 0 }

// String returns the rule in words.
func (r Rule) String() string {
	switch {
	case r.every > 0:
		return "every " + Duration(r.every)
	case r.zone != nil:
		return "at " + r.text + " " + r.zone.String()
	}
	return "never"
}

// Duration writes a duration without the zero units that time.Duration adds:
// 6h, not 6h0m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Next returns the first time after t at which the rule is due; for a rule of
// [Every], t is when it was done last. The zero time says never.
func (r Rule) Next(t time.Time) time.Time {
	switch {
	case r.every > 0:
		return t.Add(r.every)
	case r.zone == nil:
		return time.Time{}
	}
	year, month, day := t.In(r.zone).Date()
	// A skip of a whole day shows a time of the day before on the next one.
	for i := -1; i <= 8; i++ {
		date := time.Date(year, month, day+i, 0, 0, 0, 0, time.UTC)
		if !r.days[date.Weekday()] {
			continue
		}
		if at := instant(date.Unix()+int64(r.seconds), r.zone); at.After(t) {
			return at
		}
	}
	return time.Time{} // not reached: a week has every day
}

// instant returns when the clock in zone first shows wall, given in seconds as
// if it were UTC, or the end of the skip that swallows it.
func instant(wall int64, zone *time.Location) time.Time {
	const day = 24 * 60 * 60
	var found time.Time
	for _, around := range []int64{wall - day, wall, wall + day} {
		at := time.Unix(wall-offset(time.Unix(around, 0), zone), 0).In(zone)
		if at.Unix()+offset(at, zone) == wall && (found.IsZero() || at.Before(found)) {
			found = at
		}
	}
	if !found.IsZero() {
		return found
	}
	// Skipped: by the offset from before the skip it comes after it.
	after := time.Unix(wall-offset(time.Unix(wall-day, 0), zone), 0).In(zone)
	start, _ := after.ZoneBounds()
	return start
}

// offset returns the zone's seconds east of UTC at t.
func offset(t time.Time, zone *time.Location) int64 {
	_, o := t.In(zone).Zone()
	return int64(o)
}
