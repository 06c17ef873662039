// Package place reads how people say where an archive or a database is: a
// path, or a scheme that says how to reach it.
package place

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ErrPlace is wrapped by every error of a place that can't be read or that
// this tidemark does not know how to reach.
var ErrPlace = errors.New("unknown kind of place")

// Kind says what is at a place.
type Kind struct {
	Noun   string // for errors
	Scheme string // of a plain path, and the only one that is known yet
}

// What can be at a place.
var (
	Archive  = Kind{"an archive", "dir"}
	Database = Kind{"a database", "embedded"}
)

// later are the schemes that are planned.
var later = []string{"s3", "gs", "azblob", "sftp", "postgres", "mysql", "sqlite", "etcd"}

// Place is where something is.
type Place struct {
	Scheme string
	Path   string
}

// Parse reads a place: PATH or SCHEME:PATH. What looks like a scheme but holds
// one of / \ . is part of a path.
func (k Kind) Parse(s string) (Place, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case s == "":
		return Place{}, failure("an empty path")
	case !ok, strings.ContainsAny(scheme, `/\.`), runtime.GOOS == "windows" && len(scheme) == 1:
		return Place{k.Scheme, s}, nil
	case scheme == k.Scheme && rest == "":
		return Place{}, failure("%q names no path after its scheme", s)
	case scheme == k.Scheme:
		return Place{scheme, rest}, nil
	case slices.Contains(later, scheme):
		return Place{}, failure("%s: is not supported yet as %s (want a path or %s:PATH)", scheme, k.Noun, k.Scheme)
	}
	return Place{}, failure("%s: is no known kind of place for %s (want a path or %s:PATH); write ./%s: if it is a path", scheme, k.Noun, k.Scheme, scheme)
}

// String returns the form that [Kind.Parse] reads whatever the kind.
func (p Place) String() string { return p.Scheme + ":" + p.Path }

// Below makes a relative path one below a directory.
func (p Place) Below(dir string) Place {
	if !filepath.IsAbs(p.Path) {
		p.Path = filepath.Join(dir, p.Path)
	}
	return p
}

// Absolute makes the path mean the same from everywhere on this machine.
func (p Place) Absolute() (Place, error) {
	path, err := filepath.Abs(p.Path)
	return Place{p.Scheme, path}, err
}

// unknown is an error whose words already say what [ErrPlace] says.
type unknown string

func failure(format string, args ...any) error { return unknown(fmt.Sprintf(format, args...)) }

func (e unknown) Error() string { return string(e) }

// Is reports whether it stands for ErrPlace.
func (unknown) Is(err error) bool { return err == ErrPlace }
