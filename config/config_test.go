package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/schedule"
)

// env makes options with an environment of its own.
func env(kv ...string) config.Options {
	m := map[string]string{"HOME": "/home/ann"}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return config.Options{
		Getenv: func(k string) string { return m[k] },
		Environ: func() (out []string) {
			for k, v := range m {
				out = append(out, k+"="+v)
			}
			return out
		},
	}
}

func parse(t *testing.T, text string, o config.Options) *config.Config {
	t.Helper()
	c, err := config.Parse("/etc/tidemark/config.yaml", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const full = `
version: 1
state_dir: state
timezone: Europe/Berlin
log: {level: debug, format: json}
defaults:
  rpo_goal: 60s
  capture: {flush_age: 2s, on_archive_lag: detach, lag_age: 48h}
  schedules:
    verify: {at: "03:10"}
    drill: {at: Sun 04:00, timezone: UTC}
  hooks:
    - run: [/bin/page, "$x"]
databases:
  orders:
    source: embedded:orders.db
    archive: ../backup
    repo: 00112233445566778899001122334455
    capture:
      flush_bytes: 1048576
      lag_bytes: 20GiB
    schedules:
      snapshot: {every: 6h}
      verify:
        - {at: "03:10", level: chain}
        - {at: "Mon,Thu 22:30", level: records}
      drill: []
    hooks:
      - on: [verify-failed, rpo-exceeded]
        post: https://example.org/x
        token_file: token
        timeout: 5s
      - on: all
        run: [a]
  plain:
    archive: dir:/b
`

func TestFull(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths")
	}
	c := parse(t, full, env())
	berlin, _ := time.LoadLocation("Europe/Berlin")
	at := func(s string, z *time.Location) schedule.Rule { r, _ := schedule.At(s, z); return r }
	every, _ := schedule.Every(6 * time.Hour)
	want := &config.Config{
		File: "/etc/tidemark/config.yaml", StateDir: "/etc/tidemark/state", Zone: berlin, Log: config.Log{Level: "debug", Format: "json"},
		Databases: []*config.Database{{
			Name: "orders", Source: "embedded:/etc/tidemark/orders.db", Archive: "dir:/etc/backup", Repo: "00112233445566778899001122334455",
			Timeline: "main", RPOGoal: time.Minute,
			Capture: config.Capture{FlushBytes: 1 << 20, FlushAge: 2 * time.Second, CoverageEvery: 10 * time.Second,
				OnArchiveLag: config.LagDetach, LagBytes: 20 << 30, LagAge: 48 * time.Hour},
			Snapshot: []config.Schedule{{Rule: every}},
			Verify:   []config.Schedule{{Rule: at("03:10", berlin), Level: "chain"}, {Rule: at("Mon,Thu 22:30", berlin), Level: "records"}},
			Hooks: []hook.Hook{
				{On: []hook.Kind{hook.VerifyFailed, hook.RPOExceeded}, Post: "https://example.org/x", TokenFile: "/etc/tidemark/token", Timeout: 5 * time.Second},
				{Run: []string{"a"}, Timeout: hook.DefaultTimeout},
			},
		}, {
			Name: "plain", Archive: "dir:/b", Timeline: "main", RPOGoal: time.Minute,
			Capture: config.Capture{FlushBytes: 8 << 20, FlushAge: 2 * time.Second, CoverageEvery: 10 * time.Second,
				OnArchiveLag: config.LagDetach, LagAge: 48 * time.Hour},
			Verify: []config.Schedule{{Rule: at("03:10", berlin), Level: "objects"}},
			Drill:  []config.Schedule{{Rule: at("Sun 04:00", time.UTC)}},
			Hooks:  []hook.Hook{{Run: []string{"/bin/page", "$x"}, Timeout: hook.DefaultTimeout}},
		}},
	}
	zones := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	rules := cmp.Comparer(func(a, b schedule.Rule) bool { return a.String() == b.String() })
	if diff := cmp.Diff(want, c, zones, rules, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Error(diff)
	}
	if c.Database("plain") != c.Databases[1] || c.Database("nix") != nil || c.Similar("ordres") != "orders" || c.Similar("x") != "" {
		t.Error("Database, Similar")
	}
}

// TestPrecedence: flag before environment before file before defaults before
// what is built in, and Values says which.
func TestPrecedence(t *testing.T) {
	value := func(c *config.Config, db, setting string) string {
		for _, v := range c.Values() {
			if v.Database == db && v.Setting == setting {
				return v.Value + " " + v.From + " " + v.At
			}
		}
		return "absent"
	}
	const file = "version: 1\nstate_dir: /f\ndefaults: {rpo_goal: 1m, schedules: {drill: {every: 6h}}, hooks: [{run: [a]}]}\ndatabases:\n  my-shop:\n    archive: dir:/a\n    rpo_goal: 2m\n    schedules: {drill: {every: 7h}}\n    hooks: []\n  other:\n    archive: dir:/b\n"
	o := env("TIDEMARK_STATE_DIR", "/e", "TIDEMARK_TZ", "UTC", "TIDEMARK_DB_MY_SHOP_RPO_GOAL", "3m",
		"TIDEMARK_DB_MY_SHOP_CAPTURE_FLUSH_AGE", "4s", "TIDEMARK_LOG_LEVEL", "warn", "TIDEMARK_EVENT", "x")
	o.StateDir = "/flag"
	c := parse(t, file, o)
	const at = "/etc/tidemark/config.yaml:"
	for _, tt := range []struct{ db, setting, want string }{
		{"", "state_dir", "/flag flag --state-dir"},
		{"", "timezone", "UTC environment TIDEMARK_TZ"},
		{"", "log.level", "warn environment TIDEMARK_LOG_LEVEL"},
		{"", "log.format", "auto default "},
		{"my-shop", "rpo_goal", "3m environment TIDEMARK_DB_MY_SHOP_RPO_GOAL"},
		{"my-shop", "capture.flush_age", "4s environment TIDEMARK_DB_MY_SHOP_CAPTURE_FLUSH_AGE"},
		{"my-shop", "archive", "dir:/a file " + at + "6"},
		{"other", "rpo_goal", "1m defaults " + at + "3"},
		{"other", "capture.flush_age", "1s default "},
		{"other", "repo", " default "},
		{"other", "schedules.drill", "every 6h defaults " + at + "3"},
		{"my-shop", "schedules.drill", "every 7h file " + at + "8"},
		{"my-shop", "schedules.verify", " default "},
		{"my-shop", "hooks", " file " + at + "9"},
		{"other", "hooks", "run a defaults " + at + "3"},
	} {
		if got := value(c, tt.db, tt.setting); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.db, tt.setting, got, tt.want)
		}
	}
	if c.Databases[0].RPOGoal != 3*time.Minute || c.StateDir != "/flag" {
		t.Errorf("%s, %s", c.Databases[0].RPOGoal, c.StateDir)
	}
	o.StateDir = ""
	if c := parse(t, file, o); c.StateDir != "/e" {
		t.Errorf("the environment's: %s", c.StateDir)
	}
	if c := parse(t, file, env()); c.StateDir != "/f" {
		t.Errorf("the file's: %s", c.StateDir)
	}
	if c := parse(t, "version: 1\n", env("XDG_STATE_HOME", filepath.FromSlash("/x"))); runtime.GOOS != "windows" && c.StateDir != "/x/tidemark" {
		t.Errorf("XDG: %s", c.StateDir)
	}
	if c := parse(t, "version: 1\n", env()); runtime.GOOS != "windows" && c.StateDir != "/home/ann/.local/state/tidemark" {
		t.Errorf("home: %s", c.StateDir)
	}
}

