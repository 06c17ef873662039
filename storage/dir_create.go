package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"
)

// tempGrace is how long a temporary file must have been left alone before
// sweep looks at it.
const tempGrace = time.Hour

// copyBuffers spare Create the first touch of fresh memory.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// Create implements [Bucket].
func (d *Dir) Create(ctx context.Context, key string, body io.Reader) error {
	if err := d.check(ctx, key); err != nil {
		return err
	}
	if d.readOnly {
		return d.refuseWrite("create", key)
	}
	if _, err := d.root.Lstat(key); err == nil {
		return d.taken(key)
	}
	tmp, err := d.newTemp()
	if err != nil {
		return d.fault("create", key, err)
	}
	defer tmp.discard()
	if err := tmp.fill(ctx, key, body); err != nil {
		return err
	}
	if err := d.sys.syncFile(tmp.file); err != nil {
		return d.fault("sync", key, err)
	}
	parent, err := d.openParent(key)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	switch err := tmp.publish(parent, key); {
	case errors.Is(err, fs.ErrExist):
		return d.taken(key)
	case err != nil:
		return d.fault("create", key, err)
	}
	if err := d.sys.syncDir(parent); err != nil {
		// The object is visible and stays: somebody may have read it.
		return d.fault("sync directory of", key, err)
	}
	return nil
}

// taken returns the error for a key whose name is in use. It says ErrExists
// only after making the name durable, since its creator may have died between
// link and sync. (A directory is metadata, which file systems journal: unlike
// with file data, a sync that succeeds after one that failed tells the truth.)
func (d *Dir) taken(key string) error {
	info, err := d.root.Lstat(key)
	if err != nil {
		return d.fault("create", key, fmt.Errorf("another object came and went: %w", err))
	}
	if info.IsDir() {
		return fmt.Errorf("bucket %s: create %s: there are objects below %s/: %w", d.path, key, key, ErrBadKey)
	}
	parent, err := d.openParent(key)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := d.sys.syncDir(parent); err != nil {
		return d.fault("sync directory of", key, err)
	}
	return fmt.Errorf("bucket %s: create %s: %w", d.path, key, ErrExists)
}

// openParent opens the directory of key, made and durable. The caller closes it.
func (d *Dir) openParent(key string) (*os.File, error) {
	dir := path.Dir(key)
	err := d.makeParents(dir)
	if err != nil {
		return nil, d.parentFault(key, err)
	}
	parent, err := d.root.Open(dir)
	if isMissing(err) {
		// Somebody removed directories that were known: make them again, once.
		d.mu.Lock()
		d.durable = map[string]bool{".": true}
		d.mu.Unlock()
		if err = d.makeParents(dir); err == nil {
			parent, err = d.root.Open(dir)
		}
	}
	if err != nil {
		return nil, d.parentFault(key, err)
	}
	return parent, nil
}

// parentFault explains why the directory of key can't be had.
func (d *Dir) parentFault(key string, err error) error {
	for above := range ancestors(key) {
		if info, statErr := d.root.Stat(above); statErr == nil && !info.IsDir() {
			return fmt.Errorf("bucket %s: create %s: %s is an object: %w", d.path, key, above, ErrBadKey)
		}
	}
	return d.fault("make directory of", key, err)
}

// makeParents makes the directory dir of the bucket and those above it, and
// makes their entries durable. A directory that is already there may have been
// made by a process that has not synced its entry yet, so each Dir syncs every
// directory's parent once before it relies on it.
func (d *Dir) makeParents(dir string) error {
	d.mu.Lock()
	known := d.durable[dir]
	d.mu.Unlock()
	if known {
		return nil
	}
	above := path.Dir(dir)
	if err := d.makeParents(above); err != nil {
		return err
	}
	if err := d.sys.mkdir(d.root, dir); err != nil {
		if info, statErr := d.root.Stat(dir); statErr != nil || !info.IsDir() {
			return err
		}
	}
	f, err := d.root.Open(above)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.sys.syncDir(f); err != nil {
		return err
	}
	d.mu.Lock()
	d.durable[dir] = true
	d.mu.Unlock()
	return nil
}

