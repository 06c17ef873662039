package embedded

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemarkdb/tidemark/driver"
)

// events collects what a policy tells.
type events struct {
	mu  sync.Mutex
	all []LagEvent
}

func (e *events) tell(ev LagEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) kinds() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, ev := range e.all {
		out = append(out, string(ev.Kind))
	}
	return strings.Join(out, " ")
}

// lagging returns a database with an archive attached, at its end, and a
// function that commits about 400 bytes.
func lagging(t testing.TB, fs vfs.FS, p LagPolicy) (*DB, func() error) {
	t.Helper()
	o := small(fs)
	o.Lag = p
	db := mustOpen(t, "db", o)
	update(t, db, createCity)
	ack(t, db, receiptFor(db, "a"))
	n := int64(0)
	return db, func() error {
		n++
		return db.Update(func(tx *Tx) error { return tx.Put("city", city(n%7, fmt.Sprintf("%0400d", n))) })
	}
}

func TestLagPolicyIsChecked(t *testing.T) {
	for want, p := range map[string]LagPolicy{
		"needs a limit":        {Action: LagBlock},
		"must not be negative": {Action: LagDetach, Bytes: -1},
		"want 0 to 2":          {Action: 7, Bytes: 1},
	} {
		if _, err := Open("db", Options{FS: vfs.NewMem(), Lag: p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	for _, s := range []string{"keep", "block", "detach"} {
		if a, err := ParseLagAction(s); err != nil || a.String() != s {
			t.Errorf("%s: %v, %v", s, a, err)
		}
	}
	if _, err := ParseLagAction("drop"); err == nil {
		t.Error("drop is taken")
	}
}

// TestLagIsMeasured compares Info.Lag with what was committed and acknowledged.
func TestLagIsMeasured(t *testing.T) {
	fs := vfs.NewMem()
	db, commit := lagging(t, fs, LagPolicy{})
	if l := db.Info().Lag; l.Bytes != 0 || l.Age != 0 {
		t.Errorf("lag %+v with everything acknowledged", l)
	}
	for range 20 {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	if l := db.Info().Lag; l.Bytes < 20*400 || l.Bytes > 20*600 || l.Age <= 0 {
		t.Errorf("lag %+v after 20 commits of 400 bytes", l)
	}
	r := receiptFor(db, "a")
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	if l := db.Info().Lag; l.Bytes < 20*400 || l.Bytes > 20*600+8<<10 {
		t.Errorf("lag %+v after reopening, files of %d bytes", l, db.opts.LogFileBytes)
	}
	ack(t, db, r)
	if l := db.Info().Lag; l.Bytes != 0 || l.Age != 0 {
		t.Errorf("lag %+v after the acknowledgement", l)
	}
	mustClose(t, db)
}

// TestLagDetach lets an archive fall behind in bytes, and comes back to it.
func TestLagDetach(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var told events
	db, commit := lagging(t, fs, LagPolicy{Action: LagDetach, Bytes: 20 << 10, Event: told.tell})
	archived := receiptFor(db, "a")
	for i := 0; db.Info().Detached == nil; i++ {
		if err := commit(); err != nil || i > 10_000 {
			t.Fatalf("%d commits, %v: no detachment", i, err)
		}
	}
	for range 100 {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.state.Flush(), db.releaseLog()); err != nil {
		t.Fatal(err)
	}
	if e := db.log.Extent(); e.Bytes > 4*db.opts.LogFileBytes || db.Info().Lag.Bytes != 0 {
		t.Errorf("the log still has %d bytes, lag %s", e.Bytes, db.Info().Lag)
	}
	check := func() {
		t.Helper()
		_, err := db.Source().Changes(t.Context(), archived.Mark)
		if !errors.Is(err, driver.ErrLogLost) || !strings.Contains(err.Error(), "the database gave up its log on ") {
			t.Errorf("changes for the archive: %v", err)
		}
		if d := db.Info().Detached; d == nil || d.Acked != archived.LSN || d.LSN <= archived.LSN || !strings.Contains(d.Reason, "bytes of log and 0s behind") {
			t.Errorf("detached %+v", d)
		}
	}
	check()
	if id, err := readIdentity(fs.CrashClone(vfs.CrashCloneCfg{}), "db"); err != nil || id.Detached == nil {
		t.Errorf("a power cut leaves %+v, %v", id, err)
	}
	mustClose(t, db)
	if got := told.kinds(); got != "detached" {
		t.Errorf("events %s", got)
	}
	db = mustOpen(t, "db", small(fs))
	check()
	// What the archive was sent before does not attach it again, Start does.
	ack(t, db, archived)
	check()
	mark, err := db.Source().Start(t.Context())
	if err != nil || mark.LSN != db.Info().LSN || db.Info().Detached != nil {
		t.Fatalf("start at %+v, %v, detached %+v", mark, err, db.Info().Detached)
	}
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(1, "Gent")) })
	c, err := db.Source().Changes(t.Context(), mark)
	if err != nil {
		t.Fatal(err)
	}
	if tx, err := c.Next(t.Context()); err != nil || tx.First() != mark.LSN+1 || c.Close() != nil {
		t.Errorf("%+v, %v after LSN %d", tx, err, mark.LSN)
	}
	mustClose(t, db)
}

// TestLagDetachUndone acknowledges, after a detachment, what leaves nothing out.
func TestLagDetachUndone(t *testing.T) {
	db, commit := lagging(t, vfs.NewMem(), LagPolicy{Action: LagDetach, Bytes: 2 << 10})
	defer func() { mustClose(t, db) }()
	for db.Info().Detached == nil {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	ack(t, db, receiptFor(db, "a"))
	if i := db.Info(); i.Detached != nil || !i.Archived {
		t.Errorf("detached: %+v, although the archive holds everything", i.Detached)
	}
}

// TestLagAge steps the database's clock by hours in both directions, which must
// not matter, and then lets time pass.
func TestLagAge(t *testing.T) {
	var now, passed atomic.Int64 // ns
	o := small(vfs.NewMem())
	o.Now = func() time.Time { return time.Unix(1_700_000_000, now.Add(1000)) }
	o.elapsed = func() time.Duration { return time.Duration(passed.Load()) }
	o.Lag = LagPolicy{Action: LagBlock, Age: time.Hour, Wait: -1}
	db := mustOpen(t, "db", o)
	defer func() { mustClose(t, db) }()
	update(t, db, createCity)
	ack(t, db, receiptFor(db, "a"))
	put := func(i int64) error {
		return db.Update(func(tx *Tx) error { return tx.Put("city", city(i, "Gent")) })
	}
	for i, step := range []time.Duration{0, 5 * time.Hour, -11 * time.Hour, 30 * time.Hour} {
		now.Add(int64(step))
		passed.Add(int64(10 * time.Minute))
		if err := put(int64(i)); err != nil {
			t.Errorf("after a step of the clock by %s: %v", step, err)
		}
	}
	if l := db.Info().Lag; l.Age != 30*time.Minute {
		t.Errorf("lag %s, want 30 minutes", l)
	}
	middle := receiptFor(db, "a")
	passed.Add(int64(10 * time.Minute))
	if err := put(10); err != nil {
		t.Error(err)
	}
	passed.Add(int64(31 * time.Minute))
	lsn := db.Info().LSN
	err := put(11)
	var lag *LagError
	if !errors.Is(err, ErrArchiveLag) || !errors.As(err, &lag) || lag.Age != 71*time.Minute || lag.Acked != 1 {
		t.Fatalf("a commit with the archive over an hour behind: %v", err)
	}
	for _, want := range []string{"1h11m0s behind", "archived through LSN 1", "the limit is 1h0m0s", "capture the database"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if db.Info().LSN != lsn {
		t.Error("the refused commit was stored")
	}
	ack(t, db, middle) // what is left is younger
	if err := put(12); err != nil {
		t.Errorf("after an acknowledgement: %v", err)
	}
}

// TestLagBlock has a commit wait for the archive, in vain and not in vain.
func TestLagBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told events
		db, commit := lagging(t, vfs.NewMem(), LagPolicy{Action: LagBlock, Bytes: 4 << 10, Event: told.tell})
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			began := time.Now()
			if err = commit(); err != nil && time.Since(began) != 30*time.Second {
				t.Errorf("it failed after %s, want 30 s", time.Since(began))
			}
		}
		if !errors.Is(err, ErrArchiveLag) || n < 8 || n > 12 {
			t.Fatalf("commit %d of 400 bytes, the limit is 4 KiB: %v", n, err)
		}
		done := make(chan error, 1)
		go func() { done <- commit() }()
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			t.Errorf("the commit did not wait: %v", err)
		default:
		}
		ack(t, db, receiptFor(db, "a"))
		if err := <-done; err != nil {
			t.Errorf("the commit that waited: %v", err)
		}
		time.Sleep(2 * lagEvery)
		if got := told.kinds(); got != "blocked released" {
			t.Errorf("events %s", got)
		}
		// Close ends the waiting.
		for err = nil; err == nil; {
			err = commit()
		}
		go func() { done <- commit() }()
		synctest.Wait()
		mustClose(t, db)
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("a commit that waited while the database was closed: %v", err)
		}
	})
}

// TestLagDetachOnFullDisk gives the log up although that can't be written down.
func TestLagDetachOnFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && strings.Contains(op.Path, identityName) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	var told events
	db, commit := lagging(t, fs, LagPolicy{Action: LagDetach, Bytes: 16 << 10, Event: told.tell})
	archived := receiptFor(db, "a")
	full.Store(true)
	for db.Info().Detached == nil {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if err := commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.state.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = db.releaseLog() // the keeper may have been there before
	if n := db.log.Extent().Files; n > 2 {
		t.Errorf("%d log files are kept on a full disk", n)
	}
	full.Store(false)
	mustClose(t, db) // writes it down
	told.mu.Lock()
	if len(told.all) != 1 || !errors.Is(told.all[0].Err, syscall.ENOSPC) {
		t.Errorf("events %+v", told.all)
	}
	told.mu.Unlock()
	db = mustOpen(t, "db", small(mem))
	if d := db.Info().Detached; d == nil || d.Acked != archived.LSN {
		t.Errorf("detached %+v", d)
	}
	mustClose(t, db)
}
