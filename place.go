package tidemark

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// ErrScheme says that a place is of a kind that this tidemark does not know.
var ErrScheme = errors.New("unknown kind of place")

// Store is the bucket of an archive. Close it when nothing reads or writes the
// archive any more.
type Store interface {
	storage.Bucket
	Close() error
}

// Access says what a store is opened for.
type Access int

// The kinds of access.
const (
	ReadOnly Access = iota // nothing may be written
	Write                  // the store must be there
	Create                 // the store is made when it is not there
)

// OpenStore opens the store of an archive: a directory, as a path or dir:PATH.
// Whether there is an archive in it, archive.Open tells.
func OpenStore(place string, access Access) (Store, error) {
	switch scheme, path, err := cutPlace(place, "dir"); {
	case err != nil:
		return nil, err
	case scheme != "dir":
		return nil, unsupported("an archive", scheme, "a path or dir:PATH")
	case access == Create:
		return opened(storage.CreateDir(path, storage.DirOptions{}))
	default:
		return opened(storage.OpenDir(path, storage.DirOptions{ReadOnly: access == ReadOnly}))
	}
}

// opened keeps a nil *Dir from becoming a Store that is not nil.
func opened(d *storage.Dir, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// OpenTarget returns the place that a restore is to make: the directory of an
// embedded database, as a path or embedded:PATH. The options are those of the
// database.
func OpenTarget(place string, o embedded.Options) (driver.Target, error) {
	path, err := DatabasePath(place)
	if err != nil {
		return nil, err
	}
	return embedded.NewTarget(path, o)
}

// DatabasePath returns the directory of an embedded database that is named by
// a path or as embedded:PATH.
func DatabasePath(place string) (string, error) {
	switch scheme, path, err := cutPlace(place, embedded.Kind); {
	case err != nil:
		return "", err
	case scheme != embedded.Kind:
		return "", unsupported("a database", scheme, "a path or embedded:PATH")
	default:
		return path, nil
	}
}

// cutPlace splits what a person typed into a scheme and the rest. A plain path
// has the scheme plain.
func cutPlace(place, plain string) (scheme, rest string, err error) {
	if place == "" {
		return "", "", fmt.Errorf("an empty path: %w", ErrScheme)
	}
	scheme, rest, ok := strings.Cut(place, ":")
	switch {
	case !ok, strings.ContainsAny(scheme, `/\.`), runtime.GOOS == "windows" && len(scheme) == 1:
		return plain, place, nil
	case rest == "":
		return "", "", fmt.Errorf("%q names no path after its scheme: %w", place, ErrScheme)
	}
	return scheme, rest, nil
}

// later are the schemes that are planned.
var later = map[string]bool{"s3": true, "gs": true, "azblob": true, "sftp": true,
	"postgres": true, "mysql": true, "sqlite": true, "etcd": true}

// unsupported says that a scheme is not known, or not yet.
func unsupported(what, scheme, want string) error {
	if later[scheme] {
		return fmt.Errorf("%s: is not supported yet as %s (want %s): %w", scheme, what, want, ErrScheme)
	}
	return fmt.Errorf("%s: is no kind of %s (want %s; write ./%s: if it is a path): %w", scheme, strings.TrimPrefix(what, "an "), want, scheme, ErrScheme)
}
