package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemarkdb/tidemark/change"
)

// crashLoad is a workload whose every commit adds the rows n*10 … n*10+2 for
// n = 0, 1, 2 … and moves the single row of "head" to n.
type crashLoad struct {
	attempted, acked atomic.Int64 // commits
}

func (c *crashLoad) create(db *DB) error {
	return db.Update(func(tx *Tx) error {
		_, err := tx.CreateCollection("head", []string{"id"}, columns()...)
		return errors.Join(err, createCity(tx))
	})
}

func (c *crashLoad) commit(db *DB) error {
	return db.Update(func(tx *Tx) error {
		_, err := c.fill(tx)
		return err
	})
}

// fill makes one commit's changes and returns how many there are with it.
func (c *crashLoad) fill(tx *Tx) (int64, error) {
	n := c.attempted.Add(1) - 1
	for i := range int64(3) {
		if err := tx.Insert("city", city(n*10+i, strings.Repeat("x", int(n*37%300)))); err != nil {
			return 0, err
		}
	}
	return n + 1, tx.Put("head", city(0, fmt.Sprint(n)))
}

// check returns how many commits a database shows, having checked that they
// are exactly the first ones, whole.
func (c *crashLoad) check(db *DB) (n int64, err error) {
	err = db.View(func(tx *Tx) error {
		if _, err := tx.Schema("head"); err != nil {
			return nil // crashed before the first commit
		}
		rows := int64(0)
		for row, err := range tx.Scan("city", Range{}) {
			if err != nil {
				return err
			}
			if want := rows/3*10 + rows%3; row[0].Int() != want {
				return fmt.Errorf("row %d, want %d", row[0].Int(), want)
			}
			rows++
		}
		n = rows / 3
		if rows%3 != 0 {
			return fmt.Errorf("%d rows: part of a transaction", rows)
		}
		head, ok, err := tx.Get("head", change.IntValue(0))
		if n > 0 && (!ok || head[1].Str() != fmt.Sprint(n-1)) {
			return fmt.Errorf("%d commits of rows, the head row says %v", n, head)
		}
		return err
	})
	return n, err
}

// crash is what a power cut left.
type crash struct {
	fs               *vfs.MemFS
	acked, attempted int64
	op               string
}

// crashes cuts the power of a file system before each write, sync, rename and
// removal; percent of what was not synced remains.
type crashes struct {
	mem     *vfs.MemFS
	percent int
	load    *crashLoad
	mu      sync.Mutex
	all     []crash
	ops     int
	rng     *rand.Rand
}

func newCrashes(mem *vfs.MemFS, percent int, load *crashLoad) (*crashes, vfs.FS) {
	c := &crashes{mem: mem, percent: percent, load: load, rng: rand.New(rand.NewPCG(1, 2))}
	return c, errorfs.Wrap(mem, errorfs.InjectorFunc(c.before))
}

func (c *crashes) before(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops++; testing.Short() && c.ops%5 != 0 {
		return nil
	}
	if c.percent > 0 && c.percent < 100 {
		// Pebble counts on a file system that keeps directory changes in order.
		if ok, _ := exists(c.mem, "db/state"); ok {
			if err := syncDir(c.mem, "db/state"); err != nil {
				return err
			}
		}
	}
	left := crash{acked: c.load.acked.Load(), op: fmt.Sprint(op.Kind, " ", op.Path)}
	left.fs = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: c.rng})
	left.attempted = c.load.attempted.Load()
	c.all = append(c.all, left)
	return nil
}

// taken returns what the power cuts left.
func (c *crashes) taken() []crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// crashEverywhere runs a workload under crashes.
func crashEverywhere(t *testing.T, percent int) []crash {
	var load crashLoad
	crashes, fs := newCrashes(vfs.NewCrashableMem(), percent, &load)
	o := small(fs)
	o.MemTableBytes = 16 << 10
	db := mustOpen(t, "db", o)
	if err := load.create(db); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if err := load.commit(db); err != nil {
			t.Fatal(err)
		}
		load.acked.Add(1)
	}
	mustClose(t, db)
	return crashes.taken()
}

// TestCrashAtEveryWriteAndSync opens what each power cut left, and expects
// exactly the first commits, all acknowledged ones among them.
func TestCrashAtEveryWriteAndSync(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("unsynced=%d%%", percent), func(t *testing.T) {
			crashes := crashEverywhere(t, percent)
			if len(crashes) < 50 {
				t.Fatalf("only %d crashes", len(crashes))
			}
			for i, c := range crashes {
				if err := c.recovers(t); err != nil {
					t.Fatalf("crash %d of %d, before operation %s, %d to %d commits: %v", i, len(crashes), c.op, c.acked, c.attempted, err)
				}
			}
			t.Logf("%d crashes", len(crashes))
		})
	}
}

