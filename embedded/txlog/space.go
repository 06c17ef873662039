package txlog

import (
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// startSpare prepares the next file in the background, unless that is under way.
func (l *Log) startSpare() {
	if l.started {
		return
	}
	l.started = true
	number := l.end.Number + 1
	go func() {
		f, err := l.prepare(number)
		l.spare <- spareFile{f, err}
	}()
}

// prepare makes a file of full size: one that was released, or a new one.
func (l *Log) prepare(number uint64) (vfs.File, error) {
	l.mu.Lock()
	n := len(l.recycle)
	if n == 0 {
		l.mu.Unlock()
		return l.makeFile(number)
	}
	old := l.recycle[n-1]
	l.recycle = l.recycle[:n-1]
	l.mu.Unlock()
	if err := l.fs.Rename(l.path(old.Number), l.path(number)); err != nil {
		return nil, l.fileErr(old.Number, err)
	}
	f, err := l.fs.OpenReadWrite(l.path(number), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, l.fileErr(old.Number, err)
	}
	if err := l.syncDir(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// makeFile creates a file of zeros, durably.
func (l *Log) makeFile(number uint64) (vfs.File, error) {
	f, err := l.fs.OpenReadWrite(l.path(number), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (vfs.File, error) {
		f.Close()
		return nil, l.fileErr(number, err)
	}
	zeros := make([]byte, min(l.fileSize, 1<<20))
	for off := int64(0); off < l.fileSize; off += int64(len(zeros)) {
		n := min(l.fileSize-off, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return fail(err)
		}
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := l.syncDir(); err != nil {
		return fail(err)
	}
	return f, nil
}

func (l *Log) syncDir() error {
	d, err := l.fs.OpenDir(l.dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

// Releasable reports whether [Log.Release] would give up anything.
func (l *Log) Releasable(through change.LSN) bool {
	files, _ := l.retained()
	return len(files) > 1 && files[1].First <= through+1
}

// Release gives up every file that lies wholly at or below an LSN, except the
// last. The newest of them is kept to be used again: should a crash bring it
// back, no hole lies between it and the files that were kept. Removals are not
// synced. A file that can't be removed stays, to be listed by the next Open.
func (l *Log) Release(through change.LSN) error {
	l.mu.Lock()
	n := 0
	for n < len(l.files)-1 && l.files[n+1].First <= through+1 {
		n++
	}
	remove := slices.Clone(l.files[:n])
	if n > 0 {
		remove = append(slices.Clone(l.recycle), remove...)
		l.recycle = nil
		if f := l.files[n-1]; f.size == l.fileSize {
			l.recycle = []file{f}
			remove = remove[:len(remove)-1]
		}
	}
	l.files = slices.Clone(l.files[n:])
	l.mu.Unlock()
	for _, f := range remove {
		if err := l.fs.Remove(l.path(f.Number)); err != nil {
			return l.fileErr(f.Number, err)
		}
	}
	return nil
}

// End returns the LSN of the last record of the published log, and the log hash
// through it.
func (l *Log) End() (change.LSN, change.Hash) {
	_, durable := l.retained()
	return durable.LSN, durable.Hash
}

// Extent is what a log holds.
type Extent struct {
	First change.LSN // of the first file; while the log is empty, of what will come
	Files int        // at least one
	Bytes int64      // size of the files
}

// Part is what one file of a log holds.
type Part struct {
	Last  change.LSN // the LSN of its last record; of what comes before it when it holds none
	Bytes int64      // about how much of it is used
}

// Parts returns what the files of the published log hold, in order.
func (l *Log) Parts() []Part {
	files, durable := l.retained()
	var out []Part
	for i, f := range files {
		switch {
		case f.Number > durable.Number: // begun, nothing published
		case f.Number == durable.Number:
			out = append(out, Part{durable.LSN, durable.Offset - headerSize})
		default:
			out = append(out, Part{files[i+1].First - 1, f.size - headerSize})
		}
	}
	return out
}

// Extent returns what the log holds now.
func (l *Log) Extent() Extent {
	files, _ := l.retained()
	e := Extent{First: files[0].First, Files: len(files)}
	for _, f := range files {
		e.Bytes += f.size
	}
	return e
}

// retained returns the files and where the published log ends.
func (l *Log) retained() ([]file, place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files, l.durable
}
