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

// Recover calls each for every transaction that ends after an LSN, checks that
// the log is whole up to its end, wipes a torn tail, makes and shows that end
// durable, and readies the log for Append. hash is the log hash through the LSN.
// It returns [ErrCorrupt] naming file and offset, [ErrForeign] where the log has
// another hash at the LSN, or what each returned. After an error the log can
// only be closed.
func (l *Log) Recover(after change.LSN, hash change.Hash, each func(t Tx) error) error {
	i := fileFor(l.files, after)
	if i < 0 {
		return fmt.Errorf("log in %s starts at LSN %d, the state ends at %d: files are missing: %w", l.dir, l.files[0].First, after, ErrCorrupt)
	}
	for ; i < len(l.files); i++ {
		h := &l.files[i].header
		end, size, err := l.walkFile(h, after, hash, each)
		if err != nil {
			return l.fileErr(h.Number, err)
		}
		if i < len(l.files)-1 {
			if next := &l.files[i+1]; next.First != end.LSN+1 || next.Hash != end.Hash {
				return l.fileErr(h.Number, fmt.Errorf("it ends at offset %d with LSN %d, the next file starts at %d: %w", end.Offset, end.LSN, next.First, ErrCorrupt))
			}
			continue
		}
		return l.resume(size, end)
	}
	return nil
}

func (l *Log) walkFile(h *header, after change.LSN, hash change.Hash, each func(t Tx) error) (end place, size int64, err error) {
	f, err := l.fs.Open(l.path(h.Number))
	if err != nil {
		return end, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return end, 0, err
	}
	end, err = walk(f, info.Size(), h, after, hash, each)
	return end, info.Size(), err
}

// resume opens the last file, of this size, for append at its end, and wipes a
// torn tail.
func (l *Log) resume(size int64, end place) error {
	f, err := l.fs.OpenReadWrite(l.path(end.Number), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = wipe(f, end.Offset, size)
	if err == nil {
		// What a killed process wrote may be readable and not yet durable.
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return l.fileErr(end.Number, err)
	}
	l.f, l.end, l.durable = f, end, end
	return nil
}

// wipe writes zeros over what is not zero from off on.
func wipe(f vfs.File, off, size int64) error {
	buf := make([]byte, min(readChunk, max(size-off, 0)))
	for off < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 {
			return ignoreEOF(err)
		}
		b := buf[:n]
		if slices.IndexFunc(b, func(c byte) bool { return c != 0 }) >= 0 {
			clear(b)
			if _, err := f.WriteAt(b, off); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}
