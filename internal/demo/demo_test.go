package demo

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestData(t *testing.T) {
	cities, err := readCities()
	if err != nil {
		t.Fatal(err)
	}
	regions, err := readRegions()
	if err != nil {
		t.Fatal(err)
	}
	if len(cities) != 171_075 || len(regions) != 3_865 {
		t.Errorf("%d cities and %d regions, want 171,075 and 3,865", len(cities), len(regions))
	}
	for _, want := range []struct {
		id            int64
		name, country string
	}{{lostCity, "Rome", wrongCountry}, {movedCity, "Paris", movedCountry}} {
		if c := cities[want.id-1]; c.id != want.id || c.name != want.name || c.country != want.country {
			t.Errorf("city %d is %+v, want %s in %s", want.id, c, want.name, want.country)
		}
	}
}

func TestBrokenDataIsRefused(t *testing.T) {
	for _, file := range [][]byte{nil, []byte("not zstd"), citiesFile[:len(citiesFile)/2]} {
		if err := readLines(file, 6, func([]string) error { return nil }); err == nil && file != nil {
			t.Errorf("%d bytes of something were accepted", len(file))
		}
	}
	if err := readLines(citiesFile, 5, func([]string) error { return nil }); err == nil || !strings.Contains(err.Error(), "line 2 has 6 fields, want 5") {
		t.Errorf("wrong number of fields: %v", err)
	}
}

// TestFailureLeavesNothing ends the story in the middle.
func TestFailureLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("loads all the data")
	}
	dir := filepath.Join(t.TempDir(), "demo")
	boom := errors.New("boom")
	_, err := Run(t.Context(), Options{Dir: dir, Out: io.Discard, Command: func(context.Context, io.Writer, ...string) error { return boom }})
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want the command's error", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Dir: dir, Out: io.Discard}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v, want ErrExist", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestIndent(t *testing.T) {
	var b strings.Builder
	w := &indent{w: &b}
	for _, part := range []string{"a", "b\nc\n", "\n", "d"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	if want := "   ab\n   c\n\n   d"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
