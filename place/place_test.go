package place_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/place"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		kind place.Kind
		in   string
		want place.Place
		says string // of the error
	}{
		{place.Archive, "a/b", place.Place{Scheme: "dir", Path: "a/b"}, ""},
		{place.Archive, "dir:a", place.Place{Scheme: "dir", Path: "a"}, ""},
		{place.Archive, "dir:a:b", place.Place{Scheme: "dir", Path: "a:b"}, ""},
		{place.Archive, "./s3:x", place.Place{Scheme: "dir", Path: "./s3:x"}, ""},
		{place.Database, "shop.db", place.Place{Scheme: "embedded", Path: "shop.db"}, ""},
		{place.Database, "embedded:shop", place.Place{Scheme: "embedded", Path: "shop"}, ""},
		{place.Archive, "", place.Place{}, "empty path"},
		{place.Archive, "dir:", place.Place{}, "names no path"},
		{place.Archive, "s3:x", place.Place{}, "not supported yet as an archive (want a path or dir:PATH)"},
		{place.Database, "postgres:x", place.Place{}, "not supported yet as a database (want a path or embedded:PATH)"},
		{place.Database, "dir:x", place.Place{}, "write ./dir: if it is a path"},
		{place.Archive, "ftp:x", place.Place{}, "ftp: is no known kind of place for an archive"},
	} {
		got, err := test.kind.Parse(test.in)
		switch {
		case test.says == "" && (err != nil || got != test.want):
			t.Errorf("%q: %+v, %v, want %+v", test.in, got, err, test.want)
		case test.says != "" && (!errors.Is(err, place.ErrPlace) || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%q: %v, want ErrPlace and %q", test.in, err, test.says)
		}
		if err == nil {
			if again, err := test.kind.Parse(got.String()); err != nil || again != got {
				t.Errorf("%q reads back as %+v, %v", got, again, err)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	p := place.Place{Scheme: "dir", Path: "a"}
	if got := p.Below("x"); got.Path != filepath.Join("x", "a") {
		t.Errorf("below x: %v", got)
	}
	abs, err := p.Absolute()
	if err != nil || !filepath.IsAbs(abs.Path) || abs.Below("x") != abs {
		t.Errorf("absolute: %v, %v", abs, err)
	}
}
