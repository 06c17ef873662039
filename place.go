package tidemark

import (
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/storage"
)

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
// Whether there is an archive in it, archive.Open tells. [place.ErrPlace] for
// what can't be read.
func OpenStore(at string, access Access) (Store, error) {
	p, err := place.Archive.Parse(at)
	if err != nil {
		return nil, err
	}
	if access == Create {
		return opened(storage.CreateDir(p.Path, storage.DirOptions{}))
	}
	return opened(storage.OpenDir(p.Path, storage.DirOptions{ReadOnly: access == ReadOnly}))
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
func OpenTarget(at string, o embedded.Options) (driver.Target, error) {
	p, err := place.Database.Parse(at)
	if err != nil {
		return nil, err
	}
	return embedded.NewTarget(p.Path, o)
}
