package restore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// fine divides the world of these tests into many parts.
var fine = restore.Options{Parts: 1, PartSize: 4 << 10}

// wideWorld is one with more rows: a base of many blocks, and a log after it.
var wideWorld = sync.OnceValues(func() (*world, error) {
	ctx := context.Background()
	w := &world{}
	a := &author{w: w}
	a.now.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	var err error
	w.db, err = embedded.Open("db", embedded.Options{FS: vfs.NewMem(), LogFileBytes: 64 << 10, Now: func() time.Time { return time.UnixMicro(a.now.Load()) }})
	if err != nil {
		return nil, err
	}
	bucket := storage.NewMem()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return nil, err
	}
	arch, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	c := capture.New(arch, w.db.Source(), capture.Options{FlushAge: time.Hour, CoverageEvery: time.Hour, RunBytes: 2 << 10,
		Now: func() change.Time { return change.Time(a.now.Load()) }})
	err = c.While(ctx, func(ctx context.Context) error {
		a.open()
		a.put(100, 900, 1)
		if _, err := c.Snapshot(ctx); err != nil {
			return err
		}
		a.put(850, 1000, 2)
		w.label = w.moments[len(w.moments)-1].at
		a.put(30, 300, 3)
		_, err := c.Sync(ctx)
		return errors.Join(a.err, err)
	})
	if err != nil {
		return nil, err
	}
	w.objects, err = contents(ctx, bucket)
	return w, err
})

// counted is a target that counts what is loaded.
type counted struct {
	driver.Target
	rows  atomic.Int64         // taken by Load
	parts atomic.Int64         // that Load was called for
	begun int                  // parts that Begin gave back
	ended func(part int) error // called after so many loads, which then come one after the other
	one   sync.Mutex           // held by a load while ended is set
}

func (c *counted) Begin(ctx context.Context, want driver.State) ([]driver.Part, error) {
	done, err := c.Target.Begin(ctx, want)
	c.begun = len(done)
	return done, err
}

func (c *counted) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	if c.ended != nil {
		c.one.Lock()
		defer c.one.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	err := c.Target.Load(ctx, p, func(yield func(*change.Record, error) bool) {
		for rec, err := range rows {
			if err == nil {
				c.rows.Add(max(1, rec.Count))
			}
			if !yield(rec, err) {
				return
			}
		}
	})
	if err == nil && c.ended != nil {
		err = c.ended(int(c.parts.Add(1)))
	}
	return err
}

