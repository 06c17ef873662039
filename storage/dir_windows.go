package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// useLinks: a rename can be written through to the disk, a link can't.
const useLinks = false

// syncDirectory does nothing: Windows can't sync a directory, and
// renameExclusively writes through.
func syncDirectory(*os.File) error { return nil }

func isNotDir(err error) bool { return errors.Is(err, windows.ERROR_DIRECTORY) }

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) || isNotDir(err) }

func noLinks(error) bool { return true }

// renameExclusively renames the file oldName of the directory from to newName
// of the directory to, unless that exists.
func renameExclusively(from *os.File, oldName string, to *os.File, newName string) error {
	oldPath, err := windows.UTF16PtrFromString(filepath.Join(from.Name(), oldName))
	if err != nil {
		return err
	}
	newPath, err := windows.UTF16PtrFromString(filepath.Join(to.Name(), newName))
	if err != nil {
		return err
	}
	return windows.MoveFileEx(oldPath, newPath, windows.MOVEFILE_WRITE_THROUGH)
}

// concernsStore reports whether err is about the store rather than one object.
func concernsStore(err error) bool {
	for _, e := range []error{
		windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_WRITE_PROTECT, windows.ERROR_NOT_READY,
		windows.ERROR_ACCESS_DENIED, windows.ERROR_BAD_NETPATH, windows.ERROR_NETNAME_DELETED, windows.ERROR_DEV_NOT_EXIST,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
