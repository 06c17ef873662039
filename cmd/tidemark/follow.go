package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/place"
)

type followFlags struct {
	once     bool
	rebase   bool
	strict   bool
	poll     time.Duration
	timeline string
}

// promoted is what follow promote reports.
type promoted struct {
	Database string `json:"database"` // as it was named
	driver.Origin
}

func newFollow(c *console) *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use:   "follow ARCHIVE DB",
		Short: "Keep a warm standby current from an archive",
		Long: `Keep DB a copy of the archived database, a warm standby: the first time the newest
state is restored to DB, and from then on every change that comes into the archive
is applied, until interrupted (Ctrl-C or SIGTERM). With --once, stop when DB holds
all that the archive has.

A standby is read-only until it is promoted; the next capture of a promoted one
begins a timeline of its own. It follows one timeline, and is not disturbed by
others that go on from it. Where the archive's log has a gap it stops: --rebase
then restores the newest state beside DB and puts it in its place.

Everything is proved to be the archive's before it is applied. What DB shows is
made from that and from nothing else, so it is not read again for each change;
--strict does that too.

Only one process can have an embedded database open: an application that reads
from its standby follows with the library (package follow).`,
		Example: "  tidemark follow /backup/shop ./standby.db\n  tidemark follow promote ./standby.db",
		Args:    args("ARCHIVE", "DB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFollow(cmd.Context(), c, args[0], args[1], f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.once, "once", false, "stop when DB holds all that the archive has")
	fl.BoolVar(&f.rebase, "rebase", false, "start over from the newest state, beside DB, and put that in its place")
	fl.BoolVar(&f.strict, "strict", false, "hold each change against the row that DB shows, and stop where they do not fit; slower")
	fl.DurationVar(&f.poll, "poll", 200*time.Millisecond, "look for changes this often")
	fl.StringVar(&f.timeline, "timeline", "", "the `timeline` to follow; default the one that DB follows, main for a new one")
	cmd.AddCommand(newPromote(c))
	return cmd
}

func newPromote(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "promote DB",
		Short: "Make a standby a database that takes writes",
		Long: `End the following of a standby for good: DB takes writes from now on, and its
capture begins a timeline of its own where DB is now. The archive is not needed.
Make sure that the database which it followed is out of service.`,
		Example: "  tidemark follow promote ./standby.db",
		Args:    args("DB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPromote(cmd.Context(), c, args[0])
		},
	}
}

func runFollow(ctx context.Context, c *console, name, dbName string, f followFlags) (err error) {
	at, err := place.Database.Parse(dbName)
	if err != nil {
		return err
	}
	dir := at.Path
	o := follow.PrepareOptions{Database: embedded.Options{Fatal: lastWords, StrictStandby: f.strict}}
	a, err := c.openFollowed(ctx, name, dir, o, f)
	if err != nil {
		return err
	}
	if f.rebase {
		if err := follow.Rebase(ctx, a, dir, o); err != nil {
			return followError(err, name, dbName)
		}
	}
	db, err := follow.Prepare(ctx, a, dir, o)
	if err != nil {
		return followError(err, name, dbName)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	standby, err := db.Standby()
	if err != nil {
		return err
	}
	t := followed{c: c}
	fl := follow.New(a, standby, follow.Options{Poll: f.poll, Log: c.log, Progress: t.tell})
	c.log.Info("following", "archive", name, "timeline", a.Timeline(), "standby", dir)
	if f.once {
		_, err = fl.CatchUp(ctx)
	} else {
		err = fl.Run(ctx)
	}
	if err != nil {
		return followError(err, name, dbName)
	}
	s := fl.Status()
	c.printf("%s is at LSN %d of timeline %s: %s\n", dbName, s.LSN, s.Timeline, t.words(s))
	return c.emit("follow", s)
}

// openFollowed opens the archive on the timeline to be followed.
func (c *console) openFollowed(ctx context.Context, name, dir string, o follow.PrepareOptions, f followFlags) (*archive.Archive, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return nil, err
	}
	timeline := chain.TimelineID(f.timeline)
	if timeline == "" {
		if timeline, err = follow.TimelineOf(dir, o); err != nil {
			return nil, err
		}
	}
	if timeline == "" || timeline == a.Timeline() {
		return a, nil
	}
	if err := chain.CheckTimeline(timeline); err != nil {
		return nil, usageError{err}
	}
	return archive.Open(ctx, a.Bucket(), archive.OpenOptions{PinRepo: a.Identity().Repo, Timeline: timeline, Warn: c.warn})
}

// followError adds what helps.
func followError(err error, name, dbName string) error {
	err = withTry(err, follow.ErrGap, fmt.Sprintf("tidemark follow %s %s --rebase", shell(name), shell(dbName)))
	err = withTry(err, driver.ErrNotStandby, fmt.Sprintf("tidemark follow %s %s", shell(name), shell(dbName+"-standby")))
	return damaged(err, name)
}

// followed tells how far a standby is: a line of JSON a second while it moves,
// a line of text every ten.
type followed struct {
	c    *console
	told time.Time
	last follow.Status
}

func (t *followed) tell(s follow.Status) {
	every := progressEvery
	if t.c.json {
		every = time.Second
	}
	now := t.c.now()
	if s.LSN == t.last.LSN && s.Captured == t.last.Captured || now.Sub(t.told) < every || t.c.quiet {
		return
	}
	t.told, t.last = now, s
	if t.c.json {
		writeMessage(t.c.errs, "following", s) // an unwritable stderr must not fail the work
		return
	}
	fmt.Fprintf(t.c.errs, "follow: LSN %d, %s\n", s.LSN, t.words(s))
}

func (t *followed) words(s follow.Status) string {
	if s.Behind > 0 {
		return plural(s.Behind, "record", "records") + " behind the archive"
	}
	return "everything that the archive holds, which is covered until " + s.Covered.String()
}

func runPromote(ctx context.Context, c *console, dbName string) error {
	return c.withDB(dbName, false, func(db *embedded.DB) error {
		s, err := db.Standby()
		if err != nil {
			return err
		}
		o, err := s.Promote(ctx)
		if err != nil {
			return err
		}
		c.printf("%s takes writes from now on. It has left timeline %s of archive %s at LSN %d; its capture begins a timeline of its own.\n",
			dbName, o.Timeline, o.Archive, o.LSN)
		return c.emit("promoted", promoted{Database: dbName, Origin: o})
	})
}
