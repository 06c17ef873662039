package recovery

import (
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// StretchKind says whether a stretch of history can be restored, or why not.
type StretchKind string

// The kinds of stretch.
const (
	StretchRestorable StretchKind = "restorable" // a [Window]
	StretchGap        StretchKind = "gap"        // a gap of the log, and what follows it up to the next base
	StretchLost       StretchKind = "lost"       // the same for what a verification found to be lost
	StretchNoBase     StretchKind = "no-base"    // before the first base
)

// Stretch is a part of a timeline's history. A restorable one is a [Window]. Of
// another the LSNs are those of the records that are missing or that nothing
// can be restored between, and its times are the last moment before it and the
// first after it that can be restored.
type Stretch struct {
	Kind    StretchKind  `json:"state"`
	FromLSN change.LSN   `json:"lsn_start"`
	ToLSN   change.LSN   `json:"lsn_end"`
	From    change.Time  `json:"from,omitempty"` // its first moment; 0: not known
	To      change.Time  `json:"to,omitempty"`
	Gaps    []KnownGap   `json:"gaps,omitempty"` // the gaps in it, in order
	Lost    []chain.Lost `json:"lost,omitempty"` // what a verification found to be lost in it
}

// KnownGap is a gap with what people have said about it.
type KnownGap struct {
	First        change.LSN            `json:"lsn_start"`
	Last         change.LSN            `json:"lsn_end"`
	From         change.Time           `json:"from"` // effective times between which changes may be missing
	To           change.Time           `json:"to"`
	Reason       string                `json:"reason"`
	Collections  []change.CollectionID `json:"collections,omitempty"` // those that miss changes; empty: all
	Acknowledged bool                  `json:"acknowledged"`
	Note         string                `json:"note,omitempty"` // the reason of the acknowledgement
	By           string                `json:"by,omitempty"`
}

// Gaps returns the declared gaps of a timeline, oldest first.
func Gaps(s *chain.State) []KnownGap {
	var out []KnownGap
	for i := range s.Gaps {
		g := &s.Gaps[i].Body
		k := KnownGap{First: g.First, Last: g.Last, From: g.From, To: g.To, Reason: g.Reason, Collections: g.Collections}
		if ack, ok := s.GapAcks[g.First]; ok {
			k.Acknowledged, k.Note, k.By = true, ack.Body.Reason, ack.Body.By
		}
		out = append(out, k)
	}
	return out
}

// Unacknowledged counts the gaps that nobody has taken note of.
func Unacknowledged(s *chain.State) (n int) {
	for _, g := range Gaps(s) {
		if !g.Acknowledged {
			n++
		}
	}
	return n
}

// Stretches cuts a timeline's whole history into what can be restored and what
// can't, oldest first.
func Stretches(s *chain.State) []Stretch {
	if !s.Started {
		return nil
	}
	gaps := Gaps(s)
	lost, _ := s.KnownDamage()
	var out []Stretch
	end, since := s.Start, change.Time(0) // of the last window
	hole := func(last change.LSN, to change.Time) {
		h := Stretch{Kind: StretchNoBase, FromLSN: min(end+1, last), ToLSN: last, From: since, To: to}
		for len(lost) > 0 && lost[0].First <= last {
			h.Kind, h.Lost = StretchLost, append(h.Lost, lost[0])
			lost = lost[1:]
		}
		for len(gaps) > 0 && gaps[0].First <= last {
			h.Kind, h.Gaps = StretchGap, append(h.Gaps, gaps[0])
			gaps = gaps[1:]
		}
		out = append(out, h)
	}
	for _, w := range Windows(s) {
		if w.FromLSN > end {
			hole(w.FromLSN, w.From)
		}
		out = append(out, Stretch{Kind: StretchRestorable, FromLSN: w.FromLSN, ToLSN: w.ToLSN, From: w.From, To: w.To})
		end, since = w.ToLSN, w.To
	}
	if end < s.Last || len(out) == 0 {
		hole(s.Last, max(s.Effective, s.CoveredUntil))
	}
	return out
}
