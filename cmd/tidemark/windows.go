package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/recovery"
)

// stretchReport is a part of an archive's history as --json prints it.
type stretchReport struct {
	Timeline chain.TimelineID `json:"timeline"`
	recovery.Stretch
}

func newWindows(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "windows ARCHIVE",
		Short: "List the times that can be restored, and the gaps between them",
		Long: `List the times that can be restored, oldest first, and between them those that
can't, with the reason. Any time in a window, both ends included, is a target.
Of several timelines each is listed, with what it has of those that it goes on
from, unless one is named.`,
		Example: "  tidemark windows /backup/shop --tz Europe/Zurich",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWindows(cmd.Context(), c, args[0])
		},
	}
}

func runWindows(ctx context.Context, c *console, name string) error {
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	head := []string{c.heading("FROM"), c.heading("TO"), "LASTS>", "LSN>", "TO LSN>", "STATE"}
	if b.several() {
		head = slices.Insert(head, 0, "TIMELINE")
	}
	t := newTable(head...)
	for _, branch := range b.all {
		if err := c.addStretches(t, branch.State, b.several()); err != nil {
			return err
		}
	}
	switch {
	case c.json:
	case len(t.rows) == 0 && b.bad == nil:
		c.printf("nothing can be restored: no database has been captured yet\n")
		c.notef("  try: tidemark capture --once DB %s\n", shell(name))
	default:
		t.print(c.out)
	}
	return b.bad
}

// addStretches adds the stretches of a timeline to a table.
func (c *console) addStretches(t *table, s *chain.State, several bool) error {
	stretches := recovery.Stretches(s)
	for i, st := range stretches {
		if err := c.emit("window", stretchReport{Timeline: s.Timeline, Stretch: st}); err != nil {
			return err
		}
		lasts := ""
		if st.From != 0 && st.To != 0 {
			lasts = span(st.To.Std().Sub(st.From.Std()))
		}
		state := stretchWords(&st)
		if i == len(stretches)-1 && st.Kind == recovery.StretchRestorable {
			state += ", up to " + ago(st.To, c.now())
		}
		row := []string{c.stamp(st.From), c.stamp(st.To), lasts, st.FromLSN.String(), st.ToLSN.String(), state}
		if several {
			row = slices.Insert(row, 0, string(s.Timeline))
		}
		t.add(row...)
	}
	return nil
}

// stretchWords says what can be done with a stretch, or why not.
func stretchWords(st *recovery.Stretch) string {
	switch st.Kind {
	case recovery.StretchRestorable:
		return "restorable"
	case recovery.StretchNoBase:
		return "not restorable: no snapshot was taken before"
	}
	var words []string
	for i := range st.Gaps {
		g := &st.Gaps[i]
		words = append(words, fmt.Sprintf("gap at LSN %d: %s (%s)", g.First, g.Reason, ackWords(g)))
	}
	for _, l := range st.Lost {
		words = append(words, fmt.Sprintf("lost from LSN %d to %d: %s", l.First, l.Last, l.Detail))
	}
	return strings.Join(words, "; ")
}

// ackWords says whether somebody has taken note of a gap.
func ackWords(g *recovery.KnownGap) string {
	switch {
	case !g.Acknowledged:
		return "not acknowledged"
	case g.By == "":
		return "acknowledged: " + g.Note
	}
	return "acknowledged by " + g.By + ": " + g.Note
}
