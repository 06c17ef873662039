package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/plan"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// planReport is a plan as --json prints it.
type planReport struct {
	*plan.Document
	Note   string `json:"note,omitempty"` // what a person should know about it
	Stored string `json:"stored,omitempty"`
}

type planFlags struct {
	to       string
	noStore  bool
	out      string
	checkAll bool
	memory   byteFlag
	list     bool
	remove   string
	old      time.Duration
}

func newPlan(c *console) *cobra.Command {
	f := planFlags{memory: defaultMemory}
	cmd := &cobra.Command{
		Use:   "plan ARCHIVE [DEST]",
		Short: "Show what a restore would read and reach, without doing it",
		Long: `Show what a restore would read and reach, how long that may take and what it
discards, and look whether it could begin: are the archive's objects there, is
DEST free and writable, is there room. Nothing is changed but the plan stored.

The plan is stored under its hash, in the state directory, and restore --plan
carries out exactly that: it is refused when it was edited or damaged, and when
the archive does not hold the history any more that it was made from.

Times are judged by drills of the archive and by earlier restores on this machine.

` + targetLine,
		Example: `  tidemark plan /backup/shop --to before:tx:88213
  tidemark plan /backup/shop ./shop-restored.db --to latest --out friday.plan
  tidemark plan --list`,
		Args: func(cmd *cobra.Command, given []string) error {
			if f.list || f.remove != "" || f.old > 0 {
				return args()(cmd, given)
			}
			return args("ARCHIVE", "[DEST]")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.noStore && f.out != "":
				return usageError{errors.New("--out and --no-store: is the plan to be stored?")}
			case f.to != "" && (f.list || f.remove != "" || f.old > 0) || f.list && (f.remove != "" || f.old > 0) || f.remove != "" && f.old > 0:
				return usageError{errors.New("only one of --to, --list, --remove and --remove-older")}
			case f.list:
				return c.listPlans()
			case f.remove != "" || f.old > 0:
				return c.removePlans(f)
			}
			dest := ""
			if len(args) > 1 {
				dest = args[1]
			}
			return runPlan(cmd.Context(), c, args[0], dest, f)
		},
	}
	toFlag(cmd, &f.to)
	cmd.Flags().BoolVar(&f.noStore, "no-store", false, "don't store the plan")
	cmd.Flags().StringVar(&f.out, "out", "", "store the plan in this `file`, instead of the state directory")
	cmd.Flags().BoolVar(&f.checkAll, "check-all", false, "look at every object that the plan reads, not at 256 of them")
	cmd.Flags().Var(&f.memory, "memory", "memory that the restore may use for sorting")
	cmd.Flags().BoolVar(&f.list, "list", false, "list the stored plans")
	cmd.Flags().StringVar(&f.remove, "remove", "", "remove the stored plan with this `ID`")
	cmd.Flags().DurationVar(&f.old, "remove-older", 0, "remove stored plans older than this, such as 720h")
	return cmd
}

// defaultMemory is what a restore may use for sorting: the process is then
// below 512 MiB, whatever it restores.
const defaultMemory = recovery.DefaultMemory

func toFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "to", "", "the `target` (required): where the restore stops")
}

func runPlan(ctx context.Context, c *console, name, dest string, f planFlags) error {
	target, err := c.parseTarget("--to", f.to)
	if err != nil {
		return err
	}
	o := plan.Options{Archive: name, Destination: dest, Restore: restore.Options{Memory: int64(f.memory)}}
	if f.checkAll {
		o.Objects = -1
	}
	if dest != "" {
		if o.Target, err = openTarget(dest); err != nil {
			return err
		}
	}
	c.echoTarget(target)
	_, _, doc, err := c.prepare(ctx, name, target, o)
	if err != nil {
		return err
	}
	stored, err := c.store(doc, f)
	if err != nil {
		return err
	}
	c.printDocument(doc)
	if dest == "" {
		dest = "DEST"
	}
	switch again := fmt.Sprintf("tidemark restore %s %s", shell(name), shell(dest)); stored {
	case "":
		c.printf("\nrestore it with: %s --to %s%s\n", again, shell(recovery.AtLSN(doc.Plan.Point.LSN).String()), c.onTimeline())
	default:
		c.printf("\nrestore it with: %s --plan %s\n", again, shell(stored))
	}
	return c.emit("plan", planReport{doc, quietAfter(target, doc.Plan), stored})
}