// probeWrite finds out whether files can be created in the bucket.
func (d *Dir) probeWrite() error {
	name := ".probe-" + rand.Text()
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), d.root.Remove(name))
}

// A temp is a file in tempDir on its way to become an object. As long as it
// is open its creator holds a lock on it, which tells sweep that he lives.
type temp struct {
	dir  *Dir
	name string // in the bucket
	file *os.File
}

func (d *Dir) newTemp() (*temp, error) {
	if err := d.root.Mkdir(tempDir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	name := tempDir + "/" + rand.Text()
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if isNotDir(err) {
		return nil, fmt.Errorf("%w; remove the file %s: %w", err, tempDir, ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	// Where locks are not to be had, the age alone protects the file.
	_, _ = tryLock(f)
	return &temp{dir: d, name: name, file: f}, nil
}

// fill copies body into the file.
func (t *temp) fill(ctx context.Context, key string, body io.Reader) error {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	for idle := 0; ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("create %s: %w", key, err)
		}
		n, readErr := body.Read(buf[:])
		if n > 0 {
			idle = 0
			if _, err := t.file.Write(buf[:n]); err != nil {
				return t.dir.fault("write", key, err)
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if idle++; readErr == nil && n == 0 && idle > 100 {
			readErr = io.ErrNoProgress
		}
		if readErr != nil {
			return fmt.Errorf("create %s: read body: %w", key, readErr)
		}
	}
}

// publish gives the file its final name, if that is free; else the error is
// fs.ErrExist. parent is the open directory of key.
func (t *temp) publish(parent *os.File, key string) error {
	if useLinks {
		err := t.dir.sys.link(t.dir.root, t.name, key)
		if errors.Is(err, fs.ErrExist) && t.holds(key) {
			return nil // an NFS server's lost answer: the link is ours
		}
		if err == nil || !noLinks(err) {
			return err
		}
	}
	// The file must be closed to be renamed on Windows. sweep leaves it alone
	// for its age.
	if err := t.file.Close(); err != nil {
		return err
	}
	from, err := t.dir.root.Open(tempDir)
	if err != nil {
		return err
	}
	defer from.Close()
	err = renameExclusively(from, path.Base(t.name), parent, path.Base(key))
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("the file system has neither hard links nor an exclusive rename; put the bucket on another: %w: %w", err, ErrUnavailable)
	}
	return err
}

// holds reports whether key names this very file.
func (t *temp) holds(key string) bool {
	ours, err1 := t.file.Stat()
	theirs, err2 := t.dir.root.Lstat(key)
	return err1 == nil && err2 == nil && os.SameFile(ours, theirs)
}

// discard removes the temporary name. What it can't remove, sweep will.
func (t *temp) discard() {
	_ = t.file.Close()
	_ = t.dir.root.Remove(t.name)
}

// sweep removes the temporary files of creators that died: those nobody holds
// a lock on and nobody has written to for tempGrace. The age covers the moment
// between creating a file and locking it, and systems without locks. Should
// the rule ever err, the creator's link fails and Create returns an error:
// no object is harmed. A sweep that fails is no fault of the bucket.
func (d *Dir) sweep() {
	dir, err := d.root.Open(tempDir)
	if err != nil {
		return
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			info, infoErr := d.root.Lstat(tempDir + "/" + e.Name())
			if infoErr == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > tempGrace {
				d.removeDead(tempDir + "/" + e.Name())
			}
		}
		if err != nil {
			return
		}
	}
}

func (d *Dir) removeDead(name string) {
	f, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	free, err := tryLock(f)
	if err == nil && !free {
		f.Close()
		return
	}
	f.Close()
	_ = d.root.Remove(name)
}
