package restore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// fullEnv makes the test binary restore onto a disk that fills up at the phase
// it names, but for so many bytes: "finish 4096".
const fullEnv = "TIDEMARK_TEST_RESTORE_FULL"

// smallDisk mounts a file system of so many MiB.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tidemark-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("SKIPPED: no file system of its own for a full disk (mount: %v)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk writes a file until the disk is full, but for about so many bytes.
func fillDisk(dir string, leave int64) error {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return err
	}
	n, err := io.Copy(f, zeros{})
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(fmt.Errorf("%d bytes did not fill the disk: %w", n, err), f.Close())
	}
	return errors.Join(f.Truncate(max(0, n-leave)), f.Close())
}

// zeros yields zeros without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// filling is a target whose disk fills up.
type filling struct {
	driver.Target
	phase string
	fill  func() error
}

func (f *filling) at(phase string) error {
	if phase != f.phase {
		return nil
	}
	return f.fill()
}

func (f *filling) Begin(ctx context.Context, want driver.State) ([]driver.Part, error) {
	if err := f.at("begin"); err != nil {
		return nil, err
	}
	return f.Target.Begin(ctx, want)
}

func (f *filling) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	if err := f.at("load"); err != nil {
		return err
	}
	return f.Target.Load(ctx, p, rows)
}

func (f *filling) Finish(ctx context.Context, want driver.State) error {
	if err := f.at("finish"); err != nil {
		return err
	}
	return f.Target.Finish(ctx, want)
}

// fullRestore is what the test binary does for fullEnv.
func fullRestore(dir, what string) error {
	f := &filling{}
	var leave int64
	if _, err := fmt.Sscan(what, &f.phase, &leave); err != nil {
		return err
	}
	f.fill = func() error { return fillDisk(dir, leave) }
	bucket, err := storage.OpenDir(filepath.Join(filepath.Dir(dir), "archive"), storage.DirOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer bucket.Close()
	a, err := archive.Open(context.Background(), bucket, archive.OpenOptions{})
	if err != nil {
		return err
	}
	f.Target, err = embedded.NewTarget(filepath.Join(dir, "new", "db"), embedded.Options{Fatal: func(err error) {
		fmt.Fprintln(os.Stderr, "fatal:", err)
		os.Exit(3)
	}})
	if err != nil {
		return err
	}
	_, err = restore.Run(context.Background(), a, recovery.Latest(), f, restore.Options{Parts: 1, PartSize: 16 << 10})
	return err
}

// TestFullDisk fills the disk of the destination in each phase of a restore.
// It is told, nothing that was there is harmed, nothing is left that has the
// destination's name, and once there is room the restore succeeds.
func TestFullDisk(t *testing.T) {
	w := get(t, wideWorld)
	disk := smallDisk(t, 48)
	bucket, err := storage.CreateDir(filepath.Join(filepath.Dir(disk), "archive"), storage.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	for key, raw := range w.objects {
		if err := bucket.Create(t.Context(), key, strings.NewReader(string(raw))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(disk, "mine"), []byte("keep"), 0o644); err != nil {
		t.Fatal(err)
	}
	failed := make(map[string]int)
	for _, phase := range []string{"begin", "load", "finish"} {
		for _, leave := range []int64{0, 4 << 10, 20 << 10, 60 << 10, 200 << 10, 1 << 20, 15 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes", phase, leave), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, os.Args[0])
				cmd.Env = append(os.Environ(), killEnv+"="+disk, fullEnv+"="+fmt.Sprint(phase, " ", leave))
				out, err := cmd.CombinedOutput()
				if err == nil {
					t.Fatalf("it was restored with %d bytes: %s", leave, out)
				}
				failed[phase]++
				if !strings.Contains(string(out), "no space left on device") {
					t.Errorf("it is not told that the disk is full: %s", out)
				}
				got := names(t, disk)
				fatal := cmd.ProcessState.ExitCode() == 3 // what is left is for the next restore
				if want := []string{"filler", "mine"}; !fatal && !slices.Equal(got, want) || slices.Contains(got, "db") {
					t.Errorf("there are %v, want %v (fatal: %t): %s", got, want, fatal, out)
				}
				if b, err := os.ReadFile(filepath.Join(disk, "mine")); string(b) != "keep" {
					t.Errorf("what was there is %q, %v", b, err)
				}
				if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
					t.Fatal(err)
				}
				db := filepath.Join(disk, "new", "db")
				dst := counting(t, db, nil)
				if _, err := restore.Run(t.Context(), openArchive(t, bucket), recovery.Latest(), dst, restore.Options{}); err != nil {
					t.Fatal(err)
				}
				if fatal && dst.begun == 0 {
					t.Error("no part was taken over after the process had to end")
				}
				sameDatabase(t, db, nil, w.last())
				if err := os.RemoveAll(filepath.Join(disk, "new")); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	t.Logf("restores that failed, by phase: %v", failed)
}

// TestFullTemp fills the disk that sorts spill to.
func TestFullTemp(t *testing.T) {
	w := get(t, wideWorld)
	temp := smallDisk(t, 1)
	if err := fillDisk(temp, 0); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "x", "db")
	_, err := restore.Run(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), counting(t, db, nil), restore.Options{Memory: 10_000, TempDir: temp})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), temp) {
		t.Errorf("got %v, want that %s is full", err, temp)
	}
	if _, err := os.Stat(filepath.Dir(db)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the destination's parent is there: %v", err)
	}
	if got := names(t, temp); !slices.Equal(got, []string{"filler"}) {
		t.Errorf("in the place for sorting there are %v", got)
	}
}
