package drivertest

import (
	"context"
	"errors"
	"iter"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// origin is where the restored databases of these tests come from.
func (f *fold) origin() *driver.Origin {
	return &driver.Origin{Archive: "archive", Timeline: "main", LSN: f.mark.LSN, LogHash: f.mark.LogHash, Effective: effective(f.mark.LSN)}
}

// effective is the effective time of the transaction that ends at an LSN.
func effective(lsn change.LSN) change.Time { return 1_000_000 + change.Time(lsn) }

// sequence yields transactions, and at last an error if there is one.
func sequence(txs []*change.Tx, err error) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for _, t := range txs {
			if !yield(t, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// followed is a database with its history, and a standby restored from some
// moment of it.
type followed struct {
	suite *Suite
	place Place
	db    Database // the standby
	notes map[change.LSN]map[string][]string
	txs   []*change.Tx // all after the moment
	from  driver.Mark  // the moment
}

// follow runs a random workload, and makes a standby of its state at a random
// moment.
func (s *Suite) follow(rt *rapid.T) *followed {
	rt.Helper()
	source := s.open(rt)
	defer func() { closing(rt, source) }()
	begin := start(rt, source)
	w := newWorkload()
	n := rapid.IntRange(1, 12).Draw(rt, "transactions")
	moment := rapid.IntRange(0, n).Draw(rt, "restored after")
	f := &followed{suite: s, place: s.place(rt), notes: make(map[change.LSN]map[string][]string)}
	at := newFold()
	at.mark = begin
	for i := range n {
		if i == 0 {
			do(rt, source, w.createAll()...)
		} else {
			do(rt, source, w.tx(rt)...)
		}
		now := snapshotOf(rt, source)
		f.notes[now.mark.LSN] = shown(rt, source)
		if i+1 == moment {
			at = now
		}
	}
	f.from = at.mark
	c := changes(rt, source, f.from)
	for end := snapshotOf(rt, source).mark.LSN; f.from.LSN < end && (len(f.txs) == 0 || f.txs[len(f.txs)-1].Last() < end); {
		t := take(rt, c, 1)[0]
		t.Effective = effective(t.Last())
		f.txs = append(f.txs, t)
	}
	closing(rt, c)

	st, rows := at.state(rt)
	st.Origin = at.origin()
	target, ctx := f.place.target(rt), context.Background()
	if _, err := target.Begin(ctx, st); err != nil {
		rt.Fatalf("begin: %v", err)
	}
	if err := errors.Join(load(ctx, target, driver.Part{}, rows), target.Finish(ctx, st)); err != nil {
		rt.Fatalf("restore: %v", err)
	}
	f.open(rt)
	return f
}

func (f *followed) open(rt *rapid.T) {
	rt.Helper()
	var err error
	if f.db, err = f.place.Open(); err != nil {
		rt.Fatalf("open the standby: %v", err)
	}
}

func (f *followed) standby(rt *rapid.T) driver.Standby {
	rt.Helper()
	s, err := f.suite.Standby(f.db)
	if err != nil {
		rt.Fatalf("standby: %v", err)
	}
	return s
}

// at checks that the standby stands after n transactions, and what it shows.
func (f *followed) at(rt *rapid.T, n int) driver.Standing {
	rt.Helper()
	want := f.from
	for _, t := range f.txs[:n] {
		want = driver.Mark{LSN: t.Last(), LogHash: change.LogHash(want.LogHash, change.AppendTx(nil, t))}
	}
	got, err := f.standby(rt).Standing(context.Background())
	if err != nil {
		rt.Fatalf("standing: %v", err)
	}
	if got.LSN != want.LSN || got.LogHash != want.LogHash || got.Archive != "archive" || got.Timeline != "main" ||
		got.Effective != effective(want.LSN) || got.Covered < got.Effective {
		rt.Fatalf("after %d transactions it stands at %+v, want %+v at %s", n, got, want, effective(want.LSN))
	}
	if d := differ(f.notes[want.LSN], shown(rt, f.db)); d != "" {
		rt.Fatalf("at LSN %d the standby is not what the source showed:\n%s", want.LSN, d)
	}
	return got
}

// standbyFollows feeds a standby a history in random portions, which overlap,
// end in errors or leave a hole, and opens it again now and then. Promoted, it
// goes on by itself.
func (s *Suite) standbyFollows(t *testing.T) {
	if s.Standby == nil {
		t.Skip("the database can't be a standby")
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := s.follow(rt)
		defer func() { closing(rt, f.db) }()
		ctx, done := context.Background(), 0
		f.at(rt, done)
		for done < len(f.txs) {
			from := rapid.IntRange(0, done).Draw(rt, "from")
			to := rapid.IntRange(done, len(f.txs)).Draw(rt, "to")
			var want error
			txs := f.txs[from:to]
			switch rapid.IntRange(0, 4).Draw(rt, "how") {
			case 0:
				want = errors.New("boom")
			case 1: // a hole after the first of those that are new
				if to > done+2 {
					txs, want = append(append(txs[:0:0], f.txs[from:done+1]...), f.txs[done+2:to]...), apply.ErrGap
					to = done + 1
				}
			}
			end := want
			if errors.Is(want, apply.ErrGap) {
				end = nil
			}
			n, err := f.standby(rt).Apply(ctx, sequence(txs, end))
			if n != to-done || !errors.Is(err, want) {
				rt.Fatalf("transactions %d to %d on top of %d: %d applied, %v, want %v", from, to, done, n, err, want)
			}
			done = to
			if rapid.IntRange(0, 3).Draw(rt, "reopen") == 0 {
				closing(rt, f.db)
				f.open(rt)
			}
			f.at(rt, done)
		}
		f.promote(rt)
	})
}

// promote checks that a standby takes no writes before it is promoted, and
// follows nothing afterwards.
func (f *followed) promote(rt *rapid.T) {
	rt.Helper()
	ctx := context.Background()
	s := f.standby(rt)
	at := f.at(rt, len(f.txs))
	s.Cover(at.Effective + 7)
	if now, err := s.Standing(ctx); err != nil || now.Covered != at.Effective+7 {
		rt.Fatalf("covered until %s, %v, want %s", now.Covered, err, at.Effective+7)
	}
	own := Op{Kind: Create, Collection: "own", Key: []string{"id"}, Columns: []change.Column{{Name: "id", Type: change.Int64}}}
	if err := f.db.Do([]Op{own}); !errors.Is(err, driver.ErrStandby) {
		rt.Fatalf("a standby takes writes: %v", err)
	}
	o, err := s.Promote(ctx)
	want := driver.Origin{Archive: at.Archive, Timeline: at.Timeline, LSN: at.LSN, LogHash: at.LogHash, Effective: at.Effective}
	if err != nil || o != want {
		rt.Fatalf("promoted from %+v, %v, want %+v", o, err, want)
	}
	_, err1 := s.Standing(ctx)
	_, err2 := s.Promote(ctx)
	_, err3 := s.Apply(ctx, sequence(f.txs, nil))
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, driver.ErrNotStandby) {
			rt.Fatalf("after it was promoted: %v", err)
		}
	}
	closing(rt, f.db)
	f.open(rt)
	do(rt, f.db, own)
	if id, err := f.db.Source().Identity(ctx); err != nil || id.Restored == nil || *id.Restored != want {
		rt.Fatalf("its own history begins at %+v, %v, want %+v", id.Restored, err, want)
	}
}
