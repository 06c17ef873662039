//go:build unix

package storage

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// useLinks: link(2) is exclusive on every Unix and over NFS.
const useLinks = true

func syncDirectory(f *os.File) error { return f.Sync() }

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// isMissing: a path below a file is as absent as any other.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) || isNotDir(err) }

// noLinks reports whether err says that the file system has no hard links.
func noLinks(err error) bool {
	for _, no := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// concernsStore reports whether err is about the store rather than one object.
// EIO is not among them: on most disks it means a block of that object.
func concernsStore(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.ESTALE, syscall.ENODEV, syscall.ENXIO,
		syscall.EACCES, syscall.EPERM, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.EHOSTDOWN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
