package storage

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renameExclusively renames the file oldName of the directory from to newName
// of the directory to, unless that exists.
func renameExclusively(from *os.File, oldName string, to *os.File, newName string) error {
	err := unix.Renameat2(int(from.Fd()), oldName, int(to.Fd()), newName, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.Join(err, errors.ErrUnsupported)
	}
	return err
}
