package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// planReport is a plan as --json prints it.
type planReport struct {
	Requested recovery.Target `json:"requested"`
	Includes  string          `json:"includes"`       // in words
	Note      string          `json:"note,omitempty"` // what a person should know about it
	Hash      change.Hash     `json:"plan_hash"`
	Plan      *recovery.Plan  `json:"plan"`
}

func newPlan(c *console) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "plan ARCHIVE",
		Short: "Show what a restore would read and reach, without doing it",
		Long: `Show what a restore would read and reach, without doing it: the plan that
restore carries out for the same target.

A target is ` + targetForms + `.`,
		Example: "  tidemark plan /backup/shop --to before:tx:88213",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPlan(cmd.Context(), c, args[0], to)
		},
	}
	toFlag(cmd, &to)
	return cmd
}

func toFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "to", "", "the target (required)")
}

func runPlan(ctx context.Context, c *console, name, to string) error {
	target, err := c.parseTarget("--to", to)
	if err != nil {
		return err
	}
	c.echoTarget(target)
	_, _, plan, err := c.prepare(ctx, name, target)
	if err != nil {
		return err
	}
	c.printTarget(target, plan)
	c.printPlan(plan)
	c.printf("\nrestore it with: tidemark restore %s DEST --to %s\n", shell(name), shell(recovery.AtLSN(plan.Point.LSN).String()))
	return c.emitPlan(target, plan)
}

func (c *console) emitPlan(target recovery.Target, plan *recovery.Plan) error {
	hash, err := plan.Hash()
	if err != nil {
		return err
	}
	return c.emit("plan", planReport{Requested: target, Includes: target.Describe(), Note: quietAfter(target, plan), Hash: hash, Plan: plan})
}

// prepare opens an archive and plans for a target.
func (c *console) prepare(ctx context.Context, name string, target recovery.Target) (*archive.Archive, *chain.State, *recovery.Plan, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return nil, nil, nil, err
	}
	state, plan, err := restore.Prepare(ctx, a, target)
	return a, state, plan, damaged(nearest(err, name), name)
}

// nearest adds the way to the nearest restorable moment to an error that says
// that a target can't be restored.
func nearest(err error, name string) error {
	var u *recovery.UnrestorableError
	var inside *recovery.InsideTxError
	switch {
	case errors.As(err, &inside):
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s", shell(name), recovery.AtLSN(inside.Before))}
	case !errors.As(err, &u):
		return err
	case u.Before != nil:
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s", shell(name), recovery.AtLSN(u.Before.LSN))}
	case u.After != nil:
		return hinted{err, fmt.Sprintf("tidemark plan %s --to %s", shell(name), recovery.AtLSN(u.After.LSN))}
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
