package spine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
)

// logged is a transaction as the archive holds it.
type logged struct {
	first, last       change.LSN
	commit, effective change.Time
	id                change.TxID
	hash              change.Hash // log hash after it
	segment           int         // in which it is
	rest              int64       // how many come after it there
}

// archived is an archive, held against a model.
type archived struct {
	*life
	archive *archive.Archive
	state   *chain.State
	log     []logged
	base    change.LSN // the first LSN that can be restored
	spill   string
}

// pieces reads the packs of a segment.
func (l *life) pieces(packs []pack.Ref) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for _, ref := range packs {
			p, err := pack.Open(l.rt.Context(), l.bucket, ref)
			l.must(err)
			for tx, err := range p.Txs(l.rt.Context(), 0) {
				if !yield(tx, err) {
					return
				}
			}
		}
	}
}

// inspect reads the whole archive and checks that it holds the model's
// transactions, without a hole and without a duplicate.
func (l *life) inspect(spill string) *archived {
	v := &archived{life: l, archive: l.openArchive(l.bucket), spill: spill}
	var err error
	v.state, err = v.archive.Load(l.rt.Context())
	l.must(err)
	s := v.state
	hash, effective, next := s.StartLog, change.Time(0), s.Start+1
	for i, at := range chaintest.Segments(s) {
		seg := &at.Body
		for tx, err := range change.Join(l.pieces(seg.Packs)) {
			l.must(err)
			for n := range tx.Records {
				if tx.Records[n].LSN != next {
					l.fatalf("packs from %s on: LSN %d where %d must come", seg.Packs[0].Key, tx.Records[n].LSN, next)
				}
				next++
			}
			hash = change.LogHash(hash, change.AppendTx(nil, tx))
			b := l.at(tx.Last())
			switch {
			case b == nil || b.tx != tx.ID || b.commit != tx.Commit || l.at(tx.First()-1) == nil:
				l.fatalf("transaction %d at LSN %d to %d, committed %s, is not the model's: %+v", tx.ID, tx.First(), tx.Last(), tx.Commit, b)
			case tx.Effective < effective:
				l.fatalf("transaction %d has effective time %d, before it %d", tx.ID, tx.Effective, effective)
			case tx.Effective > change.Time(l.clock.top.Load())+change.Time(len(v.log)):
				// Each may be a microsecond after what was covered before it.
				l.fatalf("transaction %d has effective time %d, the clock was never past %d", tx.ID, tx.Effective, l.clock.top.Load())
			}
			effective = tx.Effective
			v.log = append(v.log, logged{tx.First(), tx.Last(), tx.Commit, tx.Effective, tx.ID, hash, i, 0})
		}
		if len(seg.Packs) > 1 {
			l.seen.spooled++
		}
		if hash != seg.LogHash || next != seg.Last+1 {
			l.fatalf("segment ends at LSN %d, hash %s, its manifest says %d, %s", next-1, hash, seg.Last, seg.LogHash)
		}
	}
	for i := len(v.log) - 2; i >= 0; i-- {
		if v.log[i].segment == v.log[i+1].segment {
			v.log[i].rest = v.log[i+1].rest + 1
		}
	}
	if next != s.Last+1 || hash != s.LogHash {
		l.fatalf("the log ends at LSN %d, the chain says %d", next-1, s.Last)
	}
	l.seen.lives++
	l.seen.transactions += len(v.log)
	l.seen.bases += len(s.Snapshots)
	l.seen.checkpoints += len(s.Checkpoints)
	v.base = change.MaxLSN
	if s.Start == 0 {
		v.base = 0
	}
	for i := range s.Snapshots {
		v.base = min(v.base, s.Snapshots[i].Body.LSN)
	}
	return v
}

