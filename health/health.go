// Package health judges an archive from its chain alone: is it fresh, whole,
// rehearsed, and is anybody capturing? It is pure; the present is an argument.
package health

import (
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// Level says how bad a finding is.
type Level string

// The levels, the worst last.
const (
	OK       Level = "ok"
	Warning  Level = "warning"  // somebody should look
	Critical Level = "critical" // a restore would fail, or has failed
)

func (l Level) rank() int {
	switch l {
	case OK:
		return 0
	case Warning:
		return 1
	}
	return 2
}

// Worst returns the worse of two levels.
func Worst(a, b Level) Level {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// Check names what a finding is about.
type Check string

// The checks, in the order of their findings.
const (
	CheckRestorable Check = "restorable" // can anything be restored?
	CheckDamage     Check = "damage"     // what the verifications found
	CheckGaps       Check = "gaps"       // does somebody know of each gap?
	CheckRPO        Check = "rpo"        // the age of the last restorable moment
	CheckCapture    Check = "capture"    // is a capturer at work?
	CheckClock      Check = "clock"      // does the archive's time agree with this machine's?
	CheckVerify     Check = "verify"     // the age of the last verification
	CheckDrill      Check = "drill"      // how the last drill went, and its age
	CheckAgreement  Check = "agreement"  // the age of the last independent comparison with the database
)

// Finding is the result of one check.
type Finding struct {
	Check   Check   `json:"check"`
	Level   Level   `json:"level"`
	Message string  `json:"message"`
	Seconds float64 `json:"seconds,omitempty"` // the age that the message tells
}

// Goals are what an archive is measured by. The zero value has none.
type Goals struct {
	RPO       time.Duration // how old the last restorable moment may be; 0: any age
	VerifyAge time.Duration // how old the last verification may be; 0: any age, or none at all
	DrillAge  time.Duration // the same for the last drill that passed
	StoppedOK bool          // nobody need be capturing, as between runs of capture --once

	Silence time.Duration // how long a capturer may be silent; default a minute
	Skew    time.Duration // how far ahead the archive's clock may be; default 5 s
}

// Facts are what is known of an archive's health, as far as its chain tells.
type Facts struct {
	Covered   change.Time   `json:"covered_until,omitempty"` // the last restorable moment; 0 for none
	RPO       float64       `json:"rpo_seconds"`             // its age; −1 when nothing is restorable
	Verify    *chain.Verify `json:"last_verify,omitempty"`   // the last one
	Drill     *chain.Drill  `json:"last_drill,omitempty"`    // the last one
	Passed    *chain.Drill  `json:"last_drill_passed,omitempty"`
	Agreement change.Time   `json:"last_agreement,omitempty"` // start of the last drill that agreed with an independent read of the database; 0: never
}

// FactsOf collects them at a moment.
func FactsOf(s *chain.State, now time.Time) Facts {
	f := Facts{RPO: -1}
	if w := recovery.Windows(s); len(w) > 0 && w[len(w)-1].To != 0 {
		f.Covered = w[len(w)-1].To
		f.RPO = max(0, age(f.Covered, now).Seconds())
	}
	if n := len(s.Verifies); n > 0 {
		f.Verify = &s.Verifies[n-1].Body
	}
	for i := range s.Drills {
		d := &s.Drills[i].Body
		f.Drill = d
		if d.OK {
			f.Passed = d
		}
		if d.OK && d.Independent {
			f.Agreement = d.Started
		}
	}
	return f
}

func age(t change.Time, now time.Time) time.Duration {
	return time.Duration(min(max(int64(change.TimeOf(now)-t), -1<<53), 1<<53)) * time.Microsecond
}

// Assess judges an archive at a moment: one finding a check, in their order.
func Assess(s *chain.State, now time.Time, g Goals) []Finding {
	if g.Silence == 0 {
		g.Silence = time.Minute
	}
	if g.Skew == 0 {
		g.Skew = 5 * time.Second
	}
	a := assessor{s: s, f: FactsOf(s, now), now: now, g: g}
	return []Finding{a.restorable(), a.damage(), a.gaps(), a.rpo(), a.capture(), a.clock(), a.verify(), a.drill(), a.agreement()}
}

// Overall is the worst level of some findings.
func Overall(findings []Finding) Level {
	worst := OK
	for _, f := range findings {
		worst = Worst(worst, f.Level)
	}
	return worst
}

type assessor struct {
	s   *chain.State
	f   Facts
	now time.Time
	g   Goals
}

func (a *assessor) restorable() Finding {
	windows := recovery.Windows(a.s)
	if len(windows) == 0 {
		return Finding{Check: CheckRestorable, Level: Critical, Message: "nothing can be restored: no snapshot was taken and the log does not start at the empty database"}
	}
	if last := windows[len(windows)-1]; last.ToLSN < a.s.Last {
		return Finding{Check: CheckRestorable, Level: Critical,
			Message: fmt.Sprintf("nothing after LSN %d can be restored until a snapshot is taken", last.ToLSN)}
	}
	return Finding{Check: CheckRestorable, Level: OK, Message: counted(len(windows), "window", "windows") + " can be restored"}
}

func (a *assessor) damage() Finding {
	log, bases := a.s.KnownDamage()
	f := Finding{Check: CheckDamage, Level: Critical}
	switch v := a.f.Verify; {
	case len(log) > 0 || len(bases) > 0:
		f.Message = fmt.Sprintf("verification found %s of the log and %s lost", counted(len(log), "part", "parts"), counted(len(bases), "snapshot", "snapshots"))
	case v != nil && v.Findings > 0:
		f.Message = fmt.Sprintf("the last verification found %s", counted(int(v.Findings), "problem", "problems"))
	case v == nil:
		f.Level, f.Message = OK, "none known; nothing was verified yet"
	default:
		f.Level, f.Message = OK, "none known"
	}
	return f
}

func (a *assessor) gaps() Finding {
	f := Finding{Check: CheckGaps, Level: OK, Message: "none"}
	if n := len(a.s.Gaps); n > 0 {
		f.Message = counted(n, "gap", "gaps") + ", acknowledged"
		if open := recovery.Unacknowledged(a.s); open > 0 {
			f.Level, f.Message = Warning, fmt.Sprintf("%s, %d not acknowledged", counted(n, "gap", "gaps"), open)
		}
	}
	return f
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
