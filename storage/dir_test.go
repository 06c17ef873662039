package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path, DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func create(t testing.TB, b Bucket, key, body string) {
	t.Helper()
	if err := b.Create(t.Context(), key, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

func wantBody(t testing.TB, b Bucket, key, body string) {
	t.Helper()
	r, err := b.Read(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != body {
		t.Fatalf("read %s: got %.40q, %v; want %.40q", key, got, err, body)
	}
}

func wantUnavailable(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("%s: got %v, want ErrUnavailable", what, err)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) {
		t.Errorf("%s: %v must not claim anything about an object", what, err)
	}
}

// temps returns the names in the bucket's private directory.
func temps(t testing.TB, d *Dir) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.path, tempDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOpenDirRefuses(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		filepath.Join(base, "missing"): "no such directory",
		file:                           "wanted a directory, found a file",
		filepath.Join(file, "below"):   "file",
	}
	for path, want := range cases {
		_, err := OpenDir(path, DirOptions{})
		wantUnavailable(t, "open "+path, err)
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %q names neither the path nor %q", path, err, want)
		}
		if path == file || strings.HasPrefix(path, file) {
			if _, err := CreateDir(path, DirOptions{}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("create %s: got %v, want ErrUnavailable", path, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(base, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenDir made the directory: %v", err)
	}
}

// TestUnwritableInside puts a file where the bucket needs a directory, which
// stops even root.
func TestUnwritableInside(t *testing.T) {
	d := openDir(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(d.path, tempDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := d.Create(t.Context(), "k", strings.NewReader("x"))
	wantUnavailable(t, "create without a private directory", err)
	if !strings.Contains(err.Error(), "remove the file .tmp") {
		t.Errorf("error does not say what to do: %v", err)
	}
}

func TestReadOnlyDir(t *testing.T) {
	path := t.TempDir()
	create(t, openDir(t, path), "a/b", "x")
	if err := os.RemoveAll(filepath.Join(path, tempDir)); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(path, DirOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wantBody(t, d, "a/b", "x")
	wantUnavailable(t, "create", d.Create(t.Context(), "c", strings.NewReader("x")))
	wantUnavailable(t, "delete", d.Delete(t.Context(), "a/b"))
	wantBody(t, d, "a/b", "x")
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 1 {
		t.Errorf("a read-only bucket left traces: %v, %v", entries, err)
	}
}

func TestCreateDirOpensWhatExists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "bucket")
	for range 2 {
		d, err := CreateDir(path, DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	create(t, openDir(t, path), "k", "x")
}

// TestVanishedDir removes, moves and replaces the directory of an open bucket.
func TestVanishedDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows does not let go of an open directory")
	}
	vanish := map[string]func(path string) error{
		"removed":  os.RemoveAll,
		"moved":    func(path string) error { return os.Rename(path, path+"-moved") },
		"a file":   func(path string) error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)) },
		"replaced": func(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) },
	}
	for name, remove := range vanish {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bucket")
			d, err := CreateDir(path, DirOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			create(t, d, "a/b", "x")
			if err := remove(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Stat(path)
			for _, key := range []string{"a/b", "a/new", "new/new"} {
				wantUnavailable(t, "create "+key, d.Create(t.Context(), key, strings.NewReader("y")))
				_, err = d.Read(t.Context(), key, 0, -1)
				wantUnavailable(t, "read "+key, err)
				_, err = d.Size(t.Context(), key)
				wantUnavailable(t, "size "+key, err)
				wantUnavailable(t, "delete "+key, d.Delete(t.Context(), key))
			}
			listed := 0
			for _, err := range d.List(t.Context(), "", "") {
				wantUnavailable(t, "list", err)
				listed++
			}
			if listed != 1 {
				t.Errorf("list yielded %d times, want one error", listed)
			}
			after, err := os.Stat(path)
			if before == nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error("the directory was made again")
			}
			if after != nil && after.IsDir() {
				if entries, err := os.ReadDir(path); err != nil || len(entries) != 0 {
					t.Errorf("something was written to the directory in its place: %v, %v", entries, err)
				}
			}
		})
	}
}

// TestVanishesDuringCreate removes the directory while the body is being read.
func TestVanishesDuringCreate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: Windows does not let go of an open directory")
	}
	path := filepath.Join(t.TempDir(), "bucket")
	d, err := CreateDir(path, DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	body := io.MultiReader(strings.NewReader("x"), removal(func() error { return os.RemoveAll(path) }))
	wantUnavailable(t, "create", d.Create(t.Context(), "a/b", body))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made again: %v", err)
	}
}

// removal is an empty reader that does something when it is read.
type removal func() error

