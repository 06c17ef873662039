package job

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrKept says that another process does the scheduled work of a database.
var ErrKept = errors.New("is kept by another process already")

// Keep claims the scheduled work of a database for this process, until what it
// returns is closed or the process ends. While another holds it with the same
// state directory, also one of this process: [ErrKept]. database is a configured
// name.
func (l *Ledger) Keep(database string) (io.Closer, error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	lock, err := vfs.Default.Lock(filepath.Join(l.dir, "keep-"+database+".lock"))
	if err == nil {
		return lock, nil
	}
	probe, e := os.CreateTemp(l.dir, "probe-*")
	if e != nil { // nobody can lock anything there
		return nil, fmt.Errorf("%w: %w", ErrRecord, errors.Join(err, e))
	}
	return nil, errors.Join(fmt.Errorf("%s %w with the state directory %s: %w", database, ErrKept, filepath.Dir(l.dir), err),
		probe.Close(), os.Remove(probe.Name()))
}