// promises checks that no transaction has an effective time that was said to
// be covered before it came.
func (v *archived) promises() {
	covered := change.Time(0)
	for seq := chain.Seq(1); seq <= v.state.Seq; seq++ {
		r, err := v.bucket.Read(v.rt.Context(), chain.ManifestKey(chain.MainTimeline, seq), 0, -1)
		v.must(err)
		raw, err := io.ReadAll(r)
		v.must(errors.Join(err, r.Close()))
		m, err := chain.DecodeManifest(raw)
		v.must(err)
		switch {
		case m.Coverage != nil:
			covered = m.Coverage.CoveredUntil
		case m.Segment != nil:
			if m.Segment.Effective.From <= covered {
				v.fatalf("manifest %d brings effective time %d, after %d was covered", seq, m.Segment.Effective.From, covered)
			}
			covered = m.Segment.CoveredUntil
		}
	}
}

// resolve resolves a target.
func (v *archived) resolve(t recovery.Target) (recovery.Point, error) {
	return recovery.Resolve(v.rt.Context(), v.bucket, v.state, t)
}

// leadsTo checks that a target means the end of the n-th transaction of the
// log (−1: the start), or is refused when that can't be restored.
func (v *archived) leadsTo(t recovery.Target, n int) {
	v.t.Helper()
	want := recovery.Point{LSN: v.state.Start}
	if n >= 0 {
		x := &v.log[n]
		want = recovery.Point{LSN: x.last, Tx: x.id, Commit: x.commit, Effective: x.effective, Rest: x.rest}
	}
	got, err := v.resolve(t)
	switch {
	case want.LSN < v.base:
		v.outside(t, err)
	case err != nil:
		v.fatalf("target %s: %v, want %+v", t, err, want)
	case got != want:
		v.fatalf("target %s leads to %+v, want %+v", t, got, want)
	}
}

// outside checks that a target was refused as one outside what can be restored.
func (v *archived) outside(t recovery.Target, err error) {
	v.t.Helper()
	var e *recovery.UnrestorableError
	if !errors.Is(err, recovery.ErrOutside) || !errors.As(err, &e) {
		v.fatalf("target %s: got %v, want one that says what can be restored", t, err)
	}
}

// targets checks every way to name a place in the log.
func (v *archived) targets() {
	s := v.state
	v.leadsTo(recovery.Latest(), len(v.log)-1)
	v.leadsTo(recovery.AtLSN(s.Start), -1)
	for i := range v.log {
		x := &v.log[i]
		v.leadsTo(recovery.AtLSN(x.last), i)
		v.leadsTo(recovery.AtTx(x.id), i)
		v.leadsTo(recovery.AtTx(x.id).JustBefore(), i-1)
		v.leadsTo(recovery.AtLSN(x.first).JustBefore(), i-1)
		v.leadsTo(recovery.AtLSN(x.last).JustBefore(), i-1)
		if n := x.first; n < x.last && n > v.base { // inside
			_, err := v.resolve(recovery.AtLSN(n))
			var e *recovery.InsideTxError
			if !errors.As(err, &e) || e.Before != x.first-1 || e.Last != x.last || e.Tx != x.id {
				v.fatalf("LSN %d, inside %+v: %v", n, *x, err)
			}
		}
		if i+1 == len(v.log) || v.log[i+1].effective > x.effective {
			for d := change.Time(-1); d <= 1; d++ {
				v.time(x.effective + d)
			}
		}
	}
	for name, lsn := range v.labels {
		i := slices.IndexFunc(v.log, func(x logged) bool { return x.last == lsn })
		v.leadsTo(recovery.AtLabel(name), i)
	}
	v.refused()
}

// time checks a time: the last transaction with an effective time at or before
// it, as far as time is covered.
func (v *archived) time(t change.Time) {
	v.t.Helper()
	covered := max(v.state.Effective, v.state.CoveredUntil)
	upTo := func(t change.Time) int {
		n := -1
		for i := range v.log {
			if v.log[i].effective <= t {
				n = i
			}
		}
		return n
	}
	for _, target := range []recovery.Target{recovery.AtTime(t), recovery.AtTime(t + 1).JustBefore()} {
		n := upTo(t)
		v.seen.times++
		p, err := v.resolve(target)
		switch {
		case t > covered:
			v.outside(target, err)
		case n < 0 && err == nil: // a base shows the time before the first transaction
			w := recovery.Windows(v.state)
			if p.LSN != v.state.Start || len(w) == 0 || t < w[0].From {
				v.fatalf("target %s leads to %+v, the log starts at %d, windows are %+v", target, p, v.state.Start, w)
			}
		case n < 0:
			v.outside(target, err)
		default:
			v.leadsTo(target, n)
		}
	}
}