func (r removal) Read([]byte) (int, error) {
	if err := r(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// TestDirectoryRemovedBelow makes directories again that somebody removed
// inside a bucket that is itself still there.
func TestDirectoryRemovedBelow(t *testing.T) {
	d := openDir(t, t.TempDir())
	create(t, d, "a/b/c", "x")
	if err := os.RemoveAll(filepath.Join(d.path, "a")); err != nil {
		t.Fatal(err)
	}
	create(t, d, "a/b/c", "y")
	wantBody(t, d, "a/b/c", "y")
}

func TestKeysInEachOthersWay(t *testing.T) {
	for _, b := range []Bucket{openDir(t, t.TempDir()), NewMem()} {
		create(t, b, "a/b/c", "x")
		create(t, b, "a/b-c", "x")
		for _, key := range []string{"a", "a/b", "a/b/c/d", "a/b/c/d/e"} {
			if err := b.Create(t.Context(), key, strings.NewReader("y")); !errors.Is(err, ErrBadKey) || errors.Is(err, ErrExists) {
				t.Errorf("%v: create %s beside a/b/c: got %v, want ErrBadKey", b, key, err)
			}
		}
		wantBody(t, b, "a/b/c", "x")
	}
}

// TestForeignFiles: what is no object is neither listed nor read, nor does it
// stop anything.
func TestForeignFiles(t *testing.T) {
	d := openDir(t, t.TempDir())
	create(t, d, "t/k", "x")
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".DS_Store", "t/.hidden", "t/with space", "lost+found/x", "ends-in-dot./x"} {
		full := filepath.Join(d.path, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(d.path, "t", "leak")); err != nil {
		t.Logf("no symbolic links here: %v", err)
	} else if r, err := d.Read(t.Context(), "t/leak", 0, -1); err == nil {
		r.Close()
		t.Error("a symbolic link led out of the bucket")
	}
	_ = os.Remove(filepath.Join(d.path, "t", "leak"))
	var got []string
	for info, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if diff := cmp.Diff([]string{"t/k"}, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

// TestListPrunes: a listing must not descend where nothing can be wanted.
func TestListPrunes(t *testing.T) {
	d := openDir(t, t.TempDir())
	for _, k := range []string{"a/x/1", "b/x/1", "c/x/1", "c/y/1", "d/x/1"} {
		create(t, d, k, "")
	}
	w := walk{ctx: t.Context(), dir: d, prefix: "c/y", after: ""}
	names, err := w.names(d.root, "")
	if diff := cmp.Diff([]string{"c/"}, names); err != nil || diff != "" {
		t.Errorf("prefix c/y at the top, %v (-want +got):\n%s", err, diff)
	}
	w = walk{ctx: t.Context(), dir: d, after: "c/x/1"}
	names, err = w.names(d.root, "")
	if diff := cmp.Diff([]string{"c/", "d/"}, names); err != nil || diff != "" {
		t.Errorf("after c/x/1 at the top, %v (-want +got):\n%s", err, diff)
	}
}

func TestTemporaryFiles(t *testing.T) {
	d := openDir(t, t.TempDir())
	create(t, d, "a/b", "x")
	if err := d.Create(t.Context(), "a/b", strings.NewReader("y")); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), "a/c", io.MultiReader(strings.NewReader("y"), removal(func() error { return errors.New("no") }))); err == nil {
		t.Fatal("a failing body was stored")
	}
	if got := temps(t, d); len(got) != 0 {
		t.Fatalf("left in %s: %q", tempDir, got)
	}
}

// TestSweep: only files that are both old and unlocked go.
func TestSweep(t *testing.T) {
	d := openDir(t, t.TempDir())
	old := time.Now().Add(-2 * tempGrace)
	leave := func(name string, written time.Time) {
		full := filepath.Join(d.path, tempDir, name)
		if err := errors.Join(os.WriteFile(full, []byte("half"), 0o600), os.Chtimes(full, written, written)); err != nil {
			t.Fatal(err)
		}
	}
	writing, err := d.newTemp()
	if err != nil {
		t.Fatal(err)
	}
	defer writing.discard()
	if err := d.root.Chtimes(writing.name, old, old); err != nil {
		t.Fatal(err)
	}
	leave("dead", old)
	leave("fresh", time.Now())
	want := []string{"fresh"}
	if free, err := tryLock(writing.file); err == nil && free {
		want = append(want, filepath.Base(writing.name))
	}
	other := openDir(t, d.path) // sweeps
	got := temps(t, other)
	if len(want) == 2 && want[0] > want[1] {
		want[0], want[1] = want[1], want[0]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the sweep (-want +got):\n%s", diff)
	}
}

func TestReaderEndsWithContext(t *testing.T) {
	for _, b := range []Bucket{openDir(t, t.TempDir()), NewMem()} {
		create(t, b, "k", "some bytes")
		ctx, cancel := context.WithCancel(t.Context())
		r, err := b.Read(ctx, "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := r.Read(make([]byte, 4)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: got %v, want context.Canceled", b, err)
		}
	}
}

// TestFileShrinks: a file cut behind our back is an error, not a short read.
func TestFileShrinks(t *testing.T) {
	d := openDir(t, t.TempDir())
	create(t, d, "k", strings.Repeat("x", 1000))
	r, err := d.Read(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(d.path, "k"), 500); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 500 {
		t.Errorf("got %d bytes, %v; want 500 and io.ErrUnexpectedEOF", len(got), err)
	}
}

func benchKey(i int) string { return fmt.Sprintf("t/manifest/%016x.json", i) }

func BenchmarkDirCreate4KiB(b *testing.B) {
	d := openDir(b, b.TempDir())
	data := bytes.Repeat([]byte("data"), 1024)
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		if err := d.Create(b.Context(), benchKey(i), bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDirRead4KiB(b *testing.B) {
	d := openDir(b, b.TempDir())
	data := bytes.Repeat([]byte("data"), 1024)
	if err := d.Create(b.Context(), benchKey(0), bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	buf := make([]byte, len(data))
	for b.Loop() {
		r, err := d.Read(b.Context(), benchKey(0), 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(r, buf); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