func (c *crash) recovers(t *testing.T) error {
	db, err := Open("db", small(c.fs))
	if err != nil {
		return err
	}
	var load crashLoad
	n, err := load.check(db)
	if err != nil || n < c.acked || n > c.attempted {
		return fmt.Errorf("%d commits: %v", n, err)
	}
	// It goes on from there, also after another crash.
	load.attempted.Store(n)
	if err := load.create(db); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	for range 3 {
		if err := load.commit(db); err != nil {
			return fmt.Errorf("commit after reopening: %w", err)
		}
	}
	again := c.fs.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, db)
	db, err = Open("db", small(again))
	if err != nil {
		return fmt.Errorf("again: %w", err)
	}
	defer func() { mustClose(t, db) }()
	if m, err := load.check(db); err != nil || m != n+3 {
		return fmt.Errorf("again: %d commits, want %d: %v", m, n+3, err)
	}
	return nil
}

// TestFailedSyncPoisons fails one write or sync of the log and expects that
// nothing is acknowledged from then on, and that reopening shows a prefix.
func TestFailedSyncPoisons(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileWriteAt} {
		mem := vfs.NewCrashableMem()
		var armed atomic.Bool
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			// The first file is the one in use; the next is being prepared beside it.
			if op.Kind == kind && strings.HasSuffix(op.Path, "0000000000000001.log") && armed.CompareAndSwap(true, false) {
				return errorfs.ErrInjected
			}
			return nil
		})
		db := mustOpen(t, "db", small(errorfs.Wrap(mem, inject)))
		var load crashLoad
		if err := load.create(db); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := load.commit(db); err != nil {
				t.Fatal(err)
			}
		}
		armed.Store(true)
		for range 3 {
			if err := load.commit(db); !errors.Is(err, ErrPoisoned) || !errors.Is(err, errorfs.ErrInjected) {
				t.Fatalf("commit: %v, want ErrPoisoned with its cause", err)
			}
		}
		if n, err := load.check(db); n != 5 || err != nil {
			t.Errorf("View shows %d commits, want 5: %v", n, err)
		}
		mustClose(t, db)
		db = mustOpen(t, "db", small(mem))
		if n, err := load.check(db); n < 5 || n > 6 || err != nil {
			t.Errorf("reopened: %d commits, want 5 or 6: %v", n, err)
		}
		mustClose(t, db)
	}
}

// lastLog returns the name and content of the last log file that holds frames,
// and their offsets. A file prepared in the background may come after it.
func lastLog(t *testing.T, fs vfs.FS) (name string, content []byte, frames []int) {
	t.Helper()
	names, err := fs.List("db/log")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, base := range slices.Backward(names) {
		name = fs.PathJoin("db/log", base)
		if content, err = readAll(fs, name); err != nil {
			t.Fatal(err)
		}
		for off := 0; ; off++ {
			i := bytes.Index(content[off:], []byte("tmfr"))
			if i < 0 {
				break
			}
			off += i
			frames = append(frames, off)
		}
		if len(frames) > 0 {
			return name, content, frames
		}
	}
	t.Fatal("no log file holds a frame")
	return "", nil, nil
}

// damageFrame flips a bit of a frame, counted from the last one of the log.
func damageFrame(t *testing.T, fs vfs.FS, back int) {
	t.Helper()
	name, content, frames := lastLog(t, fs)
	content[frames[len(frames)-1-back]+60] ^= 1
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(content, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLog damages the log of a database that was killed before its
// state was written out.
func TestDamagedLog(t *testing.T) {
	const commits = 6
	mem := vfs.NewCrashableMem()
	db := mustOpen(t, "db", small(mem))
	var load crashLoad
	if err := load.create(db); err != nil {
		t.Fatal(err)
	}
	for range commits {
		if err := load.commit(db); err != nil {
			t.Fatal(err)
		}
	}
	torn := mem.CrashClone(vfs.CrashCloneCfg{})
	corrupt := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, db)

	damageFrame(t, corrupt, 1)
	_, err := Open("db", small(corrupt))
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), ".log") || !strings.Contains(err.Error(), "offset") {
		t.Errorf("Open with a damaged frame in the middle: %v, want ErrCorrupt with file and offset", err)
	}

	damageFrame(t, torn, 0)
	for want := int64(commits - 1); want < commits+2; want++ {
		db := mustOpen(t, "db", small(torn))
		if n, err := load.check(db); n != want || err != nil {
			t.Fatalf("%d commits, want %d: %v", n, want, err)
		}
		load.attempted.Store(want)
		if err := load.commit(db); err != nil {
			t.Fatal(err)
		}
		mustClose(t, db)
	}
}

// TestStateAheadOfLogIsCorrupt loses acknowledged frames that the state shows.
func TestStateAheadOfLogIsCorrupt(t *testing.T) {
	mem := vfs.NewMem()
	db := mustOpen(t, "db", small(mem))
	var load crashLoad
	if err := load.create(db); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := load.commit(db); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, db)
	damageFrame(t, mem, 0)
	if _, err := Open("db", small(mem)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "the state is at 14") {
		t.Errorf("Open: %v", err)
	}
}
