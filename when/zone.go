package when

import (
	"fmt"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // zones must be known on a machine that has none installed
)

// LoadZone returns the zone that a person names: an IANA name such as
// Europe/Zurich, local, UTC, Z, or an offset such as +01:00. Its error is an
// [*Error] about name.
//
// Nothing that stands for several zones is taken: no abbreviations, and not the
// names Etc/GMT±N, whose sign is the opposite of what people expect.
func LoadZone(name string) (*time.Location, error) {
	p := parser{text: name}
	loc := p.zone(0, len(name))
	if p.err != nil {
		return nil, p.err
	}
	return loc, nil
}

// zone reads text[from:to] as a zone.
func (p *parser) zone(from, to int) *time.Location {
	name := p.text[from:to]
	switch {
	case name == "":
		return p.failZone(from, to, "the zone is empty", "UTC", "Europe/Zurich")
	case name == "Z" || name == "z" || name == "UTC":
		return time.UTC
	case name == "local":
		return p.local(from, to)
	case name[0] == '+' || name[0] == '-':
		return p.offset(from, to)
	case !strings.Contains(name, "/"):
		return p.noZone(from, to)
	case name[0] < 'A' || name[0] > 'Z':
		return p.failZone(from, to, fmt.Sprintf("%q is no zone: names are spelt with capitals, such as Europe/Zurich", name))
	case strings.HasPrefix(name, "Etc/GMT") && len(name) > len("Etc/GMT"):
		return p.failZone(from, to, name+" is easily taken for its opposite: write the offset, such as +01:00")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return p.failZone(from, to, fmt.Sprintf("%q is no zone in the IANA database, such as Europe/Zurich", name))
	}
	return loc
}

func (p *parser) failZone(from, to int, detail string, write ...string) *time.Location {
	p.fail(from, to, detail, write...)
	return nil
}

// local is the machine's zone. Go falls back to UTC where TZ holds what it
// can't read, which would move times without a word.
func (p *parser) local(from, to int) *time.Location {
	tz := strings.TrimPrefix(os.Getenv("TZ"), ":")
	if time.Local.String() == "UTC" && tz != "" && tz != "UTC" {
		return p.failZone(from, to, fmt.Sprintf("local is not known: TZ is %q, which is no zone in the IANA database", tz))
	}
	return time.Local
}

// abbreviations are the usual ones with a zone in which each is used: as hints
// only.
var abbreviations = map[string]string{
	"GMT": "Europe/London", "BST": "Europe/London", "WET": "Europe/Lisbon", "WEST": "Europe/Lisbon",
	"CET": "Europe/Zurich", "CEST": "Europe/Zurich", "MEZ": "Europe/Zurich", "MESZ": "Europe/Zurich",
	"EET": "Europe/Helsinki", "EEST": "Europe/Helsinki", "MSK": "Europe/Moscow", "IST": "Asia/Kolkata",
	"EST": "America/New_York", "EDT": "America/New_York", "CST": "America/Chicago", "CDT": "America/Chicago",
	"MST": "America/Denver", "MDT": "America/Denver", "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
	"JST": "Asia/Tokyo", "KST": "Asia/Seoul", "HKT": "Asia/Hong_Kong", "SGT": "Asia/Singapore",
	"AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
}

// noZone says why a single word is not a zone.
func (p *parser) noZone(from, to int) *time.Location {
	name := p.text[from:to]
	upper := strings.ToUpper(name)
	place, known := abbreviations[upper]
	switch {
	case upper == "UTC" || upper == "LOCAL":
		want := "UTC"
		if upper == "LOCAL" {
			want = "local"
		}
		return p.failZone(from, to, fmt.Sprintf("%q is spelt %s", name, want))
	case known:
		return p.failZone(from, to, name+" is an abbreviation, which doesn't say one zone", place, "an offset such as +01:00")
	case len(name) <= 5 && name == upper:
		return p.failZone(from, to, name+" looks like an abbreviation, which doesn't say one zone", "a name such as Europe/Zurich", "an offset such as +01:00")
	}
	return p.failZone(from, to, fmt.Sprintf("%q is no zone", name), "Z", "an offset such as +01:00", "a name such as Europe/Zurich")
}

// offset reads ±HH, ±HHMM or ±HH:MM.
func (p *parser) offset(from, to int) *time.Location {
	s := p.text[from+1 : to]
	if len(s) == 5 && s[2] == ':' {
		s = s[:2] + s[3:]
	}
	if len(s) == 2 {
		s += "00"
	}
	if len(s) != 4 || !digits(s) {
		return p.failZone(from, to, fmt.Sprintf("%q is not an offset such as +01:00", p.text[from:to]))
	}
	hours, minutes := number(s[:2]), number(s[2:])
	if minutes > 59 || hours*60+minutes > 14*60 {
		return p.failZone(from, to, fmt.Sprintf("%s is not an offset of any place: they go from -12:00 to +14:00", p.text[from:to]))
	}
	seconds := (hours*60 + minutes) * 60
	if p.text[from] == '-' {
		seconds = -seconds
	}
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone(offsetName(seconds), seconds)
}

// offsetName writes an offset in seconds as +01:00.
func offsetName(seconds int) string {
	return time.Unix(0, 0).In(time.FixedZone("", seconds)).Format("-07:00")
}
