package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// lose deletes random segments and bases and publishes that it was noticed.
func (w *world) lose() *chain.Verify {
	v := &chain.Verify{Level: chain.VerifyObjects, Through: w.c.State.Seq}
	drop := func(key string) {
		if err := w.bucket.Delete(context.Background(), key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			w.t.Fatal(err)
		}
	}
	for _, seg := range chaintest.Segments(w.c.State) {
		if b := &seg.Body; w.n(3, "lose a segment") == 0 {
			drop(b.Packs[w.n(len(b.Packs)-1, "pack")].Key)
			v.Lost = append(v.Lost, chain.Lost{First: b.First, Last: b.Last, Effective: b.Effective, Detail: "deleted"})
		}
	}
	for i := range w.c.State.Snapshots {
		b := &w.c.State.Snapshots[i]
		if len(b.Body.Runs) > 0 && w.n(2, "lose a base") == 0 {
			drop(b.Body.Runs[w.n(len(b.Body.Runs)-1, "run")].Key)
			v.Bases = append(v.Bases, chain.LostBase{Timeline: b.Timeline, Seq: b.Seq, LSN: b.Body.LSN, Detail: "deleted"})
		}
	}
	chain.SortLostBases(v.Bases)
	if v.Findings = int64(len(v.Lost) + len(v.Bases)); v.Findings == 0 {
		return v
	}
	w.c.Add(chain.Manifest{Kind: chain.KindVerify, Verify: v})
	return v
}

// TestLostIsGoneAround checks that every transaction that whole bases and
// segments lead to is restored around what is lost, and that what is refused
// can't be restored.
func TestLostIsGoneAround(t *testing.T) {
	spillDir := t.TempDir()
	around, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range 5 + w.n(40, "steps") {
			w.step()
		}
		w.publish()
		v := w.lose()
		s := w.c.State
		possible := func(n change.LSN) bool { // said otherwise than by windows
			from := func(base change.LSN) bool {
				for _, l := range v.Lost {
					if l.Last > base && l.First <= n {
						return false
					}
				}
				for i := range s.Gaps {
					if g := &s.Gaps[i].Body; g.Last > base && g.First <= n {
						return false
					}
				}
				return base <= n
			}
			if from(0) {
				return true
			}
			for i := range s.Snapshots {
				b := &s.Snapshots[i]
				if readable(s)(b) && from(b.Body.LSN) {
					return true
				}
			}
			return false
		}
		for _, n := range w.order {
			p, err := Resolve(rt.Context(), w.bucket, s, AtLSN(n))
			if !possible(n) {
				if !errors.Is(err, ErrLost) && !errors.Is(err, ErrInGap) && !errors.Is(err, ErrOutside) {
					rt.Fatalf("LSN %d: %v, want a refusal", n, err)
				}
				refused++
				continue
			}
			if err != nil {
				rt.Fatalf("LSN %d: %v\nwindows %v\nlost %+v", n, err, Windows(s), v)
			}
			plan, err := MakePlan(rt.Context(), s, p)
			if err != nil {
				rt.Fatal(err)
			}
			rows, err := At(rt.Context(), w.bucket, plan, AtOptions{TempDir: spillDir})
			if err != nil {
				rt.Fatalf("LSN %d: %v\n%v", n, err, plan)
			}
			got, err := readRows(rows)
			if err := errors.Join(err, rows.Close()); err != nil {
				rt.Fatal(err)
			}
			if d := gocmp.Diff(rowsText(w.states[n].rows), rowsText(got)); d != "" {
				rt.Fatalf("rows at LSN %d: (-want +got)\n%s\n%v", n, d, plan)
			}
			if v.Findings > 0 {
				around++
			}
			if n > 0 {
				w.checkBaseBefore(p)
			}
		}
	})
	if around == 0 || refused == 0 {
		t.Errorf("%d restores went around something, %d were refused: the cases are too much alike", around, refused)
	}
}

