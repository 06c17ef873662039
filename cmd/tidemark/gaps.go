package main

import (
	"context"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

func newGaps(c *console) *cobra.Command {
	list := func(cmd *cobra.Command, args []string) error { return runGaps(cmd.Context(), c, args[0]) }
	cmd := &cobra.Command{
		Use:   "gaps ARCHIVE",
		Short: "List what an archive can't prove, and take note of it",
		Long: `List what an archive can't prove: the gaps that a capturer declared because the
database had lost a part of its log, and what the last verification could not read.
Nothing inside either can be restored, and nothing after before the next snapshot.

Once somebody knows of a gap and why, "gaps ack" records it; check then no longer
warns. The gap stays, and is always shown.`,
		Example: "  tidemark gaps /backup/shop\n  tidemark gaps ack /backup/shop 41200 --reason 'disk replaced, see ticket 812'",
		Args:    args("ARCHIVE"),
		RunE:    list,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "list ARCHIVE",
		Short: "List the gaps",
		Args:  args("ARCHIVE"),
		RunE:  list,
	}, newGapsAck(c))
	return cmd
}

func newGapsAck(c *console) *cobra.Command {
	var reason, by string
	cmd := &cobra.Command{
		Use:   "ack ARCHIVE LSN",
		Short: "Take note of a gap, with a reason",
		Long: `Take note of the gap that holds an LSN, with a reason. It is recorded in the archive
for good; the gap stays what it is.`,
		Example: "  tidemark gaps ack /backup/shop 41200 --reason 'disk replaced, see ticket 812'",
		Args:    args("ARCHIVE", "LSN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runGapsAck(cmd.Context(), c, args[0], args[1], reason, by)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`why` nothing more can be done about it (required)")
	cmd.Flags().StringVar(&by, "by", "", "`who` says so (default the user and host)")
	return cmd
}

func runGaps(ctx context.Context, c *console, name string) error {
	_, s, err := c.openState(ctx, name)
	if err != nil {
		return err
	}
	t := newTable("LSN>", "TO LSN>", c.heading("AFTER"), c.heading("BEFORE"), "REASON", "STATE")
	gaps := recovery.Gaps(s)
	for i := range gaps {
		g := &gaps[i]
		if err := c.emit("gap", g); err != nil {
			return err
		}
		t.add(g.First.String(), g.Last.String(), c.stamp(g.From), c.stamp(g.To), g.Reason, ackWords(g))
	}
	lost, _ := s.KnownDamage()
	for i := range lost {
		l := &lost[i]
		if err := c.emit("lost", l); err != nil {
			return err
		}
		t.add(l.First.String(), l.Last.String(), c.stamp(l.Effective.From), c.stamp(l.Effective.To), l.Detail, "found lost by a verification")
	}
	if c.json {
		return nil
	}
	if len(gaps)+len(lost) == 0 {
		c.printf("no gaps\n")
		return nil
	}
	t.print(c.out)
	for i := range gaps {
		if !gaps[i].Acknowledged {
			c.notef("  try: tidemark gaps ack %s %d --reason WHY\n", shell(name), gaps[i].First)
			break
		}
	}
	return nil
}

func runGapsAck(ctx context.Context, c *console, name, where, reason, by string) error {
	lsn, err := change.ParseLSN(where)
	if err != nil {
		return usageError{err}
	}
	if reason == "" {
		return usageError{fmt.Errorf("--reason is missing: say why nothing more can be done about the gap")}
	}
	a, err := c.openArchive(ctx, name, true)
	if err != nil {
		return err
	}
	s, err := a.Load(ctx)
	if err != nil {
		return damaged(err, name)
	}
	var gap *recovery.KnownGap
	gaps := recovery.Gaps(s)
	for i := range gaps {
		if gaps[i].First <= lsn && lsn <= gaps[i].Last {
			gap = &gaps[i]
		}
	}
	ack := chain.GapAck{Reason: reason, By: by}
	if by == "" {
		ack.By = whoami()
	}
	switch {
	case gap == nil:
		return hinted{usageError{fmt.Errorf("no gap holds LSN %d", lsn)}, "tidemark gaps " + shell(name)}
	case gap.Acknowledged && (gap.Note != ack.Reason || gap.By != ack.By):
		return hinted{fmt.Errorf("the gap at LSN %d is %s; that is for good", gap.First, ackWords(gap)), "tidemark gaps " + shell(name)}
	}
	ack.First = gap.First
	if err := a.AckGap(ctx, ack); err != nil {
		return err
	}
	gap.Acknowledged, gap.Note, gap.By = true, ack.Reason, ack.By
	c.printf("gap at LSN %d to %d, %s to %s, %s\n", gap.First, gap.Last, instant(gap.From), instant(gap.To), ackWords(gap))
	return c.emit("gap", gap)
}

// whoami is the user and host that this runs as, for people.
func whoami() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
