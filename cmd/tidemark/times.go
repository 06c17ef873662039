package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/when"
)

// setZone reads the zone of times that are typed without one, which is also
// the zone that times are shown in beside UTC.
func (c *console) setZone() error {
	name, from := c.tz, "--tz"
	if name == "" {
		name, from = os.Getenv("TIDEMARK_TZ"), "TIDEMARK_TZ"
	}
	if name == "" {
		return nil
	}
	zone, err := when.LoadZone(name)
	if err != nil {
		return badTime(fmt.Errorf("%s: %w", from, err))
	}
	c.zone = zone
	return nil
}

func (c *console) reader() when.Reader { return when.Reader{Now: c.now(), Zone: c.zone} }

// badTime is the error of a time, a zone or a target that can't be read.
func badTime(err error) error { return hinted{usageError{err}, "tidemark help targets"} }

// parseTarget reads the target that a flag gives.
func (c *console) parseTarget(flag, s string) (recovery.Target, error) {
	if s == "" {
		return recovery.Target{}, badTime(fmt.Errorf("%s is missing: %s", flag, targetForms))
	}
	t, err := recovery.ParseTarget(s, c.reader())
	if err != nil {
		return t, badTime(fmt.Errorf("%s: %w", flag, err))
	}
	return t, nil
}

// parseTime reads the time that a flag gives; "" is 0.
func (c *console) parseTime(flag, s string) (change.Time, error) {
	if s == "" {
		return 0, nil
	}
	t, err := c.reader().Parse(s)
	if err != nil {
		return 0, badTime(fmt.Errorf("%s: %w", flag, err))
	}
	return change.TimeOf(t), nil
}

// clock tells a moment in UTC, in the zone that was asked for or else the
// machine's, and how long ago it was: what a person compares with what they mean.
func (c *console) clock(t change.Time) string {
	s := instant(t)
	zone, called := c.zone, ""
	if zone == nil || zone == time.Local {
		zone, called = time.Local, "here"
	} else if n := zone.String(); n[0] != '+' && n[0] != '-' {
		called = "in " + n
	}
	local := t.Std().In(zone)
	if _, offset := local.Zone(); offset != 0 {
		layout := "15:04:05 -07:00"
		if local.Format(time.DateOnly) != t.Std().Format(time.DateOnly) {
			layout = "2006-01-02 " + layout
		}
		s += ", " + local.Format(layout)
		if called != "" {
			s += " " + called
		}
	}
	return s + ", " + ago(t, c.now())
}

// echoTarget says what was asked for, before anything is done about it.
func (c *console) echoTarget(t recovery.Target) {
	c.printf("target    %s\n", t.Describe())
	if t.Kind == recovery.TargetTime {
		c.printf("          %s\n", c.clock(t.Time))
	}
}

// quietAfter says that nothing happened between where a plan ends and the time
// that was asked for, when that is what the archive ends with; else it is "".
func quietAfter(t recovery.Target, plan *recovery.Plan) string {
	p := plan.Point
	if t.Kind != recovery.TargetTime || plan.Discards.Records != 0 || p.Effective == 0 || p.Effective >= t.Time {
		return ""
	}
	return fmt.Sprintf("nothing was committed between %s (LSN %d) and %s: the archive covers that time", instant(p.Effective), p.LSN, instant(t.Time))
}

// heading is a column's heading with the zone of its times.
func (c *console) heading(what string) string {
	if c.zone == nil {
		return what + " (UTC)"
	}
	return what + " (" + zoneName(c.zone) + ")"
}

func zoneName(zone *time.Location) string {
	if zone == time.Local {
		return "local"
	}
	return zone.String()
}

// stamp is a time in a column under [console.heading].
func (c *console) stamp(t change.Time) string {
	switch {
	case t == 0:
		return "?"
	case c.zone == nil || c.zone == time.UTC:
		return strings.TrimSuffix(instant(t), "Z")
	}
	layout := "2006-01-02 15:04:05.000 -07:00"
	if t%1000 != 0 {
		layout = "2006-01-02 15:04:05.000000 -07:00"
	}
	return t.Std().In(c.zone).Format(layout)
}