// checkBaseBefore plans with bases before the point only.
func (w *world) checkBaseBefore(p Point) {
	plan, err := MakePlanWith(w.t.Context(), w.c.State, p, PlanOptions{BaseBefore: p.LSN})
	var e *UnrestorableError
	if err != nil && !errors.As(err, &e) {
		w.t.Fatalf("a base before LSN %d: %v", p.LSN, err)
	}
	if err == nil && plan.Base != nil && plan.Base.LSN >= p.LSN {
		w.t.Fatalf("a base before LSN %d was asked for, the plan starts at %d", p.LSN, plan.Base.LSN)
	}
}

// TestWindowsAroundLosses checks what a verification does to windows, and that
// a later one puts it right.
func TestWindowsAroundLosses(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3).Segment(4).Base(7, "a").Segment(5).Base(12, "b").Segment(2)
	windows := func() string {
		var out []string
		for _, w := range Windows(c.State) {
			out = append(out, fmt.Sprintf("%d–%d", w.FromLSN, w.ToLSN))
		}
		return strings.Join(out, " ")
	}
	segs := chaintest.Segments(c.State)
	verify := func(level string, bases []chain.LostBase, lost ...int) {
		v := &chain.Verify{Level: level, Through: c.State.Seq, Findings: int64(len(lost) + len(bases)), Bases: bases}
		for _, i := range lost {
			b := &segs[i].Body
			v.Lost = append(v.Lost, chain.Lost{First: b.First, Last: b.Last, Effective: b.Effective, Detail: b.Packs[0].Key + " is missing"})
		}
		c.Add(chain.Manifest{Kind: chain.KindVerify, Verify: v})
	}
	check := func(what, want string) {
		t.Helper()
		if got := windows(); got != want {
			t.Errorf("%s: windows %s, want %s", what, got, want)
		}
	}
	check("whole", "0–14")
	verify(chain.VerifyObjects, nil, 1)
	check("the segment before a base", "0–3 7–14")
	_, err := Resolve(t.Context(), storage.NewMem(), c.State, AtLSN(5))
	var e *UnrestorableError
	if !errors.As(err, &e) || !errors.Is(err, ErrLost) || e.Lost == nil || e.Before.LSN != 3 || e.After.LSN != 7 || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("LSN 5: %v", err)
	}
	if p, err := Resolve(t.Context(), storage.NewMem(), c.State, AtLSN(7)); err != nil || p.LSN != 7 || p.Effective != segs[1].Body.Effective.To {
		t.Errorf("the base after what is lost: %+v, %v", p, err)
	}
	verify(chain.VerifyChain, nil)
	check("looked at less closely", "0–3 7–14")
	base := chain.LostBase{Timeline: chain.MainTimeline, Seq: c.State.Snapshots[0].Seq, LSN: 7, Detail: "damaged"}
	verify(chain.VerifyRecords, []chain.LostBase{base}, 1)
	check("and the base after it", "0–3 12–14")
	if _, err := Resolve(t.Context(), storage.NewMem(), c.State, AtTime(segs[1].Body.Effective.From)); !errors.Is(err, ErrLost) {
		t.Errorf("a time in what is lost: %v", err)
	}
	if _, err := MakePlan(t.Context(), c.State, Point{LSN: 8}); !errors.Is(err, ErrLost) {
		t.Errorf("a plan across what is lost: %v", err)
	}
	verify(chain.VerifyRecords, []chain.LostBase{base})
	check("the base alone", "0–14")
	if plan, err := MakePlan(t.Context(), c.State, Point{LSN: 8}); err != nil || plan.Base != nil || len(plan.Segments) != 3 {
		t.Errorf("a plan around a broken base: %v, %v", plan, err)
	}
	verify(chain.VerifyRecords, nil)
	if plan, err := MakePlan(t.Context(), c.State, Point{LSN: 8}); err != nil || plan.Base == nil {
		t.Errorf("a plan after all is whole again: %v, %v", plan, err)
	}
}
