package embedded

import "github.com/cockroachdb/pebble/v2/vfs"

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
