package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark"
	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// archivePlace reads where an archive is; name may be a configured one.
func (c *console) archivePlace(name string) (place.Place, error) {
	db, err := c.named(name)
	if err != nil {
		return place.Place{}, err
	}
	if db != nil {
		name = db.Archive
	}
	return place.Archive.Parse(name)
}

// openBucket opens the store of an archive that is there. One that may only be
// read is opened for reading.
func (c *console) openBucket(name string, write bool) (storage.Bucket, error) {
	access := tidemark.ReadOnly
	if write {
		access = tidemark.Write
	}
	bucket, err := c.openStore(name, access)
	return bucket, c.misspelt(err, name)
}

// createBucket opens the store for an archive, making it when it isn't there.
func (c *console) createBucket(name string) (storage.Bucket, error) {
	return c.openStore(name, tidemark.Create)
}

// openStore opens a store, and remembers to close it when the command ends.
func (c *console) openStore(name string, access tidemark.Access) (storage.Bucket, error) {
	at, err := c.archivePlace(name)
	if err != nil {
		return nil, err
	}
	store, err := tidemark.OpenStore(at.String(), access)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, store)
	return store, nil
}

// openArchive opens an archive; write says whether the command publishes.
func (c *console) openArchive(ctx context.Context, name string, write bool) (*archive.Archive, error) {
	bucket, err := c.openBucket(name, write)
	if err != nil {
		return nil, err
	}
	opts := archive.OpenOptions{Warn: c.warn}
	if err := c.pin(ctx, name, bucket, &opts); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c.timeline != "" {
		opts.Timeline = chain.TimelineID(c.timeline)
	}
	a, err := archive.Open(ctx, bucket, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, c.misspelt(err, name))
	}
	return a, nil
}

// openState opens an archive for reading and reads its chain.
func (c *console) openState(ctx context.Context, name string) (*archive.Archive, *chain.State, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.Load(ctx)
	return a, s, damaged(noTimeline(err, name), name)
}

// noTimeline adds the way to see the timelines to an error that says that there
// is none of a name.
func noTimeline(err error, name string) error {
	return withTry(err, archive.ErrNoTimeline, "tidemark timeline "+shell(name))
}

// timelineFlag gives commands that read an archive, and those below them, the
// flag that names a timeline. No names stand for all.
func (c *console) timelineFlag(root *cobra.Command, names ...string) {
	for _, cmd := range root.Commands() {
		if len(names) == 0 || slices.Contains(names, cmd.Name()) {
			c.timelineFlag(cmd)
			cmd.Flags().StringVar(&c.timeline, "timeline", "", "the `timeline` to look at, of several (see \"tidemark timeline ARCHIVE\")")
		}
	}
}

// onTimeline is the flag for a command line that a person may paste.
func (c *console) onTimeline() string {
	if c.timeline == "" {
		return ""
	}
	return " --timeline " + shell(c.timeline)
}

// choose opens an archive for reading at the timeline that a target means: the
// one that was named or, when none was, the one that it leads to in all of them.
func (c *console) choose(ctx context.Context, name string, target recovery.Target) (*archive.Archive, error) {
	return c.chooseFor(ctx, name, target, fmt.Sprintf("plan %s --to %s", shell(name), shell(target.String())))
}

// chooseFor is choose for a command line that a person may repeat with the
// timeline.
func (c *console) chooseFor(ctx context.Context, name string, target recovery.Target, command string) (*archive.Archive, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil || c.timeline != "" || c.kit != nil || a.Timeline() != chain.MainTimeline {
		return a, err
	}
	if a, err = restore.Choose(ctx, a, target); err != nil {
		var several *restore.AmbiguousError
		if errors.As(err, &several) {
			last := several.Leads[len(several.Leads)-1]
			err = hinted{err, fmt.Sprintf("tidemark %s --timeline %s", command, last.Timeline)}
		}
		return nil, err
	}
	if s := a.State(); s.Parent != nil || len(s.Pins) > 0 {
		c.timeline = string(s.Timeline)
	}
	return a, nil
}

// damaged adds the way to see all the damage to an error that tells of some.
func damaged(err error, archiveName string) error {
	if err != nil && exitCode(err) == exitCorrupt && !errors.As(err, new(hinted)) {
		return hinted{err, "tidemark verify " + shell(archiveName)}
	}
	return err
}

// openDB opens a database, making it if create is set and it isn't there. name
// may be a configured one.
func (c *console) openDB(name string, create bool) (*embedded.DB, error) {
	return c.openDBWith(name, create, c.lagPolicy)
}

// openDBWith opens a database that does what lag says while its archive is
// behind; lag is given the database's configuration, or nil.
func (c *console) openDBWith(name string, create bool, lag func(*config.Database) (embedded.LagPolicy, error)) (*embedded.DB, error) {
	typed := name
	db, err := c.named(name)
	switch {
	case err != nil:
		return nil, err
	case db != nil && db.Source == "":
		return nil, usageError{fmt.Errorf("database %s has no source in %s: it is captured by the application that has it open", name, c.conf.File)}
	case db != nil:
		typed = db.Source
	}
	policy, err := lag(db)
	if err != nil {
		return nil, err
	}
	at, err := place.Database.Parse(typed)
	if err != nil {
		return nil, err
	}
	opened, err := embedded.Open(at.Path, embedded.Options{MustExist: !create, Fatal: lastWords, Lag: policy})
	err = withTry(err, embedded.ErrNoDatabase, "tidemark db create "+shell(name)+" COLLECTION COLUMN:TYPE…")
	return opened, c.misspelt(err, name)
}

// lastWords ends the program when a database can't go on at all.
func lastWords(err error) {
	os.Exit(newConsole(os.Stdin, os.Stdout, os.Stderr).fail(context.Background(),
		hinted{err, "free some disk space, then run it again: what was committed is safe"}))
}

// wrapTarget is laid around the place that a restore is to make, by tests.
var wrapTarget func(driver.Target) driver.Target

// openTarget returns the place that a restore is to make.
func openTarget(name string) (driver.Target, error) {
	return tidemark.OpenTarget(name, embedded.Options{Fatal: lastWords})
}

// openReplacement returns the place of a database that a restore is to replace.
func openReplacement(name string) (*embedded.Replacement, error) {
	at, err := place.Database.Parse(name)
	if err != nil {
		return nil, err
	}
	return embedded.NewReplacement(at.Path, embedded.Options{Fatal: lastWords})
}

// shell writes an argument so that it can be pasted into a shell.
func shell(s string) string {
	plain := s != "" && shown(s) == s
	for _, r := range s {
		if !strings.ContainsRune("/._-:=+@,%", r) && !(r >= '0' && r <= '9') && !(r >= 'a' && r <= 'z') && !(r >= 'A' && r <= 'Z') && r < 128 {
			plain = false
		}
	}
	if plain {
		return s
	}
	if os.PathSeparator == '\\' {
		return `"` + s + `"`
	}
	if shown(s) != s {
		return "$'" + strings.ReplaceAll(shown(strings.ReplaceAll(s, `\`, `\\`)), "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
