package plan

import (
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/recovery"
)

// Forecast is how long a restore may take, judged by earlier ones. All is 0
// when there were none.
type Forecast struct {
	Work     int64         `json:"work"`          // rows of the base and records of the log
	Low      time.Duration `json:"low_ns"`        // at the best rate seen
	Likely   time.Duration `json:"likely_ns"`     // at the median
	High     time.Duration `json:"high_ns"`       // at the worst
	Drills   int           `json:"from_drills"`   // how many of the rates come from drills that the chain tells of
	Restores int           `json:"from_restores"` // and from restores on this machine
}

// Measured is how long a restore took.
type Measured struct {
	Work    int64 // rows of the base and records of the log
	Elapsed time.Duration
}

// Work returns how much a plan has to do: rows of the base, about, and records
// of the log.
func Work(p *recovery.Plan) int64 {
	base := int64(0)
	if p.Base != nil {
		base = int64(p.Base.LSN)
	}
	return max(p.Estimate.Rows, 0) + max(int64(p.Point.LSN)-base, 0)
}

// MeasuredBy returns the restores among jobs that say how much they did.
func MeasuredBy(jobs []job.Job) (out []Measured) {
	for i := range jobs {
		j := &jobs[i]
		work, ok := j.Figures["work"].(float64)
		seconds, ok2 := j.Figures["seconds"].(float64)
		if j.Kind == job.Restore && j.State == job.OK && ok && ok2 && work > 0 && seconds > 0 {
			out = append(out, Measured{int64(work), time.Duration(seconds * float64(time.Second))})
		}
	}
	return out
}

// rates bounds how many of the newest restores of each kind count.
const rates = 10

// forecast judges by drills and restores whose work was about as much, within
// 16 times, or else by all of them.
func forecast(p *recovery.Plan, state *chain.State, measured []Measured) Forecast {
	f := Forecast{Work: Work(p)}
	var drills []Measured
	for i := range state.Drills {
		if d := &state.Drills[i].Body; d.OK && d.Elapsed > 0 {
			drills = append(drills, Measured{d.Rows + max(int64(d.LSN)-int64(d.Base), 0), time.Duration(d.Elapsed) * time.Microsecond})
		}
	}
	like := func(m Measured) bool { return m.Work <= 16*f.Work && f.Work <= 16*m.Work }
	if slices.ContainsFunc(drills, like) || slices.ContainsFunc(measured, like) {
		unlike := func(m Measured) bool { return !like(m) }
		drills = slices.DeleteFunc(drills, unlike)
		measured = slices.DeleteFunc(slices.Clone(measured), unlike)
	}
	drills, measured = drills[max(0, len(drills)-rates):], measured[max(0, len(measured)-rates):]
	f.Drills, f.Restores = len(drills), len(measured)
	var took []time.Duration // for this plan, at the rate of each
	for _, m := range slices.Concat(drills, measured) {
		took = append(took, time.Duration(float64(m.Elapsed)*float64(f.Work)/float64(max(m.Work, 1))))
	}
	if len(took) > 0 {
		slices.Sort(took)
		f.Low, f.Likely, f.High = took[0], took[len(took)/2], took[len(took)-1]
	}
	return f
}
