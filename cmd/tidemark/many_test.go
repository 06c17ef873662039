package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

// TestManyCollections: what names collections stays readable when there are
// thousands of them, with names in any script.
func TestManyCollections(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	at := func(name string) string { return filepath.Join(dir, name) }
	db, err := embedded.Open(at("db"), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	err = db.Update(func(tx *embedded.Tx) error {
		for i := range n {
			name := fmt.Sprintf("日本\x1b[31m %05d", i)
			if _, err := tx.CreateCollection(name, []string{"id"}, change.Column{Name: "id", Type: change.Int64}); err != nil {
				return err
			}
			if err := tx.Put(name, change.Row{change.IntValue(1)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code  int
		args  []string
		bytes int // of text that are enough
		want  string
	}{
		{0, []string{"init", at("a")}, 4000, "initialized"},
		{0, []string{"capture", "--once", at("db"), at("a")}, 4000, "archived through LSN 20000"},
		{0, []string{"find", at("a")}, 600, `日本\u001b[31m 00000 +1 schema, `},
		{0, []string{"find", at("a")}, 600, "and 9996 more collections"},
		{2, []string{"find", at("a"), "--collection", "nope"}, 1000, " and 9980 more: no such collection"},
		{0, []string{"status", at("a")}, 1000, "LSN 0 to 20000"},
		{0, []string{"restore", at("a"), at("out"), "--to", "latest"}, 12000, "and 9,950 collections; --json lists all"},
		{0, []string{"drill", at("a"), "--source", at("db")}, 2000, "compared  10,000 collections"},
	} {
		var out strings.Builder
		code := run(t.Context(), append(tt.args, "-q"), nil, &out, &out)
		if code != tt.code || out.Len() > tt.bytes || !strings.Contains(out.String(), tt.want) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: exit code %d, %d bytes, want %d, at most %d with %q:\n%.3000s", tt.args[0], code, out.Len(), tt.code, tt.bytes, tt.want, out.String())
		}
	}
}
