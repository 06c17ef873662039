package embedded

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/driver"
)

// Replacement is a [driver.Target] that takes the place of a database, which is
// kept beside it under another name.
type Replacement struct{ *target }

// NewReplacement returns a target in place of the database in dir. The database
// stays where it is until the new one is complete; then it is renamed to
// [Replacement.Aside]. It must not be open: [ErrLocked]. Where there is none, it
// is a target as [NewTarget] returns it.
func NewReplacement(dir string, options Options) (*Replacement, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	t := newTarget(dir, opts)
	t.replace = true
	return &Replacement{t}, nil
}

var _ driver.Target = (*Replacement)(nil)

// Aside returns where the database that was replaced now is; "" before Finish,
// and when there was none.
func (r *Replacement) Aside() string { return r.aside }

// replaced reports whether the destination is a database that may be replaced.
func (t *target) replaced() (bool, error) {
	if !t.replace {
		return false, nil
	}
	return exists(t.fs, t.fs.PathJoin(t.dest, identityName))
}

// lockReplaced makes sure that nobody has the database open that is replaced.
func (t *target) lockReplaced() (io.Closer, error) {
	lock, err := t.fs.Lock(t.fs.PathJoin(t.dest, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s, which is to be replaced, is open in another process, or in this one: %w: %w", t.dest, ErrLocked, err)
	}
	return lock, nil
}

// setAside gives the database that is replaced another name; undo gives it its
// own again.
func (t *target) setAside() (undo func() error, err error) {
	lock, err := t.lockReplaced()
	if err != nil {
		return nil, err
	}
	closed := false
	unlock := func() error {
		if closed {
			return nil
		}
		closed = true
		return lock.Close()
	}
	if runtime.GOOS == "windows" && t.fs == vfs.Default {
		err = unlock() // a directory with open files has to keep its name there
	}
	var aside string
	if err == nil {
		aside, err = t.asideName()
	}
	if err == nil {
		err = t.fs.Rename(t.dest, aside)
	}
	if err = errors.Join(err, unlock()); err != nil {
		return nil, err
	}
	t.aside = aside
	return func() error {
		t.aside = ""
		return t.fs.Rename(aside, t.dest)
	}, nil
}

// asideName returns a name that is free.
func (t *target) asideName() (string, error) {
	base := t.dest + ".before-" + time.UnixMicro(int64(t.opts.now())).UTC().Format("20060102T150405Z")
	name := base
	for n := 2; ; n++ {
		if ok, err := exists(t.fs, name); !ok || err != nil {
			return name, err
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}
