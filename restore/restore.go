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
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
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
	Rows  int64  // loaded so far
	Total int64  // the plan's estimate of all rows
	Bytes int64  // of keys and images loaded so far
}

// Result says what a restore reached.
type Result struct {
	Asked     archive.Target             `json:"asked"`
	Reached   archive.Reached            `json:"reached"`
	Discards  archive.Discards           `json:"discards"` // what the archive holds after that
	Rows      int64                      `json:"rows"`
	Bytes     int64                      `json:"bytes"` // of keys and images
	Digests   []archive.CollectionDigest `json:"digests,omitempty"`
	Confirmed bool                       `json:"confirmed"` // the source itself showed the same digests at this LSN
	Elapsed   time.Duration              `json:"elapsed_ns"`
}

// Prepare reads the chain, resolves a target to a place in the log and plans
// the way there.
func Prepare(ctx context.Context, a *archive.Archive, t archive.Target) (*archive.State, *archive.Plan, error) {
	state, err := a.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	point, err := archive.Resolve(ctx, a.Bucket(), state, t)
	if err != nil {
		return nil, nil, err
	}
	plan, err := archive.MakePlan(state, point)
	return state, plan, err
}

// Run prepares a plan for the target and executes it.
func Run(ctx context.Context, a *archive.Archive, t archive.Target, dst driver.Target, o Options) (*Result, error) {
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
// destination is as it was before.
func Execute(ctx context.Context, a *archive.Archive, state *archive.State, plan *archive.Plan, dst driver.Target, o Options) (res *Result, err error) {
	began := time.Now()
	l := newLoad(o, plan)
	stop := l.report()
	defer stop()
	rows, err := archive.At(ctx, a.Bucket(), plan, archive.AtOptions{Memory: o.Memory, TempDir: o.TempDir, Parts: o.Parts})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()

	want := wanted(plan, rows.Reached())
	if err := dst.Preflight(ctx, want); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dst.Abort())
		}
	}()
	if err := dst.Begin(ctx, want); err != nil {
		return nil, err
	}
	l.phase.Store(phaseLoad)
	if err := l.run(ctx, rows, dst); err != nil {
		return nil, err
	}
	res = l.result(rows.Reached())
	if res.Confirmed, err = confirm(state, plan.Point.LSN, res.Digests); err != nil {
		return nil, err
	}
	l.phase.Store(phaseFinish)
	if err := dst.Finish(ctx); err != nil {
		return nil, err
	}
	res.Elapsed = time.Since(began)
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
	plan    *archive.Plan
	phase   atomic.Int32
	rows    atomic.Int64
	bytes   atomic.Int64
	mu      sync.Mutex
	digests map[change.CollectionID]*change.Digest // guarded by mu
}

func newLoad(o Options, plan *archive.Plan) *load {
	l := &load{o: o, plan: plan, digests: make(map[change.CollectionID]*change.Digest)}
	for _, s := range plan.Schemas {
		l.digests[s.Collection] = new(change.Digest)
	}
	return l
}

// run loads every part, all at once.
func (l *load) run(ctx context.Context, rows *archive.Rows, dst driver.Target) error {
	schemas := make(map[change.CollectionID]*change.Schema)
	for _, s := range l.plan.Schemas {
		schemas[s.Collection] = s
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, part := range rows.Parts() {
		g.Go(func() error { return dst.Load(ctx, l.watch(part, schemas)) })
	}
	return g.Wait()
}

// watch passes a part's rows on and keeps count of them.
func (l *load) watch(part iter.Seq2[*change.Record, error], schemas map[change.CollectionID]*change.Schema) iter.Seq2[*change.Record, error] {
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
				if rows&1023 == 0 {
					flush()
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
		flush()
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
		l.o.Progress(Progress{Phase: phaseNames[l.phase.Load()], Rows: l.rows.Load(), Total: l.plan.Estimate.Rows, Bytes: l.bytes.Load()})
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

func (l *load) result(reached archive.Reached) *Result {
	res := &Result{Asked: archive.AtLSN(reached.LSN), Reached: reached, Discards: l.plan.Discards,
		Rows: l.rows.Load(), Bytes: l.bytes.Load()}
	if !l.o.NoDigest {
		for _, s := range l.plan.Schemas {
			d := l.digests[s.Collection]
			res.Digests = append(res.Digests, archive.CollectionDigest{Collection: s.Collection, Rows: d.Rows, Digest: d.Sum()})
		}
	}
	return res
}

// wanted is the plan in the words of a target.
func wanted(plan *archive.Plan, reached archive.Reached) driver.State {
	return driver.State{LSN: reached.LSN, LogHash: reached.LogHash, Commit: reached.Commit, LastTx: reached.Tx,
		Schemas: plan.Schemas, NextID: plan.NextID, Rows: plan.Estimate.Rows, Bytes: plan.Estimate.Bytes}
}

// confirm compares with what the source itself showed at the same LSN, if it
// did and the rows were fingerprinted.
func confirm(state *archive.State, lsn change.LSN, got []archive.CollectionDigest) (bool, error) {
	want := shown(state, lsn)
	if want == nil || got == nil {
		return false, nil
	}
	for _, g := range got {
		w, ok := want[g.Collection]
		if ok && (w.Rows != g.Rows || w.Digest != g.Digest) {
			return false, fmt.Errorf("collection %d at LSN %d: the source had %d rows with digest %s, the archive yields %d with %s: %w",
				g.Collection, lsn, w.Rows, w.Digest, g.Rows, g.Digest, ErrMismatch)
		}
	}
	return true, nil
}

// shown returns the digests that the source itself showed at an LSN, or nil.
func shown(state *archive.State, lsn change.LSN) map[change.CollectionID]archive.CollectionDigest {
	var all []archive.CollectionDigest
	for i := range state.Digests {
		if d := &state.Digests[i].Body; d.LSN == lsn {
			all = append(all, d.Digests...)
		}
	}
	for i := range state.Snapshots {
		if s := &state.Snapshots[i].Body; s.LSN == lsn && s.Origin == archive.OriginSource {
			all = append(all, s.Digests...)
		}
	}
	if all == nil {
		return nil
	}
	m := make(map[change.CollectionID]archive.CollectionDigest)
	for _, d := range all {
		m[d.Collection] = d
	}
	return m
}
