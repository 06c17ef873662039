// Package restore brings a database back from an archive, and proves what an
// archive holds.
//
// A restore is a plan carried out: [Prepare] chooses and proves the plan,
// [Execute] bulk-loads the rows At(target) into an empty [driver.Target].
package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// ErrPreflight says that a restore could not start, and that nothing was changed.
var ErrPreflight = errors.New("preflight failed")

// ErrMismatch says that restored rows differ from what the source showed at
// the same LSN. The destination was removed.
var ErrMismatch = errors.New("restored rows differ from the source's")

// Options tune a restore. The zero value is ready for use.
type Options struct {
	Memory   int64          // bytes for sorting and buffers; default recovery.DefaultMemory
	TempDir  string         // where sorts spill; default the system's
	Parts    int            // key ranges loaded at once; default one per processor
	PartSize int64          // bytes of keys and images in a part, which is loaded again when it was interrupted; default 64 MiB
	NoDigest bool           // don't fingerprint the rows on their way
	Fresh    bool           // discard what another restore to the same place has left unfinished
	Progress func(Progress) // called from one goroutine about five times a second, and at the end
}

// Progress is how far a restore is.
type Progress struct {
	Phase string // "read", "load", "finish"
	Read  int64  // records of the log read and sorted so far
	Log   int64  // all of those
	Rows  int64  // loaded so far, also by an earlier restore that this one goes on with
	Total int64  // the plan's estimate of all rows
	Bytes int64  // of keys and images loaded so far
	Parts int    // finished ones
	Of    int    // of so many; 0 before the log is read
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
	Parts     int                      `json:"parts"`
	Resumed   int                      `json:"resumed_parts,omitempty"` // of those, what an interrupted restore had finished
	Elapsed   time.Duration            `json:"elapsed_ns"`
}

// Defaults returns the options with the defaults in place of what is not set,
// where restore itself sets them.
func (o Options) Defaults() Options {
	if o.Memory <= 0 {
		o.Memory = recovery.DefaultMemory
	}
	if o.PartSize <= 0 {
		o.PartSize = 64 << 20
	}
	return o
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

// InterruptedError says that a restore did not come to its end for a reason
// that may pass, and that the same plan can go on where it was.
type InterruptedError struct {
	Err   error
	Parts int // that are kept
	Of    int // all parts; 0 when that is not known
}

func (e *InterruptedError) Error() string {
	s := fmt.Sprintf("%d finished parts are kept", e.Parts)
	if e.Of > 0 {
		s = fmt.Sprintf("%d of %d parts are finished and kept", e.Parts, e.Of)
	}
	return fmt.Sprintf("%v (%s: the same restore goes on there)", e.Err, s)
}

// Unwrap returns Err.
func (e *InterruptedError) Unwrap() error { return e.Err }

// Execute carries out a plan that [Prepare] made for the state. When an earlier
// restore of the same plan to the same place was interrupted, what it finished
// is not loaded again; the log is read, proved and sorted again.
//
// On an error the destination is as it was before. An error that wraps
// [ErrPreflight] came before anything was written. What may pass, the end of
// ctx or a store that is away, keeps the finished parts beside the destination
// for another Execute: [InterruptedError]. What won't, such as damage or a full
// disk, removes them.
func Execute(ctx context.Context, a *archive.Archive, state *chain.State, plan *recovery.Plan, dst driver.Target, o Options) (*Result, error) {
	if id := a.Identity(); plan.Repo != id.Repo || plan.Timeline != a.Timeline() {
		return nil, fmt.Errorf("the plan is for timeline %s of repository %s, this is timeline %s of %s: %w",
			plan.Timeline, plan.Repo, a.Timeline(), id.Repo, chain.ErrWrongRepo)
	}
	l := newLoad(o.Defaults(), plan)
	early, err := Wanted(plan, o) // the log hash is known once the log was read
	if err != nil {
		return nil, err
	}
	l.job = early.Job
	stop := l.report()
	defer stop()
	if _, err := dst.Preflight(ctx, early); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPreflight, err)
	}
	done, err := dst.Begin(ctx, early)
	if err != nil {
		_, aborted := dst.Abort(true)
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrPreflight, err), aborted)
	}
	l.goOn(done)
	res, err := l.into(ctx, a, state, dst)
	if err == nil {
		return res, nil
	}
	kept, aborted := dst.Abort(ctx.Err() != nil || passes(err))
	if kept > 0 {
		err = &InterruptedError{Err: err, Parts: kept, Of: int(l.of.Load())}
	}
	return nil, errors.Join(err, aborted)
}

