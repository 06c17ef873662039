package health

import (
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

func (a *assessor) rpo() Finding {
	f := Finding{Check: CheckRPO, Level: OK, Seconds: a.f.RPO}
	switch over := a.g.RPO > 0 && a.f.RPO > a.g.RPO.Seconds(); {
	case a.f.Covered == 0 && a.g.RPO > 0:
		f.Level, f.Message, f.Seconds = Warning, "there is no restorable moment", 0
	case a.f.Covered == 0:
		f.Message, f.Seconds = "there is no restorable moment", 0
	case over:
		f.Level, f.Message = Warning, fmt.Sprintf("the last restorable moment is %s old, the goal is %s", rough(age(a.f.Covered, a.now)), a.g.RPO)
	default:
		f.Message = "the last restorable moment is " + rough(age(a.f.Covered, a.now)) + " old"
	}
	return f
}

func (a *assessor) capture() Finding {
	f := Finding{Check: CheckCapture, Level: Warning}
	silent := age(a.s.EpochSeen, a.now)
	switch {
	case a.s.Epoch == 0:
		f.Message = "no database was captured yet"
	case !a.s.EpochOpen:
		f.Message = "none is running; the last one closed in good order"
		if a.g.StoppedOK {
			f.Level = OK
		}
	case silent > a.g.Silence:
		f.Seconds = silent.Seconds()
		f.Message = fmt.Sprintf("%s has been silent for %s", a.s.EpochOwner, rough(silent))
	default:
		f.Level, f.Message, f.Seconds = OK, "by "+a.s.EpochOwner, max(0, silent.Seconds())
	}
	return f
}

// clock compares the archive's newest times with this machine's.
func (a *assessor) clock() Finding {
	newest := max(a.s.Effective, a.s.CoveredUntil, a.s.EpochSeen)
	if ahead := -age(newest, a.now); newest != 0 && ahead > a.g.Skew {
		return Finding{Check: CheckClock, Level: Warning, Seconds: ahead.Seconds(),
			Message: fmt.Sprintf("the archive's newest time is %s ahead of this machine: one of the clocks is wrong", rough(ahead))}
	}
	return Finding{Check: CheckClock, Level: OK, Message: "no time lies in the future"}
}

func (a *assessor) verify() Finding {
	f := Finding{Check: CheckVerify, Level: OK}
	v := a.f.Verify
	if v == nil {
		f.Message = "never"
		if a.g.VerifyAge > 0 {
			f.Level, f.Message = Warning, fmt.Sprintf("never; the goal is every %s", a.g.VerifyAge)
		}
		return f
	}
	f.Message = fmt.Sprintf("%s ago, at level %s", rough(age(v.Started, a.now)), v.Level)
	a.old(&f, v.Started, a.g.VerifyAge)
	return f
}

func (a *assessor) drill() Finding {
	f := Finding{Check: CheckDrill, Level: OK}
	d := a.f.Drill
	switch {
	case d == nil:
		f.Message = "never"
		if a.g.DrillAge > 0 {
			f.Level, f.Message = Warning, fmt.Sprintf("never; the goal is every %s", a.g.DrillAge)
		}
	case !d.OK:
		f.Level, f.Seconds = Critical, max(0, age(d.Started, a.now).Seconds())
		f.Message = fmt.Sprintf("the last one failed %s ago: %s", rough(age(d.Started, a.now)), d.Detail)
	default:
		f.Message = fmt.Sprintf("passed %s ago, RTO %s", rough(age(d.Started, a.now)), rough(time.Duration(d.Elapsed)*time.Microsecond))
		a.old(&f, d.Started, a.g.DrillAge)
	}
	return f
}

func (a *assessor) agreement() Finding {
	f := Finding{Check: CheckAgreement, Level: OK, Message: "no restore was compared with an independent read of the database yet"}
	if a.f.Agreement != 0 {
		f.Seconds = max(0, age(a.f.Agreement, a.now).Seconds())
		f.Message = fmt.Sprintf("a restore agreed with an independent read of the database %s ago", rough(age(a.f.Agreement, a.now)))
	}
	return f
}

// old turns a finding into a warning when what it tells is older than a goal.
func (a *assessor) old(f *Finding, t change.Time, goal time.Duration) {
	f.Seconds = max(0, age(t, a.now).Seconds())
	if goal > 0 && age(t, a.now) > goal {
		f.Level = Warning
		f.Message += fmt.Sprintf("; the goal is every %s", goal)
	}
}

// rough writes a duration to the second, or finer where it is short.
func rough(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
