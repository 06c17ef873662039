//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package embedded

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockWhile locks a file that exists only while somebody holds the lock. A file
// that is open can't be removed here, so none loses its name under a lock.
func lockWhile(fs vfs.FS, name string) (io.Closer, error) {
	lock, err := fs.Lock(name)
	if err != nil {
		return nil, err
	}
	return &removedAfter{lock, fs, name}, nil
}