// passes reports whether an error may be gone when the same is tried again.
func passes(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable)
}

// job identifies the work of a plan. What the plan says beside, such as what it
// discards, may change while the archive grows.
func job(plan *recovery.Plan, o Options) (driver.Job, error) {
	work, err := plan.Work()
	if err != nil {
		return driver.Job{}, err
	}
	hash, err := plan.Hash()
	if err != nil {
		return driver.Job{}, err
	}
	id := sha256.Sum256(fmt.Appendf(nil, "tidemark restore v1\x00%s digests %t", work, !o.NoDigest))
	return driver.Job{ID: id, Fresh: o.Fresh,
		About: fmt.Sprintf("plan %s, LSN %d of timeline %s", hash.Short(), plan.Point.LSN, plan.Timeline)}, nil
}

// Wanted returns what a target is asked for before the log was read: its
// [driver.Target.Preflight] can tell whether the restore may begin.
func Wanted(plan *recovery.Plan, o Options) (driver.State, error) {
	j, err := job(plan, o)
	if err != nil {
		return driver.State{}, err
	}
	return wanted(plan, j, recovery.Reached{Point: plan.Point}), nil
}

// into fills the target and gives it its name. After an error the target is
// the caller's to clean up.
func (l *load) into(ctx context.Context, a *archive.Archive, state *chain.State, dst driver.Target) (_ *Result, err error) {
	rows, err := recovery.At(ctx, a.Bucket(), l.plan, recovery.AtOptions{Memory: l.o.Memory, TempDir: l.o.TempDir,
		Parts: l.o.Parts, PartBytes: l.o.PartSize, Done: l.done, Progress: l.read.Store})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rows.Close())
		}
	}()
	l.phase.Store(phaseLoad)
	if err := l.run(ctx, rows, dst); err != nil {
		return nil, err
	}
	res := l.result(rows.Reached())
	if res.Confirmed, err = confirm(state, l.plan.Point.LSN, res.Digests); err != nil {
		return nil, err
	}
	// Before the destination has its name: from then on nothing may fail.
	if err := rows.Close(); err != nil {
		return nil, err
	}
	l.phase.Store(phaseFinish)
	want := wanted(l.plan, l.job, rows.Reached())
	if want.LastTx, err = lastTx(ctx, state, rows.Reached()); err != nil {
		return nil, err
	}
	if err := dst.Finish(ctx, want); err != nil {
		return nil, err
	}
	res.Elapsed = time.Since(l.began)
	return res, nil
}

// wanted is the plan in the words of a target.
func wanted(plan *recovery.Plan, j driver.Job, reached recovery.Reached) driver.State {
	return driver.State{Job: j, LSN: reached.LSN, LogHash: reached.LogHash, Commit: reached.Commit, LastTx: reached.Tx,
		Origin:  &driver.Origin{Archive: string(plan.Repo), Timeline: string(plan.Timeline), LSN: reached.LSN, LogHash: reached.LogHash, Effective: reached.Effective},
		Schemas: plan.Schemas, NextID: plan.NextID, Rows: plan.Estimate.Rows, Bytes: plan.Estimate.Bytes}
}

// lastTx returns the ID of the transaction that ends where a plan led. Where
// only a base shows that place, it is one that no transaction up to there
// exceeds, so that none is given out again: IDs that count transactions never
// exceed the LSN, others are counted on from those that the chain names.
func lastTx(ctx context.Context, state *chain.State, reached recovery.Reached) (change.TxID, error) {
	if reached.Tx != 0 || reached.LSN == 0 {
		return reached.Tx, nil
	}
	last := change.TxID(reached.LSN)
	seg, err := state.Segments.Covering(ctx, reached.LSN)
	if err != nil || seg == nil {
		return last, err
	}
	for _, t := range seg.Body.Largest {
		last = max(last, t.ID+change.TxID(seg.Body.Txs))
	}
	return last, nil
}

// Confirm compares digests with what the source itself showed at an LSN:
// [ErrMismatch] where they differ.
func Confirm(state *chain.State, lsn change.LSN, got []chain.CollectionDigest) error {
	_, err := confirm(state, lsn, got)
	return err
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