func counting(t *testing.T, dir string, fs vfs.FS) *counted {
	t.Helper()
	dst, err := embedded.NewTarget(dir, embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return &counted{Target: dst}
}

// TestGoesOn interrupts a restore after each of its parts, goes on, and counts
// what is loaded in all: every row once.
func TestGoesOn(t *testing.T) {
	w := get(t, wideWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	m := w.last()
	whole, err := restore.Run(t.Context(), a, recovery.Latest(), counting(t, "db", vfs.NewMem()), fine)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Parts < 5 || whole.Resumed != 0 {
		t.Fatalf("%d parts, %d resumed: too few to show anything", whole.Parts, whole.Resumed)
	}
	for stop := 1; stop < whole.Parts; stop++ {
		fs := vfs.NewMem()
		ctx, cancel := context.WithCancel(t.Context())
		first := counting(t, "a/b/db", fs)
		first.ended = func(n int) error {
			if n == stop {
				cancel()
			}
			return nil
		}
		_, err := restore.Run(ctx, a, recovery.Latest(), first, fine)
		var told *restore.InterruptedError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &told) || told.Parts != stop || told.Of != whole.Parts {
			t.Fatalf("interrupted after %d parts: %v", stop, err)
		}
		second := counting(t, "a/b/db", fs)
		o := fine
		o.PartSize = 0 // the rest in other parts
		res, err := restore.Run(t.Context(), a, recovery.Latest(), second, o)
		if err != nil {
			t.Fatal(err)
		}
		if second.begun != stop || res.Resumed != stop || first.rows.Load()+second.rows.Load() != m.rows {
			t.Errorf("after %d parts: %d were taken over (%d by the result), %d and %d rows loaded of %d",
				stop, second.begun, res.Resumed, first.rows.Load(), second.rows.Load(), m.rows)
		}
		if res.Rows != whole.Rows || res.Bytes != whole.Bytes || !slices.Equal(res.Digests, whole.Digests) || res.Confirmed != whole.Confirmed {
			t.Errorf("after %d parts: %+v, want %+v", stop, res, whole)
		}
		sameDatabase(t, "a/b/db", fs, m)
		if got, err := fs.List("a/b"); err != nil || !slices.Equal(got, []string{"db"}) {
			t.Errorf("there are %v, %v", got, err)
		}
	}
}

// TestStoreAway lets the store be away from each of its operations on. What was
// finished is kept, and the next restore goes on.
func TestStoreAway(t *testing.T) {
	w := get(t, wideWorld)
	m := w.last()
	clean := storagetest.NewFaulty(bucketOf(t, w.objects))
	if _, err := restore.Run(t.Context(), openArchive(t, clean), recovery.Latest(), counting(t, "db", vfs.NewMem()), fine); err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for n := 1; n <= len(clean.Trace()); n++ {
		fs := vfs.NewMem()
		f := storagetest.NewFaulty(bucketOf(t, w.objects), storagetest.Rule{Fault: storagetest.Before, N: n, Times: -1, Err: storage.ErrUnavailable})
		first := counting(t, "db", fs)
		a, err := archive.Open(t.Context(), f, archive.OpenOptions{Sleep: noSleep})
		if err == nil {
			_, err = restore.Run(t.Context(), a, recovery.Latest(), first, fine)
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("away from operation %d on: %v", n, err)
		}
		kept := 0
		if told := (*restore.InterruptedError)(nil); errors.As(err, &told) {
			kept = told.Parts
		} else if got, err := fs.List(""); err != nil || len(got) > 0 {
			t.Errorf("away from operation %d on: nothing is kept, and there are %v, %v", n, got, err)
		}
		second := counting(t, "db", fs)
		if _, err := restore.Run(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), second, fine); err != nil {
			t.Fatal(err)
		}
		if second.begun != kept {
			t.Errorf("away from operation %d on: %d parts kept, %d taken over", n, kept, second.begun)
		}
		if kept > 0 {
			resumed++
		}
		sameDatabase(t, "db", fs, m)
	}
	if resumed < 3 {
		t.Errorf("only %d restores went on", resumed)
	}
}

// TestDamageKeepsNothing checks that what will not pass removes all, also what
// an interrupted restore had kept, and the directories that it made.
func TestDamageKeepsNothing(t *testing.T) {
	w := get(t, wideWorld)
	fs := vfs.NewMem()
	interrupt(t, fs, "x/y/db", 2, w)
	f := storagetest.NewFaulty(bucketOf(t, w.objects), storagetest.Rule{Fault: storagetest.Flip, N: 1, At: 999, Op: storagetest.OpRead,
		Key: func(key string) bool { return kindOf(key) == "log" }})
	state, plan, err := restore.Prepare(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest())
	if err != nil {
		t.Fatal(err)
	}
	c := counting(t, "x/y/db", fs)
	_, err = restore.Execute(t.Context(), openArchive(t, f), state, plan, c, fine)
	if !errors.Is(err, pack.ErrCorrupt) || c.begun != 2 {
		t.Errorf("%v after %d parts were taken over, want damage and 2", err, c.begun)
	}
	if got, err := fs.List(""); err != nil || len(got) > 0 {
		t.Errorf("there are %v, %v", got, err)
	}
}

// interrupt leaves a restore of the end of a world with some finished parts.
func interrupt(t *testing.T, fs vfs.FS, dir string, parts int, w *world) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := counting(t, dir, fs)
	c.ended = func(n int) error {
		if n == parts {
			cancel()
		}
		return nil
	}
	_, err := restore.Run(ctx, openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), c, fine)
	if told := (*restore.InterruptedError)(nil); !errors.As(err, &told) || told.Parts != parts {
		t.Fatalf("interrupted after %d parts: %v", parts, err)
	}
}

