package tidemark_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tidemarkdb/tidemark"

// layers is the architecture: a package may import only packages of a strictly
// lower layer. A new package must be entered here, so that somebody decides
// where it belongs.
//
// Test files may also import their own package, packages of the same layer,
// and the support packages, whatever their layer.
var layers = map[string]int{
	"change":   0,
	"storage":  0,
	"schedule": 0,
	"hook":     0,
	"job":      0,
	"when":     0,
	"place":    0,

	"pack":                1,
	"apply":               1,
	"driver":              1,
	"storage/storagetest": 1,

	"merge":             2,
	"chain":             2,
	"embedded/txlog":    2,
	"driver/drivertest": 2,

	"config":          3,
	"recovery":        3,
	"embedded":        3,
	"chain/chaintest": 3,
	"checkpoint":      3,

	"archive":  4,
	"flatfile": 4,

	"kit":     5,
	"capture": 5,
	"history": 5,
	"draw":    5,
	"health":  5,
	"restore": 5,

	"drill":         6,
	"follow":        6,
	"bench":         7,
	"plan":          6,
	"salvage":       6,
	"daemon":        7,
	"internal/demo": 6,

	".": 6, // the library in two calls

	"internal/spine":  7,
	"examples/rewind": 7,

	"cmd/tidemark": 8,
}

// support lists the packages that only tests import.
var support = []string{"storage/storagetest", "driver/drivertest", "chain/chaintest"}

// A breach is an import that the layers forbid, or a package they don't know.
type breach struct{ file, fault string }

// checkImport returns what is wrong with a file of package from importing the
// package to, both relative to the module, or "".
func checkImport(from, to string, test bool) string {
	fromLayer := layers[from]
	toLayer, listed := layers[to]
	switch {
	case !listed:
		return "imports " + to + ", which has no layer: enter it in layers_test.go"
	case !test && slices.Contains(support, to) && !slices.Contains(support, from):
		return "imports " + to + ", which is for tests only"
	case test && (slices.Contains(support, to) || toLayer <= fromLayer):
		return ""
	case toLayer >= fromLayer:
		return "is in layer " + strconv.Itoa(fromLayer) + " and imports " + to + " of layer " + strconv.Itoa(toLayer) +
			": import only from lower layers"
	}
	return ""
}

// checkFile returns the breaches of one file; name is relative to the module.
func checkFile(name string, source any) ([]breach, error) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(name), source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	pkg := path.Dir(name)
	if name == "layers_test.go" {
		return nil, nil // which speaks of all
	}
	if _, listed := layers[pkg]; !listed {
		return []breach{{name, "belongs to package " + pkg + ", which has no layer: enter it in layers_test.go"}}, nil
	}
	var found []breach
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		to, ours := strings.CutPrefix(imported, module+"/")
		switch {
		case imported == module:
			to = "."
		case !ours:
			continue
		}
		if fault := checkImport(pkg, to, strings.HasSuffix(name, "_test.go")); fault != "" {
			found = append(found, breach{name, fault})
		}
	}
	return found, nil
}

// TestLayers checks the imports of every file of the module, whatever its
// build tags.
func TestLayers(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		breaches, err := checkFile(filepath.ToSlash(name), nil)
		for _, b := range breaches {
			t.Errorf("%s %s", b.file, b.fault)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 2 {
		t.Fatalf("found %d Go files: is this the root of the repository?", files)
	}
}

// TestLayersNotices shows that breaches are found.
func TestLayersNotices(t *testing.T) {
	cases := []struct{ file, imports, fault string }{
		{"pack/a.go", "change", ""},
		{"pack/a.go", "pack", "is in layer 1 and imports pack of layer 1"},
		{"pack/a.go", "driver", "is in layer 1 and imports driver of layer 1"},
		{"pack/a_test.go", "driver", ""},
		{"pack/a_test.go", "pack", ""},
		{"pack/a_test.go", "archive", "is in layer 1 and imports archive of layer 4"},
		{"storage/a_test.go", "storage/storagetest", ""},
		{"archive/a.go", "storage/storagetest", "for tests only"},
		{"archive/a.go", "internal/unheard-of", "internal/unheard-of, which has no layer"},
		{"unheard-of/a.go", "change", "belongs to package unheard-of, which has no layer"},
		{"change/a.go", "cmd/tidemark", "is in layer 0 and imports cmd/tidemark of layer 8"},
	}
	for _, c := range cases {
		source := "package p\n\nimport (\n\t\"fmt\"\n\t_ \"" + module + "/" + c.imports + "\"\n)\n"
		got, err := checkFile(c.file, source)
		switch {
		case err != nil:
			t.Errorf("%s importing %s: %v", c.file, c.imports, err)
		case c.fault == "" && len(got) != 0:
			t.Errorf("%s importing %s: %v, want no breach", c.file, c.imports, got)
		case c.fault != "" && (len(got) != 1 || !strings.Contains(got[0].fault, c.fault)):
			t.Errorf("%s importing %s: got %v, want %q", c.file, c.imports, got, c.fault)
		}
	}
}
