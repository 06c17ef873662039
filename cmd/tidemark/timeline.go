package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/draw"
)

// timelineReport is a timeline as --json prints it.
type timelineReport struct {
	Timeline   chain.TimelineID   `json:"timeline"`
	Parent     chain.TimelineID   `json:"parent,omitempty"`
	Fork       change.LSN         `json:"fork_lsn,omitempty"`  // where it goes on from its parent
	ForkTime   change.Time        `json:"fork_time,omitempty"` // when that was, as the archive counts time
	Source     *chain.Source      `json:"source,omitempty"`    // the database; absent before the first capture
	LSN        change.LSN         `json:"lsn"`                 // of its end
	Covered    change.Time        `json:"covered_until,omitempty"`
	Capturing  bool               `json:"capturing"`
	State      string             `json:"state"`                // in words
	Error      string             `json:"error,omitempty"`      // why it can't be read
	Unfinished []chain.TimelineID `json:"unfinished,omitempty"` // forks that were begun and cut short
}

type timelineFlags struct {
	width int
	ascii bool
}

func newTimeline(c *console) *cobra.Command {
	var f timelineFlags
	cmd := &cobra.Command{
		Use:   "timeline ARCHIVE",
		Short: "Draw the history: what can be restored, gaps, labels, forks",
		Long: `Draw the history of an archive, as wide as the terminal: a band of what can be
restored with its gaps, the snapshots, labels and drills on it, and each timeline
that a restored database started as a lane under the one that it left. The table
below lists the timelines.

Times are in UTC, or in the zone of --tz.`,
		Example: "  tidemark timeline /backup/shop\n  tidemark timeline /backup/shop --ascii --width 100",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTimeline(cmd.Context(), c, args[0], f)
		},
	}
	cmd.Flags().IntVar(&f.width, "width", 0, "so many `columns` wide (default the terminal's width, or 80)")
	cmd.Flags().BoolVar(&f.ascii, "ascii", false, "draw with ASCII characters only, as where the locale is not UTF-8")
	return cmd
}

func runTimeline(ctx context.Context, c *console, name string, f timelineFlags) error {
	if f.width != 0 && f.width < draw.MinWidth {
		return usageError{&flagError{"--width", "a picture takes at least " + strconv.Itoa(draw.MinWidth) + " columns"}}
	}
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return err
	}
	all, err := a.Timelines(ctx)
	if err != nil {
		return damaged(err, name)
	}
	var lanes []draw.Lane
	var bad error
	t := newTable("TIMELINE", "PARENT", "FORK LSN>", c.heading("FORK TIME"), "SOURCE", c.heading("ENDS"), "LSN>", "STATE")
	for _, b := range all {
		r, lane, err := describeTimeline(ctx, b, all)
		if err != nil {
			return damaged(err, name)
		}
		lanes = append(lanes, lane)
		if err := c.emit("timeline", r); err != nil {
			return err
		}
		t.add(r.cells(c)...)
		for _, u := range r.Unfinished {
			t.add(string(u), string(r.Timeline), "", "", "", "", "", "begun and cut short: fork again to finish it")
		}
		if b.Err != nil && bad == nil {
			bad = damaged(b.Err, name)
		}
	}
	if c.json {
		return bad
	}
	for _, line := range draw.Timelines(lanes, draw.Options{Width: c.width(f.width), ASCII: f.ascii || !unicodeLocale(), Zone: c.zone}) {
		c.printf("%s\n", line)
	}
	c.printf("\n")
	t.print(c.out)
	return bad
}

// describeTimeline says what is known of a timeline, and how it is drawn.
func describeTimeline(ctx context.Context, b *archive.Branch, all []*archive.Branch) (*timelineReport, draw.Lane, error) {
	r := &timelineReport{Timeline: b.Timeline}
	if b.Err != nil {
		r.State, r.Error = "can't be read", b.Err.Error()
		lane := draw.Lane{Name: b.Timeline, Broken: r.Error}
		for _, p := range all { // its parent knows where it begins
			if p.State == nil {
				continue
			}
			if pin, ok := p.State.Pins[b.Timeline]; ok && pin.Timeline == p.Timeline {
				r.Parent, r.Fork, r.ForkTime = p.Timeline, pin.Body.LSN, pin.Body.Effective
				lane.Parent, lane.Fork = r.Parent, r.ForkTime
			}
		}
		return r, lane, nil
	}
	s := b.State
	r.LSN, r.Covered, r.Capturing = s.Last, max(s.Effective, s.CoveredUntil), s.EpochOpen
	for _, pin := range b.Unfinished {
		r.Unfinished = append(r.Unfinished, pin.Body.Child)
	}
	if f := s.Parent; f != nil {
		r.Parent, r.Fork, r.ForkTime = f.Parent, f.LSN, f.Effective
	}
	if s.Source.Kind != "" {
		r.Source = &s.Source
	}
	switch {
	case s.EpochOpen:
		r.State = "captured by " + s.EpochOwner
	case s.Epoch > 0:
		r.State = "closed"
	case s.Parent != nil:
		r.State = "forked, not captured yet"
	default:
		r.State = "empty"
	}
	lane, err := draw.LaneOf(ctx, s)
	return r, lane, err
}

func (r *timelineReport) cells(c *console) []string {
	row := []string{string(r.Timeline), string(r.Parent), "", "", "", "", "", r.State}
	if r.Parent != "" {
		row[2], row[3] = r.Fork.String(), c.stamp(r.ForkTime)
	}
	if r.Source != nil {
		row[4] = fmt.Sprintf("%s %.8s", r.Source.Kind, r.Source.System)
	}
	if r.Error == "" {
		row[6] = r.LSN.String()
		if r.Covered != 0 {
			row[5] = c.stamp(r.Covered)
		}
	}
	return row
}

// flagError is a flag with a value that makes no sense.
type flagError struct{ flag, detail string }

func (e *flagError) Error() string { return e.flag + ": " + e.detail }

// width is how wide a picture may be: as asked, as the terminal, or 80.
func (c *console) width(asked int) int {
	if asked > 0 {
		return asked
	}
	if f, ok := c.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// unicodeLocale reports whether the environment's locale can show more than
// ASCII. Windows has no such variables, and its terminals can.
func unicodeLocale() bool {
	for _, v := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if l := strings.ToLower(os.Getenv(v)); l != "" {
			return strings.Contains(l, "utf-8") || strings.Contains(l, "utf8")
		}
	}
	return runtime.GOOS == "windows" || runtime.GOOS == "darwin"
}
