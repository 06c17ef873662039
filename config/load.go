package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/token"

	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/place"
)

// Options say where a configuration comes from, beside its file.
type Options struct {
	File     string // flag --config
	StateDir string // flag --state-dir
	Zone     string // flag --tz

	// Getenv returns a variable of the environment, "" when it is not set;
	// default os.Getenv. Environ lists them all; default os.Environ.
	Getenv  func(string) string
	Environ func() []string
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Environ == nil {
		o.Environ = os.Environ
	}
	return o
}

// The variables of the environment that name more than one setting.
const (
	EnvFile     = "TIDEMARK_CONFIG"
	EnvStateDir = "TIDEMARK_STATE_DIR"
	EnvZone     = "TIDEMARK_TZ"
	envDatabase = "TIDEMARK_DB_"
)

// Find returns the file to read: the flag's, the environment's, the user's or
// the machine's; "" when there is none. One that was asked for must be there.
func Find(o Options) (string, error) {
	o = o.withDefaults()
	asked, by := o.File, "--config"
	if asked == "" {
		asked, by = o.Getenv(EnvFile), EnvFile
	}
	if asked != "" {
		if _, err := os.Stat(asked); err != nil {
			return "", fmt.Errorf("%s names %s: %w: %w", by, asked, errors.Unwrap(err), ErrConfig)
		}
		return asked, nil
	}
	for _, name := range Places(o) {
		_, err := os.Stat(name)
		switch {
		case err == nil:
			return name, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("look for a configuration: %w: %w", err, ErrConfig)
		}
	}
	return "", nil
}

// Places lists where a file is looked for when none is named.
func Places(o Options) []string {
	o = o.withDefaults()
	var out []string
	if dir := userDir(o, "XDG_CONFIG_HOME", ".config"); dir != "" {
		out = append(out, filepath.Join(dir, "tidemark", "config.yaml"))
	}
	if runtime.GOOS == "windows" {
		if dir := o.Getenv("ProgramData"); dir != "" {
			out = append(out, filepath.Join(dir, "tidemark", "config.yaml"))
		}
		return out
	}
	return append(out, "/etc/tidemark/config.yaml")
}

// userDir returns the user's directory of a kind, by the XDG rules.
func userDir(o Options, xdg, below string) string {
	if dir := o.Getenv(xdg); filepath.IsAbs(dir) {
		return dir
	}
	if runtime.GOOS == "windows" {
		return o.Getenv("LocalAppData")
	}
	if home := o.Getenv("HOME"); home != "" {
		return filepath.Join(home, below)
	}
	return ""
}

// Load finds and reads the configuration. Without a file it is that of the
// environment and the defaults, with no database. What is wrong is told all at
// once: [Problems] for what is in the file. Every error wraps [ErrConfig].
func Load(o Options) (*Config, error) {
	name, err := Find(o)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return assemble(o, &document{}, decoder{&report{}})
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrConfig)
	}
	return Parse(name, raw, o)
}

