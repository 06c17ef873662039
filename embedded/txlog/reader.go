package txlog

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// Reader reads the log from a place on, up to its published end, also while it
// is appended to and released. It is for one goroutine.
type Reader struct {
	log  *Log
	f    vfs.File
	at   place  // after the frames that were read
	buf  []byte // what was read from the file and not yet looked at; it starts at at.Offset
	size int64  // of the file, once the log goes on in the next one; 0 before
}

// readChunk is how much is read at once; transactions point into it.
const readChunk = 256 << 10

// Read opens the log where the file starts that holds the transaction just
// after an LSN; [ErrReleased] when that is no longer there. The reader must be
// closed, also after an error of Next.
func (l *Log) Read(after change.LSN) (*Reader, error) {
	files, _ := l.retained()
	i := fileFor(files, after)
	if i < 0 {
		return nil, fmt.Errorf("the log in %s starts after LSN %d, wanted from %d: %w", l.dir, files[0].First-1, after, ErrReleased)
	}
	t := &Reader{log: l}
	if err := t.enter(files[i]); err != nil {
		return nil, err
	}
	return t, nil
}

// enter goes to the start of a file.
func (t *Reader) enter(h file) error {
	f, err := t.log.fs.Open(t.log.path(h.Number))
	if err != nil {
		return t.lost(err)
	}
	if err := t.Close(); err != nil {
		f.Close()
		return err
	}
	t.f, t.at, t.buf, t.size = f, h.start(), nil, 0
	return nil
}

// limit returns where the durable frames of the file end, at the latest.
func (t *Reader) limit(durable *place) (int64, error) {
	if t.at.Number == durable.Number {
		return durable.Offset, nil
	}
	if t.size == 0 { // only now: a frame that is larger than files are made extends its file
		info, err := t.f.Stat()
		if err != nil {
			return 0, err
		}
		t.size = info.Size()
	}
	return t.size, nil
}

// lost says that the log is no longer there; cause may be nil.
func (t *Reader) lost(cause error) error {
	err := fmt.Errorf("log file %s was released, wanted LSN %d: %w", t.log.path(t.at.Number), t.at.LSN+1, ErrReleased)
	if cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// Close closes the file that is open.
func (t *Reader) Close() error {
	if t.f == nil {
		return nil
	}
	f := t.f
	t.f = nil
	return f.Close()
}

// LSN returns the LSN of the last record that was read, or of the one before
// the file that Read opened.
func (t *Reader) LSN() change.LSN { return t.at.LSN }

// Hash returns the log hash through LSN.
func (t *Reader) Hash() change.Hash { return t.at.Hash }

// Next calls each for the transactions of the next frame. more is false when
// there is no published frame yet: see [Log.Moved]. An error is [ErrReleased],
// [ErrCorrupt], that of each, or one of reading; then the reader can only be closed.
func (t *Reader) Next(each func(Tx) error) (more bool, err error) {
	files, durable := t.log.retained()
	for t.at.LSN < durable.LSN {
		limit, err := t.limit(&durable)
		if err != nil {
			return false, t.log.fileErr(t.at.Number, err)
		}
		payload, ok, err := t.frame(limit)
		if err != nil {
			return false, t.log.fileErr(t.at.Number, err)
		}
		if ok {
			return true, t.take(payload, each)
		}
		if t.at.Number == durable.Number {
			return false, t.log.fileErr(t.at.Number, fmt.Errorf("frame %d at offset %d is damaged: %w", t.at.Frame+1, t.at.Offset, ErrCorrupt))
		}
		i := fileFor(files, t.at.LSN)
		if i < 0 || files[i].Number <= t.at.Number || files[i].First != t.at.LSN+1 || files[i].Hash != t.at.Hash {
			return false, t.lost(nil)
		}
		if err := t.enter(files[i]); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (t *Reader) take(payload []byte, each func(Tx) error) error {
	off := t.at.Offset
	if err := splitFrame(payload, &t.at, each); err != nil {
		return t.log.fileErr(t.at.Number, fmt.Errorf("frame %d at offset %d: %w", t.at.Frame+1, off, err))
	}
	t.at.Frame++
	t.at.Offset += frameHeaderSize + int64(len(payload))
	return nil
}

// frame returns the payload of the next frame of the file, which must end at
// or before limit; ok is false when there is none.
func (t *Reader) frame(limit int64) (payload []byte, ok bool, err error) {
	k := frameKey{t.log.id, t.at.Number}
	if err := t.fill(frameHeaderSize, limit); err != nil {
		return nil, false, err
	}
	size := k.frameSize(t.buf)
	if size == 0 {
		return nil, false, nil
	}
	if err := t.fill(size, limit); err != nil {
		return nil, false, err
	}
	payload, n, ok := k.open(t.buf, t.at.Offset)
	if !ok || n != t.at.Frame+1 {
		t.buf = nil // it may have been read while it was written
		return nil, false, nil
	}
	t.buf = t.buf[size:]
	return payload, true, nil
}

// fill makes buf hold at least n bytes, or all there are before limit.
func (t *Reader) fill(n, limit int64) error {
	left := limit - t.at.Offset
	n = min(n, left)
	if int64(len(t.buf)) >= n {
		return nil
	}
	buf := make([]byte, min(left, max(n, readChunk)))
	got, err := t.f.ReadAt(buf, t.at.Offset)
	if err != nil && err != io.EOF {
		return err
	}
	t.buf = buf[:got]
	return nil
}

// Moved returns a channel that is closed when the published end has moved past
// an LSN, or the log was closed; nil when the end has already.
func (l *Log) Moved(past change.LSN) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.durable.LSN > past {
		return nil
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return l.wake
}
