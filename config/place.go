package config

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Place is where an archive or a database is: a path, or something that a
// scheme says how to reach.
type Place struct {
	Scheme string // "dir", "embedded", "s3" …
	Rest   string // after the colon
}

// ParsePlace splits what a person wrote for an archive or a database. A plain
// path has the scheme def. What looks like a scheme but holds one of / \ . is
// part of a path.
func ParsePlace(s, def string) (Place, error) {
	if s == "" {
		return Place{}, fmt.Errorf("an empty path")
	}
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok, strings.ContainsAny(scheme, `/\.`), runtime.GOOS == "windows" && len(scheme) == 1:
		return Place{def, s}, nil
	case rest == "":
		return Place{}, fmt.Errorf("%q names no path after its scheme", s)
	}
	return Place{scheme, rest}, nil
}

// String returns the form that ParsePlace reads.
func (p Place) String() string { return p.Scheme + ":" + p.Rest }

// within makes a relative path of a file scheme one below dir.
func (p Place) within(dir string) Place {
	if (p.Scheme == "dir" || p.Scheme == "embedded") && !filepath.IsAbs(p.Rest) {
		p.Rest = filepath.Join(dir, p.Rest)
	}
	return p
}
