package when

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// now is a Sunday afternoon in Zurich, and still in the night in Honolulu.
var now = time.Date(2026, 11, 22, 14, 30, 0, 123456789, time.UTC)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, zone, want string }{
		{"2026-11-22T17:41:58Z", "", "2026-11-22T17:41:58Z"},
		{"  2026-11-22t17:41:58z ", "", "2026-11-22T17:41:58Z"},
		{"2026-11-22T17:41:58.123456Z", "", "2026-11-22T17:41:58.123456Z"},
		{"2026-11-22T17:41:58.100000000Z", "", "2026-11-22T17:41:58.1Z"},
		{"2026-11-22 17:41:58.5+01:00", "", "2026-11-22T16:41:58.5Z"},
		{"2026-11-22 17:41:58 +0100", "", "2026-11-22T16:41:58Z"},
		{"2026-11-22 17:41-05", "", "2026-11-22T22:41:00Z"},
		{"2026-11-22   17:41   -0330", "", "2026-11-22T21:11:00Z"},
		{"2026-11-22 17:41Z", "Asia/Tokyo", "2026-11-22T17:41:00Z"}, // what is written wins
		{"2026-11-22 17:41", "Asia/Tokyo", "2026-11-22T08:41:00Z"},
		{"2026-11-22T17:41", "+05:45", "2026-11-22T11:56:00Z"},
		{"2026-11-22 17:41 UTC", "", "2026-11-22T17:41:00Z"},
		{"2026-11-22 17:41 Europe/Zurich", "", "2026-11-22T16:41:00Z"},
		{"2026-07-22 17:41 Europe/Zurich", "Asia/Tokyo", "2026-07-22T15:41:00Z"},
		{"2026-07-22T17:41:00 America/Argentina/Buenos_Aires", "", "2026-07-22T20:41:00Z"},
		{"2026-10-25 02:30+01:00", "Europe/Zurich", "2026-10-25T01:30:00Z"},
		{"2026-10-25 03:00", "Europe/Zurich", "2026-10-25T02:00:00Z"},
		{"2026-10-25 01:59:59.999999", "Europe/Zurich", "2026-10-24T23:59:59.999999Z"},
		{"2026-03-29 01:59:59", "Europe/Zurich", "2026-03-29T00:59:59Z"},
		{"2026-03-29 03:00", "Europe/Zurich", "2026-03-29T01:00:00Z"},
		{"2011-12-29 23:59", "Pacific/Apia", "2011-12-30T09:59:00Z"},
		{"2011-12-31 00:00", "Pacific/Apia", "2011-12-30T10:00:00Z"},
		{"1969-12-31 23:59-00:00", "", "1969-12-31T23:59:00Z"},
		{"2024-02-29T00:00Z", "", "2024-02-29T00:00:00Z"},
		{"2040-12-31 12:00", "Europe/Zurich", "2040-12-31T11:00:00Z"},
		{"2040-12-31 12:00", "Australia/Lord_Howe", "2040-12-31T01:00:00Z"},

		{"today 10:00Z", "", "2026-11-22T10:00:00Z"},
		{"Today 10:00:05.25 +02:00", "", "2026-11-22T08:00:05.25Z"},
		{"today 02:00", "Pacific/Honolulu", "2026-11-22T12:00:00Z"},
		{"yesterday 23:00", "Europe/Zurich", "2026-11-21T22:00:00Z"},
		{"today 01:00 Pacific/Kiritimati", "", "2026-11-22T11:00:00Z"}, // it is tomorrow there
		{"yesterday 00:00", "UTC", "2026-11-21T00:00:00Z"},

		{"90m ago", "", "2026-11-22T13:00:00.123456Z"},
		{"2h30m ago", "", "2026-11-22T12:00:00.123456Z"},
		{"2h 30m ago", "Asia/Tokyo", "2026-11-22T12:00:00.123456Z"},
		{"3d 03h ago", "", "2026-11-19T11:30:00.123456Z"},
		{"2.3 s ago", "", "2026-11-22T14:29:57.823456Z"},
		{"0s ago", "", "2026-11-22T14:30:00.123456Z"},
		{"0.000001s AGO", "", "2026-11-22T14:30:00.123455Z"},
		{"36525d ago", "", "1926-11-22T14:30:00.123456Z"},
	} {
		r := Reader{Now: now}
		if tt.zone != "" {
			r.Zone = zone(t, tt.zone)
		}
		got, err := r.Parse(tt.in)
		if err != nil || Write(got.UTC()) != tt.want {
			t.Errorf("%q in %q: got %v, %v; want %s", tt.in, tt.zone, got, err, tt.want)
		}
	}
}

