package chain

import (
	"cmp"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// Begin is where the log begins, or goes on after a gap.
type Begin struct {
	First     change.LSN  `json:"lsn_start"`
	Effective change.Time `json:"effective"` // of the transaction there
}

// Begins returns the effective time of the first transaction of a stretch of
// the log without gaps, given the LSN it would start at; 0 when there is none.
func (s *State) Begins(first change.LSN) change.Time {
	i, found := slices.BinarySearchFunc(s.begins, first, func(b Begin, lsn change.LSN) int { return cmp.Compare(b.First, lsn) })
	if !found {
		return 0
	}
	return s.begins[i].Effective
}

// Place is what the chain says of an LSN by the segment that holds it.
type Place struct {
	LSN       change.LSN `json:"lsn"`
	Effective Span       `json:"effective"` // of the segment; zero when none holds the LSN
	Log       Totals     `json:"log"`       // of the log through the end of that segment
}

// PlaceOf returns the place of a base's LSN.
func (s *State) PlaceOf(lsn change.LSN) Place {
	i := slices.IndexFunc(s.places, func(p Place) bool { return p.LSN == lsn })
	if i < 0 {
		return Place{LSN: lsn}
	}
	return s.places[i]
}

// keepPlace remembers the place of a base, whose LSN was checked before.
func (s *State) keepPlace(lsn change.LSN) {
	if slices.ContainsFunc(s.places, func(p Place) bool { return p.LSN == lsn }) {
		return
	}
	grow(&s.places, &s.tails.places, s.Segments.place(lsn))
}
