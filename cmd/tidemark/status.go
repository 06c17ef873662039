package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/health"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
)

// status is what an archive says of itself.
type status struct {
	Repo      chain.RepoID      `json:"repo"`
	Timeline  chain.TimelineID  `json:"timeline"`
	Current   bool              `json:"current"` // it is captured or, where none is, was the last one
	Source    chain.Source      `json:"source"`
	Seq       chain.Seq         `json:"manifests"`
	Head      change.Hash       `json:"head"`
	LSN       change.LSN        `json:"lsn"`
	Windows   []recovery.Window `json:"windows"`
	Capturing bool              `json:"capturing"`
	Capturer  string            `json:"capturer,omitempty"`
	Seen      change.Time       `json:"capturer_seen,omitempty"`
	Segments  int               `json:"segments"`
	Snapshots int               `json:"snapshots"`
	Gaps      int               `json:"gaps"`
	Unacked   int               `json:"gaps_unacknowledged"`
	Level     health.Level      `json:"level"` // of the worst finding
	Findings  []health.Finding  `json:"findings"`
	Goal      float64           `json:"rpo_goal_seconds,omitempty"`
	health.Facts
	Bytes  int64           `json:"bytes"` // of log and snapshots, as stored
	Labels []labelReport   `json:"labels"`
	Live   []string        `json:"collections"`
	last   *chain.Snapshot // the newest base
	names  map[change.CollectionID][]string
}

type labelReport struct {
	chain.Label
	Seq chain.Seq `json:"seq"`
}

func newStatus(c *console) *cobra.Command {
	var recoveryKit bool
	cmd := &cobra.Command{
		Use:   "status [ARCHIVE]",
		Short: "Show what can be restored and how fresh it is",
		Long: `Show what can be restored and how fresh it is. Everything shown was read from the
archive: RPO is the age of the last moment that could be restored right now.
Without ARCHIVE, every configured database is shown.

Of several timelines those that are captured now, or else the one that was
captured last, are shown in full, the others in a line each; --timeline shows one.`,
		Args: args("[ARCHIVE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.eachArchive(args, func(name string) error {
				if recoveryKit {
					return c.printKit(cmd.Context(), name, "")
				}
				return runStatus(cmd.Context(), c, name)
			})
		},
	}
	cmd.Flags().BoolVar(&recoveryKit, "recovery-kit", false, "print the page that one must still have when this machine is gone")
	return cmd
}

func runStatus(ctx context.Context, c *console, name string) error {
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	now := c.now()
	goals, err := c.goals(name, health.Goals{StoppedOK: true})
	if err != nil {
		return err
	}
	var past []*status
	for _, branch := range b.all {
		s := branch.State
		st := newStatusOf(s, now, goals)
		if !b.isLive(s) {
			st = newStatusOf(s, now, health.Goals{StoppedOK: true})
			st.Findings = health.AssessPast(s, now)
			st.Level = health.Overall(st.Findings)
			past = append(past, st)
		}
		st.Current = b.isLive(s)
		if err := c.emit("status", st); err != nil {
			return err
		}
		if st.Current {
			c.printStatus(name, st, b.several(), now)
		}
	}
	c.printPast(name, past, now)
	return b.bad
}

// printPast prints a line for each timeline that nobody writes to any more.
func (c *console) printPast(name string, past []*status, now time.Time) {
	if len(past) == 0 {
		return
	}
	c.printf("  other timelines (tidemark timeline %s draws them):\n", shell(name))
	for _, st := range past {
		c.printf("    %s   %s   ", st.Timeline, c.paint(st.Level, strings.ToUpper(string(st.Level))))
		if len(st.Windows) == 0 {
			c.printf("nothing is restorable\n")
			continue
		}
		last := st.Windows[len(st.Windows)-1]
		c.printf("restorable %s → %s (%s), LSN %d to %d", instant(st.Windows[0].From), instant(last.To), ago(last.To, now), st.Windows[0].FromLSN, last.ToLSN)
		if n := len(st.Windows); n > 1 {
			c.printf(", in %d windows", n)
		}
		c.printf("\n")
		c.printFindings(st, "      ")
	}
}

// printFindings prints what is not as it should be.
func (c *console) printFindings(st *status, indent string) {
	for _, f := range st.Findings {
		if f.Level != health.OK {
			c.printf("%s%s: %s: %s\n", indent, c.paint(f.Level, string(f.Level)), f.Check, f.Message)
		}
	}
}

// goals fills in those that the configuration has for a database.
func (c *console) goals(name string, g health.Goals) (health.Goals, error) {
	db, err := c.named(name)
	if err == nil && db != nil && g.RPO == 0 {
		g.RPO = db.RPOGoal
	}
	return g, err
}

