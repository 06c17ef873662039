package storage

import (
	"context"
	"io"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
)

// List implements [Bucket]. It opens only directories that may hold a key
// asked for, one level at a time, and keeps the names of one directory per
// level in memory.
func (d *Dir) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := d.present(); err != nil {
			yield(Info{}, err)
			return
		}
		start := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			if CheckKey(prefix[:i]) != nil {
				return // no key starts like this
			}
			start = prefix[:i+1]
		}
		w := walk{ctx: ctx, dir: d, prefix: prefix, after: after, yield: yield}
		w.directory(d.root, start, start)
	}
}

// A walk lists part of a bucket in key order.
type walk struct {
	ctx           context.Context
	dir           *Dir
	prefix, after string
	yield         func(Info, error) bool
}

// directory lists what is wanted of the directory name of root, where every
// key starts with base ("" or ending in '/'). It reports whether to go on.
func (w *walk) directory(root *os.Root, name, base string) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Info{}, err)
		return false
	}
	sub, err := root.OpenRoot(path.Clean(name))
	// One that was missing may have been made since: what it holds is newer
	// than the list.
	if err != nil && (isMissing(err) || !isDir(root, name)) {
		if err := w.dir.present(); err != nil {
			w.yield(Info{}, err)
			return false
		}
		return true
	}
	if err != nil {
		w.yield(Info{}, w.dir.fault("list", base, err))
		return false
	}
	defer sub.Close()
	names, err := w.names(sub, base)
	if err != nil {
		w.yield(Info{}, w.dir.fault("list", base, err))
		return false
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if !w.directory(sub, name, base+name) {
				return false
			}
		} else if !w.file(sub, name, base) {
			return false
		}
	}
	return true
}

// isDir reports whether name is, or may be, a directory.
func isDir(root *os.Root, name string) bool {
	info, err := root.Stat(path.Clean(name))
	return err == nil && info.IsDir() || err != nil && !isMissing(err)
}

// names returns the entries of the directory that may matter, directories
// with a '/' at the end, in key order. The '/' is what makes it so: the keys
// below a directory "a" sort as "a/…", after the file "a-b" and not before.
func (w *walk) names(sub *os.Root, base string) ([]string, error) {
	f, err := sub.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			name := e.Name()
			switch {
			case segmentFault(name) != "":
				continue
			case e.IsDir():
				name += "/"
				full := base + name
				if !strings.HasPrefix(full, w.prefix) && !strings.HasPrefix(w.prefix, full) {
					continue
				}
				if full <= w.after && !strings.HasPrefix(w.after, full) {
					continue
				}
			default:
				full := base + name
				if !strings.HasPrefix(full, w.prefix) || full <= w.after || len(full) > MaxKeyLen {
					continue
				}
			}
			names = append(names, name)
		}
		if err == io.EOF {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// file yields one object, unless it is gone or no regular file.
func (w *walk) file(sub *os.Root, name, base string) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Info{}, err)
		return false
	}
	info, err := sub.Stat(name)
	if isMissing(err) || err == nil && !info.Mode().IsRegular() {
		return true
	}
	if err != nil {
		w.yield(Info{}, w.dir.fault("list", base+name, err))
		return false
	}
	return w.yield(Info{Key: base + name, Size: info.Size()}, nil)
}
