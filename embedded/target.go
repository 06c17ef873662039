package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// NewTarget returns a place to restore a database to: a directory that does
// not exist or is empty. It is built beside it, as dir.partial, and renamed
// when it is complete. What an earlier restore left there is removed, unless
// that restore is still running: [ErrLocked].
func NewTarget(dir string, options Options) (driver.Target, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return &target{
		fs: opts.FS, opts: opts,
		dest: dir, partial: dir + ".partial", lockName: dir + ".partial.lock",
	}, nil
}

type target struct {
	fs       vfs.FS
	opts     *Options
	dest     string
	partial  string
	lockName string

	lock    io.Closer // held from Begin to Finish or Abort
	want    driver.State
	schemas map[change.CollectionID]*change.Schema
	table   atomic.Int64 // number of the last one

	mu     sync.Mutex
	tables []string // guarded by mu; complete ones
}

const loadName = "load"

func (t *target) Preflight(_ context.Context, want driver.State) error {
	if err := t.checkDest(); err != nil {
		return err
	}
	if _, err := t.check(want); err != nil {
		return err
	}
	parent := t.fs.PathDir(t.dest)
	for {
		ok, err := exists(t.fs, parent)
		if err != nil {
			return fmt.Errorf("destination %s: %w", t.dest, err)
		}
		if ok || parent == t.fs.PathDir(parent) {
			break
		}
		parent = t.fs.PathDir(parent)
	}
	if err := t.checkWritable(parent); err != nil {
		return fmt.Errorf("destination %s: can't write in %s: %w", t.dest, parent, err)
	}
	usage, err := t.fs.GetDiskUsage(parent)
	if err != nil || usage.TotalBytes == 0 {
		return nil // not every file system can tell
	}
	if need := uint64(max(0, want.Bytes) + t.opts.LogFileBytes); usage.AvailBytes < need {
		return fmt.Errorf("destination %s: about %d bytes are needed, %d are free in %s; free some or restore elsewhere: %w",
			t.dest, need, usage.AvailBytes, parent, ErrNoSpace)
	}
	return nil
}

// checkDest reports whether the destination is free.
func (t *target) checkDest() error {
	names, err := t.fs.List(t.dest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("destination %s: %w", t.dest, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%s holds %d files, %q among them; choose a directory that does not exist yet: %w", t.dest, len(names), names[0], driver.ErrNotEmpty)
	}
	return nil
}

func (t *target) checkWritable(dir string) error {
	name := t.fs.PathJoin(dir, "."+t.fs.PathBase(t.dest)+".probe")
	f, err := t.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), t.fs.Remove(name))
}

// check reports whether a state can be restored, and returns its schemas.
func (t *target) check(want driver.State) (map[change.CollectionID]*change.Schema, error) {
	schemas := make(map[change.CollectionID]*change.Schema)
	names := make(map[string]bool)
	for _, s := range want.Schemas {
		switch err := s.Validate(); {
		case err != nil:
			return nil, err
		case s.Dropped:
			return nil, fmt.Errorf("collection %q is dropped in the state to restore: %w", s.Name, change.ErrSchema)
		case schemas[s.Collection] != nil || names[s.Name]:
			return nil, fmt.Errorf("collection %q, ID %d, is twice in the state to restore: %w", s.Name, s.Collection, change.ErrSchema)
		case s.Collection >= want.NextID:
			return nil, fmt.Errorf("collection %q has ID %d, the next free one is said to be %d: %w", s.Name, s.Collection, want.NextID, change.ErrSchema)
		}
		schemas[s.Collection], names[s.Name] = s, true
	}
	return schemas, nil
}

