package embedded

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

const logSuffix = ".log"

// logFile is a file that holds a part of the log.
type logFile struct {
	logHeader
	size int64
}

// logDir is a directory of log files, open for appending. append and close
// are for one goroutine at a time; everything else is safe for concurrent use.
type logDir struct {
	fs       vfs.FS
	dir      string
	id       databaseID
	fileSize int64

	f   vfs.File // the last file, for append
	cur logFile  // its header
	end logEnd   // where the next frame goes

	spare   chan spareFile // the next file's preparation, when one was started
	started bool           // whether it was

	mu      sync.Mutex
	files   []logFile     // guarded by mu; in order
	recycle []logFile     // guarded by mu; released, to become spares
	durable logEnd        // guarded by mu; where the synced log ends
	wake    chan struct{} // guarded by mu; closed when durable moves; nil when nobody waits
}

// spareFile is a prepared file, or why there is none.
type spareFile struct {
	f   vfs.File
	err error
}

func logName(number uint64) string { return fmt.Sprintf("%016x%s", number, logSuffix) }

func (l *logDir) path(number uint64) string { return l.fs.PathJoin(l.dir, logName(number)) }

// fileErr names the file in an error.
func (l *logDir) fileErr(number uint64, err error) error {
	return fmt.Errorf("log file %s: %w", l.path(number), err)
}

// createLog makes the first file of a log and syncs it and the directory.
func createLog(fs vfs.FS, dir string, h logHeader, fileSize int64) error {
	l := &logDir{fs: fs, dir: dir, id: h.Database, fileSize: fileSize}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
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

// openLog lists the files of a log and checks their headers. A file without a
// header can only be the last: it was prepared and never used.
func openLog(fs vfs.FS, dir string, id databaseID, fileSize int64) (*logDir, error) {
	l := &logDir{fs: fs, dir: dir, id: id, fileSize: fileSize, spare: make(chan spareFile, 1)}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, logSuffix), 16, 64)
		if err != nil || logName(n) != name {
			return nil, fmt.Errorf("log: %s is not a log file", fs.PathJoin(dir, name))
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
			l.files = append(l.files, logFile{h, size})
			continue
		}
		if err := l.checkUnused(n, i == len(numbers)-1); err != nil {
			return nil, l.fileErr(n, err)
		}
		if err := fs.Remove(l.path(n)); err != nil {
			return nil, err
		}
	}
	if len(l.files) == 0 {
		return nil, fmt.Errorf("log: no file in %s: %w", dir, ErrCorrupt)
	}
	return l, nil
}

func (l *logDir) readHeader(number uint64) (h logHeader, size int64, ok bool, err error) {
	f, err := l.fs.Open(l.path(number))
	if err != nil {
		return h, 0, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return h, 0, false, err
	}
	b := make([]byte, logHeaderSize)
	if info.Size() < logHeaderSize {
		return h, info.Size(), false, nil
	}
	if _, err := f.ReadAt(b, 0); err != nil {
		return h, 0, false, err
	}
	h, ok, err = parseLogHeader(b, number, l.id)
	return h, info.Size(), ok, err
}

// checkUnused reports whether a file without a header really never held a frame.
func (l *logDir) checkUnused(number uint64, last bool) error {
	if !last {
		return fmt.Errorf("its header is damaged: %w", ErrCorrupt)
	}
	b, err := l.readFile(number)
	if err != nil {
		return err
	}
	k := frameKey{l.id, number}
	if off := k.findFrame(b, 0); off >= 0 {
		return fmt.Errorf("its header is damaged, a whole frame lies at offset %d: %w", off, ErrCorrupt)
	}
	return nil
}

func (l *logDir) readFile(number uint64) ([]byte, error) {
	f, err := l.fs.Open(l.path(number))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	return b, nil
}

// fileFor returns the place in files of the one that holds the transaction
// just after an LSN, or -1 when that is no longer there.
func fileFor(files []logFile, after change.LSN) int {
	i, _ := slices.BinarySearchFunc(files, after+1, func(f logFile, lsn change.LSN) int {
		if f.First <= lsn {
			return -1
		}
		return 1
	})
	return i - 1
}

// recover calls each for every transaction from the file on that holds the one
// just after an LSN, checks that the log is whole up to its end, makes that
// end durable, and readies the log for append.
func (l *logDir) recover(after change.LSN, each func(t logTx) error) error {
	i := fileFor(l.files, after)
	if i < 0 {
		return fmt.Errorf("log in %s starts at LSN %d, the state ends at %d: files are missing: %w", l.dir, l.files[0].First, after, ErrCorrupt)
	}
	for ; i < len(l.files); i++ {
		h := &l.files[i].logHeader
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
func (l *logDir) resume(content []byte, end logEnd) error {
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
	l.cur = l.files[len(l.files)-1]
	return nil
}

// append writes a group's frame and makes it durable. frame has room for the
// frame's header in front; hash is the log hash after it. After an error the
// end of the log is unknown.
func (l *logDir) append(frame []byte, txs int, last change.LSN, hash change.Hash) error {
	if l.end.Offset > logHeaderSize && l.end.Offset+int64(len(frame)) > l.fileSize {
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

// publish lets readers see the log up to its end.
func (l *logDir) publish() {
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
func (l *logDir) rotate() error {
	l.startSpare()
	next := <-l.spare
	l.started = false
	if next.err != nil {
		return next.err
	}
	h := logHeader{Number: l.end.Number + 1, First: l.end.LSN + 1, Hash: l.end.Hash, Database: l.id}
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
	l.files = append(slices.Clip(l.files), logFile{h, l.fileSize})
	l.mu.Unlock()
	return nil
}

// close waits for the preparation of a file and closes what is open.
func (l *logDir) close() error {
	if l.started {
		if s := <-l.spare; s.err == nil {
			s.f.Close()
		}
	}
	l.publish() // wakes those who wait, so that they notice
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
