package capture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
)

// Digest reads the source and puts the fingerprints of its collections into
// the archive, once that covers what was read: the cheap evidence that a later
// drill compares a restore with. A source without collections yields none, and
// nothing is published. It is for any goroutine while Run captures.
func (c *Capturer) Digest(ctx context.Context) (_ *chain.Digest, err error) {
	d, err := fingerprint(ctx, c.source)
	if err != nil || len(d.Digests) == 0 {
		return d, err
	}
	if _, err := c.Sync(ctx); err != nil {
		return nil, err
	}
	session := c.claimed.Load()
	err = c.retry(ctx, "publish digests", func(ctx context.Context) error { return session.Digest(ctx, *d) })
	if errors.Is(err, chain.ErrFenced) {
		select {
		case <-c.stopped:
			err = ErrStopped
		default:
		}
	}
	if err != nil {
		return nil, err
	}
	c.o.Log.Info("digests published", "lsn", d.LSN, "collections", len(d.Digests))
	return d, nil
}

// fingerprint reads every collection of the source in one view.
func fingerprint(ctx context.Context, src driver.Source) (_ *chain.Digest, err error) {
	view, err := src.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a snapshot of the source: %w", err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	sums, err := driver.Digests(ctx, view)
	if err != nil {
		return nil, err
	}
	d := &chain.Digest{LSN: view.Mark().LSN}
	for _, id := range slices.Sorted(maps.Keys(sums)) {
		d.Digests = append(d.Digests, chain.CollectionDigest{Collection: id, Rows: sums[id].Rows, Digest: sums[id].Sum()})
	}
	return d, nil
}
