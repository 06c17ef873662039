package drivertest

import (
	"context"
	"errors"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// ends are the ways in which a restore stops before it is finished.
var ends = []struct {
	name string
	end  func(driver.Target) (int, error)
}{
	{"kept", func(t driver.Target) (int, error) { return t.Abort(true) }},
	{"kept after a failed load", func(t driver.Target) (int, error) {
		boom := errors.New("boom")
		err := t.Load(context.Background(), &driver.Part{From: &driver.Bound{Collection: 1 << 30}}, func(yield func(*change.Record, error) bool) { yield(nil, boom) })
		if !errors.Is(err, boom) {
			return 0, errors.Join(err, errors.New("the load did not fail as its rows did"))
		}
		return t.Abort(true)
	}},
}

// targetGoesOn interrupts restores and goes on with them, by another target.
func (s *Suite) targetGoesOn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db, _ := s.prepared(rt)
		defer func() { closing(rt, db) }()
		st, rows := snapshotOf(rt, db).state(rt)
		st.Job = driver.Job{ID: change.Hash{1}, About: "plan one"}
		place := s.place(rt)
		ps, in := parts(rows, rapid.IntRange(1, 6).Draw(rt, "parts"))
		todo := rapid.Permutation(indexes(len(ps))).Draw(rt, "order")
		ctx := context.Background()
		var finished []int
		for {
			target := place.target(rt)
			if _, err := target.Preflight(ctx, st); err != nil {
				rt.Fatalf("preflight: %v", err)
			}
			done, err := target.Begin(ctx, st)
			if err != nil {
				rt.Fatalf("begin: %v", err)
			}
			if d := gocmp.Diff(told(ps, in, finished), done); d != "" {
				rt.Fatalf("finished parts (-want +got):\n%s", d)
			}
			n := rapid.IntRange(0, len(todo)).Draw(rt, "now")
			for _, i := range todo[:n] {
				if err := load(ctx, target, ps[i], in[i]); err != nil {
					rt.Fatalf("load: %v", err)
				}
				finished = append(finished, i)
			}
			if todo = todo[n:]; len(todo) == 0 && rapid.Bool().Draw(rt, "finish") {
				if err := target.Finish(ctx, st); err != nil {
					rt.Fatalf("finish: %v", err)
				}
				break
			}
			how := rapid.SampledFrom(ends).Draw(rt, "end")
			if kept, err := how.end(target); err != nil || kept != len(finished) {
				rt.Fatalf("%s: %d parts, want %d; %v", how.name, kept, len(finished), err)
			}
			if _, err := place.Open(); err == nil {
				rt.Fatalf("an interrupted restore can be opened")
			}
		}
		restored, err := place.Open()
		if err != nil {
			rt.Fatalf("open what was restored: %v", err)
		}
		defer func() { closing(rt, restored) }()
		if d := differ(shown(rt, db), shown(rt, restored)); d != "" {
			rt.Fatalf("restored database:\n%s", d)
		}
	})
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// told returns what Begin must say of finished parts.
func told(ps []driver.Part, in [][]*change.Record, finished []int) (out []driver.Part) {
	for i := range ps {
		for _, f := range finished {
			if f == i {
				p := ps[i]
				p.Tallies = tallies(in[i])
				out = append(out, p)
			}
		}
	}
	return out
}

// targetKeepsAnother checks that the finished parts of a restore are lost only
// to one who asks for that.
func (s *Suite) targetKeepsAnother(t *testing.T) {
	db, _ := s.prepared(t)
	defer func() { closing(t, db) }()
	st, rows := snapshotOf(t, db).state(t)
	st.Job = driver.Job{ID: change.Hash{1}, About: "plan one"}
	place := s.place(t)
	ctx := context.Background()
	ps, in := parts(rows, 2)
	begin := func(job driver.Job) (driver.Target, []driver.Part, error) {
		target := place.target(t)
		st.Job = job
		_, early := target.Preflight(ctx, st)
		done, err := target.Begin(ctx, st)
		if (early == nil) != (err == nil) {
			t.Errorf("job %+v: preflight says %v, begin %v", job, early, err)
		}
		return target, done, err
	}
	abort := func(target driver.Target, keep bool, want int) {
		t.Helper()
		if kept, err := target.Abort(keep); err != nil || kept != want {
			t.Errorf("abort: %d parts, want %d; %v", kept, want, err)
		}
	}
	target, _, err := begin(st.Job)
	if err != nil {
		t.Fatal(err)
	}
	if err := load(ctx, target, ps[0], in[0]); err != nil {
		t.Fatal(err)
	}
	other := place.target(t)
	if _, err := other.Begin(ctx, st); err == nil || errors.Is(err, driver.ErrUnfinished) {
		t.Errorf("a second restore while the first one runs: %v", err)
	}
	abort(other, false, 0)
	abort(target, true, 1)
	for _, job := range []driver.Job{{ID: change.Hash{2}, About: "plan two"}, {}} {
		target, _, err := begin(job)
		var told *driver.UnfinishedError
		if !errors.Is(err, driver.ErrUnfinished) || !errors.As(err, &told) || told.About != "plan one" || told.Parts != 1 || told.Rows == 0 {
			t.Errorf("job %+v where another is unfinished: %v", job, err)
		}
		abort(target, false, 0)
	}
	target, done, err := begin(driver.Job{ID: change.Hash{1}})
	if err != nil || len(done) != 1 {
		t.Fatalf("the first job after others were refused: %v, %v", done, err)
	}
	abort(target, true, 1)
	target, done, err = begin(driver.Job{ID: change.Hash{2}, Fresh: true})
	if err != nil || len(done) != 0 {
		t.Fatalf("a fresh job: %v, %v", done, err)
	}
	abort(target, false, 0)
	target, done, err = begin(driver.Job{ID: change.Hash{1}})
	if err != nil || len(done) != 0 {
		t.Errorf("the first job after it was discarded: %v, %v", done, err)
	}
	abort(target, false, 0)
}
