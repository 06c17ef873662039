package embedded

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// makeDir makes a directory and its parents, durably.
func makeDir(fs vfs.FS, dir string) error {
	if ok, err := exists(fs, dir); ok || err != nil {
		return err
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

// missing returns dir and those of its parents that are not there, outermost
// first.
func missing(fs vfs.FS, dir string) ([]string, error) {
	var out []string
	for {
		ok, err := exists(fs, dir)
		if err != nil {
			return nil, err
		}
		if parent := fs.PathDir(dir); ok || parent == dir {
			slices.Reverse(out)
			return out, nil
		} else {
			out, dir = append(out, dir), parent
		}
	}
}

// syncDir makes the entries of a directory durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

// logOptions says where a database's log is.
func logOptions(fs vfs.FS, dir string, id *identity, opts *Options) (o txlog.Options, err error) {
	d, err := id.database()
	if err != nil {
		return o, err
	}
	return txlog.Options{FS: fs, Dir: fs.PathJoin(dir, logDirName), Database: d, FileBytes: opts.LogFileBytes}, nil
}

// logErr says in this package's terms, and the driver's, what an error of the
// log means.
func logErr(err error) error {
	switch {
	case errors.Is(err, txlog.ErrCorrupt):
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	case errors.Is(err, txlog.ErrReleased):
		return fmt.Errorf("%w: %w", err, driver.ErrLogLost)
	}
	return err
}
