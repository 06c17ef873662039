package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// reading marks what goes wrong in a sequence as an error of the archive.
func reading(txs iter.Seq2[*change.Tx, error]) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for t, err := range txs {
			if err != nil {
				err = &readError{err}
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// damaged reports whether an error tells of what objects hold, not of the way to them.
func damaged(err error) bool {
	for _, e := range []error{pack.ErrCorrupt, pack.ErrVersion, pack.ErrLimit, chain.ErrDamaged, chain.ErrBroken, chain.ErrManifest,
		chain.ErrVersion, chain.ErrWrongRepo, archive.ErrNotArchive, storage.ErrNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// PrepareOptions are the options of [Prepare] and [Rebase].
type PrepareOptions struct {
	Database embedded.Options // of the standby
	Restore  restore.Options  // of the restore that it begins with
}

// The names of what a rebase works with, beside the standby's directory.
const (
	newSuffix = ".rebase" // the standby to be
	oldSuffix = ".before-rebase"
)

// Prepare opens the standby in a directory. Where there is none, the newest
// state of the archive is restored there first; a database that was restored
// from this archive and has not changed since becomes a standby where it is.
// Any other database is refused: [driver.ErrNotStandby], or [chain.ErrWrongRepo]
// when it follows another archive or timeline. The caller closes the database.
func Prepare(ctx context.Context, a *archive.Archive, dir string, o PrepareOptions) (*embedded.DB, error) {
	if err := finishRebase(fsOf(o), dir); err != nil {
		return nil, err
	}
	o.Database.MustExist = true
	db, err := embedded.Open(dir, o.Database)
	if errors.Is(err, embedded.ErrNoDatabase) {
		if err = begin(ctx, a, dir, o); err == nil {
			db, err = embedded.Open(dir, o.Database)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := adopt(a, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// adopt makes a database a standby of the archive, if it may be one.
func adopt(a *archive.Archive, db *embedded.DB) error {
	is := origin(db)
	if is.Archive != "" && (is.Archive != string(a.Identity().Repo) || is.Timeline != string(a.Timeline())) {
		return fmt.Errorf("the database comes from timeline %s of repository %s, this is timeline %s of %s: %w",
			is.Timeline, is.Archive, a.Timeline(), a.Identity().Repo, chain.ErrWrongRepo)
	}
	_, err := db.Follow()
	return err
}

// origin returns what a database follows or was restored from.
func origin(db *embedded.DB) (f embedded.Following) {
	switch i := db.Info(); {
	case i.Following != nil:
		f = *i.Following
	case i.Origin != nil:
		f = embedded.Following{Archive: i.Origin.Archive, Timeline: i.Origin.Timeline}
	}
	return f
}

// begin restores the newest state.
func begin(ctx context.Context, a *archive.Archive, dir string, o PrepareOptions) error {
	dst, err := embedded.NewTarget(dir, o.Database)
	if err != nil {
		return err
	}
	_, err = restore.Run(ctx, a, recovery.Latest(), dst, o.Restore)
	return err
}

// Rebase restores the newest state of the archive beside a standby, which must
// not be open, and puts it in the standby's place. A database that is no
// standby, one that was promoted for one, is left alone: [driver.ErrNotStandby].
// What a crash leaves half done the next Prepare or Rebase finishes.
func Rebase(ctx context.Context, a *archive.Archive, dir string, o PrepareOptions) error {
	fs := fsOf(o)
	if err := finishRebase(fs, dir); err != nil {
		return err
	}
	o.Database.MustExist = true
	old, err := embedded.Open(dir, o.Database)
	if err != nil {
		return err
	}
	// It stays open, so that nobody promotes it meanwhile.
	if _, err := old.Standby(); err != nil {
		return errors.Join(fmt.Errorf("rebase: %w", err), old.Close())
	}
	if err := adopt(a, old); err != nil {
		return errors.Join(fmt.Errorf("rebase: %w", err), old.Close())
	}
	err = fs.RemoveAll(dir + newSuffix)
	if err == nil {
		var db *embedded.DB
		if db, err = Prepare(ctx, a, dir+newSuffix, o); err == nil {
			err = db.Close()
		}
	}
	if err = errors.Join(err, old.Close()); err != nil {
		return fmt.Errorf("rebase: %w", err)
	}
	for _, r := range [][2]string{{dir, dir + oldSuffix}, {dir + newSuffix, dir}} {
		if err := fs.Rename(r[0], r[1]); err != nil {
			return fmt.Errorf("rebase: %w", err)
		}
		if err := syncDir(fs, fs.PathDir(dir)); err != nil {
			return fmt.Errorf("rebase: %w", err)
		}
	}
	return finishRebase(fs, dir)
}

// finishRebase completes what a rebase that died has left: the new standby is
// complete once the old one has given up its name.
func finishRebase(fs vfs.FS, dir string) error {
	there, err := exists(fs, dir)
	if err != nil {
		return err
	}
	moved, err := exists(fs, dir+oldSuffix)
	if err != nil || !moved {
		return err
	}
	if !there {
		if err := fs.Rename(dir+newSuffix, dir); err != nil {
			return fmt.Errorf("finish a rebase: %w", err)
		}
		if err := syncDir(fs, fs.PathDir(dir)); err != nil {
			return fmt.Errorf("finish a rebase: %w", err)
		}
	}
	if err := fs.RemoveAll(dir + oldSuffix); err != nil {
		return fmt.Errorf("remove the standby of before a rebase: %w", err)
	}
	return nil
}

func fsOf(o PrepareOptions) vfs.FS {
	if o.Database.FS != nil {
		return o.Database.FS
	}
	return vfs.Default
}

func exists(fsys vfs.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// TimelineOf returns the timeline that the database in a directory follows or
// was restored from; "" when there is no database, or it comes from none.
func TimelineOf(dir string, o PrepareOptions) (chain.TimelineID, error) {
	if err := finishRebase(fsOf(o), dir); err != nil {
		return "", err
	}
	o.Database.MustExist = true
	db, err := embedded.Open(dir, o.Database)
	if errors.Is(err, embedded.ErrNoDatabase) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f := origin(db)
	return chain.TimelineID(f.Timeline), db.Close()
}
