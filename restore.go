package tidemark

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// Restore makes an embedded database in a new directory, as it was at a target
// in the archive at a place such as /backup/shop. Nothing appears under the
// directory's name before everything is there and proved; the archive is not
// changed. To restore from an archive that is protected at the same time is fine.
//
// Errors are those of [restore.Run]: a target that can't be reached is a
// [*recovery.UnrestorableError], which names the nearest moments that can; one
// that means something else in each of several timelines is [restore.ErrAmbiguous].
func Restore(ctx context.Context, at, dir string, t recovery.Target, o restore.Options) (*restore.Result, error) {
	dst, err := OpenTarget(dir, embedded.Options{})
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(at, ReadOnly)
	if err != nil {
		return nil, err
	}
	res, err := restoreFrom(ctx, store, t, dst, o)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, fmt.Errorf("restore from %s: %w", at, err)
	}
	return res, nil
}

func restoreFrom(ctx context.Context, store Store, t recovery.Target, dst driver.Target, o restore.Options) (*restore.Result, error) {
	a, err := archive.Open(ctx, store, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	if a, err = restore.Choose(ctx, a, t); err != nil {
		return nil, err
	}
	return restore.Run(ctx, a, t, dst, o)
}
