package bench

import (
	"context"
	"errors"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// whenFull is longer than a benchmark takes: segments end by their size alone.
const whenFull = 24 * time.Hour

// writeArchive captures the workload into a new archive in a directory: a
// snapshot of its base and segments of its changes.
func writeArchive(ctx context.Context, dir string, o RestoreOptions) (err error) {
	bucket, err := storage.OpenDir(dir, storage.DirOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return err
	}
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return err
	}
	src, err := newCustomerSource(o.Seed, o.Rows, o.Changes)
	if err != nil {
		return err
	}
	c := capture.New(a, src, capture.Options{FlushBytes: o.SegmentBytes, FlushAge: whenFull, CoverageEvery: whenFull})
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(running) }()
	for _, done := range []chan struct{}{src.shown, src.read} {
		select {
		case <-done:
		case err := <-ended:
			return errors.Join(errors.New("the capture ended before the workload"), err)
		}
	}
	cancel() // Run publishes what is left
	return <-ended
}

// restoreTidemark restores the newest state of an archive in a directory into
// a new embedded database, and returns how many rows it has.
func restoreTidemark(ctx context.Context, j *job) (rows int64, err error) {
	bucket, err := storage.OpenDir(j.From, storage.DirOptions{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return 0, err
	}
	dst, err := embedded.NewTarget(j.Dest, embedded.Options{})
	if err != nil {
		return 0, err
	}
	res, err := restore.Run(ctx, a, recovery.Latest(), dst, restore.Options{Memory: j.Memory})
	if err != nil {
		return 0, err
	}
	return res.Rows, nil
}

// digestTidemark returns the digest of the rows of an embedded database.
func digestTidemark(ctx context.Context, dir string) (d change.Digest, err error) {
	db, err := embedded.Open(dir, embedded.Options{MustExist: true})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	view, err := db.Source().Snapshot(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	for _, s := range view.Schemas() {
		for r, err := range view.Rows(ctx, s.Collection) {
			if err != nil {
				return d, err
			}
			if err := d.Add(s, r.Key, r.Image, 1); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}
