package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// run is one reign of a capturer. Its fields belong to the loop's goroutine;
// a job runs beside it and touches only what it was given.
type run struct {
	*Capturer
	changes driver.Changes
	session *archive.Session

	read      driver.Mark // end of what was read from the source
	published driver.Mark // end of what is archived and acknowledged
	effective change.Time // of the last transaction read
	covered   change.Time // the latest promise, published or in a segment under way
	open      *segment    // being filled; nil when nothing was read since the last seal
	job       *job        // being published; nil when nothing is

	lastPublish time.Time
	syncs       []pendingSync
	snapshots   []request // waiting for their turn
	base        *base     // the snapshot being taken; nil for none
}

// pendingSync waits until the archive's end reaches lsn.
type pendingSync struct {
	request
	caughtUp bool // lsn is set: the source had nothing more
	lsn      change.LSN
}

func newRun(c *Capturer, ch driver.Changes, session *archive.Session) *run {
	s := session.State()
	mark := driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}
	r := &run{Capturer: c, changes: ch, session: session, read: mark, published: mark,
		effective: s.Effective, covered: s.CoveredUntil, lastPublish: time.Now()}
	if s.Last > 0 && len(s.Snapshots) == 0 && s.Start > 0 {
		// The archive starts in the middle of a history: nothing can be
		// restored before it has a base.
		r.snapshots = append(r.snapshots, request{snapshot: true, reply: make(chan reply, 1)})
	}
	return r
}

// loop reads and publishes until ctx ends or something is wrong for good.
func (r *run) loop(ctx context.Context) error {
	// What is under way when ctx ends may still finish.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	err := r.turn(ctx, work)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		t := time.AfterFunc(r.o.CloseTimeout, cancel)
		defer t.Stop()
		err = r.finish(work)
	}
	cancel()
	if r.job != nil {
		<-r.job.done
	}
	if r.base != nil {
		err = errors.Join(err, r.base.stop())
	}
	return err
}

// turn is the loop proper.
func (r *run) turn(ctx, work context.Context) error {
	wait := r.inbox.wait(ctx, 0)
	for {
		tx, err := r.changes.Next(wait)
		if err == nil {
			if err = r.add(ctx, work, tx); err != nil {
				return err
			}
		} else if ctx.Err() != nil {
			return nil
		} else if wait.Err() == nil {
			return fmt.Errorf("read the source's log after LSN %d: %w", r.read.LSN, err)
		}
		if wait.Err() != nil || (r.open != nil && r.open.builder.Txs() == 1) {
			if err := r.attend(ctx, work); err != nil {
				return err
			}
			wait = r.inbox.wait(ctx, r.patience())
		}
	}
}

// add takes one transaction into the open segment.
func (r *run) add(ctx, work context.Context, tx *change.Tx) error {
	if r.open == nil {
		r.open = newSegment(r.read.LogHash)
	}
	tx.Effective = archive.Effective(r.effective, r.covered, tx.Commit, r.o.Now())
	if err := r.open.add(tx); err != nil {
		return fmt.Errorf("transaction %d of the source at LSN %d: %w", tx.ID, tx.First(), err)
	}
	r.effective = tx.Effective
	r.read = driver.Mark{LSN: tx.Last(), LogHash: r.open.builder.LogHash(), Position: tx.Position}
	if r.open.pack.Size() >= r.o.FlushBytes || r.base.endsAt(tx.Last()) {
		return r.flush(ctx, work)
	}
	return nil
}

// patience is how long the loop may wait for the source before something is due.
func (r *run) patience() time.Duration {
	for _, s := range r.syncs {
		if !s.caughtUp {
			return syncPoll
		}
	}
	switch {
	case r.job != nil: // its end will poke
		return r.o.FlushAge
	case r.open != nil:
		return time.Until(r.open.since.Add(r.o.FlushAge))
	}
	return time.Until(r.lastPublish.Add(r.o.CoverageEvery))
}

// syncPoll is how often the loop looks whether it has caught up with the
// source while somebody waits for that.
const syncPoll = 5 * time.Millisecond

// attend does what is due between transactions.
func (r *run) attend(ctx, work context.Context) error {
	for _, q := range r.inbox.take() {
		if q.snapshot {
			r.snapshots = append(r.snapshots, q)
		} else {
			r.syncs = append(r.syncs, pendingSync{request: q})
		}
	}
	if err := r.collect(); err != nil {
		return err
	}
	if err := r.cover(ctx); err != nil {
		return err
	}
	if err := r.attendBase(work); err != nil {
		return err
	}
	if r.job != nil {
		return nil
	}
	switch {
	case r.open != nil && (len(r.syncs) > 0 || time.Since(r.open.since) >= r.o.FlushAge):
		return r.flush(ctx, work)
	case r.open == nil && time.Since(r.lastPublish) >= r.o.CoverageEvery:
		r.publishCoverage(work)
	}
	r.answerSyncs()
	return nil
}

// cover asks the source how far it has nothing more to give.
func (r *run) cover(ctx context.Context) error {
	t, ok, err := r.changes.Coverage(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("ask the source for its coverage: %w", err)
	}
	if !ok {
		return nil
	}
	r.covered = max(r.covered, t, r.effective)
	for i := range r.syncs {
		if s := &r.syncs[i]; !s.caughtUp {
			s.caughtUp, s.lsn = true, r.read.LSN
		}
	}
	return nil
}

// answerSyncs replies to those whose LSN is archived.
func (r *run) answerSyncs() {
	rest := r.syncs[:0]
	for _, s := range r.syncs {
		if s.caughtUp && s.lsn <= r.published.LSN {
			s.reply <- reply{mark: r.published}
		} else {
			rest = append(rest, s)
		}
	}
	r.syncs = rest
}

// flush seals the open segment and starts to publish it, once the job before
// it has ended: here the source's log waits for the store. When ctx ends first,
// the segment stays open.
func (r *run) flush(ctx, work context.Context) error {
	if err := r.await(ctx); err != nil {
		return err
	}
	s, err := r.open.seal(r.covered)
	if err != nil {
		return err
	}
	r.open = nil
	r.covered = s.section.CoveredUntil
	r.start(work, "segment", func(ctx context.Context) error { return s.publish(ctx, r.archive, r.session) },
		func(ctx context.Context) error {
			r.published = s.mark
			if err := r.source.Ack(ctx, s.mark); err != nil {
				return fmt.Errorf("tell the source that LSN %d is archived: %w", s.mark.LSN, err)
			}
			return nil
		})
	return nil
}

func (r *run) publishCoverage(work context.Context) {
	until := r.covered
	r.start(work, "coverage", func(ctx context.Context) error { return r.session.Coverage(ctx, until) }, nil)
}

// finish publishes what was read and closes the epoch.
func (r *run) finish(work context.Context) error {
	if err := r.await(work); err != nil {
		return err
	}
	if r.open != nil {
		if err := r.flush(work, work); err != nil {
			return err
		}
		if err := r.await(work); err != nil {
			return err
		}
	}
	r.answerSyncs()
	r.start(work, "close", r.session.Close, nil)
	if err := r.await(work); err != nil {
		return err
	}
	r.o.Log.Info("capture closed", "lsn", r.published.LSN)
	return nil
}
