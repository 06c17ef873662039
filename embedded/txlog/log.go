package txlog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrCorrupt says that files of the log are damaged or missing.
	ErrCorrupt = errors.New("log is damaged")

	// ErrForeign says that the log is not the one that an LSN and log hash are of.
	ErrForeign = errors.New("log is of another history")

	// ErrReleased says that the part of the log that was asked for was released.
	ErrReleased = errors.New("that part of the log is gone")
)

const (
	// MinFileBytes is the least for [Options.FileBytes].
	MinFileBytes = 1 << 10
	// MaxFileBytes is the most for [Options.FileBytes].
	MaxFileBytes = maxFrame
)

// Options says where a log is and whose. All fields must be set.
type Options struct {
	FS       vfs.FS
	Dir      string // holds nothing else
	Database DatabaseID

	// FileBytes is the size of new files, MinFileBytes to MaxFileBytes. It may
	// change from one Open to the next.
	FileBytes int64
}

const suffix = ".log"

// file is a file that holds a part of the log.
type file struct {
	header
	size int64
}

// Log is a directory of log files. Recover comes first, once. After it Append,
// Publish and Close are for one goroutine at a time; everything else is safe
// for concurrent use. Nothing else may use the directory meanwhile.
type Log struct {
	fs       vfs.FS
	dir      string
	id       DatabaseID
	fileSize int64

	f   vfs.File // the last file, for append
	end place    // where the next frame goes

	spare   chan spareFile // the next file's preparation, when one was started
	started bool           // whether it was

	mu      sync.Mutex
	files   []file        // guarded by mu; in order
	recycle []file        // guarded by mu; released, to become spares
	durable place         // guarded by mu; where the published log ends
	wake    chan struct{} // guarded by mu; closed when durable moves; nil when nobody waits
}

// spareFile is a prepared file, or why there is none.
type spareFile struct {
	f   vfs.File
	err error
}

func fileName(number uint64) string { return fmt.Sprintf("%016x%s", number, suffix) }

func (l *Log) path(number uint64) string { return l.fs.PathJoin(l.dir, fileName(number)) }

// fileErr names the file in an error.
func (l *Log) fileErr(number uint64, err error) error {
	return fmt.Errorf("log file %s: %w", l.path(number), err)
}

func newLog(o Options) *Log {
	return &Log{fs: o.FS, dir: o.Dir, id: o.Database, fileSize: o.FileBytes, spare: make(chan spareFile, 1)}
}

// Create makes a log whose first record will follow on an LSN, which is 0 for
// a history that begins here; hash is the log hash through it. The log's
// directory is made and synced, its entry in the parent is the caller's to
// sync. After an error the directory may hold anything.
func Create(o Options, after change.LSN, hash change.Hash) error {
	l := newLog(o)
	h := header{Number: 1, First: after + 1, Hash: hash, Database: o.Database}
	if err := l.fs.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	f, err := l.makeFile(h.Number)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Open lists the files of a log and checks their headers: [ErrCorrupt]. A file
// without a header can only be the last, prepared and never used; it is removed.
// Nothing is kept open yet, so a log that is not recovered need not be closed.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err != nil || fileName(n) != name {
			return nil, fmt.Errorf("log: %s is not a log file", l.fs.PathJoin(l.dir, name))
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		h, size, ok, err := l.readHeader(n)
		if err != nil {
			return nil, l.fileErr(n, err)
		}
		if ok {
			l.files = append(l.files, file{h, size})
			continue
		}
		if err := l.checkUnused(n, i == len(numbers)-1); err != nil {
			return nil, l.fileErr(n, err)
		}
		if err := l.fs.Remove(l.path(n)); err != nil {
			return nil, err
		}
	}
	if len(l.files) == 0 {
		return nil, fmt.Errorf("log: no file in %s: %w", l.dir, ErrCorrupt)
	}
	return l, nil
}

func (l *Log) readHeader(number uint64) (h header, size int64, ok bool, err error) {
	f, err := l.fs.Open(l.path(number))
	if err != nil {
		return h, 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return h, 0, false, err
	}
	b := make([]byte, headerSize)
	if info.Size() < headerSize {
		return h, info.Size(), false, nil
	}
	if _, err := f.ReadAt(b, 0); err != nil {
		return h, 0, false, err
	}
	h, ok, err = parseHeader(b, number, l.id)
	return h, info.Size(), ok, err
}

// checkUnused reports whether a file without a header really never held a frame.
func (l *Log) checkUnused(number uint64, last bool) error {
	if !last {
		return fmt.Errorf("its header is damaged: %w", ErrCorrupt)
	}
	f, err := l.fs.Open(l.path(number))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	k := frameKey{l.id, number}
	off, err := k.findFrame(f, info.Size(), 0)
	if err == nil && off >= 0 {
		err = fmt.Errorf("its header is damaged, a whole frame lies at offset %d: %w", off, ErrCorrupt)
	}
	return err
}

// Append writes a frame and makes it durable, in the next file when it does not
// fit into this one. frame is from [NewFrame], with whole canonical
// transactions after that, txs of them, that follow on those in the log; its
// front is overwritten, and it may be used again afterwards. last is the LSN of
// the last record, hash the log hash through it. Readers see the frame once
// Publish was called. After an error the log may or may not hold the frame, and
// must be closed and recovered before anything else is appended.
func (l *Log) Append(frame []byte, txs int, last change.LSN, hash change.Hash) error {
	if l.end.Offset > headerSize && l.end.Offset+int64(len(frame)) > l.fileSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	k := frameKey{l.id, l.end.Number}
	k.seal(frame, l.end.Offset, l.end.Frame+1, txs)
	if _, err := l.f.WriteAt(frame, l.end.Offset); err != nil {
		return l.fileErr(l.end.Number, err)
	}
	if err := l.f.SyncData(); err != nil {
		return l.fileErr(l.end.Number, err)
	}
	l.end.Offset += int64(len(frame))
	l.end.Frame++
	l.end.LSN, l.end.Hash = last, hash
	if l.end.Offset > l.fileSize/2 {
		l.startSpare()
	}
	return nil
}

// Publish lets readers see what was appended.
func (l *Log) Publish() {
	l.mu.Lock()
	l.durable = l.end
	wake := l.wake
	l.wake = nil
	l.mu.Unlock()
	if wake != nil {
		close(wake)
	}
}

// rotate goes on to the next file.
func (l *Log) rotate() error {
	l.startSpare()
	next := <-l.spare
	l.started = false
	if next.err != nil {
		return next.err
	}
	h := header{Number: l.end.Number + 1, First: l.end.LSN + 1, Hash: l.end.Hash, Database: l.id}
	if _, err := next.f.WriteAt(h.encode(), 0); err != nil {
		return l.fileErr(h.Number, err)
	}
	if err := next.f.SyncData(); err != nil {
		return l.fileErr(h.Number, err)
	}
	if err := l.f.Close(); err != nil {
		return l.fileErr(l.end.Number, err)
	}
	l.f, l.end = next.f, h.start()
	l.mu.Lock()
	l.files = append(slices.Clip(l.files), file{h, l.fileSize})
	l.mu.Unlock()
	return nil
}

// Close waits for the preparation of a file, closes what is open and wakes
// those who wait for [Log.Moved]. Readers must be closed on their own.
func (l *Log) Close() error {
	if l.started {
		if s := <-l.spare; s.err == nil {
			s.f.Close()
		}
	}
	l.Publish() // wakes those who wait, so that they notice
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
