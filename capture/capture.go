// Package capture copies a database's log, and bases of its state, into an
// archive while the database is in use.
//
// A [Capturer] holds the timeline's epoch: it claims it, publishes segments,
// coverage and snapshots in it, and closes it in good order. The source is
// told that something is archived only after the manifest that announces it is
// published. When the store is slow or away the capturer reads no further: the
// source's log waits, not memory.
package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// DefaultCloseTimeout is how long a capture goes on after it was told to stop.
const DefaultCloseTimeout = 10 * time.Second

// Options tune a capture. The zero value is ready for use.
type Options struct {
	FlushBytes      int64         // publish a segment when its pack has this many bytes; default 8 MiB
	FlushAge        time.Duration // or when its first transaction has waited this long; default 1 s
	CoverageEvery   time.Duration // publish coverage while idle; default 10 s
	CheckpointEvery int           // bundle the manifests when so many are in no checkpoint yet; default 500
	RunBytes        int64         // cut a snapshot's packs at this size; default 256 MiB
	CloseTimeout    time.Duration // how long to go on after the context ends, to publish what was read; default DefaultCloseTimeout
	RetryMax        time.Duration // longest pause between attempts while the store fails; default 15 s
	GiveUpAfter     time.Duration // stop with the store's error when one thing could not be published for this long; default never

	Takeover   bool          // claim over an epoch that is neither closed nor stale
	StaleAfter time.Duration // an open epoch silent for this long may be claimed; default 60 s

	Timeline chain.TimelineID // capture into this one, which is there or is begun; default: the one of the database
	Fork     bool             // a database whose history went apart from what was captured begins a timeline of its own
	NoGap    bool             // end with driver.ErrLogLost when the source lost its log, rather than declare a gap

	Notify func(Event)        // told of what a person should know; default: nobody. It must not block
	Log    *slog.Logger       // default: none
	Now    func() change.Time // the source's clock; default this machine's
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.FlushAge, time.Second)
	def(&o.CoverageEvery, 10*time.Second)
	def(&o.CloseTimeout, DefaultCloseTimeout)
	def(&o.RetryMax, 15*time.Second)
	def(&o.StaleAfter, archive.DefaultStaleAfter)
	if o.FlushBytes <= 0 {
		o.FlushBytes = 8 << 20
	}
	if o.RunBytes <= 0 {
		o.RunBytes = 256 << 20
	}
	if o.CheckpointEvery <= 0 {
		o.CheckpointEvery = archive.DefaultCheckpointEvery
	}
	if o.Now == nil {
		o.Now = func() change.Time { return change.TimeOf(time.Now()) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// ErrUnfinished is returned by Run when the store did not take everything that
// was read, and the closing of the epoch, within CloseTimeout. Nothing is lost:
// the next capture goes on where the archive ends, but may have to wait until
// the epoch is stale, or to take over.
var ErrUnfinished = errors.New("not finished")

// ErrStopped is returned by Sync and Snapshot when the capture ended first.
var ErrStopped = errors.New("capture has stopped")

// Capturer copies one source into one archive. Run does the work; the other
// methods ask a running one for something and wait.
type Capturer struct {
	archive *archive.Archive
	source  driver.Source
	o       Options

	inbox   inbox
	claimed atomic.Pointer[archive.Session] // once the epoch is claimed
	stopped chan struct{}                   // closed when Run returns
}

// New returns a capturer; nothing happens before Run.
func New(a *archive.Archive, src driver.Source, o Options) *Capturer {
	return &Capturer{archive: a, source: src, o: o.withDefaults(), stopped: make(chan struct{})}
}

// Run captures until ctx ends; then it publishes what it has read, closes the
// epoch and returns nil. It may be called once. Store failures, at the start
// too, are retried for as long as ctx and then CloseTimeout last. After an
// error of the source, what was read before it is published and the epoch is
// closed all the same.
//
// The timeline is the database's own: the one that it was captured into before.
// A database that was restored from this archive begins one where it was
// restored. Where the source has lost its log, Run declares a gap, takes a new
// base and goes on, unless NoGap is set.
//
// When ctx ends before the epoch is claimed, its error is returned. Otherwise
// the error wraps
//   - chain.ErrFenced when another capturer claimed the timeline,
//   - chain.ErrLocked when another holds it and takes no pause,
//   - driver.ErrDiverged when the archive's history is not the source's,
//   - driver.ErrLogLost when the source dropped its log before it was archived,
//   - driver.ErrTruncated when the archive no longer holds what was archived
//     and the source can't put it back,
//   - archive.ErrTimelineTaken, archive.ErrNoTimeline for a timeline that can't be had,
//   - ErrUnfinished when CloseTimeout was not enough,
//   - what the source or, in the end, the store failed with.
func (c *Capturer) Run(ctx context.Context) error {
	defer close(c.stopped)
	var before *run
	for {
		id, err := c.source.Identity(ctx) // each time: the last receipt is part of it
		if err != nil {
			return fmt.Errorf("identify the source: %w", err)
		}
		r, err := c.start(ctx, id)
		if err != nil {
			return err
		}
		r.takeOver(before)
		began := r.read
		err = r.loop(ctx)
		if e := r.changes.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the source's log: %w", e))
		}
		goesOn := errors.Is(err, driver.ErrLogLost) && !c.o.NoGap && ctx.Err() == nil && !errors.Is(err, ErrUnfinished)
		if !goesOn || before != nil && began == r.read && began == before.read {
			return err
		}
		before = r
	}
}

// start claims the timeline and opens the source's log.
func (c *Capturer) start(ctx context.Context, id driver.Identity) (r *run, err error) {
	err = c.retry(ctx, "start to capture", func(ctx context.Context) error {
		for {
			at, err := c.choose(ctx, id)
			if err != nil {
				return err
			}
			ch, session, err := c.claim(ctx, id, at)
			if errors.Is(err, errClaimed) {
				continue // another was first in the timeline that had just begun
			}
			if err != nil {
				return err
			}
			c.claimed.Store(session)
			r = newRun(c, ch, session)
			return nil
		}
	})
	if err == nil {
		c.o.Log.Info("capturing", "timeline", r.session.Archive().Timeline(), "epoch", r.session.Epoch(), "lsn", r.read.LSN)
	}
	return r, err
}

// errClaimed says that a timeline belongs to another database by now.
var errClaimed = errors.New("another database has claimed the timeline")

// claim starts an epoch and opens the source's log at the archive's end, or
// after it when what follows is lost. The log is opened first, because only the
// source can tell whether that end is part of its own history.
func (c *Capturer) claim(ctx context.Context, id driver.Identity, at choice) (ch driver.Changes, session *archive.Session, err error) {
	self := chain.Source{Kind: id.Kind, System: id.System}
	var after *detour // nil: the source goes on at the archive's end
	session, err = at.archive.Claim(ctx, archive.ClaimOptions{
		Source:     self,
		Holder:     holder(),
		Takeover:   c.o.Takeover,
		StaleAfter: c.o.StaleAfter,
		Mark: func(ctx context.Context, s *chain.State) (mark driver.Mark, err error) {
			if ch != nil { // the archive moved on since
				if err := ch.Close(); err != nil {
					return driver.Mark{}, err
				}
				ch = nil
			}
			switch {
			case s.Source != chain.Source{} && s.Source != self:
				return mark, &sourceError{errClaimed}
			case !s.Started:
				if mark, err = c.source.Start(ctx); err != nil {
					return mark, &sourceError{fmt.Errorf("find the start of the source's log: %w", err)}
				}
			case at.mark != nil && at.mark.LSN == s.Last && s.Position == "":
				mark = *at.mark
			default:
				mark = endOf(s)
			}
			ch, after, err = c.open(ctx, s, mark)
			return mark, err
		},
	})
	if err == nil && after != nil {
		err = c.declare(ctx, session, after)
	}
	if err != nil && ch != nil {
		err = errors.Join(err, ch.Close())
	}
	return ch, session, err
}

// holder tells people who holds an epoch.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}
