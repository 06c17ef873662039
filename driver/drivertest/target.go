package drivertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

func (s *Suite) place(t TB) Place {
	t.Helper()
	p, err := s.Place()
	if err != nil {
		t.Fatalf("place: %v", err)
	}
	return p
}

func (p Place) target(t TB) driver.Target {
	t.Helper()
	target, err := p.Target()
	if err != nil {
		t.Fatalf("target: %v", err)
	}
	return target
}

// parts divides rows into n parts that cover everything.
func parts(rows []*change.Record, n int) ([]driver.Part, [][]*change.Record) {
	var out []driver.Part
	var in [][]*change.Record
	for i := range n {
		var p driver.Part
		from, to := len(rows)*i/n, len(rows)*(i+1)/n
		if i > 0 && from < len(rows) {
			p.From = &driver.Bound{Collection: rows[from].Collection, Key: rows[from].Key}
		}
		if i < n-1 && to < len(rows) {
			p.To = &driver.Bound{Collection: rows[to].Collection, Key: rows[to].Key}
		}
		if i > 0 && from == to {
			continue // fewer rows than parts
		}
		out, in = append(out, p), append(in, rows[from:to])
	}
	return out, in
}

// load loads one part and says what is in it.
func load(ctx context.Context, target driver.Target, p driver.Part, rows []*change.Record) error {
	return target.Load(ctx, &p, func(yield func(*change.Record, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
		p.Tallies = tallies(rows)
	})
}

// tallies counts rows, and gives each collection a digest to know it again by.
func tallies(rows []*change.Record) (out []driver.Tally) {
	for _, r := range rows {
		if n := len(out); n == 0 || out[n-1].Collection != r.Collection {
			out = append(out, driver.Tally{Collection: r.Collection, Digest: change.Hash{byte(r.Collection), 7}})
		}
		t := &out[len(out)-1]
		t.Rows += max(1, r.Count)
		t.Bytes += int64(len(r.Key) + len(r.Image))
	}
	return out
}

// state returns what a fold is to a target, and its rows in order.
func (f *fold) state(t TB) (driver.State, []*change.Record) {
	t.Helper()
	st := driver.State{LSN: f.mark.LSN, LogHash: f.mark.LogHash, NextID: 1}
	var rows []*change.Record
	ids := make([]change.CollectionID, 0, len(f.schemas))
	for id := range f.schemas {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		schema := f.schemas[id]
		st.Schemas = append(st.Schemas, schema)
		st.NextID = id + 1
		var keys []string
		for key := range f.rows[id] {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			v := f.rows[id][key]
			image, err := schema.Normalize(nil, v.image)
			if err != nil {
				t.Fatalf("normalize: %v", err)
			}
			r := &change.Record{Op: change.Insert, Collection: id, Key: change.Key(key), Image: image}
			if schema.Bag() {
				r.Count = v.count
			}
			st.Rows++
			st.Bytes += int64(len(r.Key) + len(r.Image))
			rows = append(rows, r)
		}
	}
	return st, rows
}

// restore loads a fold in so many ranges at once and opens the result.
func (s *Suite) restore(t TB, f *fold, ranges int) (Database, driver.Target) {
	t.Helper()
	ctx := context.Background()
	place := s.place(t)
	target := place.target(t)
	st, rows := f.state(t)
	if _, err := target.Preflight(ctx, st); err != nil {
		t.Fatalf("preflight: %v", err)
	}
	early := st
	early.LSN, early.LogHash, early.Commit, early.LastTx = 0, change.Hash{}, 0, 0 // not known yet
	if done, err := target.Begin(ctx, early); err != nil || len(done) > 0 {
		t.Fatalf("begin: %v, %v", done, err)
	}
	if _, err := place.Open(); err == nil {
		t.Fatalf("an unfinished restore can be opened")
	}
	ps, in := parts(rows, ranges)
	errs := make([]error, len(ps))
	var wg sync.WaitGroup
	for i := range ps {
		wg.Go(func() { errs[i] = load(ctx, target, ps[i], in[i]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("load: %v", err)
	}
	if err := target.Finish(ctx, st); err != nil {
		t.Fatalf("finish: %v", err)
	}
	for _, keep := range []bool{true, false} {
		if kept, err := target.Abort(keep); err != nil || kept > 0 {
			t.Fatalf("abort after finish: %d parts, %v", kept, err)
		}
	}
	db, err := place.Open()
	if err != nil {
		t.Fatalf("open what was restored: %v", err)
	}
	return db, target
}

func (s *Suite) loadReadsBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := s.open(rt)
		defer func() { closing(rt, db) }()
		w := newWorkload()
		do(rt, db, w.createAll()...)
		for range rapid.IntRange(0, 12).Draw(rt, "transactions") {
			do(rt, db, w.tx(rt)...)
		}
		f := snapshotOf(rt, db)
		restored, _ := s.restore(rt, f, rapid.IntRange(1, 4).Draw(rt, "ranges"))
		defer func() { closing(rt, restored) }()
		if d := differ(shown(rt, db), shown(rt, restored)); d != "" {
			rt.Fatalf("restored database:\n%s", d)
		}
		again := snapshotOf(rt, restored)
		if again.mark.LSN != f.mark.LSN || again.mark.LogHash != f.mark.LogHash {
			rt.Fatalf("restored database is at %+v, want %+v", again.mark, f.mark)
		}
		compare(rt, "snapshot of the restored database", shown(rt, db), again)
		// It is another database, and goes on from the mark.
		a, errA := db.Source().Identity(context.Background())
		b, errB := restored.Source().Identity(context.Background())
		if a == b || errA != nil || errB != nil {
			rt.Fatalf("identities %+v and %+v: %v", a, b, errors.Join(errA, errB))
		}
		begin := start(rt, restored)
		if begin.LSN != f.mark.LSN || begin.LogHash != f.mark.LogHash {
			rt.Fatalf("capture of the restored database starts at %+v, want %+v", begin, f.mark)
		}
		do(rt, restored, append(w.tx(rt), w.create("gamma"))...)
		c := changes(rt, restored, begin)
		defer func() { closing(rt, c) }()
		if err := again.add(take(rt, c, 1)[0]); err != nil {
			rt.Fatalf("after the restore: %v", err)
		}
		compare(rt, "restored database and its log", shown(rt, restored), again)
	})
}

func (s *Suite) targetRefuses(t *testing.T) {
	db, _ := s.prepared(t)
	defer func() { closing(t, db) }()
	f := snapshotOf(t, db)
	restored, target := s.restore(t, f, 1)
	defer func() { closing(t, restored) }()
	before := shown(t, restored)
	st, _ := f.state(t)
	if _, err := target.Preflight(context.Background(), st); !errors.Is(err, driver.ErrNotEmpty) {
		t.Errorf("preflight of a place that is taken: %v", err)
	}
	if _, err := target.Begin(context.Background(), st); !errors.Is(err, driver.ErrNotEmpty) {
		t.Errorf("begin in a place that is taken: %v", err)
	}
	if _, err := target.Abort(false); err != nil {
		t.Errorf("abort: %v", err)
	}
	if d := differ(before, shown(t, restored)); d != "" {
		t.Errorf("what was there changed:\n%s", d)
	}
}

func (s *Suite) targetAborts(t *testing.T) {
	db, _ := s.prepared(t)
	defer func() { closing(t, db) }()
	f := snapshotOf(t, db)
	st, rows := f.state(t)
	place := s.place(t)
	target := place.target(t)
	ctx := context.Background()
	if _, err := target.Begin(ctx, st); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := target.Load(ctx, new(driver.Part), func(yield func(*change.Record, error) bool) {
		_ = yield(rows[0], nil) && yield(nil, boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("load of rows that fail: %v", err)
	}
	stranger := *rows[0]
	stranger.Collection = 99
	if err := load(ctx, target, driver.Part{}, []*change.Record{&stranger}); err == nil {
		t.Error("loaded a row of an unknown collection")
	}
	if kept, err := target.Abort(true); err != nil || kept > 0 {
		t.Fatalf("abort without a finished part: %d, %v", kept, err)
	}
	if _, err := place.Open(); err == nil {
		t.Error("an aborted restore can be opened")
	}
	if _, err := target.Preflight(ctx, st); err != nil {
		t.Errorf("preflight after abort: %v", err)
	}
	if _, err := target.Begin(ctx, st); err != nil {
		t.Errorf("begin after abort: %v", err)
	}
	if _, err := target.Abort(false); err != nil {
		t.Errorf("second abort: %v", err)
	}
}