// refused checks targets that there are not.
func (v *archived) refused() {
	s := v.state
	_, err := v.resolve(recovery.AtLSN(s.Last + 1))
	v.outside(recovery.AtLSN(s.Last+1), err)
	if s.Start > 0 {
		_, err = v.resolve(recovery.AtLSN(s.Start - 1))
		v.outside(recovery.AtLSN(s.Start-1), err)
	}
	if _, err := v.resolve(recovery.AtLabel("nobody")); !errors.Is(err, recovery.ErrNoLabel) {
		v.fatalf("a label that is not there: %v", err)
	}
	if _, err := v.resolve(recovery.AtTx(v.history[len(v.history)-1].tx + 1)); !errors.Is(err, recovery.ErrNoTx) {
		v.fatalf("a transaction that is not there: %v", err)
	}
}

// states checks At for every transaction, one after another.
func (v *archived) states(memory func(change.LSN) int64) {
	v.stateAt(recovery.Point{LSN: v.state.Start}, v.state.StartLog, memory)
	for i := range v.log {
		x := &v.log[i]
		v.stateAt(recovery.Point{LSN: x.last, Tx: x.id, Commit: x.commit, Effective: x.effective, Rest: x.rest}, x.hash, memory)
	}
}

func (v *archived) stateAt(p recovery.Point, hash change.Hash, memory func(change.LSN) int64) {
	plan, err := recovery.MakePlan(v.life.rt.Context(), v.state, p)
	if p.LSN < v.base {
		v.outside(recovery.AtLSN(p.LSN), err)
		return
	}
	v.must(err)
	b := v.at(p.LSN)
	got, reached := v.read(plan, memory(p.LSN))
	v.compare(fmt.Sprintf("At LSN %d", p.LSN), b, got)
	if reached.Point != p || reached.LogHash != hash {
		v.fatalf("At LSN %d reached %+v, want %+v with hash %s", p.LSN, reached, p, hash)
	}
	left := 0 // transactions
	for i := range v.log {
		if v.log[i].last > p.LSN {
			left++
		}
	}
	if d := plan.Discards; d.Records != int64(v.state.Last-p.LSN) || d.Txs != int64(left) {
		v.fatalf("plan for LSN %d discards %+v, want %d records of %d transactions", p.LSN, d, v.state.Last-p.LSN, left)
	}
	if plan.NextID > v.end().state.next {
		v.fatalf("plan for LSN %d: next collection %d, the database is at %d", p.LSN, plan.NextID, v.end().state.next)
	}
}

// read executes a plan and returns what it yields in the model's form.
func (v *archived) read(plan *recovery.Plan, memory int64) (got []string, reached recovery.Reached) {
	rows, err := recovery.At(v.rt.Context(), v.bucket, plan, recovery.AtOptions{Memory: memory, TempDir: v.spill, Parts: 1 + int(plan.Point.LSN)%3})
	if err != nil {
		v.fatalf("plan for LSN %d: %v", plan.Point.LSN, err)
	}
	schemas := make(map[change.CollectionID]*change.Schema)
	for _, s := range rows.Schemas() {
		schemas[s.Collection] = s
		got = append(got, shownSchema(s))
	}
	var last change.Record
	var row change.Row
	for r, err := range rows.All() {
		v.must(err)
		s := schemas[r.Collection]
		if s == nil || r.Collection < last.Collection || r.Collection == last.Collection && bytes.Compare(r.Key, last.Key) <= 0 ||
			s.Bag() != (r.Count > 0) || r.Op != change.Insert {
			v.fatalf("plan for LSN %d: record %+v after %+v", plan.Point.LSN, r, last)
		}
		last = change.Record{Collection: r.Collection, Key: slices.Clone(r.Key)}
		row, err = s.DecodeRow(row, r.Key, r.Image)
		v.must(err)
		got = append(got, rowLine(r.Collection, row, max(1, r.Count)))
	}
	v.must(rows.Close())
	v.seen.states++
	return got, rows.Reached()
}
