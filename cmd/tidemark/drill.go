package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/restore"
)

type drillFlags struct {
	source   string
	scratch  string
	keep     bool
	noRecord bool
	memory   byteFlag
}

func newDrill(c *console) *cobra.Command {
	f := drillFlags{memory: defaultMemory}
	cmd := &cobra.Command{
		Use:   "drill ARCHIVE",
		Short: "Rehearse a restore, and prove that it yields what the database held",
		Long: `Rehearse a restore: bring the database back in a scratch place, open it, read
every row, and compare each collection with what the live database itself showed
at the same LSN. How long that took is the measured RTO.

What is compared with is the newest digest or snapshot of the database in the
archive that the restore does not start from, or with --source the database,
read now (no application may have it open). Without any, the drill still
restores, and says that it was not independent.

Of several timelines the one that is captured now, or else the one that was
captured last, is rehearsed, unless one is named.

The result is put into the archive; status shows it. Exit code 30 says that the
drill failed.`,
		Example: `  tidemark drill /backup/shop
  tidemark drill /backup/shop --source ./shop.db`,
		Args: args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDrill(cmd.Context(), c, args[0], f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.source, "source", "", "the `database` to compare with, read now")
	fl.StringVar(&f.scratch, "scratch", "", "the `directory` to make the scratch place in (default the system's temporary one)")
	fl.BoolVar(&f.keep, "keep", false, "leave the restored database in the scratch place")
	fl.BoolVar(&f.noRecord, "no-record", false, "don't put the result into the archive")
	fl.Var(&f.memory, "memory", "memory for sorting; more spills to disk")
	return cmd
}

func runDrill(ctx context.Context, c *console, name string, f drillFlags) (err error) {
	if err := c.chooseLive(ctx, name, "drill"); err != nil {
		return err
	}
	a, readOnly, err := c.openToRecord(ctx, name, !f.noRecord)
	if err != nil {
		return err
	}
	defer c.record(job.Drill, name)(&err)
	o := drill.Options{Dir: f.scratch, Keep: f.keep, NoRecord: f.noRecord || readOnly != nil, Memory: int64(f.memory), Fatal: lastWords}
	if f.source != "" {
		db, e := c.openDB(f.source, false)
		if e != nil {
			return e
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		o.Source = db.Source()
	}
	limitHeap(int64(f.memory))
	p := c.progress("drill", "records")
	o.Progress = func(now restore.Progress) { p.update(now.Read+now.Rows, now.Log+now.Total) }
	r, err := drill.Run(ctx, a, o)
	p.close()
	if r != nil {
		if readOnly != nil {
			r.NotRecorded = because(readOnly)
		}
		c.printDrill(r)
		c.did(numbers{"lsn": r.LSN, "rows": r.Rows, "bytes": r.Bytes, "rto_us": r.Elapsed, "independent": r.Independent}, "restored to LSN %d in %s", r.LSN, span(r.RTO()))
		if !f.noRecord && !r.Recorded {
			c.notRecorded("drill", r.NotRecorded)
		}
		if e := c.emit("drill", r); e != nil {
			return errors.Join(err, e)
		}
	}
	switch {
	case errors.Is(err, drill.ErrFailed):
		return hinted{err, fmt.Sprintf("tidemark verify %s --level records", shell(name))}
	case errors.Is(err, drill.ErrBehind):
		return hinted{err, fmt.Sprintf("tidemark capture --once %s %s", shell(f.source), shell(name))}
	}
	return damaged(c.nearest(err, name), name)
}

// printDrill reports how a drill went.
func (c *console) printDrill(r *drill.Result) {
	if r.OK {
		c.printf("drill ok: restored to LSN %d in %s, %s, %s\n", r.LSN, span(r.RTO()), plural(r.Rows, "row", "rows"), size(r.Bytes))
	} else {
		c.printf("drill failed: a restore to LSN %d does not yield what the database held\n", r.LSN)
	}
	switch {
	case r.Independent:
		c.printf("compared  %s, with %s\n", plural(int64(len(r.Collections)), "collection", "collections"), r.Evidence)
	case r.Evidence != "":
		c.printf("compared  in part, with %s\nnot independent: %s\n", r.Evidence, r.Why)
	case r.Why != "":
		c.printf("not independent: %s\n", r.Why)
	}
	for _, col := range r.Collections {
		if !col.OK && col.Want != nil {
			c.printf("differs   %s: the database had %s, restored are %s\n", quote(col.Name), plural(col.Want.Rows, "row", "rows"), plural(col.Rows, "row", "rows"))
		}
	}
	if r.Scratch != "" {
		c.printf("kept      %s\n", r.Scratch)
	}
}

// besideFlags say what is done beside a capture.
type besideFlags struct {
	drill, digest time.Duration
}

func (f *besideFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.DurationVar(&f.drill, "drill-every", 0, "rehearse a restore this often, and compare with the database (default never)")
	fl.DurationVar(&f.digest, "digest-every", 0, "fingerprint the database this often, as evidence for later drills (default never)")
}

// beside drills beside a capture until ctx ends.
func (c *console) beside(ctx context.Context, cap *capture.Capturer, f besideFlags) error {
	when := drill.Schedule{Drill: f.drill, Digest: f.digest}
	return drill.Beside(ctx, cap, when, drill.Options{Fatal: lastWords}, func(r *drill.Result, err error) {
		switch {
		case err == nil:
			c.log.Info("drill ok", "lsn", r.LSN, "independent", r.Independent, "rows", r.Rows, "rto", span(r.RTO()))
		case r != nil:
			c.warned.Store(true)
			c.log.Error("drill failed", "lsn", r.LSN, "error", err)
		default:
			c.warned.Store(true)
			c.log.Error("no drill this time", "error", err)
		}
		if r != nil {
			if e := c.emit("drill", r); e != nil {
				c.log.Error("print the drill", "error", e)
			}
		}
	})
}
