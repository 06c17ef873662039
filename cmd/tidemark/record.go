package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/storage"
)

// openToRecord opens an archive to read it and to put down what was found. One
// that may only be read is opened for that; readOnly then says why.
func (c *console) openToRecord(ctx context.Context, name string, record bool) (a *archive.Archive, readOnly, err error) {
	if !record {
		a, err = c.openArchive(ctx, name, false)
		return a, nil, err
	}
	a, err = c.openArchive(ctx, name, true)
	if errors.Is(err, storage.ErrUnavailable) {
		readOnly = err
		a, err = c.openArchive(ctx, name, false)
	}
	return a, readOnly, err
}

// notRecorded says that a result is not in the archive, and why.
func (c *console) notRecorded(what, why string) {
	c.notef("note: the archive does not know of this %s: %s\n", what, why)
}

func because(err error) string { return fmt.Sprint(err) }
