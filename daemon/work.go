package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/restore"
)

// errNoCapture says that a job needs a capture that is not there.
var errNoCapture = errors.New("the database is not being captured")

// outcome is how a job went.
type outcome struct {
	result  string
	figures map[string]any
}

// job runs do as a job: its record, and the event of its end.
func (k *keeper) job(ctx context.Context, kind job.Kind, ok, failed hook.Kind, figures map[string]any, do func(context.Context) (outcome, error)) {
	record, err := k.o.Ledger.Begin(kind, k.Name, "schedule")
	if err != nil {
		k.log.Warn("the job leaves no record", "job", kind, "error", err)
	}
	began := time.Now()
	out, err := do(ctx)
	if out.figures == nil {
		out.figures = make(map[string]any)
	}
	for name, v := range figures {
		out.figures[name] = v
	}
	e := hook.Event{Kind: ok, Message: fmt.Sprintf("%s: %s", kind, out.result), Figures: out.figures}
	if record != nil {
		e.Job = record.ID()
		if e := record.End(out.result, out.figures, err); e != nil {
			k.log.Warn("the job's end is not recorded", "job", kind, "error", e)
		}
	}
	if ctx.Err() != nil {
		k.log.Info("given up: the daemon stops", "job", kind)
		return
	}
	out.figures["seconds"] = time.Since(began).Seconds()
	if err != nil {
		e.Kind, e.Error = failed, err.Error()
		e.Message = fmt.Sprintf("%s failed", kind)
		if out.result != "" {
			e.Message += ": " + out.result
		}
	}
	k.send(e)
}

// snapshot takes a base.
func (k *keeper) snapshot(ctx context.Context, _ config.Schedule) {
	k.job(ctx, job.Snapshot, hook.SnapshotOK, hook.SnapshotFailed, nil, func(ctx context.Context) (outcome, error) {
		c := k.awaitCapturer(ctx)
		if c == nil {
			return outcome{}, errNoCapture
		}
		b, err := c.Snapshot(ctx)
		if err != nil {
			return outcome{}, err
		}
		var rows, bytes int64
		for _, d := range b.Digests {
			rows += d.Rows
		}
		for _, r := range b.Runs {
			bytes += r.Size
		}
		return outcome{fmt.Sprintf("LSN %d: %s, %s", b.LSN, plural(rows, "row"), humanize.IBytes(uint64(bytes))),
			map[string]any{"lsn": b.LSN, "rows": rows, "bytes": bytes}}, nil
	})
}

// verify proves what the archive holds, and puts down there what it found.
func (k *keeper) verify(ctx context.Context, s config.Schedule) {
	k.job(ctx, job.Verify, hook.VerifyOK, hook.VerifyFailed, map[string]any{"level": s.Level}, func(ctx context.Context) (outcome, error) {
		level, err := restore.ParseLevel(s.Level)
		if err != nil {
			return outcome{}, err
		}
		k.awaitCapturer(ctx) // else the first verification would find nothing yet
		a, done, err := k.open(ctx, true)
		if err != nil && ctx.Err() == nil { // what can't be written can still be read
			a, done, err = k.open(ctx, false)
		}
		if err != nil {
			return outcome{}, err
		}
		defer done()
		r, err := restore.Verify(ctx, a, restore.VerifyOptions{Level: level})
		if err != nil {
			return outcome{}, err
		}
		if r.Through == 0 { // nothing was archived yet
		} else if err := a.RecordVerify(ctx, r.Section()); err != nil {
			k.log.Warn("the verification is not recorded in the archive", "error", err)
		}
		out := outcome{fmt.Sprintf("level %s: %s in %s, %s (%s)", r.Level, plural(int64(len(r.Findings)), "problem"),
			plural(r.Manifests, "manifest"), plural(r.Objects, "object"), humanize.IBytes(uint64(r.Bytes))),
			map[string]any{"manifests": r.Manifests, "objects": r.Objects, "bytes": r.Bytes, "records": r.Records, "findings": len(r.Findings)}}
		if !r.OK() {
			return out, fmt.Errorf("%s, the first: %v: %w", plural(int64(len(r.Findings)), "problem"), r.Findings[0], chain.ErrDamaged)
		}
		return out, nil
	})
}

// drill rehearses a restore. While the database is captured, it is read for
// evidence first.
func (k *keeper) drill(ctx context.Context, _ config.Schedule) {
	k.job(ctx, job.Drill, hook.DrillOK, hook.DrillFailed, nil, func(ctx context.Context) (outcome, error) {
		if c := k.awaitCapturer(ctx); c != nil {
			if _, err := c.Digest(ctx); err != nil {
				return outcome{}, fmt.Errorf("read the database for evidence: %w", err)
			}
		}
		a, done, err := k.open(ctx, true)
		if err != nil {
			return outcome{}, err
		}
		defer done()
		o := k.o.Drill
		o.Source, o.Wait = nil, 0
		r, err := drill.Run(ctx, a, o)
		if r == nil {
			return outcome{}, err
		}
		agreed := "not independent"
		if r.Independent {
			agreed = "as the database itself showed it"
		}
		return outcome{fmt.Sprintf("LSN %d: %s restored in %s, %s", r.LSN, plural(r.Rows, "row"), r.RTO().Round(time.Millisecond), agreed),
			map[string]any{"lsn": r.LSN, "rows": r.Rows, "bytes": r.Bytes, "rto_seconds": r.RTO().Seconds(), "independent": r.Independent}}, err
	})
}

// plural writes a number of things.
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + one + "s"
}

// age returns how long before now t was.
func age(t change.Time, now time.Time) time.Duration { return now.Sub(t.Std()) }
