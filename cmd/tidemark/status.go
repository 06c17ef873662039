package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
)

// status is what an archive says of itself.
type status struct {
	Repo      chain.RepoID      `json:"repo"`
	Timeline  chain.TimelineID  `json:"timeline"`
	Source    chain.Source      `json:"source"`
	Seq       chain.Seq         `json:"manifests"`
	Head      change.Hash       `json:"head"`
	LSN       change.LSN        `json:"lsn"`
	Windows   []recovery.Window `json:"windows"`
	Covered   change.Time       `json:"covered_until"`
	RPO       float64           `json:"rpo_seconds"` // how old the last covered moment is; −1 when nothing is restorable
	Capturing bool              `json:"capturing"`
	Capturer  string            `json:"capturer,omitempty"`
	Seen      change.Time       `json:"capturer_seen,omitempty"`
	Segments  int               `json:"segments"`
	Snapshots int               `json:"snapshots"`
	Gaps      int               `json:"gaps"`
	Bytes     int64             `json:"bytes"` // of log and snapshots, as stored
	Labels    []labelReport     `json:"labels"`
	Live      []string          `json:"collections"`
	last      *chain.Snapshot   // the newest base
	names     map[change.CollectionID][]string
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
Without ARCHIVE, every configured database is shown.`,
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
	_, s, err := c.openState(ctx, name)
	if err != nil {
		return err
	}
	now := c.now()
	st := newStatusOf(s, now)
	if err := c.emit("status", st); err != nil {
		return err
	}
	c.printStatus(name, st, now)
	return nil
}

func newStatusOf(s *chain.State, now time.Time) *status {
	st := &status{Repo: s.Repo, Timeline: s.Timeline, Source: s.Source, Seq: s.Seq, Head: s.Head, LSN: s.Last,
		Windows: recovery.Windows(s), Covered: max(s.CoveredUntil, s.Effective), RPO: -1, Capturing: s.EpochOpen, Segments: s.Segments.Len(),
		Snapshots: len(s.Snapshots), Gaps: len(s.Gaps), names: history.Names(s), Bytes: s.Segments.Totals().Bytes}
	if s.EpochOpen {
		st.Capturer, st.Seen = s.EpochOwner, s.EpochSeen
	}
	if n := len(st.Windows); n > 0 && st.Windows[n-1].To != 0 {
		st.RPO = now.Sub(st.Windows[n-1].To.Std()).Seconds()
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

func (c *console) printStatus(name string, st *status, now time.Time) {
	if c.json {
		return
	}
	if st.Source.Kind == "" {
		c.printf("%s   empty: no database has been captured yet\n", name)
		c.printf("  repository %s\n", st.Repo)
		c.notef("  try: tidemark capture --once DB %s\n", shell(name))
		return
	}
	c.printf("%s   %s database %s\n", name, st.Source.Kind, st.Source.System)
	if len(st.Windows) == 0 {
		c.printf("  restorable   nothing yet: there is no base\n")
	}
	for i, w := range st.Windows {
		label := "restorable"
		if i > 0 {
			label = "and"
		}
		c.printf("  %-11s  %s → %s (%s), LSN %d to %d\n", label, instant(w.From), instant(w.To), ago(w.To, now), w.FromLSN, w.ToLSN)
	}
	if st.RPO >= 0 {
		c.printf("  RPO          %s\n", span(time.Duration(st.RPO*float64(time.Second))))
	}
	if st.Capturing {
		c.printf("  capture      by %s, last seen %s\n", st.Capturer, ago(st.Seen, now))
	} else {
		c.printf("  capture      none running; the last one closed in good order\n")
	}
	c.printf("  holds        %s, %s, %s, %s\n", plural(int64(st.Segments), "segment", "segments"),
		plural(int64(st.Snapshots), "snapshot", "snapshots"), plural(int64(st.Gaps), "gap", "gaps"), size(st.Bytes))
	if st.last != nil {
		c.printf("  snapshot     the newest at LSN %d, %s\n", st.last.LSN, ago(st.last.Taken, now))
	}
	c.printf("  verify       not recorded in the archive; prove it with: tidemark verify %s\n", shell(name))
	for _, l := range st.Labels {
		c.printf("  label        %s → LSN %d", l.Name, l.LSN)
		if l.Note != "" {
			c.printf(" (%s)", l.Note)
		}
		c.printf("\n")
	}
	c.printf("  chain        %s, head %.16s…\n", plural(int64(st.Seq), "manifest", "manifests"), st.Head)
}