// TestAnotherRestore checks that a restore goes on only with its own work: the
// same rows, counted the same way, whatever the archive holds beside.
func TestAnotherRestore(t *testing.T) {
	w := get(t, wideWorld)
	for _, c := range []struct {
		name string
		to   recovery.Target
		o    restore.Options
		grow bool
		want int // parts taken over; -1: refused
	}{
		{name: "the same", to: recovery.Latest(), want: 3},
		{name: "the same LSN, asked for otherwise", to: recovery.AtLSN(w.last().at), want: 3},
		{name: "a label was added", to: recovery.Latest(), grow: true, want: 3},
		{name: "another LSN", to: recovery.AtLSN(w.label), want: -1},
		{name: "without digests", to: recovery.Latest(), o: restore.Options{NoDigest: true}, want: -1},
		{name: "another LSN, begun anew", to: recovery.AtLSN(w.label), o: restore.Options{Fresh: true}, want: 0},
		{name: "the same, begun anew", to: recovery.Latest(), o: restore.Options{Fresh: true}, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			interrupt(t, fs, "db", 3, w)
			a := openArchive(t, bucketOf(t, w.objects))
			if c.grow {
				show(t, a, w.label, w.moment(t, w.label).digests)
			}
			dst := counting(t, "db", fs)
			_, err := restore.Run(t.Context(), a, c.to, dst, c.o)
			if c.want < 0 {
				var told *driver.UnfinishedError
				if !errors.Is(err, driver.ErrUnfinished) || !errors.Is(err, restore.ErrPreflight) || !errors.As(err, &told) || told.Parts != 3 ||
					!strings.Contains(told.About, fmt.Sprintf("LSN %d of timeline main", w.last().at)) {
					t.Errorf("got %v", err)
				}
				// It is still there for its own.
				dst = counting(t, "db", fs)
				if _, err := restore.Run(t.Context(), a, recovery.Latest(), dst, restore.Options{}); err != nil || dst.begun != 3 {
					t.Errorf("%v, %d parts were taken over", err, dst.begun)
				}
				return
			}
			if err != nil || dst.begun != c.want {
				t.Errorf("%v, %d parts were taken over, want %d", err, dst.begun, c.want)
			}
			sameDatabase(t, "db", fs, w.moment(t, atOf(c.to, w)))
		})
	}
}

func atOf(to recovery.Target, w *world) change.LSN {
	if to.Kind == recovery.TargetLSN {
		return to.LSN
	}
	return w.last().at
}

// TestDamagedProgress harms what an interrupted restore has left, file by file.
// A part that is not whole is loaded again; without its JOB nothing is used.
func TestDamagedProgress(t *testing.T) {
	w := get(t, wideWorld)
	const parts = 3
	model := t.TempDir()
	interrupt(t, vfs.Default, filepath.Join(model, "db"), parts, w)
	files := names(t, filepath.Join(model, "db.partial", "load"))
	a := openArchive(t, bucketOf(t, w.objects))
	for _, name := range files {
		for harm, f := range map[string]func(string) error{
			"flipped":   func(n string) error { return rewrite(n, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
			"cut short": func(n string) error { return rewrite(n, func(b []byte) []byte { return b[:len(b)/2] }) },
			"empty":     func(n string) error { return rewrite(n, func([]byte) []byte { return nil }) },
			"missing":   os.Remove,
		} {
			t.Run(name+" "+harm, func(t *testing.T) {
				dir := t.TempDir() // as if another machine had left it
				if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
					t.Fatal(err)
				}
				if err := f(filepath.Join(dir, "db.partial", "load", name)); err != nil {
					t.Fatal(err)
				}
				dst := counting(t, filepath.Join(dir, "db"), nil)
				_, err := restore.Run(t.Context(), a, recovery.Latest(), dst, fine)
				want := parts - 1
				if name == "JOB" {
					want = 0
					if harm != "missing" {
						if !errors.Is(err, driver.ErrUnfinished) || !strings.Contains(err.Error(), "can't be read") {
							t.Errorf("got %v", err)
						}
						dst = counting(t, filepath.Join(dir, "db"), nil)
						o := fine
						o.Fresh = true
						_, err = restore.Run(t.Context(), a, recovery.Latest(), dst, o)
					}
				}
				if err != nil || dst.begun != want {
					t.Errorf("%v, %d parts were taken over, want %d", err, dst.begun, want)
				}
				sameDatabase(t, filepath.Join(dir, "db"), nil, w.last())
				if got := names(t, dir); !slices.Equal(got, []string{"db"}) {
					t.Errorf("there are %v", got)
				}
			})
		}
	}
}

func rewrite(name string, f func([]byte) []byte) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, f(b), 0o600)
}

