package capture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
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
	given     change.Time // effective time of the one being read, when it comes in pieces
	now       change.Time // the source's clock when last looked at
	covered   change.Time // the latest promise, published or in a segment under way
	open      *segment    // being filled; nil when nothing was read since the last seal
	job       *job        // being published; nil when nothing is

	lastPublish time.Time // when a manifest was last published
	checkpoint  chain.Seq // make one when the chain is this long
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
	r.checkpoint = chain.Seq(c.o.CheckpointEvery)
	if n := len(s.Checkpoints); n > 0 {
		r.checkpoint += s.Checkpoints[n-1].Body.Last
	}
	if needsBase(s) {
		// The log starts in the middle of a history, or goes on after a gap:
		// nothing can be restored from there on before it has a base.
		r.snapshots = append(r.snapshots, request{ctx: context.Background(), snapshot: true, own: true, reply: make(chan reply, 1)})
	}
	return r
}

// loop reads and publishes until ctx ends or something is wrong for good.
func (r *run) loop(ctx context.Context) error {
	// What is under way when ctx ends may still finish, for a while.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	closing := time.AfterFunc(math.MaxInt64, cancel)
	defer closing.Stop()
	defer context.AfterFunc(ctx, func() { closing.Reset(r.o.CloseTimeout) })()

	err := r.resume(work)
	if err == nil {
		err = r.turn(ctx, work)
	}
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = r.finish(work, true)
	case isSourceError(err):
		closing.Reset(r.o.CloseTimeout)
		err = errors.Join(err, r.finish(work, false))
	}
	cancel()
	r.inbox.poke() // ends the last wait
	if r.job != nil {
		<-r.job.done
	}
	if r.base != nil {
		r.giveUpBase()
	}
	return err
}

// resume acknowledges what an earlier capturer may have published without
// coming to say so.
func (r *run) resume(work context.Context) error {
	if r.session.State().Segments.Len() == 0 {
		return nil
	}
	return r.acknowledge(work)
}

// acknowledge tells the source how far it is archived, once that can be
// restored.
func (r *run) acknowledge(work context.Context) error {
	if needsBase(r.session.State()) {
		return nil
	}
	if err := r.source.Ack(work, r.receipt()); err != nil {
		return &sourceError{fmt.Errorf("tell the source that LSN %d is archived: %w", r.published.LSN, err)}
	}
	return nil
}

func (r *run) receipt() driver.Receipt {
	return driver.Receipt{Archive: string(r.session.Archive().Identity().Repo), Timeline: string(r.session.Archive().Timeline()), Mark: r.published}
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
			return &sourceError{fmt.Errorf("read the source's log after LSN %d: %w", r.read.LSN, err)}
		}
		if wait.Err() != nil || (r.open != nil && r.open.builder.Txs() == 1) {
			if err := r.attend(ctx, work); err != nil {
				return err
			}
			wait = r.inbox.wait(ctx, r.patience())
		}
	}
}

// add takes one transaction, or a piece of one, into the open segment. One in
// pieces starts a segment: what was read before need not wait for it, and
// nothing else is lost with it when its end does not come.
func (r *run) add(ctx, work context.Context, tx *change.Tx) error {
	switch {
	case len(tx.Records) == 0:
		return &sourceError{fmt.Errorf("transaction %d of the source, after LSN %d, has no records", tx.ID, r.read.LSN)}
	case tx.Before > 0 && !r.open.inside():
		return &sourceError{fmt.Errorf("transaction %d of the source, after LSN %d, lacks its first %d records", tx.ID, r.read.LSN, tx.Before)}
	case tx.Before == 0 && !r.open.inside() && tx.First() != r.read.LSN+1:
		return &sourceError{fmt.Errorf("transaction %d of the source starts at LSN %d, want %d", tx.ID, tx.First(), r.read.LSN+1)}
	}
	if tx.After > 0 && tx.Before == 0 && r.open != nil && !r.open.inside() {
		if err := r.flush(ctx, work); err != nil {
			return err
		}
	}
	open := r.open
	if open == nil {
		open = newSegment(r.read.LogHash)
	}
	if tx.Before == 0 {
		if tx.Commit > r.now { // else any later time is as good
			r.now = r.o.Now()
		}
		r.given = chain.Effective(r.effective, r.covered, tx.Commit, r.now)
	}
	tx.Effective = r.given
	if err := open.add(tx); err != nil {
		return &sourceError{fmt.Errorf("transaction %d of the source at LSN %d: %w", tx.ID, tx.First(), err)}
	}
	r.open = open
	if tx.After > 0 {
		return r.spool(ctx, work)
	}
	r.effective = tx.Effective
	r.read = driver.Mark{LSN: tx.Last(), LogHash: r.open.builder.LogHash(), Position: tx.Position}
	if r.open.size() >= r.o.FlushBytes || len(r.open.parts) > 0 || r.open.builder.Marks() >= maxMarks || r.base.endsAt(tx.Last()) {
		return r.flush(ctx, work)
	}
	return nil
}

// maxMarks is how many schema changes and tombstones end a segment. They take
// next to nothing in a pack, but its manifest lists each.
const maxMarks = 10_000

