package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/tidemarkdb/tidemark/archive"
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
	section archive.Snapshot // set before done is closed
	err     error            // likewise
}

// endsAt reports whether the base shows the state just after lsn. A segment
// ends there, so that the chain proves the base's log hash.
func (b *base) endsAt(lsn change.LSN) bool { return b != nil && b.view.Mark().LSN == lsn }

// stop abandons the base and waits for its goroutine.
func (b *base) stop() error {
	b.cancel()
	<-b.done
	return b.view.Close()
}

// attendBase starts the next snapshot, or publishes the one that is written.
func (r *run) attendBase(work context.Context) error {
	if r.base == nil && len(r.snapshots) > 0 {
		q := r.snapshots[0]
		r.snapshots = r.snapshots[1:]
		view, err := r.source.Snapshot(work)
		if err != nil {
			q.reply <- reply{err: fmt.Errorf("open a snapshot of the source: %w", err)}
			return nil
		}
		r.startBase(work, q, view)
	}
	b := r.base
	if b == nil || r.job != nil {
		return nil
	}
	select {
	case <-b.done:
	default:
		return nil
	}
	if b.err != nil {
		r.base = nil
		b.reply <- reply{err: errors.Join(b.err, b.stop())}
		return nil
	}
	if r.published.LSN < b.view.Mark().LSN {
		return nil
	}
	r.start(work, "snapshot", func(ctx context.Context) error { return r.session.Snapshot(ctx, b.section) },
		func(context.Context) error {
			r.base = nil
			b.reply <- reply{snapshot: &b.section, mark: r.published}
			r.o.Log.Info("snapshot published", "lsn", b.section.LSN, "packs", len(b.section.Runs))
			return b.stop()
		})
	return nil
}

func (r *run) startBase(work context.Context, q request, view driver.Snapshot) {
	ctx, cancel := context.WithCancel(work)
	b := &base{request: q, view: view, cancel: cancel, done: make(chan struct{})}
	r.base = b
	go func() {
		b.err = r.retry(ctx, "snapshot packs", func(ctx context.Context) (err error) {
			b.section, err = writeBase(ctx, r.archive, view, r.o.RunBytes)
			return err
		})
		close(b.done)
		r.inbox.poke()
	}()
}

// writeBase uploads the rows of a view as runs and returns what their manifest
// says.
func writeBase(ctx context.Context, a *archive.Archive, view driver.Snapshot, runBytes int64) (archive.Snapshot, error) {
	s := archive.Snapshot{LSN: view.Mark().LSN, LogHash: view.Mark().LogHash, Origin: archive.OriginSource,
		Taken: view.Taken(), Schemas: view.Schemas()}
	digests := make(map[change.CollectionID]*change.Digest)
	next, stop := iter.Pull2(rows(ctx, view, digests))
	defer stop()
	rec, err, more := next()
	for more {
		used := false
		ref, werr := a.PutPack(ctx, archive.RunPack, 0, s.LSN, func(w io.Writer) (pack.Ref, error) {
			if used {
				return pack.Ref{}, errors.New("the rows of a snapshot can't be read a second time")
			}
			used = true
			run := pack.NewRunWriter(w, pack.WriterOptions{})
			for more && run.Size() < runBytes {
				if err != nil {
					return pack.Ref{}, err
				}
				if e := run.Append(rec); e != nil {
					return pack.Ref{}, e
				}
				rec, err, more = next()
			}
			ref, _, e := run.Close()
			return ref, e
		})
		if werr != nil {
			return s, werr
		}
		s.Runs = append(s.Runs, ref)
	}
	for _, schema := range s.Schemas {
		d := digests[schema.Collection]
		s.Digests = append(s.Digests, archive.CollectionDigest{Collection: schema.Collection, Rows: d.Rows, Digest: d.Sum()})
	}
	return s, nil
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
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
}
