package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// tempDir is the directory inside a bucket that holds unfinished objects. Its
// name starts with a dot, so no key leads into it and List never shows it.
const tempDir = ".tmp"

// Archives hold whole databases, so what Dir makes is for its owner only.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// DirOptions adjusts a [Dir]. The zero value is ready for use.
type DirOptions struct {
	// ReadOnly opens a bucket that may not be written to, such as a mounted
	// backup. Create and Delete return ErrUnavailable. Default: read and write.
	ReadOnly bool
}

// A Dir is a [Bucket] in a directory of a file system, an object a file named
// by its key. It may be used by several processes at once, and by several
// hosts if the file system is shared and keeps link(2) exclusive, as NFS does.
//
// Create writes to a file in the private directory .tmp, syncs it, links it to
// its final name, which exactly one of several creators can do, and syncs the
// directory, and before it the entry of every directory on the way up that
// this Dir does not yet know to be durable. Where the file system has no hard
// links, an exclusive rename takes the place of the link; where it has neither,
// Create returns ErrUnavailable. On Windows a directory can't be synced; the
// rename is written through instead.
//
// Dir holds the directory open. If it is unmounted, removed or moved away,
// operations return ErrUnavailable; it is never made again, and what appears
// in its place is not written to. Open a new Dir once it is back. Symbolic
// links that lead out of the directory are not followed.
//
// Names that are no key are ignored. The file system should tell upper and
// lower case apart; if it does not, keys that differ by case only are one.
type Dir struct {
	path     string // absolute
	root     *os.Root
	identity fs.FileInfo // of the directory when it was opened
	readOnly bool
	sys      dirSys

	mu      sync.Mutex
	durable map[string]bool // directories whose own entry is known to be synced; guarded by mu
}

// dirSys holds the steps that durability hangs on, so that a test can watch
// their order and make them fail.
type dirSys struct {
	syncFile func(f *os.File) error
	syncDir  func(f *os.File) error
	mkdir    func(root *os.Root, name string) error
	link     func(root *os.Root, from, to string) error
}

func systemCalls() dirSys {
	return dirSys{
		syncFile: (*os.File).Sync,
		syncDir:  syncDirectory,
		mkdir:    func(root *os.Root, name string) error { return root.Mkdir(name, dirMode) },
		link:     (*os.Root).Link,
	}
}

// OpenDir opens the bucket in the directory name, which must exist. If it is
// missing, no directory or not writable, the error wraps [ErrUnavailable].
// Opening for writing also removes the unfinished files of creators that died.
func OpenDir(name string, opts DirOptions) (*Dir, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w: %w", name, err, ErrUnavailable)
	}
	switch info, err := os.Stat(abs); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("bucket %s: no such directory; mount it, correct the path or create the bucket: %w", abs, ErrUnavailable)
	case err != nil:
		return nil, fmt.Errorf("bucket %s: %w: %w", abs, err, ErrUnavailable)
	case !info.IsDir():
		return nil, fmt.Errorf("bucket %s: wanted a directory, found a file (%v): %w", abs, info.Mode().Type(), ErrUnavailable)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w: %w", abs, err, ErrUnavailable)
	}
	d := &Dir{path: abs, root: root, readOnly: opts.ReadOnly, sys: systemCalls(), durable: map[string]bool{".": true}}
	if d.identity, err = root.Stat("."); err != nil {
		root.Close()
		return nil, fmt.Errorf("bucket %s: %w: %w", abs, err, ErrUnavailable)
	}
	if opts.ReadOnly {
		return d, nil
	}
	if err := d.probeWrite(); err != nil {
		root.Close()
		return nil, fmt.Errorf("bucket %s: not writable: %w: %w", abs, err, ErrUnavailable)
	}
	d.sweep()
	return d, nil
}

