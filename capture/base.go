package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
)

// base is a snapshot of the source on its way into the archive. Its packs are
// written beside the loop; its manifest follows when the log through its LSN
// is archived.
type base struct {
	request
	view    driver.Snapshot
	cancel  context.CancelFunc
	done    chan struct{}
	section chain.Snapshot // set before done is closed
	err     error          // likewise
}

// endsAt reports whether the base shows the state just after lsn. A segment
// ends there, so that the chain proves the base's log hash.
func (b *base) endsAt(lsn change.LSN) bool { return b != nil && b.view.Mark().LSN == lsn }

// written reports whether the base's packs are stored, or can't be.
func (b *base) written() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// nextBase opens the next snapshot that somebody waits for.
func (r *run) nextBase(ctx, work context.Context) {
	r.snapshots = slices.DeleteFunc(r.snapshots, func(q request) bool { return q.dropped() })
	if r.base != nil {
		return
	}
	now := time.Now()
	i := slices.IndexFunc(r.snapshots, func(q request) bool { return !q.notBefore.After(now) })
	if i < 0 {
		return
	}
	q := r.snapshots[i]
	r.snapshots = slices.Delete(r.snapshots, i, i+1)
	view, err := r.openView(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return // who asked is told that the capture has stopped
		}
		r.baseFailed(q, fmt.Errorf("open a snapshot of the source: %w", err))
		return
	}
	r.startBase(work, q, view)
}

