package drivertest

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// history runs random workloads. After each transaction it notes what the
// database shows. In the end every note must be what the log says, from its
// start and from every snapshot on.
func (s *Suite) history(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := s.open(rt)
		defer func() { closing(rt, db) }()
		begin := start(rt, db)
		w := newWorkload()
		notes := make(map[change.LSN]map[string][]string)
		snapshots := []*fold{newFold()}
		snapshots[0].mark = begin
		for i := range rapid.IntRange(1, 15).Draw(rt, "transactions") {
			var ops []Op
			if i == 0 {
				ops = w.createAll()
			} else {
				ops = w.tx(rt)
			}
			do(rt, db, ops...)
			f := snapshotOf(rt, db)
			notes[f.mark.LSN] = shown(rt, db)
			if rapid.IntRange(0, 3).Draw(rt, "keep the snapshot") == 0 {
				snapshots = append(snapshots, f)
			} else {
				compare(rt, "snapshot", notes[f.mark.LSN], f)
			}
			if s.Reopen != nil && rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
				var err error
				if db, err = s.Reopen(db); err != nil {
					rt.Fatalf("reopen: %v", err)
				}
			}
		}
		for _, f := range snapshots {
			replay(rt, db, f, notes)
		}
	})
}

func snapshotOf(t TB, db Database) *fold {
	t.Helper()
	s, err := db.Source().Snapshot(context.Background())
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	f, err := foldSnapshot(s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closing(t, s)
	return f
}

func compare(t TB, what string, want map[string][]string, f *fold) {
	t.Helper()
	got, err := f.show()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if d := differ(want, got); d != "" {
		t.Fatalf("%s at LSN %d is not what the database showed:\n%s", what, f.mark.LSN, d)
	}
}

// replay reads the changes after a fold and compares with each note on the way.
func replay(t TB, db Database, f *fold, notes map[change.LSN]map[string][]string) {
	t.Helper()
	last := change.LSN(0)
	for lsn := range notes {
		last = max(last, lsn)
	}
	if want, ok := notes[f.mark.LSN]; ok {
		compare(t, "snapshot", want, f)
	}
	c := changes(t, db, f.mark)
	defer func() { closing(t, c) }()
	for f.mark.LSN < last {
		if err := f.add(take(t, c, 1)[0]); err != nil {
			t.Fatalf("%v", err)
		}
		want, ok := notes[f.mark.LSN]
		if !ok {
			t.Fatalf("the log has a transaction that ends at LSN %d; no snapshot was there", f.mark.LSN)
		}
		compare(t, "snapshot and log", want, f)
	}
	if end := snapshotOf(t, db); end.mark.LogHash != f.mark.LogHash || end.mark.LSN != f.mark.LSN {
		t.Fatalf("log ends with %+v, the database with %+v", f.mark, end.mark)
	}
}

// prepared returns a database with three transactions and the marks around them.
func (s *Suite) prepared(t TB) (Database, []driver.Mark) {
	t.Helper()
	db := s.open(t)
	marks := []driver.Mark{start(t, db)}
	w := newWorkload()
	do(t, db, w.createAll()...)
	marks = append(marks, snapshotOf(t, db).mark)
	for i := range int64(2) {
		do(t, db, putOp(i), putOp(i+10))
		marks = append(marks, snapshotOf(t, db).mark)
	}
	return db, marks
}

func putOp(id int64) Op {
	return Op{Kind: Put, Collection: "alpha", Row: change.Row{change.IntValue(id), change.Null(), change.TextValue("r")}}
}

func (s *Suite) marks(t *testing.T) {
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	for i, m := range marks {
		c := changes(t, db, m)
		for n, tx := range take(t, c, len(marks)-1-i) {
			if tx.Last() != marks[i+n+1].LSN {
				t.Errorf("after mark %d: transaction %d ends at LSN %d, want %d", i, n, tx.Last(), marks[i+n+1].LSN)
			}
		}
		closing(t, c)
	}
	wrong, beyond, inside := marks[1], marks[len(marks)-1], marks[len(marks)-1]
	wrong.LogHash[3] ^= 1
	beyond.LSN += 100
	inside.LSN--
	for name, m := range map[string]driver.Mark{"another hash": wrong, "beyond the end": beyond, "inside a transaction": inside} {
		c, err := db.Source().Changes(context.Background(), m)
		if !errors.Is(err, driver.ErrDiverged) {
			t.Errorf("mark with %s: %v, want ErrDiverged", name, err)
		}
		if err == nil {
			closing(t, c)
		}
	}
	id, err := db.Source().Identity(context.Background())
	if err != nil || id.Kind == "" || id.System == "" {
		t.Errorf("identity %+v, %v", id, err)
	}
	other := s.open(t)
	defer func() { closing(t, other) }()
	if o, err := other.Source().Identity(context.Background()); err != nil || o == id || o.Kind != id.Kind {
		t.Errorf("another database has identity %+v, this one %+v: %v", o, id, err)
	}
}

func (s *Suite) nextWaits(t *testing.T) {
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	c := changes(t, db, marks[len(marks)-1])
	defer func() { closing(t, c) }()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if tx, err := c.Next(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next with nothing to return and an ended context: %v, %v", tx, err)
	}
	got := make(chan *change.Tx)
	fail := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for range 2 {
			tx, err := next(ctx, c)
			if err != nil {
				fail <- err
				return
			}
			got <- tx
		}
	}()
	for i := range int64(2) {
		do(t, db, putOp(100+i))
		select {
		case err := <-fail:
			t.Fatal(err)
		case tx := <-got:
			if len(tx.Records) != 1 || tx.First() != marks[len(marks)-1].LSN+1+change.LSN(i) {
				t.Errorf("transaction %+v", tx)
			}
		}
	}
}