func newStatusOf(s *chain.State, now time.Time, goals health.Goals) *status {
	st := &status{Repo: s.Repo, Timeline: s.Timeline, Source: s.Source, Seq: s.Seq, Head: s.Head, LSN: s.Last,
		Windows: recovery.Windows(s), Facts: health.FactsOf(s, now), Findings: health.Assess(s, now, goals), Goal: goals.RPO.Seconds(), Capturing: s.EpochOpen, Segments: s.Segments.Len(),
		Snapshots: len(s.Snapshots), Gaps: len(s.Gaps), names: history.Names(s), Bytes: s.Segments.Totals().Bytes}
	st.Level, st.Unacked = health.Overall(st.Findings), recovery.Unacknowledged(s)
	if s.EpochOpen {
		st.Capturer, st.Seen = s.EpochOwner, s.EpochSeen
	}
	for i := range s.Snapshots {
		b := &s.Snapshots[i].Body
		for _, p := range b.Runs {
			st.Bytes += p.Size
		}
		if st.last == nil || b.LSN >= st.last.LSN {
			st.last = b
		}
	}
	for _, l := range s.Labels {
		st.Labels = append(st.Labels, labelReport{l.Body, l.Seq})
	}
	slices.SortFunc(st.Labels, func(a, b labelReport) int { return int(int64(a.Seq) - int64(b.Seq)) })
	for id := range s.Schemas {
		st.Live = append(st.Live, history.Name(st.names, id))
	}
	slices.Sort(st.Live)
	return st
}

// printStatus prints all about a timeline, and which it is if there are several.
func (c *console) printStatus(name string, st *status, several bool, now time.Time) {
	if c.json {
		return
	}
	if st.Source.Kind == "" {
		c.printf("%s   empty: no database has been captured yet\n", name)
		c.printf("  repository %s\n", st.Repo)
		c.notef("  try: tidemark capture --once DB %s\n", shell(name))
		return
	}
	word := strings.ToUpper(string(st.Level))
	title := name
	if several {
		title += " (timeline " + string(st.Timeline) + ")"
	}
	c.printf("%s   %s %.8s   %s   ", title, st.Source.Kind, st.Source.System, c.paint(st.Level, word))
	if len(st.Windows) == 0 {
		c.printf("nothing is restorable yet\n")
	}
	for i, w := range st.Windows {
		if i > 0 {
			c.printf("  and ")
		}
		c.printf("restorable %s → %s (%s), LSN %d to %d\n", instant(w.From), instant(w.To), ago(w.To, now), w.FromLSN, w.ToLSN)
	}
	c.printFigures(st)
	if st.Capturing {
		c.printf("  capture by %s, last seen %s\n", st.Capturer, ago(st.Seen, now))
	} else {
		c.printf("  no capture is running; the last one closed in good order\n")
	}
	c.printProofs(st, now)
	for _, l := range st.Labels {
		c.printf("  label %s → LSN %d", l.Name, l.LSN)
		if l.Note != "" {
			c.printf(" (%s)", l.Note)
		}
		c.printf("\n")
	}
	c.printf("  timeline %s, repository %s, %s, head %.16s…\n", st.Timeline, st.Repo, plural(int64(st.Seq), "manifest", "manifests"), st.Head)
	c.printFindings(st, "  ")
}

// printFigures prints how fresh an archive is and how much it holds.
func (c *console) printFigures(st *status) {
	var parts []string
	if st.RPO >= 0 {
		rpo := "RPO " + span(time.Duration(st.RPO*float64(time.Second)))
		if st.Goal > 0 {
			rpo += " (goal " + span(time.Duration(st.Goal*float64(time.Second))) + ")"
		}
		parts = append(parts, rpo)
	}
	gaps := plural(int64(st.Gaps), "gap", "gaps")
	switch {
	case st.Gaps == 0:
		gaps = "no gaps"
	case st.Unacked == 0:
		gaps += " (acknowledged)"
	default:
		gaps += fmt.Sprintf(" (%s not acknowledged)", count(int64(st.Unacked)))
	}
	parts = append(parts, plural(int64(st.Snapshots), "snapshot", "snapshots"), plural(int64(st.Segments), "segment", "segments"), size(st.Bytes), gaps)
	c.printf("  %s\n", strings.Join(parts, " · "))
}

// printProofs prints when what the archive holds was last proved, and how.
func (c *console) printProofs(st *status, now time.Time) {
	parts := []string{"never verified", "no drill yet", "never compared with the database"}
	if v := st.Verify; v != nil {
		parts[0] = fmt.Sprintf("last verify %s %s (%s)", ago(v.Started, now), "ok", v.Level)
		if v.Findings > 0 {
			parts[0] = fmt.Sprintf("last verify %s found %s (%s)", ago(v.Started, now), plural(v.Findings, "problem", "problems"), v.Level)
		}
	}
	if d := st.Drill; d != nil {
		parts[1] = fmt.Sprintf("last drill %s ok, RTO %s", ago(d.Started, now), span(time.Duration(d.Elapsed)*time.Microsecond))
		if !d.OK {
			parts[1] = fmt.Sprintf("last drill %s failed", ago(d.Started, now))
		}
	}
	if st.Agreement != 0 {
		parts[2] = "last independent agreement with the database " + ago(st.Agreement, now)
	}
	c.printf("  %s\n", strings.Join(parts, " · "))
	if b := st.last; b != nil {
		c.printf("  newest snapshot at LSN %d, %s\n", b.LSN, ago(b.Taken, now))
	}
}

// paint colours a word by a level on standard output, where it is a terminal
// and colours are wanted.
func (c *console) paint(l health.Level, word string) painted {
	f, ok := c.out.(*os.File)
	if !ok || c.noColor || os.Getenv("NO_COLOR") != "" || !term.IsTerminal(int(f.Fd())) {
		return painted(word)
	}
	code := map[health.Level]string{health.OK: "32", health.Warning: "33", health.Critical: "31"}[l]
	return painted("\x1b[" + code + "m" + word + "\x1b[0m")
}
