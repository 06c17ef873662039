//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embedded

import (
	"errors"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// lockWhile locks a file that exists only while somebody holds the lock. Who
// gives it back removes the file first and unlocks it then, so one who had
// opened that file before gets a lock that means nothing: another may have made
// a new file of that name, and hold that. Therefore the file that was locked is
// compared with the one that has the name.
func lockWhile(fs vfs.FS, name string) (io.Closer, error) {
	if fs != vfs.Default {
		lock, err := fs.Lock(name)
		if err != nil {
			return nil, err
		}
		return &removedAfter{lock, fs, name}, nil
	}
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: name, Err: err}, f.Close())
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if named, err := os.Stat(name); err == nil && os.SameFile(mine, named) {
			return &removedBefore{f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// removedBefore is a lock whose file goes while it is held.
type removedBefore struct{ f *os.File }

func (l *removedBefore) Close() error {
	return errors.Join(os.Remove(l.f.Name()), l.f.Close())
}
