package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/schedule"
)

func rule(t *testing.T, text string) schedule.Rule {
	var r schedule.Rule
	var err error
	if d, e := time.ParseDuration(text); e == nil {
		r, err = schedule.Every(d)
	} else {
		r, err = schedule.At(text, time.UTC)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFirst(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // a Sunday
	for _, tt := range []struct {
		rule       string
		last, want time.Duration // from now; last 0: never
	}{
		{"6h", 0, 0},
		{"6h", -2 * time.Hour, 4 * time.Hour},
		{"6h", -8 * time.Hour, -2 * time.Hour}, // missed: at once
		{"6h", time.Hour, 6 * time.Hour},       // the clock was set back
		{"13:00", 0, time.Hour},
		{"11:00", 0, 23 * time.Hour},
		{"11:00", -time.Hour, 23 * time.Hour},
		{"11:00", -2 * time.Hour, -time.Hour},                           // missed today
		{"Sun 11:00", -8 * 24 * time.Hour, -7*24*time.Hour - time.Hour}, // the first that was missed
	} {
		k := task{sched: config.Schedule{Rule: rule(t, tt.rule)}}
		last := time.Time{}
		if tt.last != 0 {
			last = now.Add(tt.last)
		}
		if got := k.first(last, now).Sub(now); got != tt.want {
			t.Errorf("%s, last %s: %s, want %s", tt.rule, tt.last, got, tt.want)
		}
	}
}

// bench makes a keeper whose jobs are functions.
func bench(t *testing.T) *keeper {
	o := Options{Ledger: job.Open(t.TempDir())}.withDefaults()
	return &keeper{Database: &Database{Database: &config.Database{Name: "shop"}}, o: &o, work: make(chan struct{}, 1), gaps: make(map[change.LSN]bool), log: slog.New(slog.DiscardHandler),
		tell: &teller{also: o.Tell, log: slog.New(slog.DiscardHandler)}}
}

// TestFollow: days go by. What is missed while a job runs, or while nothing
// runs, is done once.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bench(t)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now() // midnight UTC, 2000-01-01
		var done []time.Duration
		t1 := task{kind: job.Drill, sched: config.Schedule{Rule: rule(t, "03:10")}}
		t1.do = func(ctx context.Context) {
			k.job(ctx, t1.kind, hook.DrillOK, hook.DrillFailed, nil, func(context.Context) (outcome, error) {
				done = append(done, time.Since(began))
				if len(done) == 2 {
					time.Sleep(60 * time.Hour) // over two more
				}
				return outcome{}, errors.New("each fails, and is done again when it is due")
			})
		}
		run := make(chan struct{})
		go func() { k.follow(ctx, t1); close(run) }()
		time.Sleep(5*24*time.Hour + time.Second)
		cancel()
		<-run
		const day, at = 24 * time.Hour, 3*time.Hour + 10*time.Minute
		want := []time.Duration{at, day + at, 4*day + at}
		if diff := cmp.Diff(want, done); diff != "" {
			t.Error(diff)
		}
		// Not running for three days: made up for once, then as ever.
		time.Sleep(3 * day)
		ctx, cancel = context.WithCancel(t.Context())
		run = make(chan struct{})
		go func() { k.follow(ctx, t1); close(run) }()
		time.Sleep(day)
		cancel()
		<-run
		want = append(want, 8*day+time.Second, 8*day+at)
		if diff := cmp.Diff(want, done); diff != "" {
			t.Error(diff)
		}
	})
}

// TestGivenUp: a job that the daemon's end cut short is due again.
func TestGivenUp(t *testing.T) {
	k := bench(t)
	ctx, cancel := context.WithCancel(t.Context())
	drill := func(ctx context.Context) {
		k.job(ctx, job.Drill, hook.DrillOK, hook.DrillFailed, nil, func(ctx context.Context) (outcome, error) { return outcome{}, ctx.Err() })
	}
	drill(ctx)
	done := k.last(task{kind: job.Drill})
	cancel()
	drill(ctx)
	if last := k.last(task{kind: job.Drill}); done.IsZero() || !last.Equal(done) {
		t.Errorf("last done at %s, then at %s", done, last)
	}
}

// TestOneAtATime: the jobs of a database wait for each other, and levels of
// verification are told apart.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bench(t)
		ctx, cancel := context.WithCancel(t.Context())
		running, ran := 0, map[string]int{}
		ended := make(chan struct{})
		for _, level := range []string{"chain", "records"} {
			v := task{kind: job.Verify, sched: config.Schedule{Rule: rule(t, "1h"), Level: level}}
			v.do = func(ctx context.Context) {
				k.job(ctx, job.Verify, hook.VerifyOK, hook.VerifyFailed, map[string]any{"level": level}, func(context.Context) (outcome, error) {
					if running++; running > 1 {
						t.Error("two at a time")
					}
					ran[level]++
					time.Sleep(10 * time.Minute)
					running--
					return outcome{}, nil
				})
			}
			go func() { k.follow(ctx, v); ended <- struct{}{} }()
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"chain": 1, "records": 1}, ran); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-ended
		<-ended
		for _, level := range []string{"chain", "records"} {
			if last := k.last(task{kind: job.Verify, sched: config.Schedule{Level: level}}); last.IsZero() {
				t.Errorf("level %s was never done", level)
			}
		}
		if last := k.last(task{kind: job.Verify, sched: config.Schedule{Level: "objects"}}); !last.IsZero() {
			t.Errorf("level objects was done at %s", last)
		}
	})
}

// TestTellerDoesNotWait: whoever sends is not held up, however many come.
func TestTellerDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		w := newTeller([]hook.Hook{{On: []hook.Kind{hook.DrillOK}, Run: []string{"unused"}}}, func(hook.Event) { told++ }, slog.New(slog.DiscardHandler))
		for range 3 * maxQueue {
			w.send(hook.Event{Kind: hook.RPOOK})
		}
		w.close()
		if told != 3*maxQueue {
			t.Errorf("told of %d", told)
		}
	})
}