func TestFind(t *testing.T) {
	home, xdg := t.TempDir(), t.TempDir()
	write := func(elem ...string) string {
		name := filepath.Join(elem...)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("version: 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	find := func(o config.Options) string {
		t.Helper()
		name, err := config.Find(o)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	base := []string{"HOME", home, "LocalAppData", home}
	if runtime.GOOS != "windows" {
		inHome := write(home, ".config", "tidemark", "config.yaml")
		if got := find(env(base...)); got != inHome {
			t.Errorf("%s, want %s", got, inHome)
		}
	}
	base = append(base, "XDG_CONFIG_HOME", xdg)
	inXDG := write(xdg, "tidemark", "config.yaml")
	if got := find(env(base...)); got != inXDG {
		t.Errorf("%s, want %s", got, inXDG)
	}
	named := write(home, "named.yaml")
	o := env(append(base, "TIDEMARK_CONFIG", named)...)
	if got := find(o); got != named {
		t.Errorf("%s, want %s", got, named)
	}
	o.File = inXDG
	if got := find(o); got != inXDG {
		t.Errorf("%s, want %s", got, inXDG)
	}
	o.File = named + "x"
	if _, err := config.Load(o); !errors.Is(err, config.ErrConfig) || !strings.HasPrefix(err.Error(), "--config names "+named+"x: ") {
		t.Error(err)
	}
	o = env(append(base, "TIDEMARK_CONFIG", named+"x")...)
	if _, err := config.Load(o); !errors.Is(err, config.ErrConfig) || !strings.HasPrefix(err.Error(), "TIDEMARK_CONFIG names "+named+"x: ") {
		t.Error(err)
	}
}

func TestExample(t *testing.T) {
	c := parse(t, config.Example, env())
	if len(c.Databases) != 1 || c.Databases[0].Name != "shop" || len(c.Databases[0].Verify) != 2 {
		t.Errorf("%+v", c.Databases)
	}
	// What it shows commented out is good as well.
	var b strings.Builder
	for line := range strings.Lines(config.Example) {
		for _, key := range []string{"state_dir:", "timezone:", "log:", "  level:", "  format:", "on_archive_lag:", "lag_bytes:", "lag_age:",
			"- on:", "  run:", "  timeout:", "  post:", "  token_file:", "repo:", "timeline:"} {
			if indent, rest, ok := strings.Cut(line, "# "); ok && strings.TrimSpace(indent) == "" && strings.HasPrefix(rest, key) {
				line = indent + rest
			}
		}
		b.WriteString(strings.Replace(line, "hooks: []", "hooks:", 1))
	}
	all := parse(t, b.String(), env()).Databases[0]
	if len(all.Hooks) != 2 || all.Capture.OnArchiveLag != config.LagDetach || all.Repo == "" {
		t.Errorf("%+v", all)
	}
}

// TestSnapshotsOfTheDefaults: they are for the databases that have a source.
func TestSnapshotsOfTheDefaults(t *testing.T) {
	c := parse(t, "version: 1\ndefaults: {schedules: {snapshot: {every: 6h}, drill: {every: 6h}}}\ndatabases:\n  own: {archive: dir:/a, source: embedded:/s}\n  other: {archive: dir:/b}\n", env())
	if own, other := c.Database("own"), c.Database("other"); len(own.Snapshot) != 1 || len(other.Snapshot) != 0 || len(other.Drill) != 1 {
		t.Errorf("%+v\n%+v", own, other)
	}
}

// TestByteOrderMark: what some editors write before the first line means nothing.
func TestByteOrderMark(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte("\ufeffversion: 1\r\ndatabases:\r\n  shop:\r\n    archive: dir:/a\r\n"), env())
	if err != nil || len(c.Databases) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}
