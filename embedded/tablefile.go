package embedded

import (
	"bufio"
	"errors"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBuffer is how many bytes of a table go to its file at once. Pebble's own
// writer has 4 KiB, about a block: a call of the system for each.
const tableBuffer = 256 << 10

// tableFile is a sorted table on its way to a file; one goroutine writes it.
type tableFile struct {
	f vfs.File
	w *bufio.Writer
}

var _ objstorage.Writable = (*tableFile)(nil)

func newTableFile(f vfs.File) *tableFile {
	return &tableFile{f: f, w: bufio.NewWriterSize(f, tableBuffer)}
}

func (t *tableFile) Write(p []byte) error {
	_, err := t.w.Write(p)
	return err
}

// Finish makes the table durable.
func (t *tableFile) Finish() error {
	err := t.w.Flush()
	if err == nil {
		err = t.f.Sync()
	}
	return errors.Join(err, t.f.Close())
}

func (t *tableFile) Abort() { _ = t.f.Close() }
