package embedded

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// Names within a database's directory.
const (
	identityName = "DATABASE"
	creatingName = "CREATING"
	lockName     = "LOCK"
	stateName    = "state"
	logDirName   = "log"

	identityFormat = 1
)

// identity is the content of the file DATABASE.
type identity struct {
	Format   int           `json:"format"`
	System   string        `json:"system"` // hexadecimal txlog.DatabaseID
	Created  change.Time   `json:"created"`
	Restored *restoredFrom `json:"restored,omitempty"`

	// Following is set while the database is a standby.
	Following *Following `json:"following,omitempty"`

	// Archived is set once an archive was attached: from then on the log is
	// kept until it is acknowledged.
	Archived bool `json:"archived,omitempty"`

	// Acked is the last receipt, as of some seconds ago or of the last release
	// of log files, whichever is later.
	Acked *driver.Receipt `json:"acked,omitempty"`

	// Detached is set while the log is not kept for an archive, because that fell
	// too far behind.
	Detached *Detached `json:"detached,omitempty"`
}

// restoredFrom says where a restored database's history begins.
type restoredFrom struct {
	LSN      change.LSN     `json:"lsn"`
	LogHash  change.Hash    `json:"log_hash"`
	Commit   change.Time    `json:"commit"`
	Origin   *driver.Origin `json:"origin,omitempty"`   // the archive; nil when nothing may go on from there
	Salvaged bool           `json:"salvaged,omitempty"` // what could be saved of a damaged archive: not the state at LSN
}

func (id *identity) database() (d txlog.DatabaseID, err error) {
	b, err := hex.DecodeString(id.System)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("system ID %q is not %d hexadecimal digits: %w", id.System, 2*len(d), ErrCorrupt)
	}
	copy(d[:], b)
	return d, nil
}

func newIdentity(random io.Reader, now change.Time) (*identity, error) {
	var d txlog.DatabaseID
	if _, err := io.ReadFull(random, d[:]); err != nil {
		return nil, fmt.Errorf("system ID: %w", err)
	}
	return &identity{Format: identityFormat, System: hex.EncodeToString(d[:]), Created: now}, nil
}

// readIdentity reads a directory's DATABASE file; nil when there is none.
func readIdentity(fsys vfs.FS, dir string) (*identity, error) {
	name := fsys.PathJoin(dir, identityName)
	b, err := readAll(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	id := new(identity)
	if err := json.Unmarshal(b, id); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrCorrupt)
	}
	if id.Format != identityFormat {
		return nil, fmt.Errorf("%s has format %d, this program reads %d: a newer one is needed", name, id.Format, identityFormat)
	}
	if _, err := id.database(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}

// write replaces the DATABASE file durably.
func (id *identity) write(fsys vfs.FS, dir string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return writeDurably(fsys, dir, identityName, append(b, '\n'))
}

// writeDurably puts a small file in place: whole or not at all.
func writeDurably(fsys vfs.FS, dir, name string, content []byte) error {
	tmp := fsys.PathJoin(dir, name+".tmp")
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, fsys.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

func readAll(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func exists(fsys vfs.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// prepareDir makes dir hold a database, creating one where there is none, and
// returns its identity. The caller holds the lock. A creation that a crash cut
// short starts over.
func prepareDir(fsys vfs.FS, dir string, opts *Options) (*identity, error) {
	id, err := readIdentity(fsys, dir)
	if err != nil {
		return nil, err
	}
	creating := fsys.PathJoin(dir, creatingName)
	unfinished, err := exists(fsys, creating)
	if err != nil {
		return nil, err
	}
	if id == nil {
		if id, err = createIn(fsys, dir, unfinished, opts); err != nil {
			return nil, fmt.Errorf("create database in %s: %w", dir, err)
		}
		unfinished = true
	}
	if unfinished {
		if err := fsys.Remove(creating); err != nil {
			return nil, err
		}
		return id, syncDir(fsys, dir)
	}
	return id, nil
}

func createIn(fsys vfs.FS, dir string, unfinished bool, opts *Options) (*identity, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch {
		case name == lockName || name == creatingName || name == creatingName+".tmp":
		case unfinished && (name == stateName || name == logDirName || name == identityName+".tmp"):
			if err := fsys.RemoveAll(fsys.PathJoin(dir, name)); err != nil {
				return nil, err
			}
		case name == stateName || name == logDirName:
			return nil, fmt.Errorf("%s is there but the file %s is missing: %w", name, identityName, ErrCorrupt)
		default:
			return nil, fmt.Errorf("the directory holds %q and no database; choose an empty or new one: %w", name, os.ErrExist)
		}
	}
	if err := writeDurably(fsys, dir, creatingName, nil); err != nil {
		return nil, err
	}
	id, err := newIdentity(opts.Random, opts.now())
	if err != nil {
		return nil, err
	}
	state, err := openState(fsys, dir, opts, nil)
	if err != nil {
		return nil, err
	}
	if err := state.Close(); err != nil {
		return nil, err
	}
	logOpts, err := logOptions(fsys, dir, id, opts)
	if err != nil {
		return nil, err
	}
	if err := txlog.Create(logOpts, 0, change.Hash{}); err != nil {
		return nil, err
	}
	if err := syncDir(fsys, dir); err != nil {
		return nil, err
	}
	return id, id.write(fsys, dir)
}
