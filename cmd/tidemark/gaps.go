package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// gapReport is a gap as --json prints it.
type gapReport struct {
	Timeline chain.TimelineID `json:"timeline"`
	*recovery.KnownGap
}

// lostReport is a part of the log that a verification found lost.
type lostReport struct {
	Timeline chain.TimelineID `json:"timeline"`
	*chain.Lost
}

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
for good; the gap stays what it is. Timelines that went on after the gap know of it
too: each of them is told, unless one is named.`,
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
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	head := []string{"LSN>", "TO LSN>", c.heading("AFTER"), c.heading("BEFORE"), "REASON", "STATE"}
	if b.several() {
		head = slices.Insert(head, 0, "TIMELINE")
	}
	t := newTable(head...)
	var open *recovery.KnownGap
	for _, branch := range b.all {
		unknown, err := c.addGaps(t, branch.State, b.several())
		if err != nil {
			return err
		}
		open = cmp.Or(open, unknown)
	}
	switch {
	case c.json:
	case len(t.rows) == 0 && b.bad == nil:
		c.printf("no gaps\n")
	default:
		t.print(c.out)
		if open != nil {
			c.notef("  try: tidemark gaps ack %s %d%s --reason WHY\n", shell(name), open.First, c.onTimeline())
		}
	}
	return b.bad
}

// addGaps adds what a timeline can't prove to a table. It returns the first gap
// that nobody has taken note of, nil if there is none.
func (c *console) addGaps(t *table, s *chain.State, several bool) (open *recovery.KnownGap, err error) {
	add := func(cells ...string) {
		if several {
			cells = slices.Insert(cells, 0, string(s.Timeline))
		}
		t.add(cells...)
	}
	gaps := recovery.Gaps(s)
	for i := range gaps {
		g := &gaps[i]
		if err := c.emit("gap", gapReport{s.Timeline, g}); err != nil {
			return nil, err
		}
		if open == nil && !g.Acknowledged {
			open = g
		}
		add(g.First.String(), g.Last.String(), c.stamp(g.From), c.stamp(g.To), g.Reason, ackWords(g))
	}
	lost, _ := s.KnownDamage()
	for i := range lost {
		l := &lost[i]
		if err := c.emit("lost", lostReport{s.Timeline, l}); err != nil {
			return nil, err
		}
		add(l.First.String(), l.Last.String(), c.stamp(l.Effective.From), c.stamp(l.Effective.To), l.Detail, "found lost by a verification")
	}
	return open, nil
}

func runGapsAck(ctx context.Context, c *console, name, where, reason, by string) error {
	lsn, err := change.ParseLSN(where)
	if err != nil {
		return usageError{err}
	}
	if reason == "" {
		return usageError{fmt.Errorf("--reason is missing: say why nothing more can be done about the gap")}
	}
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	ack := chain.GapAck{Reason: reason, By: by}
	if by == "" {
		ack.By = whoami()
	}
	open, err := gapsToAck(b, lsn, ack)
	if err != nil {
		return hinted{err, "tidemark gaps " + shell(name)}
	}
	asked := c.timeline
	defer func() { c.timeline = asked }()
	for _, r := range open {
		c.timeline = string(r.Timeline)
		a, err := c.openArchive(ctx, name, true)
		if err != nil {
			return err
		}
		ack.First = r.First
		if err := a.AckGap(ctx, ack); err != nil {
			return err
		}
		r.Acknowledged, r.Note, r.By = true, ack.Reason, ack.By
		on := ""
		if b.several() {
			on = " of timeline " + string(r.Timeline)
		}
		c.printf("gap at LSN %d to %d%s, %s to %s, %s\n", r.First, r.Last, on, instant(r.From), instant(r.To), ackWords(r.KnownGap))
		if err := c.emit("gap", r); err != nil {
			return err
		}
	}
	return b.bad
}

// gapsToAck returns the gap that holds an LSN, as each timeline knows it that
// can still be told of the acknowledgement.
func gapsToAck(b *branches, lsn change.LSN, ack chain.GapAck) (open []gapReport, err error) {
	var known *gapReport // that somebody has taken note of in other words
	for _, branch := range b.all {
		gaps := recovery.Gaps(branch.State)
		for i := range gaps {
			g := gapReport{branch.Timeline, &gaps[i]}
			switch {
			case lsn < g.First || lsn > g.Last:
			case g.Acknowledged && (g.Note != ack.Reason || g.By != ack.By):
				known = &g
			case len(open) > 0 && (open[0].First != g.First || open[0].From != g.From):
				return nil, usageError{fmt.Errorf("timelines %s and %s hold different gaps at LSN %d; name one with --timeline", open[0].Timeline, g.Timeline, lsn)}
			default:
				open = append(open, g)
			}
		}
	}
	switch {
	case len(open) > 0:
		return open, nil
	case known != nil:
		return nil, fmt.Errorf("the gap at LSN %d is %s; that is for good", known.First, ackWords(known.KnownGap))
	}
	return nil, usageError{fmt.Errorf("no gap holds LSN %d", lsn)}
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
