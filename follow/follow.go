// Package follow keeps a database current from an archive: a warm standby,
// which is read while it follows and can take over at any moment.
//
// [Prepare] makes the standby, with a restore the first time; a [Follower]
// then watches the chain and applies each new segment, transaction by
// transaction, after all of it was proved. [Rebase] starts over from a new base
// where the archive's log has a gap. To promote the standby is its own
// business: see [driver.Standby].
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// Options tune a follower. The zero value is ready for use.
type Options struct {
	Poll        time.Duration // how often to look for what is new; default 200 ms
	RetryMax    time.Duration // longest pause between attempts while the store fails; default 15 s
	GiveUpAfter time.Duration // stop with the store's error when it failed for this long; default never

	// Progress is called after each segment, and when there is nothing more to
	// apply for now; from one goroutine.
	Progress func(Status)

	Log *slog.Logger       // default: none
	Now func() change.Time // to tell the lag in time; default this machine's clock
}

func (o Options) withDefaults() Options {
	if o.Poll <= 0 {
		o.Poll = 200 * time.Millisecond
	}
	if o.RetryMax <= 0 {
		o.RetryMax = 15 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(Status) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = func() change.Time { return change.TimeOf(time.Now()) }
	}
	return o
}

// ErrGap says that the archive's log has a gap after the place where the
// standby stands: it can only go on from a new base, see [Rebase].
var ErrGap = apply.ErrGap

// Status is how far a standby is.
type Status struct {
	Archive  string     `json:"archive"` // the repository's ID
	Timeline string     `json:"timeline"`
	LSN      change.LSN `json:"lsn"`         // of the standby
	Last     change.LSN `json:"archive_lsn"` // of the archive, when last looked at
	Behind   int64      `json:"behind"`      // records that the archive has and the standby has not

	Effective change.Time `json:"effective"`      // of the standby's last transaction
	Covered   change.Time `json:"covered"`        // it holds everything up to here
	Age       float64     `json:"behind_seconds"` // how long ago Covered was, by this machine's clock

	// What this follower has applied.
	Segments int64 `json:"segments"`
	Txs      int64 `json:"transactions"`
	Records  int64 `json:"records"`

	Captured bool               `json:"captured"`        // a capturer holds the timeline; else nothing new will come before one does
	Forks    []chain.TimelineID `json:"forks,omitempty"` // timelines that go on from this one; they are not followed
}

// CaughtUp reports whether the standby holds all that the archive had.
func (s *Status) CaughtUp() bool { return s.LSN == s.Last }

// Follower applies what an archive's timeline gets to a standby. Run or
// CatchUp, one at a time, do the work; Status may be asked meanwhile.
type Follower struct {
	archive *archive.Archive
	standby driver.Standby
	o       Options

	mu     sync.Mutex
	status Status // guarded by mu
}

// New returns a follower; nothing happens before Run or CatchUp. The archive
// must be open on the timeline that the standby follows.
func New(a *archive.Archive, s driver.Standby, o Options) *Follower {
	return &Follower{archive: a, standby: s, o: o.withDefaults()}
}

// Status returns how far the standby is.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Forks = slices.Clone(s.Forks)
	return s
}

