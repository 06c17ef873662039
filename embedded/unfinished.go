package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// Names within the directory of an unfinished restore.
const (
	loadName   = "load"   // the directory of all that is there before Finish
	jobName    = "JOB"    // in it: what is restored
	partSuffix = ".part"  // of a file that tells of a finished part
	ingestName = "ingest" // beside it: what Pebble takes the tables from
	jobFormat  = 1
)

// jobFile is the content of the file JOB.
type jobFile struct {
	Format int         `json:"format"`
	State  int         `json:"state_format"` // of the tables
	ID     change.Hash `json:"job"`
	About  string      `json:"about"`
	Begun  change.Time `json:"begun"`
	Made   int         `json:"made,omitempty"` // how many parents of the destination the restore made
}

// partFile is the content of the file of a finished part.
type partFile struct {
	driver.Part
	Tables []tableInfo `json:"tables"` // in order
}

// tableInfo is a sorted table of a part.
type tableInfo struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Rows int64  `json:"rows"`
}

// sealed is a small file that shows when it was damaged.
type sealed struct {
	Sum  change.Hash     `json:"sha256"` // of body as it is written
	Body json.RawMessage `json:"body"`
}

func writeSealed(fsys vfs.FS, dir, name string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	out, err := json.Marshal(sealed{sha256.Sum256(b), b})
	if err != nil {
		return err
	}
	return writeDurably(fsys, dir, name, append(out, '\n'))
}

// readSealed reads what writeSealed wrote; ErrCorrupt when it is something else.
func readSealed(fsys vfs.FS, name string, body any) error {
	b, err := readAll(fsys, name)
	if err != nil {
		return err
	}
	var s sealed
	if err := strictJSON(b, &s); err != nil {
		return fmt.Errorf("%s: %w: %w", name, err, ErrCorrupt)
	}
	if got := change.Hash(sha256.Sum256(s.Body)); got != s.Sum {
		return fmt.Errorf("%s: its content has SHA-256 %s, want %s: %w", name, got, s.Sum, ErrCorrupt)
	}
	if err := strictJSON(s.Body, body); err != nil {
		return fmt.Errorf("%s: %w: %w", name, err, ErrCorrupt)
	}
	return nil
}

func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows the content")
	}
	return nil
}

// leftover is what an earlier restore to a place has left.
type leftover struct {
	job   *jobFile // nil: nothing that a restore could go on with
	parts []partFile
	bytes int64 // of their tables
}

// readLeftover looks at a directory of an unfinished restore without changing
// it. A damaged file JOB is an error, a damaged part is left out: it is loaded
// again.
func readLeftover(fsys vfs.FS, partial string) (*leftover, error) {
	dir := fsys.PathJoin(partial, loadName)
	l := &leftover{job: new(jobFile)}
	err := readSealed(fsys, fsys.PathJoin(dir, jobName), l.job)
	if errors.Is(err, fs.ErrNotExist) {
		return &leftover{}, nil
	}
	if err == nil && (l.job.Format != jobFormat || l.job.State != int(stateFormat)) {
		err = fmt.Errorf("written by another version of tidemark, in format %d.%d", l.job.Format, l.job.State)
	}
	if err != nil {
		return nil, &driver.UnfinishedError{Place: partial, Damage: err}
	}
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasSuffix(name, partSuffix) {
			continue
		}
		var p partFile
		if err := readSealed(fsys, fsys.PathJoin(dir, name), &p); err != nil {
			if errors.Is(err, ErrCorrupt) {
				continue
			}
			return nil, err
		}
		l.parts = append(l.parts, p)
		for _, t := range p.Tables {
			l.bytes += t.Size
		}
	}
	return l, nil
}

// goesOn reports whether a job may go on with what is left, or replace it: an
// error that wraps [driver.ErrUnfinished] when that would lose another's work.
func (l *leftover) goesOn(partial string, job driver.Job) (bool, error) {
	switch {
	case l.job == nil || job.Fresh:
		return false, nil
	case l.job.ID == job.ID && !job.ID.IsZero():
		return true, nil
	case l.job.ID.IsZero() || len(l.parts) == 0:
		return false, nil
	}
	e := &driver.UnfinishedError{Place: partial, About: l.job.About, Begun: l.job.Begun, Parts: len(l.parts)}
	for _, p := range l.parts {
		e.Rows += p.Rows()
	}
	return false, e
}

// proved returns the parts whose tables are there and undamaged, and do not
// overlap with an earlier one, in order of rows.
func (l *leftover) proved(ctx context.Context, fsys vfs.FS, partial string, opts *Options) ([]partFile, error) {
	ok := make([]bool, len(l.parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range l.parts {
		g.Go(func() error {
			for _, t := range l.parts[i].Tables {
				if err := proveTable(ctx, fsys, fsys.PathJoin(partial, loadName, t.Name), t, opts); err != nil {
					return ctx.Err() // a damaged part is loaded again
				}
			}
			ok[i] = true
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []partFile
	for i, p := range l.parts {
		if ok[i] {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b partFile) int { return compareFrom(a.From, b.From) })
	kept := out[:0]
	for _, p := range out {
		if n := len(kept); n > 0 && (kept[n-1].To == nil || p.From == nil || kept[n-1].To.Compare(*p.From) > 0) {
			continue
		}
		kept = append(kept, p)
	}
	return kept, nil
}

func compareFrom(a, b *driver.Bound) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.Compare(*b)
}

// proveTable checks a table's size, the checksums of its blocks and how many
// rows it says it has.
func proveTable(ctx context.Context, fsys vfs.FS, name string, want tableInfo, opts *Options) (err error) {
	if want.Name != fsys.PathBase(want.Name) || !strings.HasSuffix(want.Name, tableSuffix) {
		return fmt.Errorf("%q is no name of a table: %w", want.Name, ErrCorrupt)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if readable.Size() != want.Size {
		return errors.Join(fmt.Errorf("table %s has %d bytes, want %d: %w", name, readable.Size(), want.Size, ErrCorrupt), readable.Close())
	}
	o := stateOptions(fsys, opts, nil)
	o.EnsureDefaults()
	r, err := sstable.NewReader(ctx, readable, o.MakeReaderOptions())
	if err != nil {
		return err // which has closed it
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.ValidateBlockChecksums(); err != nil {
		return err
	}
	props, err := r.ReadPropertiesBlock(ctx, nil)
	if err == nil && props.NumEntries != uint64(want.Rows) {
		err = fmt.Errorf("table %s has %d rows, want %d: %w", name, props.NumEntries, want.Rows, ErrCorrupt)
	}
	return err
}
