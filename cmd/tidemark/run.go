package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark"
	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/daemon"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
)

func newRun(c *console) *cobra.Command {
	var scratch string
	cmd := &cobra.Command{
		Use:   "run [NAME…]",
		Short: "Keep the configured databases: capture, snapshots, verification, drills, hooks",
		Long: `Keep the configured databases, all or those that are named, until interrupted
(Ctrl-C or SIGTERM); then end in good order:

  capture        what has a source is captured; after a failure it is tried again,
                 with growing pauses; a capture that another one has taken over from
                 stays away
  schedules      snapshots, verification and drills when they are due; what was
                 missed while nothing ran is made up for once
  rpo_goal       the archive is looked at as anybody could who had to restore from it
  hooks          are told of what happens; one that fails stops nothing

Only one process can have an embedded database open: one that an application has
open is captured by the application, with the library. Leave its source out.
With the same state directory a database is kept once: a second run is refused.
Each event is printed as a line; "tidemark jobs" shows what was done.`,
		Example: "  tidemark run\n  tidemark run shop --config /etc/tidemark/config.yaml",
		Args:    args("[NAME…]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runDaemon(cmd.Context(), args, scratch)
		},
	}
	cmd.Flags().StringVar(&scratch, "scratch", "", "the `directory` to make the scratch place of drills in (default the system's temporary directory)")
	return cmd
}

func (c *console) runDaemon(ctx context.Context, names []string, scratch string) error {
	conf, err := c.mustConfiguration()
	if err != nil {
		return err
	}
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	c.configureLog(conf.Log)
	o := daemon.Options{Ledger: job.Open(dir), Drill: drill.Options{Dir: scratch, Fatal: lastWords}, Log: c.log, Tell: c.tellEvent()}
	for _, name := range names {
		if conf.Database(name) == nil {
			err := fmt.Errorf("%s names no database %q, only %s", conf.File, name, strings.Join(conf.Names(), ", "))
			return hinted{usageError{err}, "tidemark config show"}
		}
	}
	for _, db := range conf.Databases {
		if len(names) == 0 || slices.Contains(names, db.Name) {
			o.Databases = append(o.Databases, c.daemonOf(db))
		}
	}
	if len(o.Databases) == 0 {
		return usageError{fmt.Errorf("%s names no database", conf.File)}
	}
	c.notef("keeping %s; interrupt to stop\n", plural(int64(len(o.Databases)), "database", "databases"))
	return withTry(daemon.Run(ctx, o), job.ErrKept, "stop the other tidemark run, or name what this one is to keep: tidemark run NAME…")
}

// daemonOf says how a configured database and its archive are opened.
func (c *console) daemonOf(db *config.Database) daemon.Database {
	d := daemon.Database{Database: db}
	d.OpenArchive = func(ctx context.Context, timeline chain.TimelineID, write bool) (*archive.Archive, func(), error) {
		access := tidemark.ReadOnly
		if write {
			access = tidemark.Write
		}
		store, err := tidemark.OpenStore(db.Archive, access)
		if err != nil {
			return nil, nil, err
		}
		done := func() {
			if err := store.Close(); err != nil {
				c.log.Warn("close", "error", err)
			}
		}
		a, err := archive.Open(ctx, store, archive.OpenOptions{PinRepo: db.Repo, Timeline: cmp.Or(timeline, db.Timeline), Warn: c.warn})
		if err != nil {
			done()
			return nil, nil, err
		}
		return a, done, nil
	}
	if db.Source != "" {
		d.OpenSource = func(context.Context) (daemon.Source, error) {
			src, err := c.openDB(db.Name, false)
			if err != nil {
				return nil, err
			}
			return src, nil
		}
	}
	return d
}

// tellEvent prints events as they come.
func (c *console) tellEvent() func(hook.Event) {
	var mu sync.Mutex
	return func(e hook.Event) {
		mu.Lock()
		defer mu.Unlock()
		text := e.Message
		if e.Error != "" {
			text += ": " + e.Error
		}
		c.printf("%s  %-12s  %-16s  %s\n", instant(change.TimeOf(e.Time.Truncate(time.Millisecond))), e.Database, e.Kind, strings.ReplaceAll(text, "\n", " "))
		if err := c.emit("event", e); err != nil {
			c.log.Warn("the event can't be printed", "error", err)
		}
	}
}

// configureLog takes from the configuration what no flag says of the log.
func (c *console) configureLog(l config.Log) {
	if c.quiet || c.verbose || c.json {
		return
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return // was checked when the file was read
	}
	o := &slog.HandlerOptions{Level: level}
	switch out := io.Writer(c.errs); {
	case l.Format == "json":
		c.log = slog.New(slog.NewJSONHandler(out, o)).With("message_type", "log")
	case l.Format == "text" || !c.terminal:
		c.log = slog.New(slog.NewTextHandler(out, o))
	}
}
