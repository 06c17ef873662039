// Package drill rehearses a restore: it brings the database back in a scratch
// place, opens it, reads every row, and compares with what the live database
// itself showed at the same LSN. How long that took is the measured RTO.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

var (
	// ErrFailed says that a drill was carried out and that the archive did not
	// yield the database as it was. The result says more.
	ErrFailed = errors.New("drill failed")

	// ErrBehind says that the archive does not hold what the source showed.
	ErrBehind = errors.New("the archive is behind the database")
)

// Options tune a drill. The zero value is ready for use.
type Options struct {
	Dir      string // where the scratch place is made; default the system's temporary directory
	Keep     bool   // leave the scratch place there
	NoRecord bool   // don't put the result into the archive
	Memory   int64  // bytes for sorting and buffers; default 384 MiB

	// Source is read to compare with, instead of what the archive was told of
	// the database earlier. Wait is how long the archive may take to hold what
	// the source shows; 0 when nothing is under way.
	Source driver.Source
	Wait   time.Duration

	Progress func(restore.Progress) // as of [restore.Options]
	Fatal    func(error)            // as of [embedded.Options]
}

// Result is how a drill went.
type Result struct {
	chain.Drill
	Timeline    chain.TimelineID `json:"timeline"`
	Evidence    string           `json:"evidence,omitempty"` // what was compared with, in words
	Why         string           `json:"why,omitempty"`      // why it was not independent
	Collections []Collection     `json:"collections"`
	Scratch     string           `json:"scratch,omitempty"` // the restored database, when it was kept
	Recorded    bool             `json:"recorded"`
	NotRecorded string           `json:"not_recorded,omitempty"` // why not
}

// Collection is what a drill found of one collection.
type Collection struct {
	ID   change.CollectionID     `json:"collection"`
	Name string                  `json:"name"`
	Rows int64                   `json:"rows"`           // that the restored database holds
	Want *chain.CollectionDigest `json:"want,omitempty"` // what the live database showed; nil: nothing to compare with
	OK   bool                    `json:"ok"`
}

// RTO is how long the restore took, from planning to the opened database.
func (r *Result) RTO() time.Duration { return time.Duration(r.Elapsed) * time.Microsecond }

// Run rehearses a restore of the archive's timeline to the newest place of
// which there is independent evidence, or to its end where there is none. The
// scratch place is removed in any case, unless it is to be kept.
//
// The error wraps [ErrFailed] when the restore failed for what the archive
// holds, or the rows differ; the result then says so, as does the manifest that
// is published. Any other error says what kept the drill from being carried
// out: ErrBehind, driver.ErrDiverged (the source is another database),
// restore.ErrPreflight (no room), those of the store.
func Run(ctx context.Context, a *archive.Archive, o Options) (*Result, error) {
	d := &drill{a: a, o: o, result: &Result{Timeline: a.Timeline(), Drill: chain.Drill{Started: change.TimeOf(time.Now())}}}
	err := d.run(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, errors.Join(err, ctx.Err())
	case err != nil && !archiveFault(err):
		return nil, err
	case err != nil:
		d.result.Detail = clip(err.Error())
		err = fmt.Errorf("%w: %w", ErrFailed, err)
	default:
		d.result.OK = true
	}
	return d.result, errors.Join(err, d.record(ctx))
}

