package recovery

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// readRows collects all parts, reading them at the same time.
func readRows(rows *Rows) ([]change.Record, error) {
	parts := rows.Parts()
	got := make([][]change.Record, len(parts))
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { got[i], errs[i] = readPart(p.Rows) })
	}
	wg.Wait()
	return slices.Concat(got...), errors.Join(errs...)
}

func readPart(seq iter.Seq2[*change.Record, error]) ([]change.Record, error) {
	var out []change.Record
	for r, err := range seq {
		if err != nil {
			return out, err
		}
		c := *r
		c.LSN, c.Key, c.Image = 0, slices.Clone(r.Key), slices.Clone(r.Image)
		out = append(out, c)
	}
	return out, nil
}

// TestAtIsTheModel checks that every target of a random history leads to the
// state that the model remembers, or is refused where nothing can be restored.
func TestAtIsTheModel(t *testing.T) {
	spillDir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range 5 + w.n(45, "steps") {
			w.step()
		}
		w.publish()
		w.checkTimeline(spillDir)
	})
	if left, err := os.ReadDir(spillDir); err != nil || len(left) > 0 {
		t.Errorf("left in the directory for spilling: %v, %v", left, err)
	}
}

// TestAtIsTheModelOfEveryTimeline does the same for random trees of timelines:
// forks of forks, inside segments, at bases, in gaps' ends and at LSN 0, while
// those that they come from go on.
func TestAtIsTheModelOfEveryTimeline(t *testing.T) {
	spillDir := t.TempDir()
	cut := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range 1 + w.n(3, "forks") {
			for range w.n(20, "steps") {
				all := *w.tree
				all[w.n(len(all)-1, "timeline")].step()
			}
			from := (*w.tree)[w.n(len(*w.tree)-1, "parent")]
			from.fork()
		}
		for _, w := range *w.tree {
			for range w.n(8, "steps") {
				w.step()
			}
			w.publish()
		}
		for _, w := range *w.tree {
			for _, seg := range chaintest.Segments(w.c.State) {
				if seg.Body.PackLast > 0 {
					cut++
				}
			}
			w.checkTimeline(spillDir)
		}
	})
	if t.Logf("%d cut segments", cut); cut == 0 {
		t.Error("no fork has cut a segment")
	}
}

// checkTimeline checks every LSN and every time of a timeline.
func (w *world) checkTimeline(spillDir string) {
	s := w.c.State
	windows := Windows(s)
	inside := func(lsn change.LSN) bool {
		return slices.ContainsFunc(windows, func(win Window) bool { return win.FromLSN <= lsn && lsn <= win.ToLSN })
	}
	for lsn := change.LSN(0); lsn <= s.Last+1; lsn++ {
		st, boundary := w.states[lsn]
		p, err := Resolve(w.t.Context(), w.bucket, s, AtLSN(lsn))
		switch {
		case !inside(lsn):
			var e *UnrestorableError
			if !errors.As(err, &e) || !(errors.Is(err, ErrOutside) || errors.Is(err, ErrInGap)) {
				w.t.Fatalf("LSN %d outside %v: %v", lsn, windows, err)
			}
		case !boundary:
			var e *InsideTxError
			if !errors.As(err, &e) || e.Before >= lsn || e.Last <= lsn || w.states[e.Last].tx == nil {
				w.t.Fatalf("LSN %d inside a transaction: %v", lsn, err)
			}
		case err != nil:
			w.t.Fatalf("LSN %d: %v", lsn, err)
		default:
			w.checkAt(p, st, spillDir)
		}
	}
	w.checkTimes(inside)
}

// txsAfter counts the model's transactions after one LSN and up to another.
func (w *world) txsAfter(after, upTo change.LSN) (n int64) {
	for lsn, st := range w.states {
		if st.tx != nil && lsn > after && lsn <= upTo {
			n++
		}
	}
	return n
}

// segmentEnd is the last LSN of the segment that holds an LSN.
func (w *world) segmentEnd(lsn change.LSN) change.LSN {
	for _, seg := range chaintest.Segments(w.c.State) {
		if b := &seg.Body; b.First <= lsn && lsn <= b.Last {
			return b.Last
		}
	}
	return lsn
}

// checkAt compares the state at a point with the model's.
func (w *world) checkAt(p Point, st worldState, spillDir string) {
	want := Point{LSN: p.LSN}
	if st.tx != nil {
		want = Point{LSN: st.tx.Last(), Tx: st.tx.ID, Commit: st.tx.Commit, Effective: st.tx.Effective}
		want.Rest = w.txsAfter(p.LSN, w.segmentEnd(p.LSN))
	}
	if p != want {
		w.t.Fatalf("resolved to %+v, want %+v", p, want)
	}
	plan, err := MakePlan(context.Background(), w.c.State, p)
	if err != nil {
		w.t.Fatalf("plan for LSN %d: %v", p.LSN, err)
	}
	if n := w.txsAfter(p.LSN, change.MaxLSN); plan.Discards.Txs != n {
		w.t.Fatalf("the plan for LSN %d discards %d transactions, want %d", p.LSN, plan.Discards.Txs, n)
	}
	if d := gocmp.Diff(st.schemas, plan.Schemas); d != "" {
		w.t.Fatalf("schemas at LSN %d: (-want +got)\n%s", p.LSN, d)
	}
	opt := AtOptions{Memory: rapid.SampledFrom([]int64{0, 1, 2_000, 30_000}).Draw(w.t, "memory"), TempDir: spillDir, Parts: 1 + w.n(3, "parts"), Fetch: 1 + w.n(4, "fetch")}
	wantRows := st.rows
	if len(st.schemas) > 0 && w.n(4, "some") == 0 {
		only := rapid.SampledFrom(st.schemas).Draw(w.t, "only").Collection
		opt.Collections = []change.CollectionID{only}
		wantRows = slices.DeleteFunc(slices.Clone(wantRows), func(r change.Record) bool { return r.Collection != only })
	}
	rows, err := At(w.t.Context(), w.bucket, plan, opt)
	if err != nil {
		w.t.Fatalf("at LSN %d: %v\n%v", p.LSN, err, plan)
	}
	got, err := readRows(rows)
	if err := errors.Join(err, rows.Close(), rows.Close()); err != nil {
		w.t.Fatalf("rows at LSN %d: %v", p.LSN, err)
	}
	if d := gocmp.Diff(rowsText(wantRows), rowsText(got)); d != "" {
		w.t.Fatalf("rows at LSN %d with %+v: (-want +got)\n%s\n%v", p.LSN, opt, d, plan)
	}
	if r := rows.Reached(); r.LogHash != st.hash || r.Point != p {
		w.t.Fatalf("reached %+v, want %+v with log hash %v", r, p, st.hash)
	}
}

