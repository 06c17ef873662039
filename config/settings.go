package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/schedule"
	"github.com/tidemarkdb/tidemark/when"
)

// setting is one scalar of the file.
type setting[T any] struct {
	path string // within its section: "capture.flush_age"
	def  string // "" for none
	want string // what a value is, for messages
	set  func(*T, string) error
	get  func(*T) string
	raw  bool // what YAML takes for a number is meant as it is written
	own  bool // makes no sense in the section defaults
}

const (
	wantDuration = "a duration such as 60s, 5m or 1h30m"
	wantSize     = "a number of bytes such as 8MiB"
)

// topSettings are those that stand at the top of the file.
var topSettings = []setting[Config]{
	{path: "state_dir", want: "a path", set: func(c *Config, s string) error { c.StateDir = s; return notEmpty(s) },
		get: func(c *Config) string { return c.StateDir }},
	{path: "timezone", def: "local", want: "a time zone such as Europe/Berlin, UTC or local",
		set: func(c *Config, s string) (err error) { c.Zone, err = zone(s); return err },
		get: func(c *Config) string { return c.Zone.String() }},
	{path: "log.level", def: "info", want: "debug, info, warn or error",
		set: func(c *Config, s string) error { c.Log.Level = s; return choice(s, "debug", "info", "warn", "error") },
		get: func(c *Config) string { return c.Log.Level }},
	{path: "log.format", def: "auto", want: "auto, text or json",
		set: func(c *Config, s string) error { c.Log.Format = s; return choice(s, "auto", "text", "json") },
		get: func(c *Config) string { return c.Log.Format }},
}

// databaseSettings are those of a database; most can be given for all of them
// in the section defaults.
var databaseSettings = []setting[Database]{
	{path: "source", own: true, want: "a place such as embedded:/var/lib/shop.db",
		set: func(d *Database, s string) error { d.Source = s; return checkPlace(s, place.Database) },
		get: func(d *Database) string { return d.Source }},
	{path: "archive", own: true, want: "a place such as dir:/backup/shop",
		set: func(d *Database, s string) error { d.Archive = s; return checkPlace(s, place.Archive) },
		get: func(d *Database) string { return d.Archive }},
	{path: "repo", own: true, raw: true, want: "a repository's ID of 32 hexadecimal digits",
		set: func(d *Database, s string) error { d.Repo = chain.RepoID(s); return chain.CheckRepo(d.Repo) },
		get: func(d *Database) string { return string(d.Repo) }},
	{path: "timeline", own: true, raw: true, def: string(chain.MainTimeline), want: "a timeline such as main",
		set: func(d *Database, s string) error {
			d.Timeline = chain.TimelineID(s)
			return chain.CheckTimeline(d.Timeline)
		},
		get: func(d *Database) string { return string(d.Timeline) }},
	{path: "rpo_goal", want: wantDuration,
		set: func(d *Database, s string) error { return duration(&d.RPOGoal, s) },
		get: func(d *Database) string { return durationText(d.RPOGoal) }},
	{path: "capture.flush_bytes", def: "8MiB", want: wantSize, raw: true,
		set: func(d *Database, s string) error { return size(&d.Capture.FlushBytes, s) },
		get: func(d *Database) string { return sizeText(d.Capture.FlushBytes) }},
	{path: "capture.flush_age", def: "1s", want: wantDuration,
		set: func(d *Database, s string) error { return duration(&d.Capture.FlushAge, s) },
		get: func(d *Database) string { return durationText(d.Capture.FlushAge) }},
	{path: "capture.coverage_every", def: "10s", want: wantDuration,
		set: func(d *Database, s string) error { return duration(&d.Capture.CoverageEvery, s) },
		get: func(d *Database) string { return durationText(d.Capture.CoverageEvery) }},
	{path: "capture.on_archive_lag", def: string(LagKeep), want: "keep, block or detach",
		set: func(d *Database, s string) error {
			d.Capture.OnArchiveLag = Lag(s)
			return choice(s, string(LagKeep), string(LagBlock), string(LagDetach))
		},
		get: func(d *Database) string { return string(d.Capture.OnArchiveLag) }},
	{path: "capture.lag_bytes", want: wantSize, raw: true,
		set: func(d *Database, s string) error { return size(&d.Capture.LagBytes, s) },
		get: func(d *Database) string { return sizeText(d.Capture.LagBytes) }},
	{path: "capture.lag_age", want: wantDuration,
		set: func(d *Database, s string) error { return duration(&d.Capture.LagAge, s) },
		get: func(d *Database) string { return durationText(d.Capture.LagAge) }},
}

func notEmpty(s string) error {
	if s == "" {
		return fmt.Errorf("it is empty")
	}
	return nil
}

func choice(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fmt.Errorf("%q is not known%s", s, didYouMean(s, words))
}

func duration(d *time.Duration, s string) error {
	v, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not %s", s, wantDuration)
	case v <= 0:
		return fmt.Errorf("%q is not more than zero", s)
	}
	*d = v
	return nil
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return schedule.Duration(d)
}

func size(n *int64, s string) error {
	v, err := humanize.ParseBytes(s)
	if err != nil || v == 0 || v > math.MaxInt64 {
		return fmt.Errorf("%q is not %s", s, wantSize)
	}
	*n = int64(v)
	return nil
}

// sizeText writes a number of bytes so that no byte is lost.
func sizeText(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d%s", n, units[i])
}

func zone(s string) (*time.Location, error) {
	if err := notEmpty(s); err != nil {
		return time.UTC, err
	}
	l, err := when.LoadZone(s)
	if err != nil {
		return time.UTC, errors.New(strings.TrimPrefix(err.Error(), fmt.Sprintf("time %q: ", s)))
	}
	return l, nil
}

// checkPlace checks the place of an archive or a source.
func checkPlace(s string, kind place.Kind) error {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		if _, secret := u.User.Password(); secret {
			return fmt.Errorf("it holds a password: secrets come from the environment or from files of their own")
		}
	}
	_, err := kind.Parse(s)
	return err
}
