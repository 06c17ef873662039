package restore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// rowSeq is what a target loads.
type rowSeq = iter.Seq2[*change.Record, error]

var errBoom = errors.New("boom")

// TestTargetFails lets the target fail at every call and at many rows.
func TestTargetFails(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	m := w.moment(t, w.label)
	try := func(call string, row int) {
		t.Helper()
		p := &place{on: func(c string, n int) error {
			if c == call && (c != "row" || n == row) {
				return errBoom
			}
			return nil
		}}
		_, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{Parts: 3})
		if !errors.Is(err, errBoom) {
			t.Fatalf("%s %d: %v, want the target's error", call, row, err)
		}
		if err := p.untouched(); err != nil {
			t.Errorf("%s %d: %v", call, row, err)
		}
		if early := call == "preflight" || call == "begin"; errors.Is(err, restore.ErrPreflight) != early {
			t.Errorf("%s %d: %v is ErrPreflight: %t", call, row, err, !early)
		}
		if aborted := slices.Contains(p.calls, "abort"); aborted != (call != "preflight") {
			t.Errorf("%s %d: calls %v", call, row, p.calls)
		}
	}
	for _, call := range []string{"preflight", "begin", "load", "finish"} {
		try(call, 0)
	}
	stored := 0
	p := &place{on: func(c string, n int) error { stored = max(stored, n); return nil }}
	if _, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{Parts: 1}); err != nil {
		t.Fatal(err)
	}
	for row := 1; row <= stored; row += max(1, stored/60) {
		try("row", row)
	}
	try("row", stored)

	// An abort that fails too is told beside the reason.
	p = &place{on: func(c string, n int) error {
		if c == "finish" || c == "abort" {
			return fmt.Errorf("%s: %w", c, errBoom)
		}
		return nil
	}}
	_, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{})
	if err == nil || !strings.Contains(err.Error(), "finish") || !strings.Contains(err.Error(), "abort") {
		t.Errorf("got %v, want both errors", err)
	}
}

// lazy is a target that reads one row less than there are and says nothing.
type lazy struct{ place }

func (p *lazy) Load(_ context.Context, _ *driver.Part, rows rowSeq) error {
	for range rows {
		return nil
	}
	return nil
}

// TestLazyTarget checks that a target can't lose rows in silence.
func TestLazyTarget(t *testing.T) {
	w := get(t, wholeWorld)
	p := new(lazy)
	_, err := restore.Run(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), p, restore.Options{NoDigest: true})
	if err == nil || !strings.Contains(err.Error(), "unread") || p.untouched() != nil {
		t.Errorf("%v, %v", err, p.untouched())
	}
}

// TestBucketFails lets every operation of the bucket fail in every way that a
// read can.
func TestBucketFails(t *testing.T) {
	w := get(t, wholeWorld)
	m := w.moment(t, w.label)
	run := func(rules ...storagetest.Rule) (*storagetest.Faulty, *place, error) {
		f := storagetest.NewFaulty(bucketOf(t, w.objects), rules...)
		p := new(place)
		a, err := archive.Open(t.Context(), f, archive.OpenOptions{Sleep: noSleep})
		if err == nil {
			_, err = restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{TempDir: t.TempDir()})
		}
		return f, p, err
	}
	clean, _, err := run()
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, fault := range []storagetest.Fault{storagetest.Before, storagetest.After, storagetest.Partial, storagetest.Cut, storagetest.Flip} {
		for n := 1; n <= len(clean.Trace()); n++ {
			f, p, err := run(storagetest.Rule{Fault: fault, N: n, At: int64(n * 37)})
			if err == nil {
				if err := p.holds(m); err != nil {
					t.Errorf("%s at operation %d: restored, and %v", fault, n, err)
				}
				continue
			}
			refused++
			if err := p.untouched(); err != nil {
				t.Errorf("%s at operation %d: %v", fault, n, err)
			}
			e := f.Trace()[n-1]
			if injected := errors.Is(err, storagetest.ErrInjected); !strings.Contains(err.Error(), e.Key) ||
				injected == (fault == storagetest.Cut || fault == storagetest.Flip) {
				t.Errorf("%s at operation %d (%v): the error does not say so: %v", fault, n, e, err)
			}
		}
	}
	if refused < 20 {
		t.Errorf("only %d restores failed", refused)
	}
}