// TestRefuses holds what is refused, which part is marked, and what is said.
func TestRefuses(t *testing.T) {
	for _, tt := range []struct{ in, zone, part, want string }{
		{"", "", "", "it is empty; write 2026-11-22T17:41:58Z, "},
		{"   ", "", "   ", "it is empty"},
		{"2026-11-22", "", "", "no time of day; write 2026-11-22 00:00"},
		{"2026-11-22T", "", "", "a time of day such as 17:41 is missing here"},
		{"2026-11-22 17:41", "", "", "it has no zone; write 2026-11-22 17:41Z for UTC, 2026-11-22 17:41 +01:00, 2026-11-22 17:41 Europe/Zurich or 2026-11-22 17:41 local"},
		{"today 17:41", "", "", "it has no zone; write today 17:41Z"},
		{"2026-11-22T17:41:58.1234567Z", "", "1234567", "finer than a microsecond"},
		{"2026-11-31T00:00Z", "", "31", "November 2026 has the days 01 to 30"},
		{"2026-02-29T00:00Z", "", "29", "February 2026 has the days 01 to 28"},
		{"2026-22-11T00:00Z", "", "22", "there is no month 22: dates are year, month, day"},
		{"0000-01-01T00:00Z", "", "0000", "there is no year 0"},
		{"0001-01-01T00:00+01:00", "", "0001-01-01T00:00+01:00", "between the years 1 and 9999"},
		{"9999-12-31T23:59-01:00", "", "9999-12-31T23:59-01:00", "between the years 1 and 9999"},
		{"22.11.2026 17:41Z", "", "22.11.2026", "is not a date such as 2026-11-22"},
		{"11/22/2026 17:41Z", "", "11/22/2026", "is not a date such as 2026-11-22"},
		{"2026-1-2 17:41Z", "", "2026-1-2", "is not a date such as 2026-11-22"},
		{"2026-11-2217:41Z", "", "2026-11-2217:41Z", "is not a date such as 2026-11-22"},
		{"2026-11-22T24:00:00Z", "", "24:00:00", "the day ends before 24:00; write 00:00 of the day after"},
		{"2026-11-22T25:00:00Z", "", "25", "there is no hour 25"},
		{"2026-11-22T17:60Z", "", "60", "there is no minute 60"},
		{"2026-11-22T17:41:60Z", "", "60", "leap seconds have no number of their own: second 60 counts as 59; write 17:41:59"},
		{"2026-11-22T17:41:61Z", "", "61", "there is no second 61"},
		{"2026-11-22T17:41:58,5Z", "", ",", "after a point; write 17:41:58.5"},
		{"2026-11-22T17:41.5Z", "", "17:41.5", "is not a time of day such as"},
		{"2026-11-22T17:41:58.Z", "", "17:41:58.", "is not a time of day such as"},
		{"2026-11-22T17Z", "", "17", "the minutes are missing; write 17:00"},
		{"2026-11-22 7:41Z", "", "7:41", "is not a time of day; write 07:41"},
		{"2026-11-22 1741Z", "", "1741", "is not a time of day such as"},
		{"2026-11-22 05:41 PM", "UTC", "PM", "hours go from 00 to 23"},
		{"2026-11-22 05:41pm", "UTC", "pm", "hours go from 00 to 23"},
		{"17:41", "UTC", "", "it has no date; write today 17:41 or 2026-11-22 17:41"},
		{"17", "UTC", "17", "a number alone is no time"},
		{"1795369318", "UTC", "1795369318", "a number alone is no time"},
		{"half past nine", "", "half", `"half" does not start a time; write`},
		{"-5m ago", "", "-", "is not how long ago"},
		{"now", "UTC", "now", "the last one is the target latest"},
		{"tomorrow 10:00", "UTC", "tomorrow", "in the future"},
		{"in 5m", "", "in", "in the future"},

		{"2026-11-22 17:41 CET", "", "CET", "CET is an abbreviation, which doesn't say one zone; write Europe/Zurich or an offset such as +01:00"},
		{"2026-11-22 17:41 est", "", "est", "abbreviation"},
		{"2026-11-22 17:41 GMT", "", "GMT", "abbreviation"},
		{"2026-11-22 17:41 XYZT", "", "XYZT", "looks like an abbreviation"},
		{"2026-11-22 17:41 utc", "", "utc", "is spelt UTC"},
		{"2026-11-22 17:41 Zurich", "", "Zurich", "is no zone; write Z, an offset"},
		{"2026-11-22 17:41 europe/zurich", "", "europe/zurich", "spelt with capitals"},
		{"2026-11-22 17:41 right/Europe/Zurich", "", "right/Europe/Zurich", "spelt with capitals"},
		{"2026-11-22 17:41 Europe/Zürich", "", "Europe/Zürich", "is no zone in the IANA database"},
		{"2026-11-22 17:41 Etc/GMT+1", "", "Etc/GMT+1", "easily taken for its opposite"},
		{"2026-11-22 17:41 +1", "", "+1", "is not an offset such as +01:00"},
		{"2026-11-22 17:41 +01:60", "", "+01:60", "not an offset of any place"},
		{"2026-11-22 17:41 +15:00", "", "+15:00", "not an offset of any place"},
		{"2026-11-22 17:41Europe/Zurich", "", "Europe/Zurich", "a zone's name stands after a space"},
		{"2026-11-22 17:41Z Europe/Zurich", "", " Europe/Zurich", "one zone is enough"},
		{"2026-11-22T17:41+01:00[Europe/Zurich]", "", "[Europe/Zurich]", "one zone is enough"},

		{"2026-03-29 02:30", "Europe/Zurich", "2026-03-29 02:30", "there was no such time in Europe/Zurich: the clocks went from 2026-03-29 02:00:00 +01:00 to 2026-03-29 03:00:00 +02:00; write 2026-03-29T01:59:59+01:00 or 2026-03-29T03:00:00+02:00"},
		{"2011-12-30 12:00 Pacific/Apia", "", "2011-12-30 12:00", "the clocks went from 2011-12-30 00:00:00 -10:00 to 2011-12-31 00:00:00 +14:00"},
		{"2026-10-25 02:30", "Europe/Zurich", "2026-10-25 02:30", "went back then, and showed it 2 times; write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"},
		{"2026-04-05 01:45:00.5 Australia/Lord_Howe", "", "2026-04-05 01:45:00.5", "write 2026-04-05T01:45:00.5+11:00 or 2026-04-05T01:45:00.5+10:30"},

		{"today", "UTC", "", "no time of day; write today 00:00"},
		{"yesterday noon", "UTC", "noon", "a time of day such as 17:41 is missing here"},
		{"ago", "", "", "how long; write 2h30m ago"},
		{"90m", "", "", "that is how long, not when; write 90m ago"},
		{"90 ago", "", "", "the number has no unit"},
		{"m ago", "", "m", "is not how long ago"},
		{"30m2h ago", "", "h", "stand in this order, each once"},
		{"1h1h ago", "", "h", "stand in this order, each once"},
		{"5min ago", "", "min", `"min" is no unit here; write m`},
		{"2 weeks ago", "", "weeks", `"weeks" is no unit here; write 7d for each`},
		{"1month ago", "", "month", "no unit here; write days (d)"},
		{"5x ago", "", "x", `"x" is no unit: d, h, m or s`},
		{"1.5h ago", "", "1.5", "only seconds have a fraction"},
		{"0.0000001s ago", "", "0.0000001", "finer than a microsecond"},
		{"36526d ago", "", "36526", "further back than a hundred years"},
		{"36525d1s ago", "", "36525d1s", "further back than a hundred years"},
		{"99999999999999999999s ago", "", "99999999999999999999", "further back than a hundred years"},
		{"2026-11-22T10:00Z ago", "", "-", "is no unit"},
	} {
		r := Reader{Now: now}
		if tt.zone != "" {
			r.Zone = zone(t, tt.zone)
		}
		got, err := r.Parse(tt.in)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q in %q: got %v, %v; want a refusal", tt.in, tt.zone, got, err)
			continue
		}
		if part := tt.in[e.From:e.To]; part != tt.part || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("%q in %q: marks %q, says %q; want %q and %q", tt.in, tt.zone, part, e, tt.part, tt.want)
		}
	}
}

