package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

// How a restore ends: the loaded tables become a database, and the database
// gets its name; or what was made is taken away again.

// Finish gives the loaded tables to a new state store, adds schemas, progress,
// log and identity, syncs all, and renames the directory.
func (t *target) Finish(ctx context.Context, want driver.State) error {
	if t.lock == nil || t.foreign {
		return fmt.Errorf("restore to %s was not begun", t.dest)
	}
	t.want = want
	if err := t.build(ctx); err != nil {
		return fmt.Errorf("restore to %s: %w", t.dest, err)
	}
	if err := t.publish(); err != nil {
		return fmt.Errorf("restore to %s: %w", t.dest, err)
	}
	// The database is there. What stays hinders nobody: Open removes the one,
	// another restore the other.
	_ = t.fs.RemoveAll(t.fs.PathJoin(t.dest, loadName))
	_ = t.unlock()
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
	id.Restored = &restoredFrom{LSN: t.want.LSN, LogHash: t.want.LogHash, Commit: t.want.Commit, Origin: t.want.Origin, Salvaged: t.want.Partial}
	logOpts, err := logOptions(t.fs, t.partial, id, t.opts)
	if err != nil {
		return err
	}
	if err := txlog.Create(logOpts, t.want.LSN, t.want.LogHash); err != nil {
		return err
	}
	if err := t.fs.RemoveAll(t.fs.PathJoin(t.partial, ingestName)); err != nil {
		return err
	}
	return id.write(t.fs, t.partial) // which syncs the directory
}

func (t *target) buildState(ctx context.Context) (err error) {
	o := stateOptions(t.fs, t.opts, nil)
	o.DisableAutomaticCompactions = true
	failed := make(chan error, 1)
	o.EventListener = &pebble.EventListener{BackgroundError: func(err error) {
		select {
		case failed <- err:
		default: // the first one says why
		}
	}}
	state, err := openStore(t.fs.PathJoin(t.partial, stateName), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	tables, err := t.linked()
	if err != nil {
		return err
	}
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
	return flush(ctx, state, failed)
}

// flush makes the state durable. Pebble itself tries a flush that fails again
// and again, on a full disk for ever.
func flush(ctx context.Context, state *pebble.DB, failed <-chan error) error {
	done, err := state.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case err := <-failed:
		return fmt.Errorf("write the state: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// linked gives the tables a second name each: Pebble takes away those that it
// ingests, and until the database has its own name they may be needed again.
func (t *target) linked() ([]string, error) {
	dir := t.fs.PathJoin(t.partial, ingestName)
	if err := t.fs.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, name := range t.tables {
		to := t.fs.PathJoin(dir, name)
		if err := vfs.LinkOrCopy(t.fs, t.fs.PathJoin(t.partial, loadName, name), to); err != nil {
			return nil, err
		}
		out = append(out, to)
	}
	return out, nil
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
	replaced, err := t.replaced()
	if err != nil {
		return err
	}
	switch {
	case replaced:
		undo, err2 := t.setAside()
		if err2 != nil {
			return err2
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, undo())
			}
		}()
	case was:
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
	return lock.Close()
}

func (t *target) Abort(keep bool) (int, error) {
	if t.lock == nil {
		return 0, nil
	}
	if t.foreign {
		t.foreign = false
		return 0, t.unlock()
	}
	if keep && t.parts > 0 && !t.job.ID.IsZero() {
		return t.parts, errors.Join(t.clear(), t.unlock())
	}
	return 0, errors.Join(t.fs.RemoveAll(t.partial), t.unlock(), t.unmake())
}

// unmake removes the directories that were made for the destination, unless
// something else is in them now.
func (t *target) unmake() error {
	dir := t.dest
	for range t.job.Made {
		dir = t.fs.PathDir(dir)
		names, err := t.fs.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || len(names) > 0 {
			return err
		}
		if err := t.fs.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}
