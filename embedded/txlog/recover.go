package txlog

import (
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// fileFor returns the place in files of the one that holds the transaction
// just after an LSN, or -1 when that is no longer there.
func fileFor(files []file, after change.LSN) int {
	i, _ := slices.BinarySearchFunc(files, after+1, func(f file, lsn change.LSN) int {
		if f.First <= lsn {
			return -1
		}
		return 1
	})
	return i - 1
}

// Recover calls each for every transaction from the file on that holds the one
// just after an LSN (so for some at or before it too), checks that the log is
// whole up to its end, wipes a torn tail, makes and shows that end durable, and
// readies the log for Append. It returns [ErrCorrupt] naming file and offset, or
// what each returned. After an error the log can only be closed.
func (l *Log) Recover(after change.LSN, each func(t Tx) error) error {
	i := fileFor(l.files, after)
	if i < 0 {
		return fmt.Errorf("log in %s starts at LSN %d, the state ends at %d: files are missing: %w", l.dir, l.files[0].First, after, ErrCorrupt)
	}
	for ; i < len(l.files); i++ {
		h := &l.files[i].header
		b, err := l.readFile(h.Number)
		if err != nil {
			return l.fileErr(h.Number, err)
		}
		end, err := walk(b, h, each)
		if err != nil {
			return l.fileErr(h.Number, err)
		}
		if i < len(l.files)-1 {
			if next := &l.files[i+1]; next.First != end.LSN+1 || next.Hash != end.Hash {
				return l.fileErr(h.Number, fmt.Errorf("it ends at offset %d with LSN %d, the next file starts at %d: %w", end.Offset, end.LSN, next.First, ErrCorrupt))
			}
			continue
		}
		return l.resume(b, end)
	}
	return nil
}

// resume opens the last file for append at its end, and wipes a torn tail.
func (l *Log) resume(content []byte, end place) error {
	f, err := l.fs.OpenReadWrite(l.path(end.Number), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	tail := content[min(end.Offset, int64(len(content))):]
	torn := slices.IndexFunc(tail, func(c byte) bool { return c != 0 })
	if torn >= 0 {
		clear(tail)
		if _, err := f.WriteAt(tail, end.Offset); err != nil {
			f.Close()
			return l.fileErr(end.Number, err)
		}
	}
	// What a killed process wrote may be readable and not yet durable.
	if err := f.Sync(); err != nil {
		f.Close()
		return l.fileErr(end.Number, err)
	}
	l.f, l.end, l.durable = f, end, end
	return nil
}
