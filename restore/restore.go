// Package restore brings a database back from an archive, and proves what an
// archive holds.
//
// A restore is a plan carried out: [Prepare] chooses and proves the plan,
// [Execute] bulk-loads the rows At(target) into an empty [driver.Target].
package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
)

// ErrPreflight says that a restore could not start, and that nothing was changed.
var ErrPreflight = errors.New("preflight failed")

// ErrMismatch says that restored rows differ from what the source showed at
// the same LSN. The destination was removed.
var ErrMismatch = errors.New("restored rows differ from the source's")

// Options tune a restore. The zero value is ready for use.
type Options struct {
	Memory   int64          // bytes for sorting and buffers; default 512 MiB
	TempDir  string         // where sorts spill; default the system's
	Parts    int            // key ranges loaded at once; default one per processor
	NoDigest bool           // don't fingerprint the rows on their way
	Progress func(Progress) // called from one goroutine about five times a second, and at the end
}

// Progress is how far a restore is.
type Progress struct {
	Phase string // "read", "load", "finish"
	Read  int64  // records of the log read and sorted so far
	Log   int64  // all of those
	Rows  int64  // loaded so far
	Total int64  // the plan's estimate of all rows
	Bytes int64  // of keys and images loaded so far
}

// Result says what a restore reached.
type Result struct {
	Asked     recovery.Target          `json:"asked"`
	Reached   recovery.Reached         `json:"reached"`
	Discards  recovery.Discards        `json:"discards"` // what the archive holds after that
	Rows      int64                    `json:"rows"`
	Bytes     int64                    `json:"bytes"` // of keys and images
	Digests   []chain.CollectionDigest `json:"digests,omitempty"`
	Confirmed bool                     `json:"confirmed"` // the source itself showed the same digests at this LSN
	Elapsed   time.Duration            `json:"elapsed_ns"`
}

// Prepare reads the chain, resolves a target to a place in the log and plans
// the way there.
func Prepare(ctx context.Context, a *archive.Archive, t recovery.Target) (*chain.State, *recovery.Plan, error) {
	state, err := a.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	point, err := recovery.Resolve(ctx, a.Bucket(), state, t)
	if err != nil {
		return nil, nil, err
	}
	plan, err := recovery.MakePlan(ctx, state, point)
	return state, plan, err
}

// Run prepares a plan for the target and executes it.
func Run(ctx context.Context, a *archive.Archive, t recovery.Target, dst driver.Target, o Options) (*Result, error) {
	state, plan, err := Prepare(ctx, a, t)
	if err != nil {
		return nil, err
	}
	res, err := Execute(ctx, a, state, plan, dst, o)
	if err != nil {
		return nil, err
	}
	res.Asked = t
	return res, nil
}

// Execute carries out a plan that [Prepare] made for the state. On an error the
// destination is as it was before; an error that wraps [ErrPreflight] came
// before anything was written.
func Execute(ctx context.Context, a *archive.Archive, state *chain.State, plan *recovery.Plan, dst driver.Target, o Options) (*Result, error) {
	if id := a.Identity(); plan.Repo != id.Repo || plan.Timeline != a.Timeline() {
		return nil, fmt.Errorf("the plan is for timeline %s of repository %s, this is timeline %s of %s: %w",
			plan.Timeline, plan.Repo, a.Timeline(), id.Repo, chain.ErrWrongRepo)
	}
	l := newLoad(o, plan)
	stop := l.report()
	defer stop()
	// The log hash is known only when the log was read, which may take long:
	// a destination that is no good is refused before.
	if err := dst.Preflight(ctx, wanted(plan, recovery.Reached{Point: plan.Point})); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	rows, err := recovery.At(ctx, a.Bucket(), plan, recovery.AtOptions{Memory: o.Memory, TempDir: o.TempDir, Parts: o.Parts,
		Progress: l.read.Store})
	if err != nil {
		return nil, err
	}
	res, err := l.into(ctx, state, rows, dst)
	if err != nil {
		return nil, errors.Join(err, rows.Close(), dst.Abort())
	}
	return res, nil
}

// into fills the target and gives it its name. It closes the rows when they
// are loaded; after an error both are the caller's to clean up.
func (l *load) into(ctx context.Context, state *chain.State, rows *recovery.Rows, dst driver.Target) (*Result, error) {
	if err := dst.Begin(ctx, wanted(l.plan, rows.Reached())); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	l.phase.Store(phaseLoad)
	if err := l.run(ctx, rows, dst); err != nil {
		return nil, err
	}
	res := l.result(rows.Reached())
	var err error
	if res.Confirmed, err = confirm(state, l.plan.Point.LSN, res.Digests); err != nil {
		return nil, err
	}
	// Before the destination has its name: from then on nothing may fail.
	if err := rows.Close(); err != nil {
		return nil, err
	}
	l.phase.Store(phaseFinish)
	if err := dst.Finish(ctx); err != nil {
		return nil, err
	}
	res.Elapsed = time.Since(l.began)
	return res, nil
}

// The phases of a restore.
const (
	phaseRead int32 = iota
	phaseLoad
	phaseFinish
)

var phaseNames = [...]string{phaseRead: "read", phaseLoad: "load", phaseFinish: "finish"}

// load counts and fingerprints rows on their way into the target.
type load struct {
	o       Options
	plan    *recovery.Plan
	began   time.Time
	log     int64 // records of the log between base and target
	phase   atomic.Int32
	read    atomic.Int64 // of those
	rows    atomic.Int64
	bytes   atomic.Int64
	mu      sync.Mutex
	digests map[change.CollectionID]*change.Digest // guarded by mu
}

