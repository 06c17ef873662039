package health

import (
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// Live returns those of an archive's timelines that somebody still writes to:
// the ones that have a capturer by their chain, or else the one that was covered
// last. What is due now, such as fresh coverage, is due of these; the others are
// history. None of states may be nil. The order stays.
func Live(states []*chain.State) []*chain.State {
	var open []*chain.State
	var last *chain.State
	for _, s := range states {
		if s.EpochOpen {
			open = append(open, s)
		}
		if last == nil || end(s) >= end(last) {
			last = s
		}
	}
	switch {
	case len(open) > 0:
		return open
	case last != nil:
		return []*chain.State{last}
	}
	return nil
}

// end is the last moment that a timeline covers.
func end(s *chain.State) change.Time { return max(s.Effective, s.CoveredUntil) }

// AssessPast judges a timeline that nobody writes to any more by what it holds
// alone: nothing has to be fresh. The findings are those of [Assess] about that.
func AssessPast(s *chain.State, now time.Time) []Finding {
	a := assessor{s: s, f: FactsOf(s, now), now: now}
	return []Finding{a.restorable(), a.damage(), a.gaps()}
}
