package draw

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// MarkKind says what a mark stands for.
type MarkKind int

// The kinds of mark, in the order in which their rows are drawn.
const (
	Snapshot MarkKind = iota
	Label
	DrillOK
	DrillFailed
)

// A Mark is something on a lane at a moment.
type Mark struct {
	Kind MarkKind
	Time change.Time
	Name string // of a label
}

// A Lane is a timeline as it is drawn: only its own history, from where it
// left its parent.
type Lane struct {
	Name      chain.TimelineID
	Parent    chain.TimelineID // "" for the first one
	Fork      change.Time      // when it left its parent, as the archive counts time
	Stretches []recovery.Stretch
	Marks     []Mark
	Capturing bool   // a capturer is at work
	Broken    string // why nothing more is known of it, or ""
}

// LaneOf returns the lane of a timeline. It may read the segments at labels;
// its errors are those of reading them.
func LaneOf(ctx context.Context, s *chain.State) (Lane, error) {
	l := Lane{Name: s.Timeline, Capturing: s.EpochOpen}
	own := recovery.Stretches(s)
	if f := s.Parent; f != nil {
		l.Parent, l.Fork = f.Parent, f.Effective
		own = after(own, f)
	}
	l.Stretches = own
	for i := range s.Snapshots {
		b := &s.Snapshots[i]
		if b.Timeline == s.Timeline {
			l.Marks = append(l.Marks, Mark{Kind: Snapshot, Time: b.Body.Taken})
		}
	}
	for name, label := range s.Labels {
		if label.Timeline != s.Timeline {
			continue
		}
		at, err := timeOf(ctx, s, label.Body.LSN)
		if err != nil {
			return l, fmt.Errorf("when was label %s: %w", name, err)
		}
		l.Marks = append(l.Marks, Mark{Kind: Label, Time: at, Name: name})
	}
	for i := range s.Drills {
		d := &s.Drills[i].Body
		m := Mark{Kind: DrillFailed, Time: d.Started}
		if d.OK {
			m.Kind = DrillOK
		}
		l.Marks = append(l.Marks, m)
	}
	return l, nil
}

// after cuts away what a fork has inherited.
func after(all []recovery.Stretch, f *chain.Fork) []recovery.Stretch {
	var out []recovery.Stretch
	for _, s := range all {
		if s.ToLSN < f.LSN || s.To < f.Effective {
			continue
		}
		s.FromLSN, s.From = max(s.FromLSN, f.LSN), max(s.From, f.Effective)
		out = append(out, s)
	}
	return out
}

// timeOf is when the log stood at an LSN, as far as the chain knows.
func timeOf(ctx context.Context, s *chain.State, lsn change.LSN) (change.Time, error) {
	seg, err := s.Segments.Covering(ctx, lsn)
	if err != nil {
		return 0, err
	}
	if seg != nil {
		return seg.Body.Effective.To, nil
	}
	for _, st := range recovery.Stretches(s) {
		if st.FromLSN <= lsn && lsn <= st.ToLSN && st.From != 0 {
			return st.From, nil
		}
	}
	return max(s.Effective, s.CoveredUntil), nil
}