// TestCancelled ends the context at every operation of the bucket, at every
// call of the target and at many rows.
func TestCancelled(t *testing.T) {
	w := get(t, wholeWorld)
	m := w.moment(t, w.label)
	check := func(what string, p *place, err error) bool {
		t.Helper()
		if err == nil {
			if err := p.holds(m); err != nil {
				t.Errorf("%s: restored, and %v", what, err)
			}
			return false
		}
		if !errors.Is(err, context.Canceled) || p.untouched() != nil {
			t.Errorf("%s: %v, %v", what, err, p.untouched())
		}
		return true
	}
	n := 1
	for ; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		f := storagetest.NewFaulty(bucketOf(t, w.objects), storagetest.Rule{Fault: storagetest.Slow, Delay: 1, N: n})
		hit := false
		f.Sleep = func(context.Context, time.Duration) error { hit = true; cancel(); return nil }
		p := new(place)
		a, err := archive.Open(ctx, f, archive.OpenOptions{})
		if err == nil {
			_, err = restore.Run(ctx, a, recovery.AtLSN(m.at), p, restore.Options{})
		}
		cancel()
		if !check(fmt.Sprintf("operation %d", n), p, err) && !hit {
			break
		}
	}
	if n < 10 {
		t.Errorf("the restore had %d operations only", n)
	}
	for _, at := range []struct {
		call string
		n    int
	}{{"preflight", 0}, {"begin", 0}, {"load", 0}, {"row", 1}, {"row", 7}, {"row", 100}, {"row", 200}, {"finish", 0}} {
		ctx, cancel := context.WithCancel(t.Context())
		p := &place{on: func(call string, n int) error {
			if call == at.call && (n == at.n || call != "row") {
				cancel()
			}
			return nil
		}}
		_, err := restore.Run(ctx, openArchive(t, bucketOf(t, w.objects)), recovery.AtLSN(m.at), p, restore.Options{})
		if failed := check(fmt.Sprint(at), p, err); !failed && at.call != "finish" && at.call != "row" {
			t.Errorf("%v: the end of the context was not noticed", at)
		}
		cancel()
	}
}

// TestProgress checks what is told while a restore goes on.
func TestProgress(t *testing.T) {
	w := get(t, wholeWorld)
	var mu sync.Mutex
	var told []restore.Progress
	p := &place{on: func(call string, n int) error {
		if call == "row" && n == 5 { // until something was told in the middle of the load
			return until(t.Context(), func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(told) > 0
			})
		}
		return nil
	}}
	res, err := restore.Run(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), p, restore.Options{
		Progress: func(p restore.Progress) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, p)
		}})
	if err != nil {
		t.Fatal(err)
	}
	n := len(told)
	if last := told[n-1]; n < 2 || last.Phase != "finish" || last.Rows != res.Rows || last.Bytes != res.Bytes || last.Total <= 0 {
		t.Errorf("told %+v, result %+v", told, res)
	}
	phases := []string{"read", "load", "finish"}
	for i := 1; i < n; i++ {
		a, b := told[i-1], told[i]
		if b.Rows < a.Rows || b.Bytes < a.Bytes || slices.Index(phases, b.Phase) < slices.Index(phases, a.Phase) {
			t.Errorf("%+v after %+v", b, a)
		}
	}
}