func (s *Suite) coverage(t *testing.T) {
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	c := changes(t, db, marks[0])
	defer func() { closing(t, c) }()
	ctx := context.Background()
	if covered, ok, err := c.Coverage(ctx); ok || err != nil {
		t.Errorf("coverage %s, %t, %v while transactions wait", covered, ok, err)
	}
	take(t, c, len(marks)-1)
	last := change.Time(0)
	for i := range int64(5) {
		covered, ok, err := c.Coverage(ctx)
		if !ok || err != nil || covered < last {
			t.Fatalf("coverage %s, %t, %v after %s, with nothing waiting", covered, ok, err, last)
		}
		do(t, db, putOp(200+i))
		if _, ok, err := c.Coverage(ctx); ok || err != nil {
			t.Errorf("coverage is given (%t, %v) while a transaction waits", ok, err)
		}
		if tx := take(t, c, 1)[0]; tx.Commit <= covered {
			t.Errorf("covered until %s, a transaction of %s came after it", covered, tx.Commit)
		}
		last = covered
	}
}

// pieces checks that a large transaction comes in pieces, whole to who takes
// all of them, and again from its start to who came back.
func (s *Suite) pieces(t *testing.T) {
	if s.Piece == 0 {
		t.Skip("the suite does not say how large a transaction in pieces is")
	}
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	var ops []Op
	for i := range int64(s.Piece) {
		ops = append(ops, putOp(1000+i))
	}
	do(t, db, ops...)
	do(t, db, putOp(9999))
	before := marks[len(marks)-1]
	ctx := context.Background()
	var first *change.Tx
	for range 2 { // the first reader stops inside
		c := changes(t, db, before)
		tx, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if tx.Before != 0 || tx.After == 0 || tx.First() != before.LSN+1 || tx.Head().Count != int64(s.Piece) {
			t.Fatalf("the first piece has %d records, %d before and %d after it, from LSN %d on", len(tx.Records), tx.Before, tx.After, tx.First())
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if tx, err := c.Next(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("Next inside a transaction with an ended context: %v, %v", tx, err)
		}
		first = tx
		if tx, err = c.Next(ctx); err != nil || tx.Before != int64(len(first.Records)) || tx.First() != first.Last()+1 {
			t.Errorf("after a context ended between pieces: %+v, %v", tx, err)
		}
		closing(t, c)
	}
	c := changes(t, db, before)
	defer func() { closing(t, c) }()
	for i, tx := range take(t, c, 2) {
		if want := []int{s.Piece, 1}[i]; len(tx.Records) != want {
			t.Errorf("transaction %d has %d records, want %d", tx.ID, len(tx.Records), want)
		}
	}
	inside := driver.Mark{LSN: first.Last(), LogHash: before.LogHash}
	if c, err := db.Source().Changes(ctx, inside); !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("a mark between two pieces: %v, want ErrDiverged", err)
		if err == nil {
			closing(t, c)
		}
	}
}

// ack checks that acknowledging loses nothing that was not acknowledged.
func (s *Suite) ack(t *testing.T) {
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	receipt := driver.Receipt{Archive: "0123", Timeline: "main", Mark: marks[2]}
	for _, m := range []driver.Mark{marks[2], marks[1]} { // the second goes back: no effect
		if err := db.Source().Ack(context.Background(), driver.Receipt{Archive: "0123", Timeline: "main", Mark: m}); err != nil {
			t.Fatalf("ack: %v", err)
		}
	}
	if s.Reopen != nil {
		var err error
		if db, err = s.Reopen(db); err != nil {
			t.Fatalf("reopen: %v", err)
		}
	}
	// A source that remembers receipts remembers the last when it was closed in good order.
	id, err := db.Source().Identity(context.Background())
	if err != nil || s.Reopen != nil && id.Acked != nil && *id.Acked != receipt {
		t.Errorf("the source remembers %+v, %v; acknowledged was %+v", id.Acked, err, receipt)
	}
	c := changes(t, db, marks[2])
	defer func() { closing(t, c) }()
	if tx := take(t, c, 1)[0]; tx.Last() != marks[3].LSN {
		t.Errorf("after the acknowledged mark comes a transaction that ends at LSN %d, want %d", tx.Last(), marks[3].LSN)
	}
}

// startAgain checks where a source goes on: Start's mark is one of its own at
// any time, also after the log before it was lost.
func (s *Suite) startAgain(t *testing.T) {
	db, marks := s.prepared(t)
	defer func() { closing(t, db) }()
	closing(t, changes(t, db, start(t, db)))
	if s.LoseLog == nil {
		return
	}
	do(t, db, putOp(300))
	lost := snapshotOf(t, db).mark
	var err error
	if db, err = s.LoseLog(db); err != nil {
		t.Fatalf("lose the log: %v", err)
	}
	do(t, db, putOp(301)) // a log that goes on
	c, err := db.Source().Changes(context.Background(), marks[1])
	if !errors.Is(err, driver.ErrLogLost) {
		t.Errorf("changes after a mark whose log is lost: %v, want ErrLogLost", err)
	}
	if err == nil {
		closing(t, c)
	}
	m := start(t, db)
	if m.LSN < lost.LSN {
		t.Errorf("the source goes on after LSN %d, its log is lost to LSN %d", m.LSN, lost.LSN)
	}
	c = changes(t, db, m)
	defer func() { closing(t, c) }()
	do(t, db, putOp(302))
	for f := snapshotOf(t, db); m.LSN < f.mark.LSN; {
		m.LSN = take(t, c, 1)[0].Last()
	}
}