// checkTimes compares every interesting time with the model.
func (w *world) checkTimes(inside func(change.LSN) bool) {
	s := w.c.State
	covered := max(s.Effective, s.CoveredUntil)
	times := []change.Time{covered, covered + 1}
	for _, lsn := range w.order {
		if tx := w.states[lsn].tx; tx != nil {
			times = append(times, tx.Effective-1, tx.Effective, tx.Effective+1)
		}
	}
	for i := range s.Gaps {
		g := &s.Gaps[i].Body
		times = append(times, g.From, g.From+1, g.To-1, g.To, g.To+1)
	}
	slices.Sort(times)
	for _, at := range slices.Compact(times) {
		if at <= 0 {
			continue // before anybody looked
		}
		p, err := Resolve(w.t.Context(), w.bucket, s, AtTime(at))
		lsn, first := s.Start, change.Time(1<<62)
		inGap := false
		for _, n := range w.order {
			if tx := w.states[n].tx; tx != nil {
				first = min(first, tx.Effective)
				if tx.Effective <= at {
					lsn = n
				}
			}
		}
		for i := range s.Gaps {
			g := &s.Gaps[i].Body
			inGap = inGap || g.From < at && at < g.To
			if g.To <= at {
				lsn = max(lsn, g.Last)
			}
		}
		if first == 1<<62 || len(s.Gaps) > 0 && first >= s.Gaps[0].Body.To {
			first = Windows(s)[0].To // the empty database, of which only this moment is known
		}
		if at > covered || inGap || !inside(lsn) || at < first {
			if !errors.Is(err, ErrOutside) && !errors.Is(err, ErrInGap) || inGap != errors.Is(err, ErrInGap) && inside(lsn) {
				w.t.Fatalf("time %d: %v, %v; want a refusal (in a gap: %t)", at, p, err, inGap)
			}
			continue
		}
		if err != nil || p.LSN != lsn {
			w.t.Fatalf("time %d: %+v, %v; want LSN %d\nwindows %v", at, p, err, lsn, Windows(s))
		}
		if q, err := Resolve(w.t.Context(), w.bucket, s, AtTime(at+1).JustBefore()); err != nil && at < covered || err == nil && q != p {
			w.t.Fatalf("before time %d: %+v, %v; want %+v", at+1, q, err, p)
		}
	}
}

// TestTargetsByName checks labels, transactions and what lies just before.
func TestTargetsByName(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range 4 + w.n(20, "transactions") {
			w.commit()
			if w.n(3, "publish") == 0 {
				w.publish()
			}
		}
		w.publish()
		s := w.c.State
		if s.Last == 0 {
			return
		}
		last, err := Resolve(rt.Context(), w.bucket, s, Target{})
		if err != nil || last.LSN != s.Last {
			rt.Fatalf("latest: %+v, %v", last, err)
		}
		i := 1 + w.n(len(w.order)-2, "transaction")
		tx, prev := w.states[w.order[i]].tx, w.order[i-1]
		s.Labels["here"] = chain.Announced[chain.Label]{Body: chain.Label{Name: "here", LSN: tx.Last()}}
		middle := tx.First() + change.LSN(w.n(len(tx.Records)-1, "record"))
		for _, c := range []struct {
			target Target
			want   change.LSN
		}{
			{AtTx(tx.ID), tx.Last()}, {AtTx(tx.ID).JustBefore(), prev},
			{AtLabel("here"), tx.Last()}, {AtLabel("here").JustBefore(), prev},
			{AtLSN(tx.Last()), tx.Last()}, {AtLSN(middle).JustBefore(), prev},
		} {
			if p, err := Resolve(rt.Context(), w.bucket, s, c.target); err != nil || p.LSN != c.want {
				rt.Fatalf("%s: %+v, %v; want LSN %d", c.target, p, err, c.want)
			}
		}
		if _, err := Resolve(rt.Context(), w.bucket, s, AtTx(1)); !errors.Is(err, ErrNoTx) {
			rt.Fatalf("unknown transaction: %v", err)
		}
		if _, err := Resolve(rt.Context(), w.bucket, s, AtLabel("there")); !errors.Is(err, ErrNoLabel) {
			rt.Fatalf("unknown label: %v", err)
		}
	})
}
