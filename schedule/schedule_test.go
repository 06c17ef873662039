package schedule_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/schedule"
)

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func at(t interface{ Fatal(...any) }, text string, z *time.Location) schedule.Rule {
	r, err := schedule.At(text, z)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNext(t *testing.T) {
	for _, tt := range []struct{ rule, zone, after, want string }{
		{"03:10", "UTC", "2026-11-22T03:09:59Z", "2026-11-22T03:10:00Z"},
		{"03:10", "UTC", "2026-11-22T03:10:00Z", "2026-11-23T03:10:00Z"},
		{"03:10:30", "UTC", "2026-11-22T03:10:00Z", "2026-11-22T03:10:30Z"},
		{"Sun 04:00", "UTC", "2026-11-22T03:00:00Z", "2026-11-22T04:00:00Z"}, // a Sunday
		{"sunday 04:00", "UTC", "2026-11-22T04:00:00Z", "2026-11-29T04:00:00Z"},
		{"Mon,Thu 22:30", "UTC", "2026-11-24T00:00:00Z", "2026-11-26T22:30:00Z"},
		// The zone decides which day it is.
		{"Mon 00:30", "Asia/Tokyo", "2026-11-22T12:00:00Z", "2026-11-22T15:30:00Z"},
		{"23:30", "America/New_York", "2026-11-22T03:00:00Z", "2026-11-22T04:30:00Z"},
		// Spring forward, Berlin: 02:00 to 03:00 is skipped on 2026-03-29.
		{"02:30", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"}, // 03:00 on the clock
		{"02:30", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}, // and not again that day
		{"02:00", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"01:59:59", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:59:59Z"},
		{"03:00", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		// Autumn back, Berlin: 02:00 to 03:00 comes twice on 2026-10-25.
		{"02:30", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"}, // the first
		{"02:30", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}, // not the second
		{"02:30", "Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-26T01:30:00Z"}, // not even from between
		{"03:00", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"},
		// Half an hour, Lord Howe, back on 2026-04-05 from +11:00 to +10:30.
		{"01:45", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-04T14:45:00Z"},
		// Midnight is skipped, Havana 2026-03-08.
		{"00:15", "America/Havana", "2026-03-07T12:00:00Z", "2026-03-08T05:00:00Z"},
		// A whole day is skipped, Apia 2011-12-30.
		{"Fri 04:00", "Pacific/Apia", "2011-12-29T00:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		after, err := time.Parse(time.RFC3339, tt.after)
		if err != nil {
			t.Fatal(err)
		}
		got := at(t, tt.rule, zone(t, tt.zone)).Next(after).UTC().Format(time.RFC3339)
		if got != tt.want {
			t.Errorf("%s in %s after %s: %s, want %s", tt.rule, tt.zone, tt.after, got, tt.want)
		}
	}
}

// TestOncePerDay: whatever the zone and the time of day, a rule is due once on
// each date, on the asked time or, where the clocks skip it, at the skip's end.
func TestOncePerDay(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Casablanca"}
	rapid.Check(t, func(t *rapid.T) {
		z := zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		second := rapid.IntRange(0, 86399).Draw(t, "second")
		text := time.Unix(int64(second), 0).UTC().Format("15:04:05")
		r := at(t, text, z)
		now := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "now"), 0)
		before := r.Next(now)
		if !before.After(now) {
			t.Fatalf("%s is not after %s", before, now)
		}
		for range 400 {
			next := r.Next(before)
			if a, b := date(before.In(z)), date(next.In(z)); b.Sub(a) != 24*time.Hour {
				t.Fatalf("%s in %s: due at %s, then at %s", text, z, before.In(z), next.In(z))
			}
			if got := next.In(z).Format("15:04:05"); got != text {
				if start, _ := next.In(z).ZoneBounds(); !start.Equal(next) {
					t.Fatalf("%s in %s is due at %s", text, z, next.In(z))
				}
			}
			// Any time between the two gives the second.
			between := before.Add(next.Sub(before) / 3)
			if got := r.Next(between); !got.Equal(next) {
				t.Fatalf("after %s: %s, want %s", between, got, next)
			}
			before = next
		}
	})
}

func date(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

func TestEvery(t *testing.T) {
	r, err := schedule.Every(6 * time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
	if got := r.Next(now); got != now.Add(6*time.Hour) {
		t.Errorf("Next: %s", got)
	}
	if d, ok := r.Interval(); !ok || d != 6*time.Hour {
		t.Errorf("Interval: %s, %t", d, ok)
	}
	if _, ok := at(t, "03:10", time.UTC).Interval(); ok {
		t.Error("a time of day has an interval")
	}
	if _, err := schedule.Every(999 * time.Millisecond); !errors.Is(err, schedule.ErrRule) {
		t.Errorf("Every 999ms: %v", err)
	}
	var never schedule.Rule
	if !never.IsZero() || r.IsZero() || !never.Next(now).IsZero() {
		t.Error("the zero rule is due")
	}
}

func TestText(t *testing.T) {
	every, _ := schedule.Every(90 * time.Minute)
	hour, _ := schedule.Every(time.Hour)
	for _, tt := range []struct {
		rule schedule.Rule
		want string
	}{
		{every, "every 1h30m"},
		{hour, "every 1h"},
		{at(t, "Sun 04:00", zone(t, "Europe/Berlin")), "at Sun 04:00 Europe/Berlin"},
		{schedule.Rule{}, "never"},
	} {
		if got := tt.rule.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for text, want := range map[string]string{
		"":          `"" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
		"3:10":      `"3:10" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
		"24:00":     `"24:00" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
		"03:60":     `"03:60" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
		"03:10pm":   `"03:10pm" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
		"Su 04:00":  `"Su" is no day of the week (want Mon, Tue, Wed, Thu, Fri, Sat or Sun): malformed schedule`,
		"Sunny 4":   `"Sunny" is no day of the week (want Mon, Tue, Wed, Thu, Fri, Sat or Sun): malformed schedule`,
		"Mon, 4:00": `"" is no day of the week (want Mon, Tue, Wed, Thu, Fri, Sat or Sun): malformed schedule`,
		"Sun":       `"Sun" is no time of day such as 03:10 or Sun 04:00: malformed schedule`,
	} {
		if _, err := schedule.At(text, time.UTC); err == nil || err.Error() != want || !errors.Is(err, schedule.ErrRule) {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}