// CreateDir makes the directory name, and those above it that are missing, so
// that it survives a power cut, and opens it as a bucket. A directory that
// exists is opened as it is.
func CreateDir(name string, opts DirOptions) (*Dir, error) {
	abs, err := filepath.Abs(name)
	if err == nil {
		err = makeDurably(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: create directory: %w: %w", name, err, ErrUnavailable)
	}
	return OpenDir(abs, opts)
}

// makeDurably is os.MkdirAll that syncs the parent of each directory it makes.
func makeDurably(abs string) error {
	info, err := os.Stat(abs)
	if err == nil && info.IsDir() {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(abs)
	if parent != abs {
		if err := makeDurably(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(abs, dirMode); err != nil {
		if info, statErr := os.Stat(abs); statErr != nil || !info.IsDir() {
			return err
		}
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncDirectory(f)
}

// Close lets go of the directory. Operations fail afterwards; open readers go on.
func (d *Dir) Close() error { return d.root.Close() }

// String returns the absolute path of the bucket's directory.
func (d *Dir) String() string { return d.path }

// check refuses bad keys, an ended context and a directory that is gone.
func (d *Dir) check(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if !filepath.IsLocal(filepath.FromSlash(key)) {
		return fmt.Errorf("key %q: holds a name this system reserves: %w", key, ErrBadKey)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.present()
}

// present returns an error that wraps ErrUnavailable if the bucket's path no
// longer leads to the directory that was opened.
func (d *Dir) present() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("bucket %s: directory is gone (%w); mount or restore it and open it again: %w", d.path, err, ErrUnavailable)
	}
	if !os.SameFile(info, d.identity) {
		return fmt.Errorf("bucket %s: another directory is in its place (unmounted or replaced); open it again if that is meant: %w", d.path, ErrUnavailable)
	}
	return nil
}

// fault wraps the error of an operation on key, adding ErrUnavailable if it
// concerns the store as a whole.
func (d *Dir) fault(op, key string, err error) error {
	if gone := d.present(); gone != nil {
		return fmt.Errorf("%s %s: %w: %w", op, key, err, gone)
	}
	if concernsStore(err) {
		return fmt.Errorf("bucket %s: %s %s: %w: %w", d.path, op, key, err, ErrUnavailable)
	}
	return fmt.Errorf("bucket %s: %s %s: %w", d.path, op, key, err)
}

// missing returns the error for a key that holds no object.
func (d *Dir) missing(op, key string) error {
	if err := d.present(); err != nil {
		return err
	}
	return fmt.Errorf("bucket %s: %s %s: %w", d.path, op, key, ErrNotFound)
}

// Read implements [Bucket]. The reader holds a file open until it is closed.
func (d *Dir) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := d.check(ctx, key); err != nil {
		return nil, err
	}
	f, err := d.root.Open(key)
	if err != nil {
		if isMissing(err) {
			return nil, d.missing("read", key)
		}
		return nil, d.fault("read", key, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = d.fault("read", key, err)
	case !info.Mode().IsRegular():
		err = d.missing("read", key)
	default:
		length, err = checkRange(key, info.Size(), offset, length)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &fileReader{ctx: ctx, dir: d, key: key, file: f, offset: offset, left: length}, nil
}

// checkRange returns how many bytes a read of offset and length takes from an
// object of size bytes.
func checkRange(key string, size, offset, length int64) (int64, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read %s: offset %d is negative", key, offset)
	}
	if offset > size || length > size-offset {
		return 0, fmt.Errorf("read %s: wanted %d bytes at %d, the object has %d: %w", key, length, offset, size, io.ErrUnexpectedEOF)
	}
	if length < 0 {
		length = size - offset
	}
	return length, nil
}

// A fileReader reads a range of a file.
type fileReader struct {
	ctx    context.Context
	dir    *Dir
	key    string
	file   *os.File
	offset int64
	left   int64
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.file.ReadAt(p, r.offset)
	r.offset += int64(n)
	r.left -= int64(n)
	switch {
	case n == len(p):
		return n, nil
	case err == io.EOF:
		return n, fmt.Errorf("bucket %s: read %s: file became shorter, ends at %d: %w", r.dir.path, r.key, r.offset, io.ErrUnexpectedEOF)
	default:
		return n, r.dir.fault("read", r.key, err)
	}
}

func (r *fileReader) Close() error { return r.file.Close() }

// Size implements [Bucket].
func (d *Dir) Size(ctx context.Context, key string) (int64, error) {
	if err := d.check(ctx, key); err != nil {
		return 0, err
	}
	info, err := d.root.Stat(key)
	if isMissing(err) || err == nil && !info.Mode().IsRegular() {
		return 0, d.missing("size of", key)
	}
	if err != nil {
		return 0, d.fault("size of", key, err)
	}
	return info.Size(), nil
}

// Delete implements [Bucket]. Directories that become empty stay.
func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := d.check(ctx, key); err != nil {
		return err
	}
	if d.readOnly {
		return d.refuseWrite("delete", key)
	}
	info, err := d.root.Lstat(key)
	if err == nil && info.IsDir() {
		return nil // a directory is no object
	}
	if err == nil {
		err = d.root.Remove(key)
	}
	if err != nil && !isMissing(err) {
		return d.fault("delete", key, err)
	}
	// Sync even if nothing was there: an earlier attempt may have removed it
	// and failed to sync.
	parent, err := d.root.Open(path.Dir(key))
	if isMissing(err) {
		return d.present()
	}
	if err != nil {
		return d.fault("delete", key, err)
	}
	defer parent.Close()
	if err := d.sys.syncDir(parent); err != nil {
		return d.fault("sync directory after delete of", key, err)
	}
	return nil
}

func (d *Dir) refuseWrite(op, key string) error {
	return fmt.Errorf("bucket %s: %s %s: opened read-only: %w", d.path, op, key, ErrUnavailable)
}
