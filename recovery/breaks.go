package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// ErrLost says that a target lies in a part of the log that a verification
// found to be lost, or after it and before the next base. Every
// [UnrestorableError] of that kind wraps it.
var ErrLost = errors.New("in a lost part of the log")

// A broken stretch is a part of the log that nothing leads across: a gap that
// capture has declared, or a range that a verification found to be lost.
type broken struct {
	first, last change.LSN
	from, to    change.Time // times between which nothing can be restored
	gap         *chain.Gap  // one of
	lost        *chain.Lost // both is set
}

// breaks returns the broken stretches of the log, in LSN order.
func breaks(s *chain.State) []broken {
	out := make([]broken, 0, len(s.Gaps))
	for i := range s.Gaps {
		g := &s.Gaps[i].Body
		out = append(out, broken{first: g.First, last: g.Last, from: g.From, to: g.To, gap: g})
	}
	lost, _ := s.KnownDamage()
	for i := range lost {
		l := &lost[i]
		out = append(out, broken{first: l.First, last: l.Last, from: l.Effective.From - 1, to: l.Effective.To, lost: l})
	}
	if len(lost) > 0 {
		slices.SortFunc(out, func(a, b broken) int { return cmp.Compare(a.first, b.first) })
	}
	return out
}

// readable tells the bases that can be read, as far as anybody knows.
func readable(s *chain.State) func(*chain.Announced[chain.Snapshot]) bool {
	_, bad := s.KnownDamage()
	return func(b *chain.Announced[chain.Snapshot]) bool {
		return !slices.ContainsFunc(bad, func(o chain.LostBase) bool { return o.Timeline == b.Timeline && o.Seq == b.Seq })
	}
}

// lostAt returns the lost range that holds an LSN, or nil.
func lostAt(s *chain.State, n change.LSN) *chain.Lost {
	lost, _ := s.KnownDamage()
	i := slices.IndexFunc(lost, func(l chain.Lost) bool { return l.First <= n && n <= l.Last })
	if i < 0 {
		return nil
	}
	return &lost[i]
}

// unrestorable says why an LSN inside the log can't be restored.
func unrestorable(s *chain.State, t Target, n change.LSN) *UnrestorableError {
	e := &UnrestorableError{Target: t}
	e.Before, e.After = NearestLSN(s, n)
	var b *broken
	for _, o := range breaks(s) {
		if o.first <= n {
			b = &o
		}
	}
	switch {
	case b == nil:
		e.Detail = fmt.Sprintf("no base was taken at or before LSN %d", n)
		for i := range s.Snapshots {
			if o := &s.Snapshots[i]; o.Body.LSN <= n && !readable(s)(o) {
				e.Detail = fmt.Sprintf("no base at or before LSN %d can be read: %s announces one at LSN %d that verification found to be damaged", n, o.Key(), o.Body.LSN)
				e.damaged = true
			}
		}
	case n < b.last:
		e.in(b, fmt.Sprintf("LSN %d to %d are %s", b.first, b.last, b.what()))
	case b.lost != nil:
		e.in(b, fmt.Sprintf("no base that can be read was taken between what is lost, up to LSN %d, and LSN %d", b.last, n))
	default:
		e.in(b, fmt.Sprintf("no base was taken between the gap up to LSN %d and LSN %d", b.last, n))
	}
	return e
}

// in says that a broken stretch is the reason.
func (e *UnrestorableError) in(b *broken, detail string) {
	e.Gap, e.Lost, e.Detail = b.gap, b.lost, detail
}

func (b *broken) what() string {
	if b.lost != nil {
		return "lost"
	}
	return "a gap of the log"
}

// between says between which times nothing can be restored.
func (b *broken) between() string {
	if b.lost != nil {
		return fmt.Sprintf("the log from %s to %s is lost", b.from+1, b.to)
	}
	return fmt.Sprintf("the log has a gap from %s to %s", b.from, b.to)
}
