package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/restore"
)

type verifyFlags struct {
	level    string
	noRecord bool
	drill    drillFlags
}

// levelDrill is the level that a restore adds to those of package restore.
const levelDrill = "drill"

func newVerify(c *console) *cobra.Command {
	f := verifyFlags{drill: drillFlags{memory: defaultMemory}}
	cmd := &cobra.Command{
		Use:   "verify ARCHIVE",
		Short: "Prove what an archive holds",
		Long: `Prove what an archive holds, and list everything that is wrong. Each level
includes those before it:

  chain     every manifest and link; every object is there with the right size
  objects   every block of every object has the hash that was announced
  records   every record decodes; numbering, transactions, counts, order, the log's
            hash and the digests of snapshots are as announced, and digests that
            the database showed are what snapshots and log yield
  drill     a restore in a scratch place yields what the database held (as drill)

What was found is put into the archive: plans, windows and status go around what
is lost, until a later verification of the same level finds it whole again.

Of several timelines each is verified, unless one is named.

Exit code 22 says that something is damaged, 30 that the drill failed.`,
		Example: "  tidemark verify /backup/shop --level records",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyAll(cmd.Context(), c, args[0], f)
		},
	}
	cmd.Flags().StringVar(&f.level, "level", "objects", "how `far` to look: chain, objects, records or drill")
	cmd.Flags().BoolVar(&f.noRecord, "no-record", false, "don't put what was found into the archive")
	cmd.Flags().StringVar(&f.drill.scratch, "scratch", "", "with --level drill, the `directory` to make the scratch place in")
	return cmd
}

// parse reads the level; a drill comes after level records.
func (f *verifyFlags) parse() (restore.Level, error) {
	if f.level == levelDrill {
		return restore.LevelRecords, nil
	}
	level, err := restore.ParseLevel(f.level)
	if err != nil {
		return 0, usageError{fmt.Errorf("--level: unknown verification level %q (want chain, objects, records or drill)", f.level)}
	}
	return level, nil
}

// verifyAll verifies the timeline that was named, or each of them with all that
// it needs of those that it comes from.
func verifyAll(ctx context.Context, c *console, name string, f verifyFlags) error {
	if _, err := f.parse(); err != nil {
		return err
	}
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return err
	}
	if c.timeline != "" || a.Timeline() != chain.MainTimeline {
		return runVerify(ctx, c, name, f)
	}
	all, err := a.Timelines(ctx)
	if err != nil || len(all) == 1 {
		return runVerify(ctx, c, name, f) // which says what is wrong
	}
	var wrong error
	for _, b := range all {
		c.timeline = string(b.Timeline)
		c.printf("timeline %s\n", b.Timeline)
		if err := runVerify(ctx, c, name, f); err != nil {
			if wrong = err; !errors.As(err, new(reported)) {
				return err
			}
		}
	}
	return wrong
}

func runVerify(ctx context.Context, c *console, name string, f verifyFlags) (err error) {
	level, err := f.parse()
	if err != nil {
		return err
	}
	a, readOnly, err := c.openToRecord(ctx, name, !f.noRecord)
	if err != nil {
		return err
	}
	defer c.record(job.Verify, name)(&err)
	p := c.progress("verify", "packs")
	var mu sync.Mutex
	began := c.now()
	r, err := restore.Verify(ctx, a, restore.VerifyOptions{Level: level, Progress: func(done, all int64) {
		mu.Lock()
		defer mu.Unlock()
		p.update(done, all)
	}})
	p.close()
	if r != nil { // also when something kept it from looking everywhere
		for _, f := range r.Findings {
			c.printf("damaged: %s\n  want   %s\n  found  %s\n", f.Key, f.Want, f.Found)
		}
		c.printLost(r)
		err = errors.Join(err, c.emit("verify", r))
	}
	if err != nil {
		return err
	}
	switch {
	case f.noRecord:
	case readOnly != nil:
		c.notRecorded("verification", because(readOnly))
	default:
		if err := a.RecordVerify(ctx, r.Section()); ctx.Err() != nil {
			return err
		} else if err != nil {
			c.notRecorded("verification", because(err))
		}
	}
	checked := fmt.Sprintf("%s, %s (%s)", plural(r.Manifests, "manifest", "manifests"), plural(r.Objects, "object", "objects"), size(r.Bytes))
	if level >= restore.LevelRecords {
		checked += ", " + plural(r.Records, "record", "records")
	}
	c.did(numbers{"level": r.Level, "manifests": r.Manifests, "objects": r.Objects, "bytes": r.Bytes, "records": r.Records, "findings": len(r.Findings)},
		"level %s: %s in %s", r.Level, plural(int64(len(r.Findings)), "problem", "problems"), checked)
	if r.OK() {
		c.printf("ok: %s verified at level %s in %s\n", checked, r.Level, span(c.now().Sub(began)))
		if f.level == levelDrill {
			f.drill.noRecord = f.noRecord
			return runDrill(ctx, c, name, f.drill)
		}
		return nil
	}
	c.printf("%s found in %s, at level %s\n", plural(int64(len(r.Findings)), "problem", "problems"), checked, r.Level)
	return reported{chain.ErrDamaged}
}

// printLost says what the findings make unreadable.
func (c *console) printLost(r *restore.Report) {
	for _, l := range r.Lost {
		c.printf("lost: LSN %d to %d, %s to %s\n", l.First, l.Last, instant(l.Effective.From), instant(l.Effective.To))
	}
	for _, b := range r.Bases {
		c.printf("lost: the snapshot at LSN %d\n", b.LSN)
	}
	if len(r.Lost)+len(r.Bases) > 0 {
		c.printf("restores go around that; what can't be reached otherwise: tidemark restore --salvage\n")
	}
}
