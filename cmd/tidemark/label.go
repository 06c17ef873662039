package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/recovery"
)

func newLabel(c *console) *cobra.Command {
	var at, note string
	cmd := &cobra.Command{
		Use:     "label ARCHIVE NAME",
		Short:   "Name a restore point",
		Long:    "Name a restore point, for good: a label never moves. Restore to it with --to label:NAME.",
		Example: "  tidemark label /backup/shop before-release --note 'release 4.2'",
		Args:    args("ARCHIVE", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLabel(cmd.Context(), c, args[0], args[1], at, note)
		},
	}
	cmd.Flags().StringVar(&at, "at", "latest", "the restore point, a `target`: tidemark help targets")
	cmd.Flags().StringVar(&note, "note", "", "a `remark`, kept with the label")
	return cmd
}

func runLabel(ctx context.Context, c *console, name, label, at, note string) error {
	target, err := c.parseTarget("--at", at)
	if err != nil {
		return err
	}
	if err := chain.CheckLabel(label); err != nil {
		return usageError{err}
	}
	if target.Kind == recovery.TargetTime {
		c.notef("at %s\n", c.clock(target.Time))
	}
	again := fmt.Sprintf("label %s %s --at %s", shell(name), shell(label), shell(target.String()))
	if _, err := c.chooseFor(ctx, name, target, again); err != nil {
		return damaged(noTimeline(c.nearest(err, name), name), name)
	}
	a, err := c.openArchive(ctx, name, true)
	if err != nil {
		return err
	}
	s, err := a.Load(ctx)
	if err != nil {
		return damaged(noTimeline(err, name), name)
	}
	point, err := recovery.Resolve(ctx, a.Bucket(), s, target)
	if err != nil {
		return c.nearest(err, name)
	}
	l := chain.Label{Name: label, LSN: point.LSN, Note: note}
	if err := a.Label(ctx, l); err != nil {
		if broken := new(chain.RuleError); errors.Is(err, chain.ErrLabelTaken) && errors.As(err, &broken) {
			return hinted{fmt.Errorf("%s: %w", broken.Detail, chain.ErrLabelTaken), "tidemark label " + shell(name) + " another-name"}
		}
		return err
	}
	c.printf("label %s names LSN %d (%s)\n", label, point.LSN, instant(point.Effective))
	return c.emit("label", l)
}