// Parse reads the configuration that raw holds; name is what the file is
// called in messages, and relative paths in it start at its directory.
func Parse(name string, raw []byte, o Options) (*Config, error) {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff")) // some editors write this mark first
	d := decoder{&report{file: name, lines: strings.Split(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n")}}
	doc := d.decode(raw)
	return assemble(o, doc, d)
}

// assembly puts values together from where they may come.
type assembly struct {
	decoder
	o     Options
	doc   *document
	c     *Config
	known []string // variables of the environment that mean something
}

func assemble(o Options, doc *document, d decoder) (*Config, error) {
	a := &assembly{decoder: d, o: o.withDefaults(), doc: doc, c: &Config{File: d.file}}
	dir := ""
	if a.c.File != "" {
		if abs, err := filepath.Abs(a.c.File); err == nil {
			dir = filepath.Dir(abs)
		}
	}
	a.top(dir)
	a.checkDefaults()
	for i := range doc.databases {
		a.database(&doc.databases[i], dir)
	}
	a.strangers()
	if err := a.err(); err != nil {
		return nil, err
	}
	return a.c, nil
}

// top settles what is of the whole file.
func (a *assembly) top(dir string) {
	for _, s := range topSettings {
		env := "TIDEMARK_" + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
		flag, flagName := "", ""
		switch s.path {
		case "state_dir":
			flag, flagName = a.o.StateDir, "--state-dir"
			s.def = a.defaultStateDir()
		case "timezone":
			env = EnvZone
			flag, flagName = a.o.Zone, "--tz"
		}
		from := settle(a, s, "", env, flag, flagName, a.doc.scalars, nil, a.c)
		if s.path == "state_dir" && from == FromFile && a.c.StateDir != "" && !filepath.IsAbs(a.c.StateDir) {
			a.c.StateDir = filepath.Join(dir, a.c.StateDir)
			a.c.values[len(a.c.values)-1].Value = a.c.StateDir
		}
	}
	if a.c.Zone == nil {
		a.c.Zone = time.Local // what was given was no good, and told
	}
}

// checkDefaults looks at the values in defaults, which no database may use.
func (a *assembly) checkDefaults() {
	for _, s := range databaseSettings {
		if v, ok := a.doc.defaults.scalars[s.path]; ok {
			a.value(v, s.path, s.set(new(Database), v.text))
		}
	}
	for kind, raw := range a.doc.defaults.schedules {
		a.rules(kind, raw, a.c.Zone)
	}
}

// defaultStateDir is where state is kept unless something else is said.
func (a *assembly) defaultStateDir() string {
	if dir := userDir(a.o, "XDG_STATE_HOME", filepath.Join(".local", "state")); dir != "" {
		return filepath.Join(dir, "tidemark")
	}
	return ""
}

// settle takes a setting from the first place that has it and returns which.
func settle[T any](a *assembly, s setting[T], database, env, flag, flagName string, file, defaults map[string]scalar, into *T) string {
	a.known = append(a.known, env)
	v := Value{Database: database, Setting: s.path, Env: env, From: FromDefault}
	apply := func(text string, told func(error)) {
		if err := s.set(into, text); err != nil {
			told(err)
		}
	}
	inFile := func(x scalar) func(error) { return func(err error) { a.value(x, s.path, err) } }
	fromEnv := a.o.Getenv(env)
	given, here := file[s.path]
	common, there := defaults[s.path]
	// What the file says is checked even where something else is in force.
	if there {
		apply(common.text, inFile(common))
		v.From, v.At = FromDefaults, fmt.Sprintf("%s:%d", a.file, common.tk.Position.Line)
	}
	if here {
		apply(given.text, inFile(given))
		v.From, v.At = FromFile, fmt.Sprintf("%s:%d", a.file, given.tk.Position.Line)
	}
	switch {
	case flag != "":
		apply(flag, func(err error) { a.outside("%s: %v", flagName, err) })
		v.From, v.At = FromFlag, flagName
	case fromEnv != "":
		apply(fromEnv, func(err error) { a.outside("%s: %v", env, err) })
		v.From, v.At = FromEnv, env
	case !here && !there && s.def != "":
		apply(s.def, func(error) {}) // only the machine's zone can be no good: see top
	}
	if a.err() == nil {
		v.Value = s.get(into)
	}
	v.Zero = v.Value == ""
	a.c.values = append(a.c.values, v)
	return v.From
}

// database settles one database.
func (a *assembly) database(s *section, dir string) {
	db := &Database{Name: s.name}
	prefix := envDatabase + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_")) + "_"
	if other := a.sameVariables(s.name); other != "" {
		a.at(s.key, "names %q and %q are the same in the environment: %s…", other, s.name, prefix)
	}
	for _, set := range databaseSettings {
		env := prefix + strings.ToUpper(strings.ReplaceAll(set.path, ".", "_"))
		from := settle(a, set, s.name, env, "", "", s.scalars, a.doc.defaults.scalars, db)
		if from != FromEnv { // which has no directory
			db.resolve(set.path, dir)
			a.c.values[len(a.c.values)-1].Value = set.get(db)
		}
	}
	for kind, into := range map[string]*[]Schedule{WorkSnapshot: &db.Snapshot, WorkVerify: &db.Verify, WorkDrill: &db.Drill} {
		raw, own := s.schedules[kind]
		if !own {
			raw = a.doc.defaults.schedules[kind]
		}
		*into = a.rules(kind, raw, a.c.Zone)
	}
	a.hooksOf(db, s, dir)
	if len(a.found) == 0 && len(a.other) == 0 { // what is missing is not just misspelled
		a.sane(db, s)
	}
	a.alone(db, s)
	a.lists(db, s)
	a.c.Databases = append(a.c.Databases, db)
}

// sameVariables returns a database before that shares the variables of one.
func (a *assembly) sameVariables(name string) string {
	plain := func(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
	for _, d := range a.c.Databases {
		if d.Name != name && plain(d.Name) == plain(name) {
			return d.Name
		}
	}
	return ""
}

// alone refuses what two databases can't share: one database has one name, and
// a timeline of an archive is written to by one database. A database without a
// source may look at the archive of another.
func (a *assembly) alone(db *Database, s *section) {
	for _, d := range a.c.Databases {
		switch {
		case db.Source == "" || d.Source == "":
		case d.Source == db.Source:
			a.at(s.key, "databases.%s has the same source as %s: one database has one name", db.Name, d.Name)
		case d.Archive == db.Archive && d.Timeline == db.Timeline:
			a.at(s.key, "databases.%s has the same archive as %s: each database needs one of its own", db.Name, d.Name)
		}
	}
}

// resolve makes a relative path of the file absolute.
func (d *Database) resolve(path, dir string) {
	for name, v := range map[string]struct {
		at   *string
		kind place.Kind
	}{"source": {&d.Source, place.Database}, "archive": {&d.Archive, place.Archive}} {
		if path != name || *v.at == "" {
			continue
		}
		if p, err := v.kind.Parse(*v.at); err == nil {
			*v.at = p.Below(dir).String()
		}
	}
}

// hooksOf gives a database its own hooks, or else those of the defaults.
func (a *assembly) hooksOf(db *Database, s *section, dir string) {
	raw := s.hooks
	if s.hooksAt == nil {
		raw = a.doc.defaults.hooks
	}
	for _, r := range raw {
		h := r.hook
		if h.Timeout == 0 {
			h.Timeout = hook.DefaultTimeout
		}
		if h.TokenFile = r.tokenFile.text; h.TokenFile != "" && !filepath.IsAbs(h.TokenFile) {
			h.TokenFile = filepath.Join(dir, h.TokenFile)
		}
		db.Hooks = append(db.Hooks, h)
	}
}

// sane reports what does not fit together.
func (a *assembly) sane(db *Database, s *section) {
	if db.Archive == "" {
		a.at(s.key, "database %q has no archive", s.name)
	}
	limits := db.Capture.LagBytes > 0 || db.Capture.LagAge > 0
	switch lag := db.Capture.OnArchiveLag; {
	case lag == LagKeep && limits:
		a.at(s.key, "database %q: lag_bytes and lag_age mean nothing with on_archive_lag: keep", s.name)
	case lag != LagKeep && lag != "" && !limits:
		a.at(s.key, "database %q: on_archive_lag: %s needs lag_bytes or lag_age", s.name, lag)
	}
	if len(db.Snapshot) > 0 && db.Source == "" {
		if s.given[WorkSnapshot] != nil {
			a.at(s.key, "database %q: snapshots need a source", s.name)
		}
		db.Snapshot = nil // those of the defaults are for databases that have one
	}
}

// lists adds what is not one value to the values.
func (a *assembly) lists(db *Database, s *section) {
	add := func(setting string, items []string, own, common *token.Token) {
		v := Value{Database: db.Name, Setting: setting, Value: strings.Join(items, ", "), From: FromDefault, Zero: len(items) == 0}
		switch {
		case own != nil:
			v.From, v.At = FromFile, fmt.Sprintf("%s:%d", a.file, own.Position.Line)
		case common != nil:
			v.From, v.At = FromDefaults, fmt.Sprintf("%s:%d", a.file, common.Position.Line)
		}
		a.c.values = append(a.c.values, v)
	}
	for _, k := range []struct {
		kind string
		list []Schedule
	}{{WorkSnapshot, db.Snapshot}, {WorkVerify, db.Verify}, {WorkDrill, db.Drill}} {
		var items []string
		for _, e := range k.list {
			items = append(items, strings.TrimSpace(e.Rule.String()+" "+e.Level))
		}
		add("schedules."+k.kind, items, s.given[k.kind], a.doc.defaults.given[k.kind])
	}
	var items []string
	for i := range db.Hooks {
		items = append(items, db.Hooks[i].String())
	}
	add("hooks", items, s.hooksAt, a.doc.defaults.hooksAt)
}

// strangers refuses variables that look like settings and are none.
func (a *assembly) strangers() {
	for _, kv := range a.o.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envDatabase) && !slices.Contains(a.known, name) {
			a.outside("variable %s of the environment sets nothing%s", name, suggestion(name, a.known))
		}
	}
}

func suggestion(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return ""
}
