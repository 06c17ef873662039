package storage

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnwritable opens and writes a directory whose permission bits forbid it,
// as a user whom they bind even where the tests run as root: on a thread of its
// own, which gives up root's rights over files and ends with the test.
func TestUnwritable(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	create(t, d, "k", "x")
	for p := path; p != filepath.Dir(p) && p != filepath.Clean(os.TempDir()); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, filepath.Join(path, tempDir)} {
		if err := os.Chmod(p, 0o555); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(p, 0o755) // so that the directory can be removed
	}
	var opened, created error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		const nobody = 65534
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(nobody); err != nil {
				opened = err
				return
			}
		}
		_, opened = OpenDir(path, DirOptions{})
		created = d.Create(t.Context(), "l", strings.NewReader("x"))
	}()
	<-done
	wantUnavailable(t, "open an unwritable directory", opened)
	wantUnavailable(t, "create in an unwritable directory", created)
	if _, err := d.Size(t.Context(), "l"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the object that could not be written: %v", err)
	}
}
