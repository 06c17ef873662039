// Package daemon keeps databases: it captures each one, takes snapshots,
// verifies archives and rehearses restores when they are due, watches how much
// could be lost, and tells hooks of what happens.
//
// What goes wrong with one database, or with a hook, stops no other. Jobs leave
// records in a [job.Ledger], from which a daemon that is started again knows
// what is due.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
)

// Source is a database that is open to be captured.
type Source interface {
	Source() driver.Source
	Close() error
}

// Database is one database to keep.
type Database struct {
	*config.Database

	// OpenArchive opens its archive, as the one that the configuration pins, at
	// a timeline; "" is the configured one. It is called again after failures.
	// done, when it is not nil, is called once the archive is no longer used.
	OpenArchive func(ctx context.Context, timeline chain.TimelineID, write bool) (a *archive.Archive, done func(), err error)

	// OpenSource opens the database to be captured; nil when it isn't from
	// here. It is called again after failures.
	OpenSource func(ctx context.Context) (Source, error)
}

// Options tune a daemon. Databases and Ledger must be set.
type Options struct {
	Databases []Database
	Ledger    *job.Ledger
	Drill     drill.Options    // for every drill; Source and Wait are not used
	Tell      func(hook.Event) // is told of every event, from several goroutines; default: nobody
	Log       *slog.Logger     // default: none

	RetryMin time.Duration // pause before a capture is started again; default 1 s, doubled each time
	RetryMax time.Duration // up to; default 1 min
	WatchMax time.Duration // longest time between two looks at an archive; default 15 s
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.RetryMin, time.Second)
	def(&o.RetryMax, time.Minute)
	def(&o.WatchMax, 15*time.Second)
	if o.Tell == nil {
		o.Tell = func(hook.Event) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Run keeps the databases until ctx ends, then ends captures in good order,
// lets hooks finish and returns. A job that is under way is given up. The error
// says of which databases the capture has stopped for good, because another
// capturer took over: it wraps [chain.ErrFenced]. When there is nothing else to
// do for any database, Run returns then already. Where another process keeps one
// of the databases with the same state directory, Run does nothing: the error
// wraps [job.ErrKept].
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	for i := range o.Databases {
		lock, err := o.Ledger.Keep(o.Databases[i].Name)
		switch {
		case errors.Is(err, job.ErrKept):
			return err
		case err != nil: // then jobs leave no records either, and say so
			o.Log.Warn("another daemon would not be noticed", "database", o.Databases[i].Name, "error", err)
		default:
			defer lock.Close() // nothing was written to it
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(o.Databases))
	for i := range o.Databases {
		k := newKeeper(&o, &o.Databases[i])
		wg.Go(func() { errs[i] = k.run(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// keeper keeps one database.
type keeper struct {
	*Database
	o    *Options
	log  *slog.Logger
	tell *teller

	// work holds a token while a job is under way: one at a time, so that they
	// don't slow each other down.
	work chan struct{}

	mu       sync.Mutex
	capturer *capture.Capturer   // guarded by mu; nil while none is at work
	captures chan struct{}       // guarded by mu; closed while one is
	timeline chain.TimelineID    // guarded by mu; that was captured into last; "" for none yet
	gaps     map[change.LSN]bool // guarded by mu; the ends of those that were told
}

func newKeeper(o *Options, d *Database) *keeper {
	log := o.Log.With("database", d.Name)
	return &keeper{Database: d, o: o, log: log, tell: newTeller(d.Hooks, o.Tell, log), captures: make(chan struct{}), gaps: make(map[change.LSN]bool), work: make(chan struct{}, 1)}
}

// run does everything for one database and returns when all of it has ended.
func (k *keeper) run(ctx context.Context) error {
	var wg sync.WaitGroup
	var fenced error
	idle, stop := context.WithCancel(ctx)
	defer stop()
	schedules := k.schedules()
	for _, s := range schedules {
		wg.Go(func() { k.follow(ctx, s) })
	}
	wg.Go(func() { k.watch(idle) })
	if k.OpenSource != nil {
		wg.Go(func() {
			fenced = k.capture(ctx)
			if fenced != nil && len(schedules) == 0 {
				stop() // there is nothing to watch for
			}
		})
	}
	wg.Wait()
	k.tell.close()
	if fenced != nil {
		return fmt.Errorf("%s: %w", k.Name, fenced)
	}
	return nil
}

// event tells of something.
func (k *keeper) event(kind hook.Kind, err error, format string, args ...any) {
	e := hook.Event{Kind: kind, Message: fmt.Sprintf(format, args...)}
	if err != nil {
		e.Error = err.Error()
	}
	k.send(e)
}

func (k *keeper) send(e hook.Event) {
	e.Database, e.Time = k.Name, time.Now().UTC()
	k.tell.send(e)
}

// setCapturer says who captures now, nil for nobody, and into which timeline.
func (k *keeper) setCapturer(c *capture.Capturer, timeline chain.TimelineID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.capturer, k.timeline = c, timeline
	if c != nil {
		close(k.captures)
	} else {
		k.captures = make(chan struct{})
	}
}

// awaitCapturer returns who captures, after a while if need be: a daemon that
// has just begun may have work to do before. nil for nobody.
func (k *keeper) awaitCapturer(ctx context.Context) *capture.Capturer {
	if k.OpenSource == nil {
		return nil
	}
	give := time.NewTimer(k.o.RetryMax)
	defer give.Stop()
	k.mu.Lock()
	captures := k.captures
	k.mu.Unlock()
	select {
	case <-captures:
	case <-give.C:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.capturer
}

// current returns the timeline that is looked after: the one that was captured
// into last, or else "".
func (k *keeper) current() chain.TimelineID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.timeline
}

// open opens the archive at the timeline that is looked after; the caller calls
// done.
func (k *keeper) open(ctx context.Context, write bool) (*archive.Archive, func(), error) {
	a, done, err := k.OpenArchive(ctx, k.current(), write)
	if done == nil {
		done = func() {}
	}
	return a, done, err
}

// final tells errors of a capture that no further attempt can change.
func final(err error) bool { return errors.Is(err, chain.ErrFenced) }
