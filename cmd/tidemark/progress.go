package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often progress is told off a terminal.
const progressEvery = 10 * time.Second

// progress tells how far something is: a bar with rate and time left on a
// terminal, a line every ten seconds elsewhere, nothing with --quiet. It is
// for one goroutine.
type progress struct {
	c     *console
	what  string // "restore"
	unit  string // "rows"
	bar   *progressbar.ProgressBar
	began time.Time
	told  time.Time
	done  int64
	all   int64
}

// report is a line of progress as --json prints it.
type report struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Done    int64   `json:"done"`
	All     int64   `json:"all,omitempty"` // 0: not known
	Rate    float64 `json:"per_second"`
	Seconds float64 `json:"seconds_left,omitempty"`
}

func (c *console) progress(what, unit string) *progress {
	now := c.now()
	return &progress{c: c, what: what, unit: unit, began: now, told: now}
}

// update says that done of all are done; all is 0 when it isn't known.
func (p *progress) update(done, all int64) {
	if p.c.quiet {
		return
	}
	p.done, p.all = done, all
	if p.c.terminal && !p.c.json {
		p.draw()
		return
	}
	now := p.c.now()
	if now.Sub(p.told) < progressEvery {
		return
	}
	p.told = now
	r := p.report(now)
	if p.c.json {
		writeMessage(p.c.errs, "progress", r) // an unwritable stderr must not fail the work
		return
	}
	line := fmt.Sprintf("%s: %s %s", p.what, count(r.Done), p.unit)
	if r.All > 0 {
		line += fmt.Sprintf(" of %s (%d%%)", count(r.All), 100*r.Done/r.All)
	}
	line += fmt.Sprintf(", %s/s", count(int64(r.Rate)))
	if r.Seconds > 0 {
		line += ", " + span(time.Duration(r.Seconds*float64(time.Second))) + " left"
	}
	fmt.Fprintln(p.c.errs, line)
}

func (p *progress) report(now time.Time) report {
	r := report{What: p.what, Unit: p.unit, Done: p.done, All: max(p.all, 0)}
	if r.All > 0 {
		r.All = max(r.All, r.Done) // an estimate may be too low
	}
	if s := now.Sub(p.began).Seconds(); s > 0 {
		r.Rate = float64(r.Done) / s
	}
	if r.Rate > 0 && r.All > r.Done {
		r.Seconds = float64(r.All-r.Done) / r.Rate
	}
	return r
}

func (p *progress) draw() {
	all := p.all
	if all <= 0 {
		all = -1
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(all,
			progressbar.OptionSetWriter(p.c.errs),
			progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString(p.unit),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetWidth(24),
			progressbar.OptionEnableColorCodes(false),
			progressbar.OptionClearOnFinish())
		return // the rate is measured from here on
	}
	if all > 0 && p.done > all {
		all = p.done
	}
	if all != p.bar.GetMax64() && all > 0 {
		p.bar.ChangeMax64(all)
	}
	if p.done < all || all < 0 {
		p.bar.Set64(p.done) // an unwritable stderr must not fail the work
	}
}

// close takes the bar away.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.Finish() // as in draw
	}
}
