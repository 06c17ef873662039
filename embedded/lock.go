package embedded

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// removedAfter is a lock whose file is removed once it is not held any more.
type removedAfter struct {
	lock io.Closer
	fs   vfs.FS
	name string
}

func (l *removedAfter) Close() error {
	return errors.Join(l.lock.Close(), l.fs.Remove(l.name))
}
