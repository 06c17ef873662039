package restore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// killEnv names the directory in which the test binary, started again by
// TestKilled, restores until it is killed.
const killEnv = "TIDEMARK_TEST_RESTORE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if wait, err := strconv.Atoi(os.Getenv(partsEnv)); err == nil {
			if err := killedParts(dir, wait); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		if what := os.Getenv(fullEnv); what != "" {
			if err := fullRestore(dir, what); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, killedRestore(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killedRestore restores until some rows are loaded, says so, and waits.
func killedRestore(dir string) error {
	bucket, err := storage.OpenDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	if err != nil {
		return err
	}
	a, err := archive.Open(context.Background(), bucket, archive.OpenOptions{})
	if err != nil {
		return err
	}
	dst, err := embedded.NewTarget(filepath.Join(dir, "db"), embedded.Options{})
	if err != nil {
		return err
	}
	_, err = restore.Run(context.Background(), a, recovery.Latest(), &watched{Target: dst, on: func(n int) {
		if n == 20 {
			fmt.Println("loading")
			for { // until it is killed
				time.Sleep(time.Hour)
			}
		}
	}}, restore.Options{Parts: 1})
	return err
}

// watched tells of rows on their way into a target.
type watched struct {
	driver.Target
	on func(n int)
}

func (w *watched) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	return w.Target.Load(ctx, p, func(yield func(*change.Record, error) bool) {
		n := 0
		for rec, err := range rows {
			n++
			w.on(n)
			if !yield(rec, err) {
				return
			}
		}
	})
}

// names lists a directory.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// sameDatabase compares a database on disk with a moment.
func sameDatabase(t *testing.T, dir string, fs vfs.FS, want moment) {
	t.Helper()
	db, err := embedded.Open(dir, embedded.Options{MustExist: true, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got, err := lookAt(db)
	if err != nil {
		t.Fatal(err)
	}
	if got.at != want.at || got.tx != want.tx || got.commit != want.commit || !slices.Equal(got.digests, want.digests) {
		t.Errorf("the database is %+v, want %+v", got, want)
	}
}

// TestKilled kills a restore in its middle. What it leaves does not carry the
// destination's name, and the next restore clears it away.
func TestKilled(t *testing.T) {
	w := get(t, wholeWorld)
	dir := t.TempDir()
	bucket, err := storage.CreateDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	for key, raw := range w.objects {
		if err := bucket.Create(t.Context(), key, strings.NewReader(string(raw))); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if e := cmd.Process.Kill(); err != nil || e != nil || line != "loading\n" {
		t.Fatalf("the restore said %q, %v, %v", line, err, e)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the restore ended well before it was killed")
	}
	if got := names(t, dir); !slices.Contains(got, "db.partial") || slices.Contains(got, "db") {
		t.Errorf("the killed restore left %v", got)
	}
	dst, err := embedded.NewTarget(filepath.Join(dir, "db"), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), openArchive(t, bucket), recovery.Latest(), dst, restore.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"archive", "db"}) {
		t.Errorf("afterwards there are %v", got)
	}
	sameDatabase(t, filepath.Join(dir, "db"), nil, w.last())
}

// TestTwoRestores starts a second restore to the place of a running one.
func TestTwoRestores(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	dir := filepath.Join(t.TempDir(), "db")
	target := func() driver.Target {
		dst, err := embedded.NewTarget(dir, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return dst
	}
	second := make(chan error, 1)
	_, err := restore.Run(t.Context(), a, recovery.Latest(), &watched{Target: target(), on: func(n int) {
		if n == 10 {
			_, err := restore.Run(t.Context(), a, recovery.AtLSN(w.label), target(), restore.Options{})
			second <- err
		}
	}}, restore.Options{Parts: 1})
	if err != nil {
		t.Error(err)
	}
	if err := <-second; !errors.Is(err, embedded.ErrLocked) || !errors.Is(err, restore.ErrPreflight) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second restore: %v, want ErrLocked and ErrPreflight", err)
	}
	sameDatabase(t, dir, nil, w.last())

	// And when the first has ended, a third finds its work.
	if _, err := restore.Run(t.Context(), a, recovery.Latest(), target(), restore.Options{}); !errors.Is(err, driver.ErrNotEmpty) || !errors.Is(err, restore.ErrPreflight) {
		t.Errorf("the third restore: %v, want ErrNotEmpty and ErrPreflight", err)
	}
	sameDatabase(t, dir, nil, w.last())
	if got := names(t, filepath.Dir(dir)); !slices.Equal(got, []string{"db"}) {
		t.Errorf("there are %v", got)
	}
}

// fullDisk has little space.
type fullDisk struct{ vfs.FS }

func (fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1000, TotalBytes: 1 << 40, UsedBytes: 1<<40 - 1000}, nil
}

// TestPreflight checks that a destination that is no good is refused before the
// log is read, and stays as it is.
func TestPreflight(t *testing.T) {
	w := get(t, wholeWorld)
	reads := 0
	counted := &readCounter{Bucket: bucketOf(t, w.objects), n: &reads}
	a := openArchive(t, counted)
	_, plan, err := restore.Prepare(t.Context(), a, recovery.Latest())
	if err != nil {
		t.Fatal(err)
	}
	taken := vfs.NewMem()
	if err := taken.MkdirAll("db", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := taken.Create("db/mine", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		name string
		fs   vfs.FS
		want error
	}{{"not empty", taken, driver.ErrNotEmpty}, {"no space", fullDisk{vfs.NewMem()}, driver.ErrNoSpace}} {
		dst, err := embedded.NewTarget("db", embedded.Options{FS: c.fs})
		if err != nil {
			t.Fatal(err)
		}
		reads = 0
		_, err = restore.Execute(t.Context(), a, a.State(), plan, dst, restore.Options{})
		if !errors.Is(err, c.want) || !errors.Is(err, restore.ErrPreflight) || reads > 0 {
			t.Errorf("%s: %v after %d reads", c.name, err, reads)
		}
	}
	if got, err := taken.List(""); err != nil || !slices.Equal(got, []string{"db"}) {
		t.Errorf("there are %v, %v", got, err)
	}
	if got, err := taken.List("db"); err != nil || !slices.Equal(got, []string{"mine"}) {
		t.Errorf("the destination holds %v, %v", got, err)
	}
}

// TestEmbeddedEveryTransaction restores real databases.
func TestEmbeddedEveryTransaction(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	for i, m := range w.moments {
		fs := vfs.NewMem()
		dst, err := embedded.NewTarget("db", embedded.Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), dst, restore.Options{Parts: 1 + i%4}); err != nil {
			t.Fatal(err)
		}
		sameDatabase(t, "db", fs, m)
		if got, err := fs.List(""); err != nil || !slices.Equal(got, []string{"db"}) {
			t.Errorf("there are %v, %v", got, err)
		}
	}
}

// readCounter counts the reads of a bucket.
type readCounter struct {
	storage.Bucket
	n *int
}

func (c *readCounter) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	*c.n++
	return c.Bucket.Read(ctx, key, offset, length)
}
