package daemon

import (
	"context"
	"time"

	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/job"
)

// task is one kind of work on one schedule.
type task struct {
	kind  job.Kind
	sched config.Schedule
	do    func(ctx context.Context) // one job, which leaves a record
}

// schedules returns what is to be done for the database when.
func (k *keeper) schedules() []task {
	var out []task
	add := func(kind job.Kind, list []config.Schedule, do func(context.Context, config.Schedule)) {
		for _, s := range list {
			out = append(out, task{kind, s, func(ctx context.Context) { do(ctx, s) }})
		}
	}
	if k.OpenSource != nil {
		add(job.Snapshot, k.Snapshot, k.snapshot)
	}
	add(job.Verify, k.Verify, k.verify)
	add(job.Drill, k.Drill, k.drill)
	return out
}

// longest is the longest that follow waits without a look at the clock, which
// may have been set, or have stood still while the machine slept.
const longest = time.Minute

// follow does a task whenever it is due, until ctx ends.
func (k *keeper) follow(ctx context.Context, t task) {
	due := t.first(k.last(t), time.Now())
	for {
		for now := time.Now(); now.Before(due); now = time.Now() {
			if !sleep(ctx, min(due.Sub(now), longest)) {
				return
			}
		}
		select {
		case k.work <- struct{}{}:
		case <-ctx.Done():
			return
		}
		t.do(ctx)
		<-k.work
		due = t.sched.Rule.Next(time.Now())
	}
}

// first returns when a task is due that was done last at a time, zero for
// never. What was missed meanwhile is made up for once. What is done every so
// often and never was is due now; what is done at a time of day waits for it.
func (t *task) first(last, now time.Time) time.Time {
	_, interval := t.sched.Rule.Interval()
	switch {
	case last.IsZero() && interval:
		return now
	case last.IsZero() || last.After(now):
		return t.sched.Rule.Next(now)
	}
	return t.sched.Rule.Next(last)
}

// last returns when a task was done last, by anybody, as its records say. One
// that was given up was not done; one that its process did not survive was, so
// that it does not keep killing.
func (k *keeper) last(t task) time.Time {
	jobs, err := k.o.Ledger.List(k.Name)
	if err != nil {
		k.log.Warn("what was done is not known", "job", t.kind, "error", err)
		return time.Time{}
	}
	for i := len(jobs) - 1; i >= 0; i-- {
		j := &jobs[i]
		givenUp := j.State == job.Interrupted && !j.End.IsZero()
		if level, _ := j.Figures["level"].(string); !givenUp && j.Kind == t.kind && j.State != job.Running && (level == t.sched.Level || level == "") {
			return j.Start
		}
	}
	return time.Time{}
}