// openView opens a view that shows all that was read. A source may return a
// transaction that is durable before it shows it; no segment could end at such
// a view any more.
func (r *run) openView(ctx context.Context) (driver.Snapshot, error) {
	for began := time.Now(); ; {
		view, err := r.source.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		lsn := view.Mark().LSN
		if lsn >= r.read.LSN {
			return view, nil
		}
		if err := view.Close(); err != nil {
			return nil, err
		}
		if time.Since(began) >= viewLag {
			return nil, fmt.Errorf("it shows LSN %d, %s after LSN %d was read from the log", lsn, viewLag, r.read.LSN)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// viewLag is how long what was read may take to be shown.
const viewLag = time.Second

// baseFailed tells who asked for a snapshot that there will be none. The log
// goes on all the same.
func (r *run) baseFailed(q request, err error) {
	r.o.Log.Error("a snapshot failed", "error", err)
	if q.own {
		q.notBefore = time.Now().Add(r.o.RetryMax)
		r.snapshots = append(r.snapshots, q)
		return
	}
	q.reply <- reply{err: err}
}

// publishBase publishes the base if its packs are stored and the log through
// its LSN is archived.
func (r *run) publishBase(work context.Context) {
	b := r.base
	if b == nil || r.job != nil || !b.written() {
		return
	}
	if b.err != nil {
		r.stopBase()
		r.baseFailed(b.request, b.err)
		return
	}
	lsn := b.view.Mark().LSN
	if r.published.LSN < lsn {
		return
	}
	// Where the log can't be looked at, publishing says why.
	if _, known, err := r.session.State().LogHashAt(work, lsn); err == nil && !known {
		r.stopBase()
		r.baseFailed(b.request, fmt.Errorf("the snapshot of the source is at LSN %d, "+
			"which is not the end of a transaction", lsn))
		return
	}
	var refused error // the chain does not take this base; that is no reason to end the log
	r.start(work, "publish snapshot", func(ctx context.Context) error {
		err := r.session.Snapshot(ctx, b.section)
		if errors.Is(err, chain.ErrBroken) && !errors.Is(err, chain.ErrFenced) || errors.Is(err, chain.ErrManifest) {
			refused, err = fmt.Errorf("publish snapshot: %w", err), nil
		}
		return err
	}, func(ctx context.Context) error {
		r.stopBase()
		if refused != nil {
			r.baseFailed(b.request, refused)
			return nil
		}
		b.reply <- reply{snapshot: &b.section, mark: r.published}
		r.o.Log.Info("snapshot published", "lsn", b.section.LSN, "packs", len(b.section.Runs))
		if b.own { // what was published before can be restored only now
			return r.acknowledge(ctx)
		}
		return nil
	})
}

// giveUpBase abandons the base; who asked for it may still get another.
func (r *run) giveUpBase() {
	r.snapshots = append(r.snapshots, r.base.request)
	r.stopBase()
}

// stopBase abandons the base, if it is not written, and closes the view.
func (r *run) stopBase() {
	b := r.base
	r.base = nil
	b.cancel()
	<-b.done
	if err := b.view.Close(); err != nil {
		r.o.Log.Warn("could not close a snapshot of the source", "error", err)
	}
}

func (r *run) startBase(work context.Context, q request, view driver.Snapshot) {
	ctx, cancel := context.WithCancel(work)
	b := &base{request: q, view: view, cancel: cancel, done: make(chan struct{})}
	r.base = b
	w := baseWriter{archive: r.session.Archive(), view: view, runBytes: r.o.RunBytes}
	go func() {
		b.err = r.retry(ctx, "store a snapshot", func(ctx context.Context) (err error) {
			b.section, err = w.write(ctx)
			return err
		})
		close(b.done)
		r.inbox.poke()
	}()
}

// baseWriter uploads the rows of a view as runs.
type baseWriter struct {
	archive  *archive.Archive
	view     driver.Snapshot
	runBytes int64

	runs []pack.Ref // stored so far
	rows int64      // in them
}

// errRestart says that the store failed after rows of a run were read.
var errRestart = errors.New("the rows have to be read again")

// write uploads the runs that are not stored yet, and returns what the manifest
// says. After a failure of the store it may be called again: it reads the view
// from its start, but stores only what is missing.
func (w *baseWriter) write(ctx context.Context) (chain.Snapshot, error) {
	mark := w.view.Mark()
	s := chain.Snapshot{LSN: mark.LSN, LogHash: mark.LogHash, Origin: chain.OriginSource,
		Taken: w.view.Taken(), Schemas: w.view.Schemas()}
	digests := make(map[change.CollectionID]*change.Digest)
	next, stop := iter.Pull2(rows(ctx, w.view, digests))
	defer stop()
	c := &cursor{next: next}
	for c.advance(); c.more && c.err == nil && c.row < w.rows; {
		c.advance()
	}
	for c.more {
		if err := w.writeRun(ctx, c, s.LSN); err != nil {
			return s, err
		}
	}
	s.Runs = w.runs
	for _, schema := range s.Schemas {
		d := digests[schema.Collection]
		s.Digests = append(s.Digests, chain.CollectionDigest{Collection: schema.Collection, Rows: d.Rows, Digest: d.Sum()})
	}
	return s, nil
}

// writeRun uploads one run, of at least one row, from the cursor on.
func (w *baseWriter) writeRun(ctx context.Context, c *cursor, lsn change.LSN) error {
	begun := false
	ref, err := w.archive.PutPack(ctx, chain.RunPack, 0, lsn, func(out io.Writer) (pack.Ref, error) {
		if begun {
			return pack.Ref{}, errRestart
		}
		begun = true
		return c.fill(out, w.runBytes)
	})
	if err == nil {
		w.runs, w.rows = append(w.runs, ref), c.row
	}
	return err
}

// cursor stands on a row of a view.
type cursor struct {
	next func() (*change.Record, error, bool)
	row  int64 // how many stand before it
	rec  *change.Record
	err  error // instead of rec
	more bool  // there is a rec or an err
}

// fill writes a run of at least one row, from the cursor on.
func (c *cursor) fill(out io.Writer, runBytes int64) (pack.Ref, error) {
	store := &watched{w: out}
	run := pack.NewRunWriter(store, pack.WriterOptions{})
	err := c.err
	for first := true; err == nil && c.more && (first || run.Size() < runBytes); first = false {
		if err = run.Append(c.rec); err == nil {
			c.advance()
			err = c.err
		} else if store.err == nil {
			err = &sourceError{fmt.Errorf("row %d of a snapshot of the source: %w", c.row+1, err)}
		}
	}
	ref, _, e := run.Close()
	return ref, cmp.Or(err, e)
}

// watched remembers the first error of a writer.
type watched struct {
	w   io.Writer
	err error
}

func (s *watched) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (c *cursor) advance() {
	if c.rec != nil {
		c.row++
	}
	c.rec, c.err, c.more = c.next()
	if c.err != nil {
		c.rec = nil
	}
}

// rows yields the rows of all collections in order of (collection, key), and
// adds each to its collection's digest.
func rows(ctx context.Context, view driver.Snapshot, digests map[change.CollectionID]*change.Digest) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		for _, schema := range view.Schemas() {
			d := new(change.Digest)
			digests[schema.Collection] = d
			for rec, err := range view.Rows(ctx, schema.Collection) {
				if err == nil {
					err = d.Add(schema, rec.Key, rec.Image, max(1, rec.Count))
				}
				if err != nil && ctx.Err() == nil {
					err = &sourceError{fmt.Errorf("read collection %d (%q) of a snapshot of the source: %w", schema.Collection, schema.Name, err)}
				}
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
}
