package recovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrOutside says that a target lies before what the archive can restore,
	// or after what it covers. Every other [UnrestorableError] wraps it.
	ErrOutside = errors.New("outside what can be restored")

	// ErrInGap says that a target lies in a gap of the log, or after it and
	// before the next base. Every [UnrestorableError] of that kind wraps it.
	ErrInGap = errors.New("in a gap of the log")
)

// Window is a stretch of history of which every transaction can be restored.
// Any time from From to To, both included, is a valid target. Of a base inside
// a segment the chain knows the time only roughly: From may be late then.
type Window struct {
	FromLSN change.LSN  `json:"lsn_start"`
	ToLSN   change.LSN  `json:"lsn_end"`
	From    change.Time `json:"from"`
	To      change.Time `json:"to"`
}

// Windows returns the restorable windows, oldest first: each starts at a base
// that can be read, or at the empty database that the log begins with, and ends
// at the next gap, at what a verification found to be lost, or with the log.
func Windows(s *chain.State) []Window {
	if !s.Started {
		return nil
	}
	var out []Window
	start, from := s.Start, change.Time(0) // of the stretch without gaps; its earliest time
	all := breaks(s)
	for i := 0; i <= len(all); i++ {
		w := Window{ToLSN: s.Last, To: max(s.Effective, s.CoveredUntil)}
		if i < len(all) {
			w.ToLSN, w.To = all[i].first-1, all[i].from
		}
		var ok bool
		if w.FromLSN, w.From, ok = windowStart(s, start, w.ToLSN, from); ok {
			if w.From == 0 {
				w.From = w.To // nothing happened, and nothing says since when
			}
			w.To = max(w.From, w.To)
			out = append(out, w)
		}
		if i < len(all) {
			start, from = all[i].last, all[i].to
		}
	}
	return out
}

// windowStart returns where the first base in a stretch of the log stands.
// from is the earliest time of the stretch, 0 when it is not known.
func windowStart(s *chain.State, first, last change.LSN, from change.Time) (change.LSN, change.Time, bool) {
	var begins change.Time // the first transaction of the stretch
	if first < last {
		begins = s.Begins(first + 1)
	}
	if first == 0 {
		return 0, begins, true
	}
	var base *chain.Snapshot
	usable := readable(s)
	for i := range s.Snapshots {
		b := &s.Snapshots[i].Body
		if b.LSN >= first && b.LSN <= last && (base == nil || b.LSN < base.LSN) && usable(&s.Snapshots[i]) {
			base = b
		}
	}
	switch {
	case base == nil:
		return 0, 0, false
	case base.LSN == first && from != 0:
		return first, from, true // nothing happened between the gap and the base
	case base.LSN == first && begins != 0:
		return first, min(base.Taken, begins), true
	case base.LSN == first:
		return first, base.Taken, true
	}
	if at := s.PlaceOf(base.LSN); at.Effective.To != 0 {
		return base.LSN, at.Effective.To, true
	}
	return base.LSN, max(from, base.Taken), true
}

// Moment is a restorable place: the LSN of a transaction's end and a time that
// leads there.
type Moment struct {
	LSN  change.LSN  `json:"lsn"`
	Time change.Time `json:"time"`
}

func (m Moment) String() string { return fmt.Sprintf("%s (LSN %d)", m.Time, m.LSN) }

// Nearest returns the restorable moments next to a time, nil where there is
// none on that side.
func Nearest(s *chain.State, t change.Time) (before, after *Moment) {
	for _, w := range Windows(s) {
		switch {
		case w.To <= t:
			before = &Moment{w.ToLSN, w.To}
		case w.From >= t && after == nil:
			after = &Moment{w.FromLSN, w.From}
		}
	}
	return before, after
}

// NearestLSN is [Nearest] for an LSN.
func NearestLSN(s *chain.State, n change.LSN) (before, after *Moment) {
	for _, w := range Windows(s) {
		switch {
		case w.ToLSN <= n:
			before = &Moment{w.ToLSN, w.To}
		case w.FromLSN >= n && after == nil:
			after = &Moment{w.FromLSN, w.From}
		}
	}
	return before, after
}

// restorable reports whether an LSN lies in a window.
func restorable(s *chain.State, n change.LSN) bool {
	return slices.ContainsFunc(Windows(s), func(w Window) bool { return w.FromLSN <= n && n <= w.ToLSN })
}

// UnrestorableError says why a target can't be restored, and what can. It
// wraps [ErrOutside], or [ErrInGap] or [ErrLost] where that is the reason.
type UnrestorableError struct {
	Target        Target
	Detail        string      // what is wrong with it
	Gap           *chain.Gap  // the gap that it lies in, or that has no base after it; or nil
	Lost          *chain.Lost // the same for what a verification found to be lost
	Before, After *Moment

	damaged bool // the only bases can't be read
}

// Reason is the error without the nearest moments.
func (e *UnrestorableError) Reason() string {
	s := fmt.Sprintf("target %s: %s", e.Target, e.Detail)
	if e.Gap != nil && e.Gap.Reason != "" {
		s += " (" + e.Gap.Reason + ")"
	}
	if e.Lost != nil {
		s += " (" + e.Lost.Detail + ")"
	}
	return s
}

func (e *UnrestorableError) Error() string {
	var b strings.Builder
	b.WriteString(e.Reason())
	switch {
	case e.Before != nil && e.After != nil:
		fmt.Fprintf(&b, "; the nearest restorable moments are %s and %s", e.Before, e.After)
	case e.Before != nil:
		fmt.Fprintf(&b, "; the nearest restorable moment is %s", e.Before)
	case e.After != nil:
		fmt.Fprintf(&b, "; the nearest restorable moment is %s", e.After)
	default:
		b.WriteString("; nothing can be restored yet: the archive has no base")
	}
	return b.String()
}

// Unwrap returns the sentinel.
func (e *UnrestorableError) Unwrap() error {
	switch {
	case e.Gap != nil:
		return ErrInGap
	case e.Lost != nil || e.damaged:
		return ErrLost
	}
	return ErrOutside
}
