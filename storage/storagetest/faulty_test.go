package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/storage"
)

// TestFaultyConforms: without rules the wrapper is the bucket.
func TestFaultyConforms(t *testing.T) {
	Run(t, func(*testing.T) storage.Bucket { return NewFaulty(storage.NewMem()) })
}

// outcome is what a caller sees of one operation, and what the store holds after.
type outcome struct {
	Err    bool   // the call, the reader or the list failed
	Got    string // bytes read, size, keys listed
	Stored string // what "new" (create, delete) holds afterwards
}

// do runs op on a fresh bucket with objects a/1 and a/2, under one fault.
func do(t *testing.T, op Op, fault Fault) (outcome, *Faulty) {
	mem := storage.NewMem()
	f := NewFaulty(mem)
	put(t, f, "a/1", []byte("abcdef"))
	put(t, f, "a/2", []byte("x"))
	if op == OpDelete {
		put(t, f, "new", []byte("body"))
	}
	f.SetRules(Rule{Fault: fault, Op: op, Delay: time.Hour, At: 8})
	var o outcome
	var err error
	switch op {
	case OpCreate:
		err = f.Create(t.Context(), "new", strings.NewReader("body"))
	case OpRead:
		var got []byte
		got, err = get(t.Context(), f, "a/1", 0, -1)
		o.Got = string(got)
	case OpSize:
		var n int64
		n, err = f.Size(t.Context(), "a/1")
		o.Got = fmt.Sprint(n)
	case OpList:
		for info, e := range f.List(t.Context(), "a/", "") {
			if err = e; e == nil {
				o.Got += info.Key + " "
			}
		}
	case OpDelete:
		err = f.Delete(t.Context(), "new")
	}
	if o.Err = err != nil; o.Err && !errors.Is(err, ErrInjected) {
		t.Errorf("%s, %s: error is not marked as injected: %v", op, fault, err)
	}
	stored, err := get(t.Context(), mem, "new", 0, -1)
	if o.Stored = string(stored); errors.Is(err, storage.ErrNotFound) {
		o.Stored = "-"
	}
	return o, f
}

// TestEveryFault is the table of every operation × every fault.
func TestEveryFault(t *testing.T) {
	good := map[Op]outcome{
		OpCreate: {Stored: "body"},
		OpRead:   {Got: "abcdef", Stored: "-"},
		OpSize:   {Got: "6", Stored: "-"},
		OpList:   {Got: "a/1 a/2 ", Stored: "-"},
		OpDelete: {Stored: "-"},
	}
	before := map[Op]outcome{
		OpCreate: {Err: true, Stored: "-"},
		OpRead:   {Err: true, Stored: "-"},
		OpSize:   {Err: true, Got: "0", Stored: "-"},
		OpList:   {Err: true, Stored: "-"},
		OpDelete: {Err: true, Stored: "body"},
	}
	special := map[Fault]map[Op]outcome{
		After: {
			OpCreate: {Err: true, Stored: "body"},
			OpRead:   {Err: true, Got: "abcdef", Stored: "-"},
			OpSize:   {Err: true, Got: "0", Stored: "-"},
			OpList:   {Err: true, Got: "a/1 a/2 ", Stored: "-"},
			OpDelete: {Err: true, Stored: "-"},
		},
		Partial: {
			OpCreate: {Err: true, Stored: "bo"},
			OpRead:   {Err: true, Got: "abc", Stored: "-"},
			OpSize:   before[OpSize],
			OpList:   {Err: true, Got: "a/1 ", Stored: "-"},
			OpDelete: before[OpDelete],
		},
		Before: before,
		Late:   before,
		Flip:   {OpRead: {Got: "abbdef", Stored: "-"}},
		Cut:    {OpRead: {Got: "abc", Stored: "-"}},
		Stale:  {OpList: {Got: "a/1 ", Stored: "-"}},
	}
	for _, fault := range Faults() {
		for op, want := range good {
			t.Run(fmt.Sprintf("%s, %s", op, fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					got, f := do(t, op, fault)
					if s, ok := special[fault][op]; ok {
						want = s
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
					if waited := time.Since(began) == time.Hour; waited != (fault == Slow) {
						t.Errorf("the operation took %v", time.Since(began))
					}
					trace := f.Trace()
					last := trace[len(trace)-1]
					if affected := last.Fault != ""; !last.Done || last.Op != op || affected != (want != good[op] || fault == Slow) {
						t.Errorf("trace ends with %v", last)
					}
				})
			})
		}
	}
}

