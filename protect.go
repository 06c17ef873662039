package tidemark

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// Options tune a [Protect]. The zero value is ready for use.
type Options struct {
	Repo     chain.RepoID     // the archive that the caller knows this to be; default: whichever is there
	Timeline chain.TimelineID // default: the one that holds this database's history
	Capture  capture.Options  // how changes are copied
}

// Protection copies every commit of a database into an archive, until Close.
// Its methods are safe for concurrent use.
type Protection struct {
	store    Store
	capturer *capture.Capturer
	stop     context.CancelFunc
	done     chan struct{} // closed when the capture has ended
	err      error         // why; set before done is closed

	patience time.Duration // how long Close may wait for the store
	closing  sync.Once
	closed   error // what Close found
}

// Protect archives everything that is committed to db from now on, and what
// its log still holds of before, into the archive at a place such as
// /backup/shop. The archive is made when the place is empty or not there. The
// work goes on in the background until Close, or until ctx ends: store
// failures are retried, and db's log keeps what could not be archived yet.
// [Protection.Done] tells when it has ended all the same.
//
// A database that was restored from this archive goes on in a timeline of its
// own. Close the protection before the database.
func Protect(ctx context.Context, db *embedded.DB, at string, o Options) (*Protection, error) {
	store, err := OpenStore(at, Create)
	if err != nil {
		return nil, err
	}
	p, err := protect(ctx, db, store, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("protect the database with %s: %w", at, err), store.Close())
	}
	return p, nil
}

func protect(ctx context.Context, db *embedded.DB, store Store, o Options) (*Protection, error) {
	if _, err := archive.Init(ctx, store, archive.InitOptions{}); err != nil && !errors.Is(err, archive.ErrAlreadyInitialized) {
		return nil, err
	}
	if o.Timeline != "" {
		o.Capture.Timeline = o.Timeline
	}
	a, err := archive.Open(ctx, store, archive.OpenOptions{PinRepo: o.Repo})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	p := &Protection{store: store, capturer: capture.New(a, db.Source(), o.Capture), stop: stop, done: make(chan struct{}), patience: o.Capture.CloseTimeout}
	if p.patience <= 0 {
		p.patience = capture.DefaultCloseTimeout
	}
	go func() {
		defer close(p.done)
		p.err = p.capturer.Run(run)
		if errors.Is(p.err, context.Canceled) && !errors.Is(p.err, capture.ErrUnfinished) {
			p.err = nil // it was closed before it had begun
		}
	}()
	return p, nil
}

// Archive returns the archive, to be read: for package history, a plan, a status.
func (p *Protection) Archive() *archive.Archive { return p.capturer.Archive() }

// Sync waits until everything that was committed before the call is archived,
// and returns the LSN up to which it is.
func (p *Protection) Sync(ctx context.Context) (change.LSN, error) {
	mark, err := p.capturer.Sync(ctx)
	return mark.LSN, p.explain(err)
}

// Snapshot archives a base: the whole database as it is now. Restores to later
// moments then start from it instead of an older one.
func (p *Protection) Snapshot(ctx context.Context) (*chain.Snapshot, error) {
	s, err := p.capturer.Snapshot(ctx)
	return s, p.explain(err)
}

// Label gives a name to the moment: everything that was committed before the
// call is in it. [chain.ErrLabelTaken] when the name is in use.
func (p *Protection) Label(ctx context.Context, name, note string) (change.LSN, error) {
	lsn, err := p.Sync(ctx)
	if err != nil {
		return 0, err
	}
	return lsn, p.Archive().Label(ctx, chain.Label{Name: name, LSN: lsn, Note: note})
}

// Restore makes an embedded database in a new directory as this one was at a
// target, while this one goes on: [Restore] from its own timeline.
func (p *Protection) Restore(ctx context.Context, dir string, t recovery.Target, o restore.Options) (*restore.Result, error) {
	dst, err := OpenTarget(dir, embedded.Options{})
	if err != nil {
		return nil, err
	}
	return restore.Run(ctx, p.Archive(), t, dst, o)
}

// Done is closed when the protection has ended: after Close, or because it
// can't go on. Err says why.
func (p *Protection) Done() <-chan struct{} { return p.done }

// Err returns why the protection ended, as [capture.Capturer.Run] says it; nil
// while it goes on and after it was closed in good order.
func (p *Protection) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Close archives what was committed before the call and ends the protection,
// within twice the capture's close timeout. What the store did not take by then
// stays in the database's log for the next Protect: [capture.ErrUnfinished].
// Otherwise it returns what Err returns. A second call does no more.
func (p *Protection) Close() error {
	p.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), p.patience)
		defer cancel()
		_, err := p.capturer.Sync(ctx)
		p.stop()
		<-p.done
		if errors.Is(err, context.DeadlineExceeded) && p.err == nil {
			p.closed = fmt.Errorf("%w: the store did not take within %s what was committed; the database's log keeps it", capture.ErrUnfinished, p.patience)
		}
		p.closed = errors.Join(p.closed, p.err, p.store.Close())
	})
	return p.closed
}

// explain gives the capture's own error for one that only says that it ended.
func (p *Protection) explain(err error) error {
	if errors.Is(err, capture.ErrStopped) {
		<-p.done
		if p.err != nil {
			return fmt.Errorf("%w: %w", err, p.err)
		}
	}
	return err
}