func (t *target) Begin(_ context.Context, want driver.State) (err error) {
	if t.schemas, err = t.check(want); err != nil {
		return err
	}
	if err := makeDir(t.fs, t.fs.PathDir(t.dest)); err != nil {
		return fmt.Errorf("destination %s: %w", t.dest, err)
	}
	if t.lock, err = t.fs.Lock(t.lockName); err != nil {
		return fmt.Errorf("another restore to %s is running: %w: %w", t.dest, ErrLocked, err)
	}
	if err := t.checkDest(); err != nil {
		return err
	}
	if err := t.fs.RemoveAll(t.partial); err != nil {
		return fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	t.want = want
	return t.fs.MkdirAll(t.fs.PathJoin(t.partial, loadName), 0o755)
}

func (t *target) Load(ctx context.Context, rows iter.Seq2[*change.Record, error]) error {
	l := &loader{target: t}
	if err := l.load(ctx, rows); err != nil {
		l.abort()
		return err
	}
	return nil
}

// Finish gives the loaded tables to a new state store, adds schemas, progress,
// log and identity, syncs all, and renames the directory.
func (t *target) Finish(ctx context.Context) error {
	if t.lock == nil {
		return fmt.Errorf("restore to %s was not begun", t.dest)
	}
	if err := t.build(ctx); err != nil {
		return fmt.Errorf("restore to %s: %w", t.dest, err)
	}
	if err := t.publish(); err != nil {
		return fmt.Errorf("restore to %s: %w", t.dest, err)
	}
	_ = t.unlock() // the database is there: a lock file that stays hinders nobody
	return nil
}

func (t *target) build(ctx context.Context) error {
	if err := t.buildState(ctx); err != nil {
		return err
	}
	id, err := newIdentity(t.opts.Random, t.opts.now())
	if err != nil {
		return err
	}
	id.Restored = &restoredFrom{LSN: t.want.LSN, LogHash: t.want.LogHash, Commit: t.want.Commit, Origin: t.want.Origin}
	logOpts, err := logOptions(t.fs, t.partial, id, t.opts)
	if err != nil {
		return err
	}
	if err := txlog.Create(logOpts, t.want.LSN, t.want.LogHash); err != nil {
		return err
	}
	if err := t.fs.RemoveAll(t.fs.PathJoin(t.partial, loadName)); err != nil {
		return err
	}
	return id.write(t.fs, t.partial) // which syncs the directory
}

func (t *target) buildState(ctx context.Context) (err error) {
	o := stateOptions(t.fs, t.opts, nil)
	o.DisableAutomaticCompactions = true
	state, err := openStore(t.fs.PathJoin(t.partial, stateName), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	t.mu.Lock()
	tables := slices.Clone(t.tables)
	t.mu.Unlock()
	if len(tables) > 0 {
		if err := state.Ingest(ctx, tables); err != nil {
			return fmt.Errorf("ingest %d tables (do loaded ranges overlap?): %w", len(tables), err)
		}
	}
	b := state.NewBatch()
	defer b.Close()
	r := newRows(state, newCatalog())
	for _, s := range t.want.Schemas {
		if err := r.SetSchema(s); err != nil {
			return err
		}
	}
	p := progress{LSN: t.want.LSN, Hash: t.want.LogHash, Tx: t.want.LastTx, Commit: t.want.Commit, NextID: t.want.NextID}
	if err := writeBatch(b, r.top, &p); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return state.Flush()
}

// publish gives the finished directory its name. After an error the place is
// as it was: what was renamed has its own name again, and an empty directory
// that made room is back.
func (t *target) publish() (err error) {
	if err := t.checkDest(); err != nil {
		return err
	}
	was, err := exists(t.fs, t.dest)
	if err != nil {
		return err
	}
	if was {
		if err := t.fs.Remove(t.dest); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, t.fs.MkdirAll(t.dest, 0o755))
			}
		}()
	}
	if err := t.fs.Rename(t.partial, t.dest); err != nil {
		return err
	}
	if err := syncDir(t.fs, t.fs.PathDir(t.dest)); err != nil {
		return errors.Join(err, t.fs.Rename(t.dest, t.partial))
	}
	return nil
}

// unlock ends the restore for others.
func (t *target) unlock() error {
	lock := t.lock
	t.lock = nil
	if lock == nil {
		return nil
	}
	return errors.Join(lock.Close(), t.fs.Remove(t.lockName))
}

func (t *target) Abort() error {
	if t.lock == nil {
		return nil
	}
	return errors.Join(t.fs.RemoveAll(t.partial), t.unlock())
}