func TestRuleCounts(t *testing.T) {
	cases := []struct {
		name string
		rule Rule
		want string // one letter for each of the calls below: x fails
	}{
		{"zero value", Rule{}, "x....."},
		{"third of all", Rule{N: 3}, "..x..."},
		{"second and third", Rule{N: 2, Times: 2}, ".xx..."},
		{"from the fourth on", Rule{N: 4, Times: -1}, "...xxx"},
		{"second create", Rule{Op: OpCreate, N: 2}, "..x..."},
		{"keys under b", Rule{Key: func(k string) bool { return k >= "b" }, Times: -1}, "..xx.x"},
		{"second size under b", Rule{Op: OpSize, N: 2, Key: func(k string) bool { return k >= "b" }}, ".....x"},
		{"never", Rule{N: 7}, "......"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Fault = Before
			f := NewFaulty(storage.NewMem(), c.rule)
			got := ""
			for i, key := range []string{"a", "a", "b", "b", "a", "b"} {
				var err error
				if i == 0 || i == 2 {
					err = f.Create(t.Context(), key, strings.NewReader("x"))
				} else if _, err = f.Size(t.Context(), key); errors.Is(err, storage.ErrNotFound) {
					err = nil
				}
				if got += "."; errors.Is(err, ErrInjected) {
					got = got[:i] + "x"
				}
			}
			if got != c.want {
				t.Errorf("failed: %s, want %s", got, c.want)
			}
		})
	}
}

// TestLateCreate: what is late lands when told to, and loses to who came first.
func TestLateCreate(t *testing.T) {
	f := NewFaulty(storage.NewMem(), Rule{Fault: Late, Op: OpCreate, Times: 2})
	for _, key := range []string{"a", "b"} {
		if err := f.Create(t.Context(), key, strings.NewReader("late "+key)); !errors.Is(err, ErrInjected) {
			t.Fatalf("create %s: %v", key, err)
		}
		wantAbsent(t, f, key)
	}
	put(t, f, "b", []byte("first"))
	if err := f.Land(t.Context()); !errors.Is(err, storage.ErrExists) {
		t.Errorf("land: got %v, want ErrExists for b", err)
	}
	wantObject(t, f, "a", []byte("late a"))
	wantObject(t, f, "b", []byte("first"))
	if err := f.Land(t.Context()); err != nil {
		t.Errorf("landed twice: %v", err)
	}
}

func TestStaleList(t *testing.T) {
	f := NewFaulty(storage.NewMem())
	for _, key := range []string{"c", "a", "b"} {
		put(t, f, key, nil)
	}
	for newest, want := range []string{"[a c]", "[a c]", "[c]", "[]", "[]"} {
		f.SetRules(Rule{Fault: Stale, Newest: newest})
		if got := fmt.Sprint(list(t, f, "", "")); got != want {
			t.Errorf("newest %d hidden: got %s, want %s", newest, got, want)
		}
		if got := fmt.Sprint(list(t, f, "", "")); got != "[a b c]" {
			t.Errorf("the list after a stale one: %s", got)
		}
	}
}

func TestSeveralRules(t *testing.T) {
	boom := errors.New("boom")
	var slept time.Duration
	f := NewFaulty(storage.NewMem(),
		Rule{Fault: Slow, Delay: time.Second}, Rule{Fault: After, Err: boom}, Rule{Fault: Before}, Rule{Fault: Slow, Delay: time.Minute})
	f.Sleep = func(_ context.Context, d time.Duration) error { slept += d; return nil }
	err := f.Create(t.Context(), "k", strings.NewReader("x"))
	if !errors.Is(err, ErrInjected) || !errors.Is(err, boom) || slept != time.Minute+time.Second {
		t.Errorf("got %v after %v, want boom, injected, after 1m1s", err, slept)
	}
	wantObject(t, f, "k", []byte("x"))
}

func TestSlowEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFaulty(storage.NewMem(), Rule{Fault: Slow, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Create(ctx, "k", strings.NewReader("x")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrInjected) {
			t.Errorf("got %v, want the context's error", err)
		}
		wantAbsent(t, f, "k")
	})
}

func TestTrace(t *testing.T) {
	run := func() []string {
		f := NewFaulty(storage.NewMem(), Rule{Fault: After, N: 2}, Rule{Fault: Flip, N: 1, Op: OpRead})
		_ = f.Create(t.Context(), "k", strings.NewReader("x"))
		_ = f.Create(t.Context(), "k", strings.NewReader("y"))
		_, _ = get(t.Context(), f, "k", 0, -1)
		for range f.List(t.Context(), "pre", "") {
		}
		_ = f.Delete(t.Context(), "k")
		var lines []string
		for _, e := range f.Trace() {
			lines = append(lines, e.String())
		}
		return lines
	}
	want := []string{
		"1 create k",
		"2 create k [error after]: create k, operation 2: injected fault (error after)",
		"3 read k [flip]",
		"4 list pre",
		"5 delete k",
	}
	for range 2 {
		if diff := cmp.Diff(want, run()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestFaultyConcurrently counts: of n operations at once exactly as many fail
// as the rule says.
func TestFaultyConcurrently(t *testing.T) {
	const n = 200
	f := NewFaulty(storage.NewMem(), Rule{Fault: Before, N: 50, Times: 30})
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := 0
	for i := range n {
		wg.Go(func() {
			if err := f.Create(t.Context(), fmt.Sprint("k", i), bytes.NewReader(nil)); err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != 30 || len(f.Trace()) != n || len(list(t, f, "", "")) != n-30 {
		t.Errorf("%d failed of %d, %d listed; want 30 of %d", failed, len(f.Trace()), len(list(t, f, "", "")), n)
	}
	for _, e := range f.Trace() {
		if !e.Done {
			t.Errorf("%v is still under way", e)
		}
	}
}
