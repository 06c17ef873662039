package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// renameExclusively renames the file oldName of the directory from to newName
// of the directory to, unless that exists.
func renameExclusively(from *os.File, oldName string, to *os.File, newName string) error {
	return unix.RenameatxNp(int(from.Fd()), oldName, int(to.Fd()), newName, unix.RENAME_EXCL)
}
