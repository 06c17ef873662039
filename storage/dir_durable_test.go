package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A disk models what a power cut leaves of a directory: a file's content once
// the file is synced, a name once the directory that holds it is synced. It
// watches the steps of one or more Dirs on the same path.
type disk struct {
	t    *testing.T
	path string

	mu      sync.Mutex
	content map[string]bool            // temporary files whose content is synced
	pending map[string]map[string]bool // directory → names made in it since its last sync
	durable map[string]bool            // names that survive a power cut
	steps   int
	failAt  int // the step that fails; 0 means none
	failed  string
}

var errDisk = errors.New("disk error")

func newDisk(t *testing.T) *disk {
	if !useLinks {
		t.Skip("SKIPPED: without links and directory syncs there is nothing to watch")
	}
	return &disk{
		t: t, path: t.TempDir(),
		content: map[string]bool{}, pending: map[string]map[string]bool{}, durable: map[string]bool{".": true},
	}
}

// open returns a Dir as a process of its own would have it.
func (k *disk) open() *Dir {
	d := openDir(k.t, k.path)
	real := d.sys
	d.sys = dirSys{
		syncFile: func(f *os.File) error {
			return k.step("sync file", func() error { k.content[k.rel(f)] = true; return real.syncFile(f) })
		},
		syncDir: func(f *os.File) error {
			return k.step("sync directory", func() error {
				dir := k.rel(f)
				for name := range k.pending[dir] {
					k.durable[name] = true
				}
				delete(k.pending, dir)
				return real.syncDir(f)
			})
		},
		mkdir: func(root *os.Root, name string) error {
			return k.step("mkdir", func() error {
				err := real.mkdir(root, name)
				if err == nil {
					k.made(name)
				}
				return err
			})
		},
		link: func(root *os.Root, from, to string) error {
			return k.step("link", func() error {
				if !k.content[from] {
					k.t.Errorf("%s is linked before its content is synced", to)
				}
				err := real.link(root, from, to)
				if err == nil {
					k.made(to)
				}
				return err
			})
		},
	}
	return d
}

func (k *disk) step(name string, do func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps++
	if k.steps == k.failAt {
		k.failed = name
		return fmt.Errorf("%s: %w", name, errDisk)
	}
	return do()
}

func (k *disk) rel(f *os.File) string {
	rel, err := filepath.Rel(k.path, f.Name())
	if err != nil {
		k.t.Error(err)
	}
	return filepath.ToSlash(rel)
}

func (k *disk) made(name string) {
	dir := path.Dir(name)
	if k.pending[dir] == nil {
		k.pending[dir] = map[string]bool{}
	}
	k.pending[dir][name] = true
}

// wantSafe checks that key would survive a power cut now.
func (k *disk) wantSafe(when, key string) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := key; name != "."; name = path.Dir(name) {
		if !k.durable[name] {
			k.t.Errorf("%s: create %s returned, but a power cut would lose the name %s", when, key, name)
		}
	}
}

var durableKeys = []string{"top", "a/b/c/1", "a/b/c/2", "a/b/d/1", "a/e/1", "f/1", "a/b/c/3"}

func TestCreateIsDurable(t *testing.T) {
	k := newDisk(t)
	d := k.open()
	for _, key := range durableKeys {
		create(t, d, key, key)
		k.wantSafe("one process", key)
	}
}

// TestCreateDurableAmongProcesses lets processes come one after another while
// the one before may have died at any step of its creations.
func TestCreateDurableAmongProcesses(t *testing.T) {
	const limit = 1000
	for at := 1; ; at++ {
		if at == limit {
			t.Fatal("the creations never finish")
		}
		k := newDisk(t)
		k.failAt = at
		first := k.open()
		var err error
		for _, key := range durableKeys {
			if err = first.Create(t.Context(), key, strings.NewReader(key)); err != nil {
				break // here the first process dies
			}
			k.wantSafe("first process", key)
		}
		if err == nil {
			return // there are fewer steps than at: every one has failed once
		}
		if !errors.Is(err, errDisk) || errors.Is(err, ErrExists) {
			t.Fatalf("step %d fails: got %v, want the fault", at, err)
		}
		second := k.open()
		for _, key := range durableKeys {
			when := fmt.Sprintf("first process died at step %d (%s)", at, k.failed)
			if err := second.Create(t.Context(), key, strings.NewReader(key)); err != nil && !errors.Is(err, ErrExists) {
				t.Fatalf("%s: %v", when, err)
			}
			k.wantSafe(when, key)
			wantBody(t, second, key, key)
		}
	}
}

// TestFailedStep: a step that fails is reported, its object not acknowledged;
// before the link nothing is visible, and the same process may try again.
func TestFailedStep(t *testing.T) {
	for at := 1; at <= 6; at++ {
		k := newDisk(t)
		k.failAt = at
		d := k.open()
		err := d.Create(t.Context(), "a/k", strings.NewReader("x"))
		if err == nil {
			if at != 6 {
				t.Fatalf("step %d of 5 failed and nobody noticed", at)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("step %d: got %v, want the fault", at, err)
		}
		_, sizeErr := d.Size(t.Context(), "a/k")
		if visible := sizeErr == nil; visible != (at == 5) {
			t.Errorf("step %d (%s) failed: visible is %v", at, k.failed, visible)
		}
		if got := temps(t, d); len(got) != 0 {
			t.Errorf("step %d (%s) left %q", at, k.failed, got)
		}
		err = d.Create(t.Context(), "a/k", strings.NewReader("x"))
		if want := at == 5; errors.Is(err, ErrExists) != want || !want && err != nil {
			t.Errorf("second attempt after step %d (%s): %v", at, k.failed, err)
		}
		k.wantSafe("second attempt", "a/k")
	}
	t.Error("no step was the last")
}

// TestLostLinkAnswer: link happened, its answer says it was there already, as
// an NFS client may be told.
func TestLostLinkAnswer(t *testing.T) {
	if !useLinks {
		t.Skip("SKIPPED: no links here")
	}
	d := openDir(t, t.TempDir())
	d.sys.link = func(root *os.Root, from, to string) error {
		return errors.Join(root.Link(from, to), &os.LinkError{Op: "link", Old: from, New: to, Err: os.ErrExist})
	}
	create(t, d, "a/k", "mine")
	wantBody(t, d, "a/k", "mine")
	if err := d.Create(t.Context(), "a/k", strings.NewReader("other")); !errors.Is(err, ErrExists) {
		t.Errorf("second create: got %v, want ErrExists", err)
	}
}

// TestWithoutLinks creates where the file system has no hard links.
func TestWithoutLinks(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "windows" {
		t.Skip("SKIPPED: no exclusive rename here")
	}
	d := openDir(t, t.TempDir())
	d.sys.link = func(_ *os.Root, from, to string) error {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
	}
	const creators = 16
	for round := range 4 {
		key := fmt.Sprintf("a/%d", round)
		errs := make([]error, creators)
		var wg sync.WaitGroup
		for c := range creators {
			wg.Go(func() { errs[c] = d.Create(t.Context(), key, strings.NewReader(fmt.Sprint("creator ", c))) })
		}
		wg.Wait()
		winner := -1
		for c, err := range errs {
			if err == nil && winner < 0 {
				winner = c
			} else if !errors.Is(err, ErrExists) {
				t.Fatalf("creator %d got %v beside winner %d, want ErrExists", c, err, winner)
			}
		}
		wantBody(t, d, key, fmt.Sprint("creator ", winner))
	}
	if got := temps(t, d); len(got) != 0 {
		t.Errorf("left in %s: %q", tempDir, got)
	}
}
