package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const repository = "../.." // seen from this package

// markdownPages returns the repository's pages, by their path in it.
func markdownPages(t *testing.T) []string {
	var pages []string
	err := filepath.WalkDir(repository, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != repository && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case filepath.Ext(file) == ".md":
			name, err := filepath.Rel(repository, file)
			pages = append(pages, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func readPage(t *testing.T, page string) string {
	b, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	inline  = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchors returns the names that a link may have after #.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		title := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		out = append(out, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(title), ""), " ", "-"))
	}
	return out
}

// TestDocsLinks follows every relative link, and its anchor.
func TestDocsLinks(t *testing.T) {
	n := 0
	for _, page := range markdownPages(t) {
		text := inline.ReplaceAllString(fenced.ReplaceAllString(readPage(t, page), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, anchored := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			n++
			file := page
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if _, err := os.Stat(filepath.Join(repository, file)); err != nil {
				t.Errorf("%s: link %s: %v", page, m[1], err)
			} else if anchored && !slices.Contains(anchors(readPage(t, file)), anchor) {
				t.Errorf("%s: link %s: %s has no such heading", page, m[1], file)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links looked at", n)
	}
}

// TestDocsReach holds docs/README.md to link every page of docs.
func TestDocsReach(t *testing.T) {
	linked := map[string]bool{"docs/README.md": true}
	for _, m := range link.FindAllStringSubmatch(readPage(t, "docs/README.md"), -1) {
		linked[filepath.ToSlash(filepath.Join("docs", m[1]))] = true
	}
	for _, page := range markdownPages(t) {
		if strings.HasPrefix(page, "docs/") && !strings.HasPrefix(page, "docs/reference/commands/") && !linked[page] {
			t.Errorf("docs/README.md does not link %s", page)
		}
	}
}

var named = regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz|Example)[A-Za-z0-9_]*)(?:/([a-z]+))?`")

// TestDocsNameTests holds every test that a page names, as `package.TestName`,
// or `package.TestScripts/script`, against the sources.
func TestDocsNameTests(t *testing.T) {
	for _, page := range markdownPages(t) {
		for _, m := range named.FindAllStringSubmatch(readPage(t, page), -1) {
			dir := filepath.Join(repository, filepath.FromSlash(strings.TrimPrefix(m[1], "tidemark/")))
			if m[1] == "tidemark" {
				dir = repository
			}
			if !slices.Contains(testsIn(t, dir), m[2]) {
				t.Errorf("%s names %s: there is no such test", page, m[0])
			}
			if m[3] == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, "testdata", m[3]+".txtar")); err != nil {
				t.Errorf("%s names %s: %v", page, m[0], err)
			}
		}
	}
	// Each promise of the guarantees has its test.
	page := readPage(t, "docs/guarantees.md")
	promised, _, _ := strings.Cut(page, "\n## What is not promised")
	rows := 0
	for line := range strings.Lines(promised) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| Promise") {
			rows++
			if !named.MatchString(line) {
				t.Errorf("docs/guarantees.md: no test is named: %s", line)
			}
		}
	}
	if rows < 10 {
		t.Errorf("docs/guarantees.md: only %d promises found", rows)
	}
}

func testsIn(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("no tests in %s: %v", dir, err)
	}
	var out []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				out = append(out, fn.Name.Name)
			}
		}
	}
	return out
}

var commandLine = regexp.MustCompile(`(?m)^(?:\$ )?(?:[A-Z_]+=\S+ )?tidemark +(.*)$`)

// TestDocsCommandLines holds every command line in a block of code to name a
// command that there is, with flags that it has.
func TestDocsCommandLines(t *testing.T) {
	n := 0
	for _, page := range markdownPages(t) {
		for _, block := range fenced.FindAllString(readPage(t, page), -1) {
			if !regexp.MustCompile("^```(sh|console)\n|^```\n *tidemark").MatchString(block) {
				continue
			}
			for _, m := range commandLine.FindAllStringSubmatch(block, -1) {
				n++
				if err := parses(m[1]); err != nil {
					t.Errorf("%s: tidemark %s: %v", page, m[1], err)
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d command lines found", n)
	}
}

var word = regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`)

// parses looks whether a command line has known words, without running it.
func parses(line string) error {
	if strings.ContainsAny(line, "…[") {
		return nil // a line of usage
	}
	var args []string
	for _, w := range word.FindAllString(line, -1) {
		if strings.HasPrefix(w, "#") || strings.ContainsAny(w[:1], "|;&>") || w == "2>" {
			break
		}
		args = append(args, strings.Trim(w, `'"`))
	}
	cmd, rest, err := newRoot(newConsole(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})).Find(args)
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() && !cmd.Runnable() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("%s has no command %s", cmd.CommandPath(), rest[0])
	}
	return dry(cmd, rest)
}

func dry(cmd *cobra.Command, args []string) error {
	cmd.InitDefaultHelpFlag()
	return cmd.ParseFlags(args)
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// fragmentPackages are those that a page's Go may use.
var fragmentPackages = []string{"errors", "fmt", module, module + "/embedded", module + "/recovery", module + "/restore", module + "/drill", module + "/follow"}

// TestDocsPrograms compiles the Go of each page: its blocks, in turn, are the
// body of a function.
func TestDocsPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	var files []string
	dir := t.TempDir()
	for _, page := range markdownPages(t) {
		blocks := goBlock.FindAllStringSubmatch(readPage(t, page), -1)
		if len(blocks) == 0 {
			continue
		}
		var body strings.Builder
		for _, m := range blocks {
			body.WriteString(m[1])
		}
		var b strings.Builder
		b.WriteString("package main\n\nimport (\n\t\"context\"\n\t\"" + module + "/change\"\n")
		for _, p := range fragmentPackages {
			if strings.Contains(body.String(), p[strings.LastIndex(p, "/")+1:]+".") {
				fmt.Fprintf(&b, "\t%q\n", p)
			}
		}
		name := strings.NewReplacer("/", "_", "-", "_", ".", "_").Replace(page)
		fmt.Fprintf(&b, ")\n\nfunc %s(ctx context.Context, t change.Time) error {\n%s\nreturn nil\n}\n", name, body.String())
		file := filepath.Join(dir, name+".go")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) < 3 {
		t.Errorf("only %d pages have Go", len(files))
	}
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"vet", "-unreachable=false", main}, files...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