// TestNoNow: without the present, only dates are read.
func TestNoNow(t *testing.T) {
	for _, in := range []string{"5m ago", "today 10:00Z", "yesterday 10:00Z"} {
		if got, err := (Reader{}).Parse(in); err == nil || !strings.Contains(err.Error(), "only a date makes sense here") {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestCaret(t *testing.T) {
	_, err := Reader{}.Parse("2026-11-22 17:41 Europe/Zürich")
	e := err.(*Error)
	if got, want := e.Caret(), "                 ^^^^^^^^^^^^^"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = Reader{}.Parse("2026-11-22")
	if got, want := err.(*Error).Caret(), "          ^"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoadZone(t *testing.T) {
	for in, want := range map[string]string{"UTC": "UTC", "Z": "UTC", "+00:00": "UTC", "-03": "-03:00", "+0545": "+05:45", "Asia/Kathmandu": "Asia/Kathmandu"} {
		if got, err := LoadZone(in); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "EST", "Local", "..", "/etc/localtime", "../Europe/Zurich", "Europe/../Asia/Tokyo", "+", "+25:00", "Mars/Olympus"} {
		if got, err := LoadZone(in); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
	local, err := LoadZone("local")
	if err != nil || local != time.Local {
		t.Errorf("local is %v, %v", local, err)
	}
}

// TestLocalNeedsAKnownTZ: Go takes UTC for a TZ that it can't read.
func TestLocalNeedsAKnownTZ(t *testing.T) {
	if time.Local.String() != "UTC" {
		was := time.Local
		time.Local = time.UTC // as Go does for a TZ it can't read
		defer func() { time.Local = was }()
	}
	t.Setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
	if got, err := LoadZone("local"); err == nil || !strings.Contains(err.Error(), `TZ is "CET-1CEST`) {
		t.Errorf("local is %v, %v", got, err)
	}
}

var zones = []string{"Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu",
	"America/St_Johns", "Antarctica/Troll", "Europe/Dublin", "Asia/Tehran", "Pacific/Chatham", "America/Sao_Paulo", "Africa/Monrovia", "Europe/Amsterdam"}

// TestLocalTimes: whatever a zone's clock shows at a moment reads as that
// moment, or is refused with the moment among what to write.
func TestLocalTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc := zoneOf(t)
		at := time.UnixMicro(rapid.Int64Range(-2840140800e6, 4102444800e6).Draw(t, "moment")).In(loc) // 1880 to 2100
		if rapid.Bool().Draw(t, "near a jump") {
			if end := nextJump(loc, at); !end.IsZero() {
				at = end.Add(time.Duration(rapid.Int64Range(-3*3600e6, 3*3600e6).Draw(t, "off")) * time.Microsecond).In(loc)
			}
		}
		shown := at.Format("2006-01-02 15:04:05.999999")
		got, err := Reader{Zone: loc}.Parse(shown)
		if err == nil {
			if !got.Equal(at) {
				t.Fatalf("%s shows %q at %v, read as %v", loc, shown, at, got)
			}
			return
		}
		found := false
		for _, w := range err.(*Error).Write {
			again, err := Reader{}.Parse(w)
			if err != nil {
				t.Fatalf("%q is offered, but %v", w, err)
			}
			found = found || again.Equal(at)
		}
		if !found || !strings.Contains(err.Error(), "went back") {
			t.Fatalf("%s shows %q at %v: %v", loc, shown, at, err)
		}
	})
}

// TestCivilTimes: a text that is read is what the zone's clock shows then, and
// one that is refused is shown at no moment, or at several.
func TestCivilTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc := zoneOf(t)
		naive := time.Unix(rapid.Int64Range(-2840140800, 4102444800).Draw(t, "shown"), 0).UTC()
		if end := nextJump(loc, naive); !end.IsZero() && rapid.Bool().Draw(t, "near a jump") {
			naive = end.UTC().Add(time.Duration(rapid.IntRange(-15*3600, 15*3600).Draw(t, "off")) * time.Second)
		}
		shown := naive.Format("2006-01-02 15:04:05")
		moments := map[int64]bool{}
		for off := -26 * 3600; off <= 26*3600; off += 900 { // an offset in effect somewhere near
			_, offset := naive.Add(time.Duration(off) * time.Second).In(loc).Zone()
			if at := naive.Add(-time.Duration(offset) * time.Second); at.In(loc).Format("2006-01-02 15:04:05") == shown {
				moments[at.Unix()] = true
			}
		}
		got, err := Reader{Zone: loc}.Parse(shown)
		switch {
		case len(moments) == 1 && err == nil && moments[got.Unix()]:
		case len(moments) > 1 && err != nil && strings.Contains(err.Error(), "went back"):
		case len(moments) == 0 && err != nil && strings.Contains(err.Error(), "no such time"):
			for _, w := range err.(*Error).Write {
				if _, err := (Reader{}).Parse(w); err != nil {
					t.Fatalf("%q is offered, but %v", w, err)
				}
			}
		default:
			t.Fatalf("%q in %s: %v, %v; shown at %v", shown, loc, got, err, moments)
		}
	})
}

