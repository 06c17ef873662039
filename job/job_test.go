package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestMain lets the test binary be a process that begins a job and dies, or
// writes many.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("TIDEMARK_TEST_STATE"); {
	case dir == "":
		os.Exit(m.Run())
	case os.Getenv("TIDEMARK_TEST_JOBS") == "":
		if _, err := Open(dir).Begin(Drill, "orders", ""); err != nil {
			panic(err)
		}
	default:
		l := Open(dir)
		for range 50 {
			a, err := l.Begin(Verify, "orders", "schedule")
			if err == nil {
				err = a.End("fine", map[string]any{"pid": os.Getpid()}, nil)
			}
			if err != nil {
				panic(err)
			}
		}
	}
}

func child(t *testing.T, dir, jobs string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TIDEMARK_TEST_STATE="+dir, "TIDEMARK_TEST_JOBS="+jobs)
	cmd.Stderr = os.Stderr
	return cmd
}

func list(t *testing.T, l *Ledger, database string) []Job {
	t.Helper()
	jobs, err := l.List(database)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l := Open(dir)
	now := time.Date(2026, 10, 31, 23, 56, 0, 0, time.UTC)
	l.now = func() time.Time { now = now.Add(time.Minute); return now }
	if jobs := list(t, l, ""); len(jobs) != 0 {
		t.Errorf("%v in a ledger that is not there", jobs)
	}
	begin := func(k Kind, db string) *Active {
		a, err := l.Begin(k, db, "schedule")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := begin(Verify, "orders") // in October, by its end in November
	second := begin(Drill, "users")
	if err := first.End("ok", map[string]any{"findings": 0.0}, nil); err != nil {
		t.Fatal(err)
	}
	if err := second.End("", nil, errors.New("no space")); err != nil {
		t.Fatal(err)
	}
	third := begin(Snapshot, "orders")
	fourth := begin(Restore, "orders")
	if err := fourth.End("", nil, fmt.Errorf("restore: %w", context.Canceled)); err != nil {
		t.Fatal(err)
	}
	want := []Job{
		{ID: first.ID(), Kind: Verify, Database: "orders", By: "schedule", State: OK, Result: "ok", Figures: map[string]any{"findings": 0.0}},
		{ID: second.ID(), Kind: Drill, Database: "users", By: "schedule", State: Failed, Error: "no space"},
		{ID: third.ID(), Kind: Snapshot, Database: "orders", By: "schedule", State: Running},
		{ID: fourth.ID(), Kind: Restore, Database: "orders", By: "schedule", State: Interrupted, Error: "restore: context canceled"},
	}
	if diff := cmp.Diff(want, list(t, Open(dir), ""), cmpopts.IgnoreFields(Job{}, "Start", "End", "Process")); diff != "" {
		t.Error(diff)
	}
	if jobs := list(t, l, "users"); len(jobs) != 1 || jobs[0].Took(now) <= 0 {
		t.Errorf("%+v", jobs)
	}
	for kind, id := range map[Kind]string{Verify: first.ID(), Drill: "", Snapshot: "", Restore: fourth.ID()} {
		j, err := l.Last(kind, "orders")
		if err != nil || (j == nil) != (id == "") || j != nil && j.ID != id {
			t.Errorf("last %s: %v, %v", kind, j, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "jobs", "*"))
	if len(files) != 2 {
		t.Errorf("%v, want one for October and one for November", files)
	}
}

// TestInterrupted: a process that is gone has interrupted its job; one that
// has got its number since is not it.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	if err := child(t, dir, "").Run(); err != nil {
		t.Fatal(err)
	}
	l := Open(dir)
	jobs := list(t, l, "orders")
	if len(jobs) != 1 || jobs[0].State != Interrupted || jobs[0].Kind != Drill || jobs[0].Took(time.Now()) != 0 {
		t.Fatalf("%+v", jobs)
	}
	if last, err := l.Last(Drill, "orders"); err != nil || last == nil || last.State != Interrupted {
		t.Errorf("%v, %v", last, err)
	}
	for _, tt := range []struct {
		p    Process
		want bool
	}{
		{self(), true},
		{Process{Host: self().Host, PID: self().PID, Started: "earlier"}, false},
		{Process{Host: self().Host, PID: os.Getppid(), Started: "earlier"}, self().Started == ""},
		{Process{Host: self().Host, PID: os.Getppid()}, true},
		{Process{Host: "elsewhere", PID: 1 << 30}, true},
		{Process{Host: self().Host, PID: 1 << 30, Started: "x"}, false},
	} {
		if got := tt.p.alive(); got != tt.want {
			t.Errorf("%+v alive: %t", tt.p, got)
		}
	}
}

// TestTorn: what a crash left of a line is passed over, and spoils no other.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	l := Open(dir)
	a, err := l.Begin(Restore, "orders", "")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "jobs", "*"))
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"id":"x","kind":"rest`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.End("done", nil, nil); err != nil {
		t.Fatal(err)
	}
	if jobs := list(t, l, ""); len(jobs) != 1 || jobs[0].State != OK {
		t.Errorf("%+v", jobs)
	}
}

// TestTogether: processes and goroutines write at once, and no line is lost.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := child(t, dir, "many").Run(); err != nil {
				t.Error(err)
			}
		})
	}
	l := Open(dir)
	for i := range 4 {
		wg.Go(func() {
			for range 25 {
				a, err := l.Begin(Verify, "orders", "")
				if err == nil {
					err = a.End(fmt.Sprint(i), nil, nil)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	jobs := list(t, l, "orders")
	if len(jobs) != 300 {
		t.Fatalf("%d jobs, want 300", len(jobs))
	}
	for _, j := range jobs {
		if j.State != OK {
			t.Errorf("%+v", j)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jobs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir).Begin(Verify, "x", ""); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	l := Open(t.TempDir())
	a, err := l.Begin(Verify, "x", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.End(strings.Repeat("x", maxLine), nil, nil); !errors.Is(err, ErrRecord) || !strings.HasSuffix(err.Error(), "too long") {
		t.Error(err)
	}
	if err := a.End("", nil, errors.New(strings.Repeat("ä", maxLine))); err != nil {
		t.Error(err)
	}
	if jobs := list(t, l, ""); len(jobs) != 1 || jobs[0].State != Failed || !strings.HasSuffix(jobs[0].Error, "ä …") {
		t.Error("a long error")
	}
}
