// Package config reads the file that names databases, where they are archived,
// and what is done to them when. It is strict: what it does not know, or can't
// take as it stands, it refuses, and shows the line and the place in it.
//
// A setting comes from the command line before the environment before the
// file before the default; [Config.Values] says where each came from.
package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/schedule"
)

// Version is the version of the file that this tidemark reads.
const Version = 1

// Config is what is in force.
type Config struct {
	File      string         // where it was read; "" when there is no file
	StateDir  string         // where plans, jobs and the heads last seen are kept
	Zone      *time.Location // of schedules that name no other
	Log       Log
	Databases []*Database // in the order of the file

	values []Value
}

// Log says what a long-running command logs.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, text or json; auto: what suits where it goes
}

// Database is one database and what is done with it.
type Database struct {
	Name     string
	Source   string // "embedded:PATH"; "" when it is not captured from here
	Archive  string // "dir:PATH"
	Repo     chain.RepoID
	Timeline chain.TimelineID
	RPOGoal  time.Duration // how old the last restorable moment may become; 0: no goal
	Capture  Capture
	Snapshot []Schedule
	Verify   []Schedule
	Drill    []Schedule
	Hooks    []hook.Hook
}

// Capture tunes the capture of a database.
type Capture struct {
	FlushBytes    int64         // publish when so many bytes are waiting
	FlushAge      time.Duration // or when a change has waited this long
	CoverageEvery time.Duration // while nothing changes, say so this often
	OnArchiveLag  Lag           // what to do when the archive can't be reached for long
	LagBytes      int64         // when more log than this waits; 0: no limit
	LagAge        time.Duration // or when it waits this long; 0: no limit
}

// Lag says what happens when the archive falls behind further than allowed.
type Lag string

// What happens when the archive falls behind.
const (
	LagKeep   Lag = "keep"   // nothing: the database keeps its log, however much that is
	LagBlock  Lag = "block"  // commits wait
	LagDetach Lag = "detach" // the log is let go: a gap, and a new base when the archive is back
)

// Schedule says when something is done.
type Schedule struct {
	Rule  schedule.Rule
	Level string // of a verification: chain, objects or records
}

// Database returns the database of that name, or nil.
func (c *Config) Database(name string) *Database {
	i := slices.IndexFunc(c.Databases, func(d *Database) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return c.Databases[i]
}

// Names returns the names of the databases.
func (c *Config) Names() []string {
	names := make([]string, 0, len(c.Databases))
	for _, d := range c.Databases {
		names = append(names, d.Name)
	}
	return names
}

// Similar returns the configured name that s is most likely a misspelling of,
// or "".
func (c *Config) Similar(s string) string { return nearest(s, c.Names()) }

// Value is one setting that is in force.
type Value struct {
	Database string `json:"database,omitempty"` // "" for those of all
	Setting  string `json:"setting"`
	Value    string `json:"value"`
	From     string `json:"from"`           // flag, environment, file, defaults (of the file) or default
	At       string `json:"at,omitempty"`   // the flag, the variable, or file:line
	Env      string `json:"env,omitempty"`  // the variable that would set it
	Zero     bool   `json:"none,omitempty"` // nothing is set
}

// Where a value came from.
const (
	FromFlag     = "flag"
	FromEnv      = "environment"
	FromFile     = "file"
	FromDefaults = "defaults" // the section of the file
	FromDefault  = "default"  // built in
)

// Values returns every setting that is in force and where it came from, those
// of all databases first.
func (c *Config) Values() []Value { return c.values }

// IsName reports whether s can be the name of a database; a path that is meant
// as one can always be written so that it can't, with ./ before it.
func IsName(s string) bool { return checkName(s) == nil }

// checkName reports what is wrong with the name of a database.
func checkName(name string) error {
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case name == "" || len(name) > 63:
		return fmt.Errorf("a database's name has 1 to 63 characters")
	case !strings.ContainsRune(first, rune(name[0])):
		return fmt.Errorf("a database's name has letters, digits, - and _ only, and starts with a letter or digit")
	}
	for _, r := range name {
		if !strings.ContainsRune(first+"-_", r) {
			return fmt.Errorf("a database's name has letters, digits, - and _ only, and starts with a letter or digit")
		}
	}
	return nil
}