// Run follows until ctx ends, and then returns nil. Failures of the store are
// retried. Otherwise the error wraps
//   - [ErrGap] when the archive's log has a gap just after the standby,
//   - [driver.ErrDiverged] or [apply.ErrDiverged] when the standby is not what the archive says,
//   - [driver.ErrTruncated] when the archive ends before the standby does,
//   - [driver.ErrNotStandby] when it was promoted meanwhile,
//   - chain.ErrWrongRepo when it follows another archive or timeline,
//   - what is damaged in the archive, or what the standby failed with.
//
// The standby then shows everything before what was wrong.
func (f *Follower) Run(ctx context.Context) error {
	began, pause := time.Time{}, f.o.Poll
	for {
		_, err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			began, pause = time.Time{}, f.o.Poll
		case isFinal(err):
			return err
		default:
			if began.IsZero() {
				began = time.Now()
			}
			if f.o.GiveUpAfter > 0 && time.Since(began) >= f.o.GiveUpAfter {
				return fmt.Errorf("given up after %s: %w", time.Since(began).Round(time.Millisecond), err)
			}
			pause = min(2*pause, f.o.RetryMax)
			f.o.Log.Warn("the archive can't be read; trying again", "in", pause, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// CatchUp applies what the archive has now and returns how far that led. It
// retries nothing.
func (f *Follower) CatchUp(ctx context.Context) (Status, error) { return f.step(ctx) }

// readError is a failure to read the archive; it may pass.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// isFinal reports whether trying again is of no use. What the standby fails
// with is final, and of the archive's errors all but those of the store.
func isFinal(err error) bool {
	var r *readError
	if !errors.As(err, &r) {
		return true
	}
	return !errors.Is(err, storage.ErrUnavailable) && damaged(err)
}

// step applies what is new.
func (f *Follower) step(ctx context.Context) (Status, error) {
	at, err := f.standby.Standing(ctx)
	if err != nil {
		return f.Status(), err
	}
	if id := f.archive.Identity(); at.Archive != string(id.Repo) || at.Timeline != string(f.archive.Timeline()) {
		return f.Status(), fmt.Errorf("the standby follows timeline %s of repository %s, this is timeline %s of %s: %w",
			at.Timeline, at.Archive, f.archive.Timeline(), id.Repo, chain.ErrWrongRepo)
	}
	s, err := f.archive.Refresh(ctx)
	if err != nil {
		return f.Status(), &readError{err}
	}
	f.look(s, &at)
	if err := f.follow(ctx, s, &at); err != nil {
		return f.Status(), err
	}
	f.look(s, &at)
	status := f.Status()
	f.o.Progress(status)
	return status, nil
}

// look takes in where both sides are.
func (f *Follower) look(s *chain.State, at *driver.Standing) {
	if at.LSN == s.Last {
		f.standby.Cover(s.CoveredUntil)
		at.Covered = max(at.Covered, s.CoveredUntil)
	}
	now := f.o.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	st := &f.status
	st.Archive, st.Timeline = at.Archive, at.Timeline
	st.LSN, st.Last, st.Behind = at.LSN, s.Last, int64(s.Last)-int64(at.LSN)
	st.Effective, st.Covered, st.Age = at.Effective, at.Covered, 0
	if at.Covered > 0 {
		st.Age = max(0, now.Std().Sub(at.Covered.Std()).Seconds())
	}
	if st.Captured && !s.EpochOpen {
		f.o.Log.Info("the capture of the timeline was closed: nothing new will come before another begins", "timeline", at.Timeline, "lsn", s.Last)
	}
	st.Captured = s.EpochOpen
	if forks := s.Forks(); len(forks) != len(st.Forks) {
		st.Forks = nil
		for i := range forks {
			st.Forks = append(st.Forks, forks[i].Body.Child)
		}
		f.o.Log.Info("other timelines go on from the one that is followed", "timeline", at.Timeline, "forks", st.Forks)
	}
}

// follow applies the segments after where the standby stands, and moves at on.
func (f *Follower) follow(ctx context.Context, s *chain.State, at *driver.Standing) error {
	if err := f.checkEnds(ctx, s, at); err != nil || at.LSN == s.Last {
		return err
	}
	for seg, err := range s.Segments.From(ctx, at.LSN+1) {
		if err != nil {
			return &readError{err}
		}
		if seg.Body.First > at.LSN+1 {
			return gap(s, at.LSN)
		}
		if err := f.segment(ctx, s, &seg.Body, at); err != nil {
			return err
		}
		f.look(s, at)
		if at.LSN < s.Last {
			f.o.Progress(f.Status())
		}
	}
	if at.LSN < s.Last {
		return gap(s, at.LSN)
	}
	return nil
}

// checkEnds refuses a standby that is not on the archive's way.
func (f *Follower) checkEnds(ctx context.Context, s *chain.State, at *driver.Standing) error {
	if !s.Started || s.Last < at.LSN {
		return fmt.Errorf("the archive ends at LSN %d, the standby is at LSN %d: the end of the archive was removed, or it is an older copy: %w",
			s.Last, at.LSN, driver.ErrTruncated)
	}
	hash, known, err := s.LogHashAt(ctx, at.LSN)
	switch {
	case err != nil:
		return &readError{err}
	case known && hash != at.LogHash:
		return f.diverged(at, hash)
	case !known && at.LSN < s.Start:
		return fmt.Errorf("the standby is at LSN %d, the archive's log begins after LSN %d: %w", at.LSN, s.Start, ErrGap)
	}
	return nil
}

func (f *Follower) diverged(at *driver.Standing, hash change.Hash) error {
	return fmt.Errorf("at LSN %d the standby has log hash %s, the archive has %s: %w", at.LSN, at.LogHash, hash, driver.ErrDiverged)
}

// segment proves one segment and applies what the standby lacks of it.
func (f *Follower) segment(ctx context.Context, s *chain.State, b *chain.Segment, at *driver.Standing) error {
	prev, known, err := s.LogHashAt(ctx, b.First-1)
	if err != nil {
		return &readError{err}
	}
	if !known {
		return &readError{fmt.Errorf("the log hash before LSN %d is not known: %w", b.First, chain.ErrDamaged)}
	}
	seg, err := recovery.OpenSegment(ctx, f.archive.Bucket(), b, prev, at.LSN)
	if errors.Is(err, recovery.ErrInsideTx) {
		return fmt.Errorf("the standby is no copy of the archive's history: %w: %w", err, driver.ErrDiverged)
	}
	if err != nil {
		return &readError{fmt.Errorf("segment of LSN %d to %d: %w", b.First, b.Last, err)}
	}
	defer seg.Close()
	if seg.Hash() != at.LogHash {
		return f.diverged(at, seg.Hash())
	}
	n, err := f.standby.Apply(ctx, change.Join(reading(seg.Txs(ctx, at.LSN))))
	before := at.LSN
	now, e := f.standby.Standing(ctx)
	if e == nil {
		*at = now
	}
	f.count(n, int64(at.LSN-before))
	switch {
	case err != nil:
		return fmt.Errorf("follow from LSN %d: %w", at.LSN, err)
	case e != nil:
		return e
	case at.LSN != b.Last || at.LogHash != b.LogHash:
		return fmt.Errorf("after the segment that ends at LSN %d with log hash %s the standby is at LSN %d with %s: %w",
			b.Last, b.LogHash, at.LSN, at.LogHash, driver.ErrDiverged)
	}
	return nil
}

func (f *Follower) count(txs int, records int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Segments++
	f.status.Txs += int64(txs)
	f.status.Records += records
}

// gap says what lies between the standby and the log that comes next.
func gap(s *chain.State, lsn change.LSN) error {
	for i := range s.Gaps {
		if g := &s.Gaps[i].Body; g.First <= lsn+1 && lsn < g.Last {
			return fmt.Errorf("the archive's log has a gap from LSN %d to %d (%s), the standby is at LSN %d; a new base is needed: %w",
				g.First, g.Last, g.Reason, lsn, ErrGap)
		}
	}
	return fmt.Errorf("the archive's log does not go on just after LSN %d, where the standby is; a new base is needed: %w", lsn, ErrGap)
}