func newLoad(o Options, plan *recovery.Plan) *load {
	l := &load{o: o, plan: plan, began: time.Now(), digests: make(map[change.CollectionID]*change.Digest)}
	l.log = int64(plan.Point.LSN)
	if plan.Base != nil {
		l.log -= int64(plan.Base.LSN)
	}
	for _, s := range plan.Schemas {
		l.digests[s.Collection] = new(change.Digest)
	}
	return l
}

// run loads every part, all at once.
func (l *load) run(ctx context.Context, rows *recovery.Rows, dst driver.Target) error {
	schemas := make(map[change.CollectionID]*change.Schema)
	for _, s := range l.plan.Schemas {
		schemas[s.Collection] = s
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range rows.Parts() {
		g.Go(func() error {
			ended := false
			err := dst.Load(ctx, l.watch(part, schemas, &ended))
			if err == nil && !ended {
				err = errors.New("the target left rows unread and reported no error")
			}
			return err
		})
	}
	return g.Wait()
}

// watch passes a part's rows on and keeps count of them. It sets ended when all
// were taken.
func (l *load) watch(part iter.Seq2[*change.Record, error], schemas map[change.CollectionID]*change.Schema, ended *bool) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		own := make(map[change.CollectionID]*change.Digest)
		var schema *change.Schema
		var digest *change.Digest
		var rows, bytes int64
		flush := func() {
			l.rows.Add(rows)
			l.bytes.Add(bytes)
			rows, bytes = 0, 0
		}
		n := 0
		for rec, err := range part {
			if err == nil {
				if schema == nil || schema.Collection != rec.Collection {
					schema, digest = schemas[rec.Collection], new(change.Digest)
					own[rec.Collection] = digest
				}
				if !l.o.NoDigest {
					err = digest.AddNormal(schema, rec.Key, rec.Image, max(1, rec.Count)) // as At yields them
				}
				rows += max(1, rec.Count)
				bytes += int64(len(rec.Key) + len(rec.Image))
				if n++; n%1024 == 0 {
					flush()
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
		flush()
		*ended = true
		l.mu.Lock()
		defer l.mu.Unlock()
		for id, d := range own {
			l.digests[id].Merge(d)
		}
	}
}

// report calls Progress until the returned function is called.
func (l *load) report() (stop func()) {
	if l.o.Progress == nil {
		return func() {}
	}
	say := func() {
		l.o.Progress(Progress{Phase: phaseNames[l.phase.Load()], Read: l.read.Load(), Log: l.log,
			Rows: l.rows.Load(), Total: l.plan.Estimate.Rows, Bytes: l.bytes.Load()})
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				say()
			case <-done:
				say()
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (l *load) result(reached recovery.Reached) *Result {
	res := &Result{Asked: recovery.AtLSN(reached.LSN), Reached: reached, Discards: l.plan.Discards,
		Rows: l.rows.Load(), Bytes: l.bytes.Load()}
	if !l.o.NoDigest {
		for _, s := range l.plan.Schemas {
			d := l.digests[s.Collection]
			res.Digests = append(res.Digests, chain.CollectionDigest{Collection: s.Collection, Rows: d.Rows, Digest: d.Sum()})
		}
	}
	return res
}

// wanted is the plan in the words of a target.
func wanted(plan *recovery.Plan, reached recovery.Reached) driver.State {
	return driver.State{LSN: reached.LSN, LogHash: reached.LogHash, Commit: reached.Commit, LastTx: reached.Tx,
		Origin:  &driver.Origin{Archive: string(plan.Repo), Timeline: string(plan.Timeline), LSN: reached.LSN, LogHash: reached.LogHash, Effective: reached.Effective},
		Schemas: plan.Schemas, NextID: plan.NextID, Rows: plan.Estimate.Rows, Bytes: plan.Estimate.Bytes}
}

// confirm compares with what the source itself showed at the same LSN, and
// reports whether it showed all of it. Without fingerprints it can't tell.
func confirm(state *chain.State, lsn change.LSN, got []chain.CollectionDigest) (bool, error) {
	if got == nil {
		return false, nil
	}
	return compare(shown(state, lsn), lsn, got)
}

// compare holds the digests that a state yields against those that the source
// showed at an LSN, and reports whether it showed all of them.
func compare(want []chain.CollectionDigest, lsn change.LSN, got []chain.CollectionDigest) (bool, error) {
	seen := make(map[change.CollectionID]bool)
	for _, want := range want {
		i := slices.IndexFunc(got, func(g chain.CollectionDigest) bool { return g.Collection == want.Collection })
		if i < 0 {
			return false, fmt.Errorf("collection %d at LSN %d: the source had %d rows with digest %s, the archive yields no such collection: %w",
				want.Collection, lsn, want.Rows, want.Digest, ErrMismatch)
		}
		if g := got[i]; want != g {
			return false, fmt.Errorf("collection %d at LSN %d: the source had %d rows with digest %s, the archive yields %d with %s: %w",
				g.Collection, lsn, want.Rows, want.Digest, g.Rows, g.Digest, ErrMismatch)
		}
		seen[want.Collection] = true
	}
	return len(seen) == len(got), nil
}

// shown returns the digests that the source itself showed at an LSN.
func shown(state *chain.State, lsn change.LSN) (all []chain.CollectionDigest) {
	for i := range state.Digests {
		if d := &state.Digests[i].Body; d.LSN == lsn {
			all = append(all, d.Digests...)
		}
	}
	for i := range state.Snapshots {
		if s := &state.Snapshots[i].Body; s.LSN == lsn && s.Origin == chain.OriginSource {
			all = append(all, s.Digests...)
		}
	}
	return all
}
