package txlog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// Reader reads the log from a place on, up to its published end, also while it
// is appended to and released. It is for one goroutine.
type Reader struct {
	log  *Log
	f    vfs.File
	scan scanner // of f
	size int64   // of the file, once the log goes on in the next one; 0 before
}

// Read opens the log where the file starts that holds the transaction just
// after an LSN; [ErrReleased] when that is no longer there. A transaction of more
// than piece bytes will come in pieces of about that size, or of a single
// record; the reader takes a few times piece of memory. It must be closed, also
// after an error of Next.
func (l *Log) Read(after change.LSN, piece int64) (*Reader, error) {
	files, _ := l.retained()
	i := fileFor(files, after)
	if i < 0 {
		return nil, fmt.Errorf("the log in %s starts after LSN %d, wanted from %d: %w", l.dir, files[0].First-1, after, ErrReleased)
	}
	t := &Reader{log: l, scan: scanner{piece: max(piece, 1)}}
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
	t.f, t.size = f, 0
	t.scan = scanner{f: f, key: frameKey{t.log.id, h.Number}, piece: t.scan.piece, at: h.start()}
	return nil
}

// limit returns where the durable frames of the file end, at the latest.
func (t *Reader) limit(durable *place) (int64, error) {
	if t.scan.at.Number == durable.Number {
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
	err := fmt.Errorf("log file %s was released, wanted LSN %d: %w", t.log.path(t.scan.at.Number), t.scan.at.LSN+1, ErrReleased)
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

// LSN returns the LSN of the last record of the last transaction that was read
// whole, or of the one before the file that Read opened.
func (t *Reader) LSN() change.LSN { return t.scan.at.LSN }

// Hash returns the log hash through LSN.
func (t *Reader) Hash() change.Hash { return t.scan.at.Hash }

// Next returns the next transaction, or the next piece of one; it is the
// caller's. nil says that there is no published one yet: see [Log.Moved]. An
// error is [ErrReleased], [ErrCorrupt], or one of reading; then the reader can
// only be closed.
func (t *Reader) Next() (*change.Tx, error) {
	for {
		tx, err := t.scan.next()
		switch {
		case errors.Is(err, errChanged):
			return nil, t.changed()
		case err != nil:
			return nil, t.frameErr(err)
		case tx != nil:
			return tx, nil
		}
		files, durable := t.log.retained()
		if t.scan.at.LSN >= durable.LSN {
			return nil, nil
		}
		limit, err := t.limit(&durable)
		if err != nil {
			return nil, t.log.fileErr(t.scan.at.Number, err)
		}
		ok, err := t.scan.open(limit)
		switch {
		case err != nil:
			return nil, t.log.fileErr(t.scan.at.Number, err)
		case ok:
			continue
		case t.scan.at.Number == durable.Number:
			return nil, t.log.fileErr(t.scan.at.Number, fmt.Errorf("frame %d at offset %d is damaged: %w", t.scan.at.Frame+1, t.scan.at.Offset, ErrCorrupt))
		}
		i := fileFor(files, t.scan.at.LSN)
		if i < 0 || files[i].Number <= t.scan.at.Number || files[i].First != t.scan.at.LSN+1 || files[i].Hash != t.scan.at.Hash {
			return nil, t.lost(nil)
		}
		if err := t.enter(files[i]); err != nil {
			return nil, err
		}
	}
}

func (t *Reader) frameErr(err error) error {
	at := &t.scan.at
	return t.log.fileErr(at.Number, fmt.Errorf("frame %d at offset %d: %w", at.Frame+1, at.Offset, err))
}

// changed is the error of a frame that was whole and no longer is.
func (t *Reader) changed() error {
	files, _ := t.log.retained()
	if !slices.ContainsFunc(files, func(f file) bool { return f.Number == t.scan.at.Number }) {
		return t.lost(errChanged)
	}
	return t.frameErr(fmt.Errorf("%w: %w", errChanged, ErrCorrupt))
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