// store keeps a plan where the flags say, and returns what --plan calls it.
func (c *console) store(doc *plan.Document, f planFlags) (string, error) {
	switch {
	case f.noStore:
		return "", nil
	case f.out != "":
		return f.out, plan.WriteFile(f.out, doc)
	}
	dir, err := c.stateDir()
	if err == nil {
		err = plan.OpenShelf(dir).Put(doc)
	}
	if err != nil {
		c.log.Warn("the plan is not stored", "error", err)
		return "", nil
	}
	return doc.ID.Short(), nil
}

// prepare opens an archive, plans for a target and looks whether the plan can
// be carried out.
func (c *console) prepare(ctx context.Context, name string, target recovery.Target, o plan.Options) (*archive.Archive, *chain.State, *plan.Document, error) {
	a, err := c.choose(ctx, name, target)
	if err != nil {
		return nil, nil, nil, damaged(c.nearest(err, name), name)
	}
	c.measured(&o)
	doc, state, err := plan.Make(ctx, a, target, o)
	return a, state, doc, damaged(c.nearest(noTimeline(err, name), name), name)
}

// measured fills in what this machine knows of earlier restores.
func (c *console) measured(o *plan.Options) {
	o.Now = change.TimeOf(c.now())
	dir, err := c.stateDir()
	if err != nil {
		return // said where it matters
	}
	jobs, err := job.Open(dir).List("")
	if err != nil {
		c.log.Warn("earlier restores are not known", "error", err)
		return
	}
	o.Measured = plan.MeasuredBy(jobs)
}

// nearest adds the way to the nearest restorable moment to an error that says
// that a target can't be restored.
func (c *console) nearest(err error, name string) error {
	var u *recovery.UnrestorableError
	var inside *recovery.InsideTxError
	switch {
	case errors.As(err, &inside):
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s%s", shell(name), recovery.AtLSN(inside.Before), c.onTimeline())}
	case !errors.As(err, &u):
		return err
	case u.Before != nil:
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s%s", shell(name), recovery.AtLSN(u.Before.LSN), c.onTimeline())}
	case u.After != nil:
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s%s", shell(name), recovery.AtLSN(u.After.LSN), c.onTimeline())}
	}
	return hinted{err, "tidemark capture --once DB " + shell(name)}
}

// printTarget says what a target leads to.
func (c *console) printTarget(t recovery.Target, plan *recovery.Plan) {
	p := plan.Point
	c.printf("reached   LSN %d", p.LSN)
	if p.Tx != 0 {
		c.printf(", the end of transaction %d", p.Tx)
	}
	c.printf("\n")
	if p.Effective != 0 {
		c.printf("          %s\n", c.clock(p.Effective))
	}
	if note := quietAfter(t, plan); note != "" {
		c.printf("note      %s\n", note)
	}
}

// printPlan says what is read, what comes out and what is left out.
func (c *console) printPlan(p *recovery.Plan) {
	if b := p.Base; b == nil {
		c.printf("base      none: the log starts at the empty database\n")
	} else {
		c.printf("base      snapshot at LSN %d, taken %s from the %s\n", b.LSN, instant(b.Taken), originName(b.Origin))
	}
	if n := len(p.Segments); n == 0 {
		c.printf("log       none is needed\n")
	} else {
		first, last := p.Segments[0], p.Segments[n-1]
		from := first.First
		if p.Base != nil {
			from = max(from, p.Base.LSN+1)
		}
		c.printf("log       LSN %d to %d, in %s\n", from, min(last.Last, p.Point.LSN), plural(int64(n), "segment", "segments"))
	}
	c.printf("reads     %s, about %s\n", size(p.Estimate.Read), plural(p.Estimate.Records, "record", "records"))
	c.printf("yields    about %s in %s\n", plural(p.Estimate.Rows, "row", "rows"), plural(int64(len(p.Schemas)), "collection", "collections"))
	c.printf("discards  %s\n", discards(p.Discards))
}

func originName(o chain.Origin) string {
	if o == chain.OriginSynthetic {
		return "archive"
	}
	return "database"
}

// discards says what the archive holds after a target.
func discards(d recovery.Discards) string {
	if d.Records == 0 {
		return "nothing: this is the end of the archive"
	}
	s := fmt.Sprintf("%s after it, %s", plural(d.Txs, "transaction", "transactions"), plural(d.Records, "record", "records"))
	if d.Times != nil {
		s += ", the last at " + instant(d.Times.To)
	}
	return s + " (they stay in the archive)"
}
