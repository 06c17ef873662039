package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
)

type captureFlags struct {
	once       bool
	takeover   bool
	timeline   string
	fork       bool
	noGap      bool
	flushBytes byteFlag
	flushAge   time.Duration
	coverage   time.Duration
	beside     besideFlags
	lag        lagFlags
	set        *pflag.FlagSet
}

// captured is what capture reports at its end.
type captured struct {
	Timeline chain.TimelineID `json:"timeline"`
	LSN      change.LSN       `json:"lsn"`
	Segments int              `json:"segments"`
	Bases    int              `json:"snapshots"`
}

func newCapture(c *console) *cobra.Command {
	f := captureFlags{flushBytes: 8 << 20}
	cmd := &cobra.Command{
		Use:   "capture DB ARCHIVE",
		Short: "Copy a database's changes into an archive as they happen",
		Long: `Copy a database's changes into an archive until interrupted (Ctrl-C or SIGTERM),
then close in good order. With --once, stop when all that was there is archived.

A database that was restored from the archive goes on in a timeline of its own,
from where it was restored; so does a copy, or one that was rolled back, but only
with --fork: without it, it is refused. Where the database has lost its log, a gap
is declared and a new snapshot taken; the exit code is 3 then.

Only one process can have an embedded database open: an application archives its
own with the library (package capture), and this command is for databases that
no application has open.`,
		Example: "  tidemark capture --once ./shop.db /backup/shop",
		Args:    args("DB", "ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCapture(cmd.Context(), c, args[0], args[1], f)
		},
	}
	cmd.Flags().BoolVar(&f.once, "once", false, "stop when everything that was there at the start is archived")
	f.add(cmd)
	f.beside.add(cmd)
	return cmd
}

func (f *captureFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	f.set = fl
	fl.BoolVar(&f.takeover, "takeover", false, "capture although another capturer seems to be at work (make sure that it is gone)")
	fl.StringVar(&f.timeline, "timeline", "", "capture into this `timeline`, which is there or is begun (default: the database's own)")
	fl.BoolVar(&f.fork, "fork", false, "if this is a copy, or was rolled back: go on in a timeline of its own")
	fl.BoolVar(&f.noGap, "no-gap", false, "stop where the database has lost its log, rather than declare a gap")
	fl.Var(&f.flushBytes, "flush-bytes", "publish when so many bytes are waiting")
	fl.DurationVar(&f.flushAge, "flush-age", time.Second, "publish when a change has waited this long")
	fl.DurationVar(&f.coverage, "coverage-every", 10*time.Second, "while nothing changes, say so this often")
	f.lag.add(fl)
}

// configured takes from the configuration what no flag says.
func (f *captureFlags) configured(db *config.Database) {
	if db == nil {
		return
	}
	if !f.set.Changed("flush-bytes") {
		f.flushBytes = byteFlag(db.Capture.FlushBytes)
	}
	if !f.set.Changed("flush-age") {
		f.flushAge = db.Capture.FlushAge
	}
	if !f.set.Changed("coverage-every") {
		f.coverage = db.Capture.CoverageEvery
	}
}

func (f *captureFlags) options(c *console) capture.Options {
	return capture.Options{Timeline: chain.TimelineID(f.timeline), Fork: f.fork, NoGap: f.noGap, Notify: c.captureEvent,
		FlushBytes: int64(f.flushBytes), FlushAge: f.flushAge, CoverageEvery: f.coverage, Takeover: f.takeover, Log: c.log}
}

// captureEvent tells of what happened to a capture. What was lost makes it end
// with the exit code for warnings.
func (c *console) captureEvent(e capture.Event) {
	if e.Warning {
		c.warned.Store(true)
	}
	c.printf("%s\n", e)
	if err := c.emit("capture_event", e); err != nil {
		c.log.Error("print an event", "error", err)
	}
}

func runCapture(ctx context.Context, c *console, dbName, archiveName string, f captureFlags) error {
	return c.withCapturer(ctx, dbName, archiveName, f, func(ctx context.Context, cap *capture.Capturer, a *archive.Archive) error {
		if f.once {
			if _, err := cap.Sync(ctx); err != nil {
				return err
			}
			return nil
		}
		return c.beside(ctx, cap, f.beside)
	}, func(a *archive.Archive) error {
		s := a.State()
		in := ""
		if s.Timeline != chain.MainTimeline {
			in = fmt.Sprintf(" of timeline %s", s.Timeline)
		}
		c.printf("archived through LSN %d%s: %s, %s\n", s.Last, in,
			plural(int64(s.Segments.Len()), "segment", "segments"), plural(int64(len(s.Snapshots)), "snapshot", "snapshots"))
		return c.emit("capture", captured{Timeline: s.Timeline, LSN: s.Last, Segments: s.Segments.Len(), Bases: len(s.Snapshots)})
	})
}

// withCapturer captures a database for as long as fn runs, and then calls
// after. An interrupt while the capture runs ends it in good order and is no
// error.
func (c *console) withCapturer(ctx context.Context, dbName, archiveName string, f captureFlags,
	fn func(context.Context, *capture.Capturer, *archive.Archive) error, after func(*archive.Archive) error) (err error) {
	db, err := c.openDBWith(dbName, false, func(db *config.Database) (embedded.LagPolicy, error) {
		return f.lag.policy(c, f.set, db)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a, err := c.openArchive(ctx, archiveName, true)
	if err != nil {
		return err
	}
	named, err := c.named(archiveName)
	if err != nil {
		return err
	}
	f.configured(named)
	cap := capture.New(a, db.Source(), f.options(c))
	err = cap.While(ctx, func(ctx context.Context) error { return fn(ctx, cap, a) })
	err = withTry(err, chain.ErrLocked, "stop the other capturer; if it is gone for good, add --takeover")
	if errors.As(err, new(*capture.ApartError)) {
		err = hinted{err, fmt.Sprintf("tidemark capture --fork %s %s", shell(dbName), shell(archiveName))}
	}
	if !errors.As(err, new(hinted)) {
		err = withTry(err, driver.ErrDiverged, "tidemark init another archive for this database")
	}
	if err != nil {
		return damaged(err, archiveName)
	}
	return after(cap.Archive())
}