// partsEnv makes the test binary restore in many parts, telling of each, and
// wait at the one whose number it holds; at 0 nowhere.
const partsEnv = "TIDEMARK_TEST_RESTORE_PARTS"

// killedParts is what the test binary does then.
func killedParts(dir string, wait int) error {
	bucket, err := storage.OpenDir(filepath.Join(dir, "archive"), storage.DirOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer bucket.Close()
	a, err := archive.Open(context.Background(), bucket, archive.OpenOptions{})
	if err != nil {
		return err
	}
	dst, err := embedded.NewTarget(filepath.Join(dir, "db"), embedded.Options{})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	c := &counted{Target: dst, ended: func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println("part")
		if n == wait {
			for { // until it is killed; what waits for nothing is taken for a deadlock
				time.Sleep(time.Hour)
			}
		}
		return nil
	}}
	res, err := restore.Run(context.Background(), a, recovery.Latest(), c, restore.Options{Parts: 1 + wait%2, PartSize: fine.PartSize})
	if err == nil {
		fmt.Println("done", c.rows.Load(), res.Resumed)
	}
	return err
}

// TestKilledAnywhere kills a restoring process again and again, at each part
// and at random moments, until one comes to its end.
func TestKilledAnywhere(t *testing.T) {
	w := get(t, wideWorld)
	dir := t.TempDir()
	bucket, err := storage.CreateDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key, raw := range w.objects {
		if err := bucket.Create(t.Context(), key, strings.NewReader(string(raw))); err != nil {
			t.Fatal(err)
		}
	}
	if err := bucket.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	rng := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for range rounds {
		for n := 0; ; n++ {
			// By turns at the next part boundary, and at any moment.
			wait, after := 1, time.Duration(0)
			if n%2 == 1 {
				wait, after = 1_000_000, time.Duration(rng.Int64N(int64(60*time.Millisecond)))
			}
			before := finishedParts(t, dir)
			said, killed := restoreUntilKilled(t, dir, wait, after)
			if !killed {
				if !strings.HasSuffix(said, fmt.Sprintf(" %d\n", before)) {
					t.Errorf("with %d parts finished before, the restore said %q", before, said)
				}
				break
			}
			kills++
			// Nothing that was finished is lost, unless the last step had begun and ended.
			if got := names(t, dir); slices.Contains(got, "db") {
				break
			}
			if after := finishedParts(t, dir); after < before+strings.Count(said, "part") {
				t.Fatalf("%d parts were finished before and %q since, %d are left", before, said, after)
			}
		}
		sameDatabase(t, filepath.Join(dir, "db"), nil, w.last())
		for _, name := range []string{"db", "db.partial", "db.partial.lock"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kills < rounds { // the first of each is killed at a part
		t.Errorf("only %d kills in %d restores", kills, rounds)
	}
}

func finishedParts(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "db.partial", "load", "*.part"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// restoreUntilKilled starts a restoring process and kills it at the part given,
// or after a time. It returns what the process said, and whether it was killed.
func restoreUntilKilled(t *testing.T, dir string, wait int, after time.Duration) (string, bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir, partsEnv+"="+strconv.Itoa(wait))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	r := bufio.NewReader(out)
	if after > 0 {
		line, _ := r.ReadString('\n') // it is under way
		said.WriteString(line)
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	} else {
		for range wait {
			line, err := r.ReadString('\n')
			said.WriteString(line)
			if err != nil || line != "part\n" {
				break
			}
		}
		if strings.Count(said.String(), "part\n") == wait {
			_ = cmd.Process.Kill()
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	said.Write(rest)
	err = cmd.Wait()
	return said.String(), err != nil
}