// nextJump returns the next moment at which a zone's offset changes, within
// ten years; zero for none.
func nextJump(loc *time.Location, t time.Time) time.Time {
	_, was := t.In(loc).Zone()
	for day := range 3653 {
		at := t.Add(time.Duration(day) * 24 * time.Hour)
		if _, is := at.Add(24 * time.Hour).In(loc).Zone(); is != was {
			for _, now := at.In(loc).Zone(); now == was; _, now = at.In(loc).Zone() {
				at = at.Add(time.Minute)
			}
			return at
		}
	}
	return time.Time{}
}

func zoneOf(t *rapid.T) *time.Location {
	loc, err := LoadZone(rapid.SampledFrom(zones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// FuzzParse: nothing panics, errors mark a part of the text, and what is read
// is written so that it reads back.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"2026-11-22T17:41:58.5+01:00", "2026-11-22 17:41 Europe/Zurich", "2h30m ago", "yesterday 10:00:01", "2026-03-29 02:30", "2026-10-25 02:30", "1.5h ago", "9999-12-31 23:59-01", "today"} {
		f.Add(s)
	}
	loc := zone(f, "Europe/Zurich")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Reader{Now: now, Zone: loc}.Parse(s)
		if err != nil {
			e := err.(*Error)
			if e.From < 0 || e.To < e.From || e.To > len(s) || e.Text != s || e.Error() == "" || e.Caret() == "" {
				t.Fatalf("%q: %+v", s, e)
			}
			return
		}
		if back, err := (Reader{}).Parse(Write(got)); err != nil || !back.Equal(got) || got.Nanosecond()%1000 != 0 {
			t.Fatalf("%q is %v, written %s, which is %v, %v", s, got, Write(got), back, err)
		}
	})
}
