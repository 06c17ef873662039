package bench

import (
	"fmt"
	"slices"
	"time"
)

// Spread is what repeated measurements of one thing gave.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Runs   int     `json:"runs"`
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

// percentile returns the value that p percent of the samples do not exceed.
func percentile(samples []float64, p int) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	return s[min(len(s)-1, len(s)*p/100)]
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

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

const (
	million = 1e6
	mib     = 1 << 20
)