// archiveFault tells what the archive is to blame for.
func archiveFault(err error) bool {
	for _, e := range []error{pack.ErrCorrupt, chain.ErrDamaged, chain.ErrBroken, merge.ErrDivergence, storage.ErrNotFound, recovery.ErrNoPlan,
		recovery.ErrLost, recovery.ErrInGap, restore.ErrMismatch, embedded.ErrCorrupt, change.ErrSchema} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// clip bounds a text for a manifest.
func clip(s string) string {
	const most = 4000
	if s = strings.ToValidUTF8(s, "?"); len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// drill is one rehearsal.
type drill struct {
	a      *archive.Archive
	o      Options
	result *Result
}

// record publishes the result. That the archive can't take it is put down, and
// is no error of the drill.
func (d *drill) record(ctx context.Context) error {
	if d.o.NoRecord {
		d.result.NotRecorded = "it was not to be"
		return nil
	}
	err := d.a.RecordDrill(ctx, d.result.Drill)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if d.result.Recorded = err == nil; err != nil {
		d.result.NotRecorded = err.Error()
	}
	return nil
}

func (d *drill) run(ctx context.Context) error {
	ev, err := d.read(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	state, err := d.a.Refresh(ctx)
	if err != nil {
		return err
	}
	d.result.LSN = state.Last // unless a place is found
	plan, ev, err := d.plan(ctx, state, ev)
	if err != nil {
		return err
	}
	d.result.LSN = plan.Point.LSN
	if plan.Base != nil {
		d.result.Base = plan.Base.LSN
	}
	dir, err := os.MkdirTemp(d.o.Dir, "tidemark-drill-")
	if err != nil {
		return fmt.Errorf("%w: a scratch place for the drill: %w", restore.ErrPreflight, err)
	}
	err = d.rehearse(ctx, state, plan, ev, filepath.Join(dir, "db"), began)
	if d.o.Keep {
		d.result.Scratch = filepath.Join(dir, "db")
		return err
	}
	if e := os.RemoveAll(dir); e != nil {
		return errors.Join(err, fmt.Errorf("remove the scratch place: %w", e))
	}
	return err
}

// rehearse restores to the scratch place, reads it back and compares.
func (d *drill) rehearse(ctx context.Context, state *chain.State, plan *recovery.Plan, ev *evidence, dest string, began time.Time) (err error) {
	options := embedded.Options{MustExist: true, Fatal: d.o.Fatal}
	dst, err := embedded.NewTarget(dest, options)
	if err != nil {
		return err
	}
	res, err := restore.Execute(ctx, d.a, state, plan, dst, restore.Options{Memory: d.o.Memory, NoDigest: ev != nil, Progress: d.o.Progress})
	if err != nil {
		return err
	}
	db, err := embedded.Open(dest, options)
	if err != nil {
		return fmt.Errorf("open the restored database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	d.result.Elapsed = time.Since(began).Microseconds()
	d.result.Bytes = res.Bytes
	got, err := readBack(ctx, db, plan.Point.LSN)
	if err != nil {
		return err
	}
	want := res.Digests // what was loaded
	if ev != nil {
		want = ev.digests
		if ev.logHash != (change.Hash{}) && ev.logHash != res.Reached.LogHash {
			return fmt.Errorf("the archive's log hash at LSN %d is %s, the database's %s: %w", plan.Point.LSN, res.Reached.LogHash, ev.logHash, driver.ErrDiverged)
		}
	}
	return d.compare(plan, ev, want, got)
}

// readBack fingerprints what a restored database holds.
func readBack(ctx context.Context, db *embedded.DB, lsn change.LSN) (out map[change.CollectionID]*change.Digest, err error) {
	view, err := db.Source().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	if at := view.Mark().LSN; at != lsn {
		return nil, fmt.Errorf("the restored database is at LSN %d, want %d: %w", at, lsn, restore.ErrMismatch)
	}
	return driver.Digests(ctx, view)
}

// compare holds what the restored database holds against what it must.
func (d *drill) compare(plan *recovery.Plan, ev *evidence, want []chain.CollectionDigest, got map[change.CollectionID]*change.Digest) error {
	lsn, whole := plan.Point.LSN, true
	var wrong []error
	for _, s := range plan.Schemas {
		g := got[s.Collection]
		if g == nil {
			g = new(change.Digest)
			wrong = append(wrong, fmt.Errorf("collection %q at LSN %d: the restored database has no such collection: %w", s.Name, lsn, restore.ErrMismatch))
		}
		c := Collection{ID: s.Collection, Name: s.Name, Rows: g.Rows}
		d.result.Rows += g.Rows
		shown := false
		for _, w := range want {
			if w.Collection != s.Collection {
				continue
			}
			same := g.Rows == w.Rows && g.Sum() == w.Digest
			if ev != nil && (c.Want == nil || !same) {
				c.Want = &w
			}
			c.OK, shown = same && (c.OK || !shown), true
			if !same {
				wrong = append(wrong, differs(s.Name, lsn, w, g, ev))
			}
		}
		whole = whole && shown
		d.result.Collections = append(d.result.Collections, c)
	}
	for _, w := range want {
		if !slices.ContainsFunc(plan.Schemas, func(s *change.Schema) bool { return s.Collection == w.Collection }) {
			wrong = append(wrong, fmt.Errorf("collection %d at LSN %d: the database had %d rows, the restore yields no such collection: %w", w.Collection, lsn, w.Rows, restore.ErrMismatch))
		}
	}
	if ev != nil {
		d.result.Evidence, d.result.Against, d.result.Independent = ev.text, ev.seq, whole
		if !whole {
			d.result.Why = "what the database showed does not cover every collection"
		}
	}
	return errors.Join(wrong...)
}

// differs says how a collection is not what it must be.
func differs(name string, lsn change.LSN, w chain.CollectionDigest, g *change.Digest, ev *evidence) error {
	who := "the database had"
	if ev == nil {
		who = "loaded were"
	}
	if g.Rows != w.Rows {
		return fmt.Errorf("collection %q at LSN %d: %s %d rows, the restored database has %d: %w", name, lsn, who, w.Rows, g.Rows, restore.ErrMismatch)
	}
	return fmt.Errorf("collection %q at LSN %d: %s other content in its %d rows than the restored database has (digest %s, now %s): %w", name, lsn, who, w.Rows, w.Digest, g.Sum(), restore.ErrMismatch)
}