// TestConfirmed checks that a result is confirmed only by what the source
// showed at that very LSN, and refused when it showed something else.
func TestConfirmed(t *testing.T) {
	w := get(t, wholeWorld)
	s, err := openArchive(t, bucketOf(t, w.objects)).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := w.moment(t, w.label) // no base was taken there
	wrong, fewer := slices.Clone(m.digests), m.digests[1:]
	wrong[1].Digest[5] ^= 1
	short := slices.Clone(m.digests)
	short[2].Rows--
	for _, c := range []struct {
		name      string
		at        change.LSN
		shown     []chain.CollectionDigest // at the label
		twice     []chain.CollectionDigest // and again
		o         restore.Options
		confirmed bool
		err       error
	}{
		{name: "nothing shown", at: m.at},
		{name: "a base", at: s.Snapshots[0].Body.LSN, confirmed: true},
		{name: "a base, no digests", at: s.Snapshots[0].Body.LSN, o: restore.Options{NoDigest: true}},
		{name: "digests", at: m.at, shown: m.digests, confirmed: true},
		{name: "digests, none made", at: m.at, shown: wrong, o: restore.Options{NoDigest: true}},
		{name: "digests elsewhere", at: w.last().at, shown: m.digests},
		{name: "one collection is not shown", at: m.at, shown: fewer},
		{name: "shown in two parts", at: m.at, shown: fewer, twice: m.digests[:1], confirmed: true},
		{name: "another digest", at: m.at, shown: wrong, err: restore.ErrMismatch},
		{name: "another number of rows", at: m.at, shown: short, err: restore.ErrMismatch},
		{name: "the source contradicts itself", at: m.at, shown: wrong, twice: m.digests, err: restore.ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openArchive(t, bucketOf(t, w.objects))
			show(t, a, m.at, c.shown, c.twice)
			p := new(place)
			res, err := restore.Run(t.Context(), a, recovery.AtLSN(c.at), p, c.o)
			if !errors.Is(err, c.err) || err != nil && p.untouched() != nil {
				t.Fatalf("got %v, %v, want %v", err, p.untouched(), c.err)
			}
			if err == nil && (res.Confirmed != c.confirmed || p.holds(w.moment(t, c.at)) != nil) {
				t.Errorf("confirmed: %t, want %t; %v", res.Confirmed, c.confirmed, p.holds(w.moment(t, c.at)))
			}
		})
	}
}

// show publishes digests of the source at an LSN.
func show(t *testing.T, a *archive.Archive, at change.LSN, shown ...[]chain.CollectionDigest) {
	t.Helper()
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := a.Claim(t.Context(), archive.ClaimOptions{Source: s.Source, Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
		return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range shown {
		if len(d) == 0 {
			continue
		}
		if err := session.Digest(t.Context(), chain.Digest{LSN: at, Digests: d}); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyFails lets every operation of a verification fail. What kept it
// from looking is an error, not a finding; a store that is away ends it, a
// single object that can't be read does not.
func TestVerifyFails(t *testing.T) {
	w := get(t, plainWorld)
	verify := func(b storage.Bucket, parallel int) (*restore.Report, error) {
		a, err := archive.Open(t.Context(), b, archive.OpenOptions{Sleep: noSleep, Parallel: 1})
		if err != nil {
			return nil, err
		}
		return restore.Verify(t.Context(), a, restore.VerifyOptions{Level: restore.LevelRecords, Parallel: parallel})
	}
	clean := storagetest.NewFaulty(bucketOf(t, w.objects))
	if _, err := verify(clean, 1); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(clean.Trace()); n++ {
		for _, away := range []error{nil, storage.ErrUnavailable} {
			f := storagetest.NewFaulty(bucketOf(t, w.objects), storagetest.Rule{Fault: storagetest.Before, N: n, Err: away})
			rep, err := verify(f, 1)
			e := f.Trace()[n-1]
			if !errors.Is(err, storagetest.ErrInjected) || !strings.Contains(err.Error(), e.Key) {
				t.Errorf("operation %d (%v): %v", n, e, err)
			}
			if rep != nil && !rep.OK() {
				t.Errorf("operation %d (%v): findings %v", n, e, rep.Findings)
			}
		}
	}

	// One unreadable pack does not hide that another is damaged.
	packs := slices.DeleteFunc(slices.Sorted(maps.Keys(w.objects)), func(key string) bool { return kindOf(key) != "log" })
	objects := maps.Clone(w.objects)
	bad := slices.Clone(objects[packs[3]])
	bad[len(bad)/2] ^= 1
	objects[packs[3]] = bad
	rep, err := verify(storagetest.NewFaulty(bucketOf(t, objects), storagetest.Rule{Fault: storagetest.Before, Op: storagetest.OpRead, Times: -1,
		Key: func(key string) bool { return key == packs[0] }}), 4)
	if !errors.Is(err, storagetest.ErrInjected) || rep == nil || len(rep.Findings) != 1 || rep.Findings[0].Key != packs[3] {
		t.Errorf("%+v, %v", rep, err)
	}
}
