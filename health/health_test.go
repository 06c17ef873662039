package health

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// TestAssess builds chains whose times are microseconds after the epoch, and
// judges them at a moment some time after the last one.
func TestAssess(t *testing.T) {
	const second = change.Time(1e6)
	drill := func(ok, independent bool, at change.Time) chain.Manifest {
		d := &chain.Drill{LSN: 3, Started: at, OK: ok, Independent: independent, Elapsed: 372e6}
		if !ok {
			d.Detail = "collection item differs"
		}
		return chain.Manifest{Kind: chain.KindDrill, Drill: d}
	}
	verify := func(findings int64, at change.Time) chain.Manifest {
		return chain.Manifest{Kind: chain.KindVerify, Verify: &chain.Verify{Level: "records", Through: 2, Started: at, Findings: findings}}
	}
	for _, tt := range []struct {
		name  string
		build func(*chaintest.Chain)
		now   change.Time
		goals Goals
		check Check
		level Level
		text  string
	}{
		{"empty", func(*chaintest.Chain) {}, second, Goals{}, CheckRestorable, Critical, "nothing can be restored"},
		{"empty", func(*chaintest.Chain) {}, second, Goals{}, CheckCapture, Warning, "no database was captured yet"},
		{"empty", func(*chaintest.Chain) {}, second, Goals{RPO: 1}, CheckRPO, Warning, "no restorable moment"},
		{"no base", func(c *chaintest.Chain) { c.ClaimAt(10) }, second, Goals{}, CheckRestorable, Critical, "nothing can be restored"},
		{"good", func(c *chaintest.Chain) { c.Claim().Segment(3) }, second, Goals{}, CheckRestorable, OK, "1 window can be restored"},
		{"fresh", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(50 * second) }, 60 * second, Goals{RPO: 10 * time.Second}, CheckRPO, OK, "is 10s old"},
		{"stale", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(50 * second) }, 60*second + 1, Goals{RPO: 10 * time.Second}, CheckRPO, Warning, "10s old, the goal is 10s"},
		{"no goal", func(c *chaintest.Chain) { c.Claim().Segment(3) }, 1e12, Goals{}, CheckRPO, OK, "11d13h old"},
		{"gap", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a") }, second, Goals{}, CheckGaps, Warning, "1 gap, 1 not acknowledged"},
		{"gap", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000) }, second, Goals{}, CheckRestorable, Critical, "nothing after LSN 3"},
		{"known gap", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Add(chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: 4, Reason: "x"}})
		}, second, Goals{}, CheckGaps, OK, "1 gap, acknowledged"},
		{"closed", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Add(chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: 3}})
		}, second, Goals{}, CheckCapture, Warning, "none is running"},
		{"closed, and may be", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Add(chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: 3}})
		}, second, Goals{StoppedOK: true}, CheckCapture, OK, "none is running"},
		{"never verified", func(c *chaintest.Chain) { c.Claim() }, second, Goals{}, CheckVerify, OK, "never"},
		{"never verified, but should be", func(c *chaintest.Chain) { c.Claim() }, second, Goals{VerifyAge: time.Hour}, CheckVerify, Warning, "never; the goal is every 1h0m0s"},
		{"verified", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(verify(0, second)) }, 2 * second, Goals{VerifyAge: time.Hour}, CheckVerify, OK, "1s ago, at level records"},
		{"verified long ago", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(verify(0, second)) }, 3602 * second, Goals{VerifyAge: time.Hour}, CheckVerify, Warning, "the goal is every"},
		{"damage", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(verify(2, second)) }, 2 * second, Goals{}, CheckDamage, Critical, "found 2 problems"},
		{"no damage", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(verify(2, second)).Add(verify(0, 2*second)) }, 2 * second, Goals{}, CheckDamage, OK, "none known"},
		{"drill", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(drill(true, false, second)) }, 2 * second, Goals{}, CheckDrill, OK, "passed 1s ago, RTO 6m12s"},
		{"no agreement", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(drill(true, false, second)) }, 2 * second, Goals{}, CheckAgreement, OK, "no restore was compared"},
		{"agreement", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Add(drill(true, true, second)).Add(drill(false, false, 2*second))
		}, 4 * second, Goals{}, CheckAgreement, OK, "agreed with an independent read of the database 3s ago"},
		{"drill failed", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Add(drill(true, true, second)).Add(drill(false, false, 2*second))
		}, 4 * second, Goals{}, CheckDrill, Critical, "failed 2s ago: collection item differs"},
		{"drill long ago", func(c *chaintest.Chain) { c.Claim().Segment(3).Add(drill(true, true, second)) }, 4000 * second, Goals{DrillAge: time.Minute}, CheckDrill, Warning, "the goal is every 1m0s"},
		{"from the future", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(50 * second) }, 40 * second, Goals{}, CheckClock, Warning, "10s ahead of this machine"},
		{"hardly from the future", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(50 * second) }, 46 * second, Goals{}, CheckClock, OK, "no time lies"},
		{"hardly from the future", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(50 * second) }, 46 * second, Goals{RPO: 1}, CheckRPO, OK, "is 0s old"},
	} {
		c := chaintest.New(t)
		tt.build(c)
		found := Assess(c.State, tt.now.Std(), tt.goals)
		if len(found) != 9 {
			t.Errorf("%s: %d findings", tt.name, len(found))
		}
		for _, f := range found {
			if f.Check == tt.check && (f.Level != tt.level || !strings.Contains(f.Message, tt.text)) {
				t.Errorf("%s: %s is %s: %q; want %s: %q", tt.name, f.Check, f.Level, f.Message, tt.level, tt.text)
			}
		}
	}
}

// TestSilence: an open epoch whose capturer has said nothing for long.
func TestSilence(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3)
	for silent, want := range map[time.Duration]Level{time.Second: OK, 2 * time.Minute: Warning} {
		for _, f := range Assess(c.State, c.State.EpochSeen.Std().Add(silent), Goals{}) {
			if f.Check == CheckCapture && f.Level != want {
				t.Errorf("silent for %s: %+v, want %s", silent, f, want)
			}
		}
	}
}

func TestOverall(t *testing.T) {
	if got := Overall([]Finding{{Level: Warning}, {Level: OK}}); got != Warning {
		t.Error(got)
	}
	if got := Overall([]Finding{{Level: Critical}, {Level: Warning}}); got != Critical {
		t.Error(got)
	}
	if got := Overall(nil); got != OK {
		t.Error(got)
	}
}
