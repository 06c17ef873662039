package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/health"
	"github.com/tidemarkdb/tidemark/recovery"
)

// checkReport is one finding of check as --json prints it.
type checkReport struct {
	Archive  string           `json:"archive"`
	Timeline chain.TimelineID `json:"timeline"`
	health.Finding
	Try string `json:"try,omitempty"`
}

// checkedReport ends the findings of an archive.
type checkedReport struct {
	Archive string       `json:"archive"`
	Level   health.Level `json:"level"`
	Code    int          `json:"exit_code"`
}

var errWarnings = errors.New("a check warns")

func newCheck(c *console) *cobra.Command {
	g := health.Goals{Silence: time.Minute}
	cmd := &cobra.Command{
		Use:   "check [ARCHIVE]",
		Short: "Judge an archive for monitoring: one line a finding, and an exit code",
		Long: `Judge an archive for monitoring, from its chain alone: one line a finding. Without
ARCHIVE, every configured database is checked. The exit code is that of the worst:

   0  everything is as it should be
   3  something should be looked at: too old, not acknowledged, not captured
  20  nothing can be restored, or nothing newer than a gap
  22  a verification found damage
  30  the last drill failed
  10  the archive is missing or unreachable

Goals that are not given are not checked; the one for RPO may also stand in the
configuration.

Of several timelines those that are captured now, or else the one that was
captured last, must meet the goals. Of the others only gaps, damage and whether
they can be restored are judged. --timeline, or timeline in the configuration,
judges one alone.`,
		Example: "  tidemark check /backup/shop --rpo 60s --verify-age 24h --drill-age 7d",
		Args:    args("[ARCHIVE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var worst error
			err := c.eachArchive(args, func(name string) error {
				err := runCheck(cmd.Context(), c, name, g)
				if errors.As(err, new(reported)) {
					worst, err = worse(worst, err), nil
				}
				return err
			})
			if err != nil {
				return err
			}
			return worst
		},
	}
	fl := cmd.Flags()
	fl.Var((*ageFlag)(&g.RPO), "rpo", "warn when the last restorable moment is older")
	fl.Var((*ageFlag)(&g.VerifyAge), "verify-age", "warn when the last verification is older, or there was none")
	fl.Var((*ageFlag)(&g.DrillAge), "drill-age", "warn when the last drill is older, or there was none")
	fl.Var((*ageFlag)(&g.Silence), "silence", "warn when the capturer has said nothing for so long")
	fl.BoolVar(&g.StoppedOK, "stopped-ok", false, "don't warn when no capture is running, as between runs of capture --once")
	return cmd
}

func runCheck(ctx context.Context, c *console, name string, g health.Goals) error {
	g, err := c.goals(name, g)
	if err != nil {
		return err
	}
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	var findings []health.Finding
	for _, branch := range b.all {
		found := health.AssessPast(branch.State, c.now())
		if b.isLive(branch.State) {
			found = health.Assess(branch.State, c.now(), g)
		}
		findings = append(findings, found...)
		if err := c.printChecks(name, branch.Timeline, b.several(), found); err != nil {
			return err
		}
	}
	if b.bad != nil {
		return b.bad
	}
	bad := verdict(findings)
	code := exitOK
	if bad != nil {
		code = exitCode(bad)
	}
	return errors.Join(c.emit("checked", checkedReport{Archive: name, Level: health.Overall(findings), Code: code}), bad)
}

// printChecks prints a line for each finding about a timeline.
func (c *console) printChecks(name string, timeline chain.TimelineID, several bool, findings []health.Finding) error {
	title, at := name, shell(name)
	if several {
		title, at = name+" "+string(timeline), at+" --timeline "+shell(string(timeline))
	} else {
		at += c.onTimeline()
	}
	for _, f := range findings {
		r := checkReport{Archive: name, Timeline: timeline, Finding: f, Try: remedy(f, shell(name), at)}
		if err := c.emit("check", r); err != nil {
			return err
		}
		if c.quiet && f.Level == health.OK {
			continue
		}
		c.printf("%s  %s  %-10s  %s\n", title, c.paint(f.Level, fmt.Sprintf("%-8s", strings.ToUpper(string(f.Level)))), f.Check, f.Message)
		if r.Try != "" {
			c.notef("  try: %s\n", r.Try)
		}
	}
	return nil
}

// verdict is the error that stands for the worst finding; the lines have told
// the rest.
func verdict(findings []health.Finding) error {
	var bad error
	for _, f := range findings {
		switch {
		case f.Level == health.Warning:
			bad = worse(bad, errWarnings)
		case f.Level == health.Critical:
			bad = worse(bad, map[health.Check]error{health.CheckDamage: chain.ErrDamaged, health.CheckRestorable: recovery.ErrOutside,
				health.CheckDrill: drill.ErrFailed}[f.Check])
		}
	}
	if bad == nil {
		return nil
	}
	return reported{bad}
}

// worse returns the worse of two verdicts.
func worse(a, b error) error {
	for _, e := range []error{chain.ErrDamaged, recovery.ErrOutside, drill.ErrFailed} {
		if errors.Is(a, e) || errors.Is(b, e) {
			if errors.Is(a, e) {
				return a
			}
			return b
		}
	}
	return cmp.Or(a, b)
}

// remedy is the command line that helps with a finding about an archive, at one
// of its timelines. A database knows its timeline by itself.
func remedy(f health.Finding, archive, at string) string {
	if f.Level == health.OK {
		return ""
	}
	switch f.Check {
	case health.CheckRestorable:
		return "tidemark snapshot DB " + archive
	case health.CheckDamage:
		return "tidemark verify " + at + " --level records"
	case health.CheckGaps:
		return "tidemark gaps " + at
	case health.CheckRPO, health.CheckCapture:
		return "tidemark capture DB " + archive
	case health.CheckVerify:
		return "tidemark verify " + at
	case health.CheckDrill:
		return "tidemark drill " + at
	}
	return ""
}

// ageFlag is a duration, which may also be given in days of 24 hours: 7d, 1d12h.
type ageFlag time.Duration

func (a *ageFlag) String() string {
	if *a == 0 {
		return ""
	}
	return time.Duration(*a).String()
}

// Set reads it.
func (a *ageFlag) Set(s string) error {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	}
	n, err := strconv.ParseUint(days, 10, 15)
	d := time.Duration(0)
	if err == nil && rest != "" {
		d, err = time.ParseDuration(rest)
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not an age such as 90s, 24h or 7d", s)
	}
	*a = ageFlag(time.Duration(n)*24*time.Hour + d)
	return nil
}

// Type names the value in help texts.
func (a *ageFlag) Type() string { return "age" }