// patience is how long the loop may wait for the source before something is due.
func (r *run) patience() time.Duration {
	due := time.Until(r.lastPublish.Add(r.o.CoverageEvery))
	if r.open != nil && !r.open.inside() {
		due = time.Until(r.open.since.Add(r.o.FlushAge))
	}
	if r.job != nil { // its end will poke
		due = r.o.FlushAge
	}
	for i := range r.syncs {
		if !r.syncs[i].caughtUp {
			due = min(due, syncPoll)
		}
	}
	if r.base == nil {
		for i := range r.snapshots {
			due = min(due, time.Until(r.snapshots[i].notBefore))
		}
	}
	return due
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
	r.answerSyncs()
	r.nextBase(ctx, work)
	if r.open != nil && !r.open.inside() && r.base.endsAt(r.read.LSN) {
		return r.flush(ctx, work) // no transaction may join it
	}
	r.publishBase(work)
	switch {
	case r.job != nil:
	case r.session.State().Seq >= r.checkpoint:
		r.publishCheckpoint(work)
	case r.open != nil && !r.open.inside():
		if r.syncDue() || time.Since(r.open.since) >= r.o.FlushAge {
			return r.flush(ctx, work)
		}
	case r.silent():
		r.publishCoverage(work)
	}
	return nil
}

// cover asks the source how far it has nothing more to give.
func (r *run) cover(ctx context.Context) error {
	if r.open.inside() {
		return nil
	}
	t, ok, err := r.changes.Coverage(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &sourceError{fmt.Errorf("ask the source for its coverage: %w", err)}
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

// baseless reports whether nothing can be restored yet: the archive starts in
// the middle of a history and its first base is still to come.
func (r *run) baseless() bool {
	return r.base != nil && r.base.own || slices.ContainsFunc(r.snapshots, func(q request) bool { return q.own })
}

// answerSyncs replies to those whose LSN is archived, and forgets those that
// nobody waits for.
func (r *run) answerSyncs() {
	rest := r.syncs[:0]
	baseless := r.baseless()
	for _, s := range r.syncs {
		if s.caughtUp && s.lsn <= r.published.LSN && !baseless {
			s.reply <- reply{mark: r.published}
		} else if !s.dropped() {
			rest = append(rest, s)
		}
	}
	clear(r.syncs[len(rest):])
	r.syncs = rest
}

// syncDue reports whether somebody waits for what the open segment holds.
func (r *run) syncDue() bool {
	return slices.ContainsFunc(r.syncs, func(s pendingSync) bool { return s.caughtUp && s.lsn > r.published.LSN })
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
	r.start(work, "publish segment", func(ctx context.Context) error { return s.publish(ctx, r.session.Archive(), r.session) },
		func(ctx context.Context) error {
			r.published = s.mark
			return r.acknowledge(ctx)
		})
	return nil
}

// spool stores the pack of the open segment, once it is large enough, while the
// transaction in it goes on. Until a manifest announces the segment it is an
// orphan.
func (r *run) spool(ctx, work context.Context) error {
	if r.open.size() < r.o.FlushBytes {
		return nil
	}
	if err := r.await(ctx); err != nil {
		return err
	}
	if r.silent() { // others must not take the epoch for abandoned
		r.publishCoverage(work)
		if err := r.await(ctx); err != nil {
			return err
		}
	}
	p, err := r.open.cut()
	if err != nil {
		return err
	}
	r.start(work, "store a part of a large transaction", func(ctx context.Context) error { return p.store(ctx, r.session.Archive()) }, nil)
	r.job.quiet = true
	return nil
}

// silent reports whether nothing was published for so long that coverage is due.
func (r *run) silent() bool { return time.Since(r.lastPublish) >= r.o.CoverageEvery }

// publishCoverage shows that the capturer is alive, even when the source
// promises nothing yet.
func (r *run) publishCoverage(work context.Context) {
	r.covered = max(r.covered, 1)
	until := r.covered
	r.start(work, "publish coverage", func(ctx context.Context) error { return r.session.Coverage(ctx, until) }, nil)
}

// publishCheckpoint bundles the manifests so far, so that readers open the
// archive cheaply. Captures can do without: a failure is not tried again soon.
func (r *run) publishCheckpoint(work context.Context) {
	r.start(work, "publish checkpoint", func(ctx context.Context) error {
		if _, err := r.session.Archive().Checkpoint(ctx, r.o.CheckpointEvery); err != nil {
			r.o.Log.Warn("no checkpoint this time", "error", err)
		}
		return nil
	}, func(context.Context) error {
		r.checkpoint = r.session.State().Seq + chain.Seq(r.o.CheckpointEvery)
		return nil
	})
}

// finish publishes what was read and closes the epoch, until work ends. A base
// whose rows are all stored is published too; another is given up. The time
// since the last transaction is covered unless the source failed: one that it
// returned may have been refused.
func (r *run) finish(work context.Context, cover bool) error {
	var source error // the archive is to be closed in good order all the same
	settle := func() error {
		err := r.await(context.Background()) // the job ends with work
		if isSourceError(err) {
			source, err = errors.Join(source, err), nil
		}
		return err
	}
	err := settle()
	if err == nil && r.base != nil && !r.base.written() {
		r.giveUpBase()
	}
	if r.open.inside() { // the source keeps all of it
		r.open = nil
	}
	if err == nil && r.open != nil {
		if err = r.flush(work, work); err == nil {
			err = settle()
		}
	}
	if err == nil {
		r.publishBase(work)
		err = settle()
	}
	if err == nil && source == nil && cover && r.cover(work) == nil && r.covered > r.session.State().CoveredUntil {
		// Otherwise the time since the last transaction would be nobody's.
		r.publishCoverage(work)
		err = settle()
	}
	r.answerSyncs()
	if err == nil {
		r.start(work, "close the epoch", r.session.Close, nil)
		err = settle()
	}
	switch {
	case err == nil:
		r.o.Log.Info("capture closed", "lsn", r.published.LSN)
	case work.Err() != nil:
		// Not %w: that work's context ended is no answer to whether ctx did.
		err = fmt.Errorf("%w %s after being told to stop; archived for certain is LSN %d, the source keeps the rest: %v",
			ErrUnfinished, r.o.CloseTimeout, r.published.LSN, err)
	}
	return errors.Join(source, err)
}
