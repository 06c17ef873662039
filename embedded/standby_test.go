package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// primary is a database and its history: what an archive of it holds.
type primary struct {
	*DB
	load crashLoad
	txs  []*change.Tx
}

func newPrimary(t testing.TB, commits int) *primary {
	t.Helper()
	p := &primary{DB: mustOpen(t, "db", small(vfs.NewMem()))}
	c, err := p.Source().Changes(t.Context(), driver.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.load.create(p.DB); err != nil {
		t.Fatal(err)
	}
	for range commits {
		if err := p.load.commit(p.DB); err != nil {
			t.Fatal(err)
		}
	}
	for i := range commits + 1 {
		tx, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tx.Effective = change.Time(1_000_000 + i)
		p.txs = append(p.txs, tx)
	}
	if err := errors.Join(c.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	return p
}

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

// emptyRestored returns what a restore of an archive's start leaves.
func emptyRestored(t testing.TB, fs vfs.FS) *DB {
	t.Helper()
	target, err := NewTarget("db", small(fs))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	want := driver.State{NextID: 1, Origin: &driver.Origin{Archive: "a", Timeline: "main", Effective: 7}}
	_, err = target.Begin(ctx, want)
	if err = errors.Join(err, target.Finish(ctx, want)); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, "db", small(fs))
}

func follow(t testing.TB, db *DB) driver.Standby {
	t.Helper()
	s, err := db.Follow()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func standing(t testing.TB, s driver.Standby) driver.Standing {
	t.Helper()
	st, err := s.Standing(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStandbyFollows(t *testing.T) {
	p := newPrimary(t, 50)
	fs := vfs.NewMem()
	db := emptyRestored(t, fs)
	s := follow(t, db)
	n, err := s.Apply(t.Context(), sequence(p.txs[:20], nil))
	if err != nil || n != 20 {
		t.Fatalf("%d applied, %v", n, err)
	}
	// Skipped and new ones, after a restart.
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	if s, err = db.Standby(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Apply(t.Context(), sequence(p.txs[10:], nil)); err != nil || n != 31 {
		t.Fatalf("%d applied, %v", n, err)
	}
	want := p.txs[50]
	s.Cover(want.Effective + 5)
	got := standing(t, s)
	if got.LSN != want.Last() || got.Effective != want.Effective || got.Covered != want.Effective+5 ||
		got.Archive != "a" || got.Timeline != "main" || got.LogHash != p.assigned.Hash {
		t.Errorf("it stands at %+v, want LSN %d, log hash %s", got, want.Last(), p.assigned.Hash)
	}
	var load crashLoad
	if n, err := load.check(db); n != 50 || err != nil {
		t.Errorf("%d commits, %v", n, err)
	}
	// It takes no writes and has nothing to capture.
	if err := db.Update(createCity); !errors.Is(err, driver.ErrStandby) {
		t.Errorf("update: %v", err)
	}
	_, err = db.Source().Start(t.Context())
	_, err2 := db.Source().Changes(t.Context(), got.Mark)
	_, err3 := db.Source().Identity(t.Context())
	for _, err := range []error{err, err2, err3, db.Source().Ack(t.Context(), driver.Receipt{})} {
		if !errors.Is(err, driver.ErrStandby) {
			t.Errorf("captured: %v", err)
		}
	}
	if f := db.Info().Following; f == nil || *f != (Following{"a", "main"}) {
		t.Errorf("Info says %+v", f)
	}
	// Promoted, it goes on by itself.
	o, err := s.Promote(t.Context())
	if err != nil || o != (driver.Origin{Archive: "a", Timeline: "main", LSN: got.LSN, LogHash: got.LogHash, Effective: got.Effective}) {
		t.Errorf("promoted from %+v, %v", o, err)
	}
	for round := range 2 {
		if id, err := db.Source().Identity(t.Context()); err != nil || *id.Restored != o || db.Info().Following != nil {
			t.Errorf("identity %+v, %v", id.Restored, err)
		}
		if _, err := db.Standby(); !errors.Is(err, driver.ErrNotStandby) {
			t.Errorf("a standby after it was promoted: %v", err)
		}
		if _, err := s.Promote(t.Context()); round == 0 && !errors.Is(err, driver.ErrNotStandby) {
			t.Errorf("promoted again: %v", err)
		}
		if _, err := s.Apply(t.Context(), sequence(nil, nil)); round == 0 && !errors.Is(err, driver.ErrNotStandby) {
			t.Errorf("followed after it was promoted: %v", err)
		}
		if err := db.Update(func(tx *Tx) error { return tx.Put("city", city(99_999, "own")) }); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Follow(); !errors.Is(err, driver.ErrNotStandby) {
			t.Errorf("followed with changes of its own: %v", err)
		}
		mustClose(t, db)
		db = mustOpen(t, "db", small(fs))
	}
	mustClose(t, db)
}

func TestStandbyRefuses(t *testing.T) {
	p := newPrimary(t, 10)
	own := mustOpen(t, "db", small(vfs.NewMem()))
	if _, err := own.Follow(); !errors.Is(err, driver.ErrNotStandby) {
		t.Errorf("a database with a history of its own: %v", err)
	}
	mustClose(t, own)
	fault := errors.New("fault")
	wrong := *p.txs[5]
	wrong.Records = slices.Clone(wrong.Records)
	wrong.Records[3].Op = change.Insert // the head row is there
	for _, c := range []struct {
		name string
		txs  iter.Seq2[*change.Tx, error]
		want error
	}{
		{"gap", sequence(slices.Concat(p.txs[:5], p.txs[6:]), nil), apply.ErrGap},
		{"divergence", sequence(append(slices.Clone(p.txs[:5]), &wrong), nil), apply.ErrDiverged},
		{"error of the sequence", sequence(p.txs[:5], fault), fault},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := emptyRestored(t, vfs.NewMem())
			db.opts.StrictStandby = true
			s := follow(t, db)
			n, err := s.Apply(t.Context(), c.txs)
			if n != 5 || !errors.Is(err, c.want) {
				t.Errorf("%d applied, %v", n, err)
			}
			if got := standing(t, s); got.LSN != p.txs[4].Last() || got.Effective != p.txs[4].Effective {
				t.Errorf("it stands at %+v, want LSN %d", got, p.txs[4].Last())
			}
			if n, err := s.Apply(t.Context(), sequence(p.txs, nil)); n != 6 || err != nil {
				t.Errorf("after that %d applied, %v", n, err)
			}
			if got := standing(t, s); got.LogHash != p.assigned.Hash {
				t.Errorf("log hash %s, want %s", got.LogHash, p.assigned.Hash)
			}
			mustClose(t, db)
		})
	}
}

// TestStandbyCrashes cuts the power before each write and sync while a standby
// follows and is promoted, and lets what is left go on.
func TestStandbyCrashes(t *testing.T) {
	p := newPrimary(t, 30)
	for _, percent := range []int{0, 100} {
		crashes := crashStandby(t, p, percent)
		if len(crashes) < 50 {
			t.Fatalf("only %d crashes", len(crashes))
		}
		for i, c := range crashes {
			if err := c.standby(t, p); err != nil {
				t.Fatalf("crash %d of %d, before %s: %v", i, len(crashes), c.op, err)
			}
		}
	}
}

// crashStandby returns what power cuts leave of a standby that applies one
// transaction after another and is then promoted.
func crashStandby(t *testing.T, p *primary, percent int) []crash {
	mem := vfs.NewCrashableMem()
	mustClose(t, emptyRestored(t, mem))
	var load crashLoad
	crashes, fs := newCrashes(mem, percent, &load)
	o := small(fs)
	o.MemTableBytes = 16 << 10
	db := mustOpen(t, "db", o)
	s := follow(t, db)
	for i := range p.txs {
		load.attempted.Add(1)
		if _, err := s.Apply(t.Context(), sequence(p.txs[i:i+1], nil)); err != nil {
			t.Fatal(err)
		}
		load.acked.Add(1)
	}
	if _, err := s.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	return crashes.taken()
}

func (c *crash) standby(t *testing.T, p *primary) error {
	db, err := Open("db", small(c.fs))
	if err != nil {
		return err
	}
	defer func() { mustClose(t, db) }()
	at := db.Info().LSN
	n := slices.IndexFunc(p.txs, func(tx *change.Tx) bool { return tx.Last() > at })
	if n < 0 {
		n = len(p.txs)
	}
	if int64(n) < c.acked || int64(n) > c.attempted {
		return fmt.Errorf("%d transactions at LSN %d, acknowledged were %d of %d", n, at, c.acked, c.attempted)
	}
	effective := change.Time(7)
	if n > 0 {
		effective = p.txs[n-1].Effective
	}
	if db.Info().Following == nil && n > 0 { // promoted
		id, err := db.Source().Identity(t.Context())
		if err != nil || id.Restored.LSN != at || id.Restored.Effective != effective {
			return fmt.Errorf("promoted from %+v, %v, want LSN %d and effective time %s", id.Restored, err, at, effective)
		}
		return nil
	}
	s, err := db.Follow()
	if err != nil {
		return err
	}
	if got, err := s.Standing(t.Context()); err != nil || got.Effective != effective {
		return fmt.Errorf("it stands at %+v, %v; want effective time %s", got, err, effective)
	}
	if got, err := s.Apply(t.Context(), sequence(p.txs, nil)); err != nil || got != len(p.txs)-n {
		return fmt.Errorf("%d transactions applied after %d: %v", got, n, err)
	}
	if got := db.Info(); got.LogHash != p.assigned.Hash {
		return fmt.Errorf("it ends at LSN %d with log hash %s, want %s", got.LSN, got.LogHash, p.assigned.Hash)
	}
	return nil
}
