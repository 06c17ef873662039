package bench

import (
	"fmt"
	"slices"
)

// Spread is what repeated measurements of one thing gave.
type Spread struct {
	Min, Median, Max float64
	Runs             int
}

// spread sums up measurements.
func spread(samples []float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(samples))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return Spread{s[0], median, s[len(s)-1], len(s)}
}

// ratios divides measurements that were taken in turns, pair by pair.
func ratios(a, b []float64) Spread {
	r := make([]float64, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return spread(r)
}

// per returns the spread as "median (min … max)", each divided by unit.
func (s Spread) per(unit float64, digits int) string {
	return fmt.Sprintf("%.*f (%.*f … %.*f)", digits, s.Median/unit, digits, s.Min/unit, digits, s.Max/unit)
}

const (
	million = 1e6
	mib     = 1 << 20
)
