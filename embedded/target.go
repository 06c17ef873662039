package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// NewTarget returns a place to restore a database to: a directory that does
// not exist or is empty. It is built beside it, as dir.partial, and renamed
// when
// it is complete. What an earlier restore left there is removed, unless
// that restore is still running: [ErrLocked].
func NewTarget(dir string, options Options) (driver.Target, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return newTarget(dir, opts), nil
}

func newTarget(dir string, opts *Options) *target {
	for len(dir) > 1 && (dir[len(dir)-1] == '/' || dir[len(dir)-1] == os.PathSeparator) {
		dir = dir[:len(dir)-1] // "db/" is db, and db.partial lies beside it
	}
	return &target{fs: opts.FS, opts: opts, dest: dir, partial: dir + ".partial", lockName: dir + ".partial.lock"}
}

type target struct {
	fs       vfs.FS
	opts     *Options
	dest     string
	partial  string
	lockName string
	replace  bool   // a database at dest is set aside
	aside    string // where to

	lock    io.Closer // held from Begin to Finish or Abort
	foreign bool      // Begin found what Abort must leave as it is
	job     jobFile
	want    driver.State
	schemas map[change.CollectionID]*change.Schema
	table   atomic.Int64 // number of the last one

	mu     sync.Mutex
	tables []string // guarded by mu; complete ones, in load
	parts  int      // guarded by mu; finished ones
}

func (t *target) Preflight(_ context.Context, want driver.State) (driver.Room, error) {
	room := driver.Room{Place: t.fs.PathDir(t.dest), Need: max(0, want.Bytes) + t.opts.LogFileBytes, Free: -1}
	if err := t.checkDest(); err != nil {
		return room, err
	}
	if _, err := t.check(want); err != nil {
		return room, err
	}
	left, err := readLeftover(t.fs, t.partial)
	if err == nil {
		var goesOn bool
		if goesOn, err = left.goesOn(t.partial, want.Job); goesOn {
			room.Need = max(room.Need-left.bytes, t.opts.LogFileBytes)
		}
	}
	if err != nil && !want.Job.Fresh {
		return room, err
	}
	made, err := missing(t.fs, room.Place)
	if err != nil {
		return room, fmt.Errorf("destination %s: %w", t.dest, err)
	}
	if len(made) > 0 {
		room.Place = t.fs.PathDir(made[0])
	}
	if err := t.checkWritable(room.Place); err != nil {
		return room, fmt.Errorf("destination %s: can't write in %s: %w", t.dest, room.Place, err)
	}
	usage, err := t.fs.GetDiskUsage(room.Place)
	if err != nil || usage.TotalBytes == 0 {
		return room, nil // not every file system can tell
	}
	room.Free = int64(min(usage.AvailBytes, math.MaxInt64))
	if room.Need > room.Free {
		return room, fmt.Errorf("destination %s: about %d bytes are needed, %d are free in %s; free some or restore elsewhere: %w",
			t.dest, room.Need, room.Free, room.Place, driver.ErrNoSpace)
	}
	return room, nil
}

// checkDest reports whether the destination is free.
func (t *target) checkDest() error {
	switch ok, err := t.replaced(); {
	case err != nil:
		return fmt.Errorf("destination %s: %w", t.dest, err)
	case ok:
		lock, err := t.lockReplaced()
		if err != nil {
			return err
		}
		return lock.Close()
	}
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

func (t *target) Begin(ctx context.Context, want driver.State) (done []driver.Part, err error) {
	if t.schemas, err = t.check(want); err != nil {
		return nil, err
	}
	parent := t.fs.PathDir(t.dest)
	made, err := missing(t.fs, parent)
	if err != nil {
		return nil, fmt.Errorf("destination %s: %w", t.dest, err)
	}
	t.job = jobFile{Format: jobFormat, State: int(stateFormat), ID: want.Job.ID, About: want.Job.About, Begun: t.opts.now(), Made: len(made)}
	if err := makeDir(t.fs, parent); err != nil {
		return nil, errors.Join(fmt.Errorf("destination %s: %w", t.dest, err), t.unmake())
	}
	if t.lock, err = lockWhile(t.fs, t.lockName); err != nil {
		return nil, errors.Join(fmt.Errorf("another restore to %s is running: %w: %w", t.dest, ErrLocked, err), t.unmake())
	}
	if err := t.checkDest(); err != nil {
		t.foreign = true
		return nil, err
	}
	left, err := readLeftover(t.fs, t.partial)
	if err != nil && !want.Job.Fresh {
		t.foreign = true
		return nil, err
	}
	if err == nil {
		goesOn, err := left.goesOn(t.partial, want.Job)
		if err != nil {
			t.foreign = true
			return nil, err
		}
		if goesOn {
			return t.goOn(ctx, left)
		}
	}
	if err := t.fs.RemoveAll(t.partial); err != nil {
		return nil, fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	if err := makeDir(t.fs, t.fs.PathJoin(t.partial, loadName)); err != nil {
		return nil, err
	}
	return nil, writeSealed(t.fs, t.fs.PathJoin(t.partial, loadName), jobName, &t.job)
}

// goOn keeps the finished parts of an interrupted restore and removes the rest.
func (t *target) goOn(ctx context.Context, left *leftover) ([]driver.Part, error) {
	t.job = *left.job
	parts, err := left.proved(ctx, t.fs, t.partial, t.opts)
	if err != nil {
		t.foreign = true // so that Abort leaves it
		return nil, err
	}
	if err := t.clear(); err != nil {
		return nil, err
	}
	load := t.fs.PathJoin(t.partial, loadName)
	names, err := t.fs.List(load)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{jobName: true}
	for i := range parts {
		for _, info := range parts[i].Tables {
			keep[info.Name] = true
			var n int64
			if _, err := fmt.Sscanf(info.Name, "%d", &n); err == nil {
				t.table.Store(max(t.table.Load(), n))
			}
		}
		keep[parts[i].name()] = true
	}
	for _, name := range names {
		if !keep[name] {
			if err := t.fs.RemoveAll(t.fs.PathJoin(load, name)); err != nil {
				return nil, err
			}
		}
	}
	var done []driver.Part
	for i := range parts {
		done = append(done, parts[i].Part)
		t.add(parts[i].Tables)
	}
	t.parts = len(parts)
	return done, nil
}

// clear removes what only Finish makes.
func (t *target) clear() error {
	names, err := t.fs.List(t.partial)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != loadName {
			if err := t.fs.RemoveAll(t.fs.PathJoin(t.partial, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// add takes a finished part's tables in.
func (t *target) add(tables []tableInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, info := range tables {
		t.tables = append(t.tables, info.Name)
	}
}

func (t *target) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	l := &loader{target: t}
	if err := l.load(ctx, rows); err != nil {
		l.abort()
		return err
	}
	if !t.job.ID.IsZero() {
		// The tables are durable but for their names, which this makes so too.
		f := &partFile{*p, l.tables}
		if err := writeSealed(t.fs, t.fs.PathJoin(t.partial, loadName), f.name(), f); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	t.add(l.tables)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parts++
	return nil
}

// name returns the name of the part's file: one for each place in the order.
func (p *partFile) name() string {
	b := sha256.New()
	if p.From != nil {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(p.From.Collection)))
		b.Write(p.From.Key)
	}
	return fmt.Sprintf("%x", b.Sum(nil)[:12]) + partSuffix
}
