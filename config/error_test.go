package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/tidemarkdb/tidemark/config"
)

var update = flag.Bool("update", false, "write what the errors are now into testdata")

// TestErrors holds every error of a file against its exact text: the files of
// testdata/errors.txtar come in pairs, NAME.yaml and NAME.want.
func TestErrors(t *testing.T) {
	name := filepath.Join("testdata", "errors.txtar")
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 50 {
		t.Fatalf("%d files", len(a.Files))
	}
	var out []txtar.File
	for _, f := range a.Files {
		base, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		_, err := config.Parse("c.yaml", f.Data, env())
		if !errors.Is(err, config.ErrConfig) {
			t.Errorf("%s: %v", base, err)
			continue
		}
		got := err.Error() + "\n"
		out = append(out, f, txtar.File{Name: base + ".want", Data: []byte(got)})
		i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == base+".want" })
		if *update {
			continue
		}
		if i < 0 {
			t.Errorf("%s.want is missing", base)
		} else if diff := cmp.Diff(string(a.Files[i].Data), got); diff != "" {
			t.Errorf("%s:\n%s", base, diff)
		}
	}
	if *update {
		a.Files = out
		if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMonsters: files that no person wrote are refused before they are parsed.
func TestMonsters(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{strings.Repeat("[", 200_000), "c.yaml:1:1: the line has 200000 bytes, 4000 are the most\n  1 | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ …\n    | ^"},
		{"a: \n" + strings.Repeat("[\n", 200_000), "c.yaml:102:1: more than 100 brackets are open here\n  102 | [\n      | ^"},
		{strings.Repeat("# much\n", 200_000), "c.yaml:1:1: the file has 1400000 bytes, 1048576 are the most\n  1 | # much\n    | ^"},
	} {
		_, err := config.Parse("c.yaml", []byte(tt.file), env())
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.20q: %v\nwant %s", tt.file, err, tt.want)
		}
	}
}

// TestOutside: what is wrong outside the file.
func TestOutside(t *testing.T) {
	const file = "version: 1\ndatabases:\n  shop:\n    archive: dir:/a\n"
	for _, tt := range []struct{ name, value, want string }{
		{"TIDEMARK_DB_SHOP_RPO_GOAL", "soon", `TIDEMARK_DB_SHOP_RPO_GOAL: "soon" is not a duration such as 60s, 5m or 1h30m: malformed configuration`},
		{"TIDEMARK_TZ", "Mars", `TIDEMARK_TZ: "Mars" is no zone; write Z, an offset such as +01:00 or a name such as Europe/Zurich: malformed configuration`},
		{"TIDEMARK_LOG_LEVEL", "wran", `TIDEMARK_LOG_LEVEL: "wran" is not known; did you mean "warn"?: malformed configuration`},
		{"TIDEMARK_DB_SHOP_ARCHVE", "dir:/b", `variable TIDEMARK_DB_SHOP_ARCHVE of the environment sets nothing; did you mean TIDEMARK_DB_SHOP_ARCHIVE?: malformed configuration`},
		{"TIDEMARK_DB_OTHER_ARCHIVE_PLACE", "dir:/b", `variable TIDEMARK_DB_OTHER_ARCHIVE_PLACE of the environment sets nothing: malformed configuration`},
		{"TIDEMARK_DB_SHOP_ARCHIVE", "s3:b", `TIDEMARK_DB_SHOP_ARCHIVE: s3: is not supported yet as an archive (want a path or dir:PATH): malformed configuration`},
	} {
		_, err := config.Parse("c.yaml", []byte(file), env(tt.name, tt.value))
		if err == nil || err.Error() != tt.want || !errors.Is(err, config.ErrConfig) {
			t.Errorf("%s=%s: %v\nwant %s", tt.name, tt.value, err, tt.want)
		}
	}
}

// FuzzParse: whatever a file holds, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(config.Example))
	a, err := txtar.ParseFile(filepath.Join("testdata", "errors.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range a.Files {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := config.Parse("c.yaml", raw, env())
		if (err == nil) != (c != nil) || err != nil && !errors.Is(err, config.ErrConfig) {
			t.Errorf("%v, %v", c, err)
		}
	})
}
