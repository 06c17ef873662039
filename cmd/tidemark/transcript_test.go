package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// transcript is a page whose blocks marked console are a session in a shell:
// what is typed after "$ " and what comes out. A line … stands for any lines,
// and "[exit code N]" ends what a command that fails has printed.
type transcript struct {
	text   string
	blocks [][2]int // where the inside of each block is
}

type step struct{ typed, printed []string }

var consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

func parseTranscript(text string) *transcript {
	t := &transcript{text: text}
	for _, m := range consoleBlock.FindAllStringSubmatchIndex(text, -1) {
		t.blocks = append(t.blocks, [2]int{m[2], m[3]})
	}
	return t
}

func steps(block string) []step {
	var out []step
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "$ "):
			out = append(out, step{typed: []string{line[2:]}})
		case len(out) == 0:
		case strings.HasPrefix(line, "> ") && len(out[len(out)-1].printed) == 0:
			out[len(out)-1].typed = append(out[len(out)-1].typed, line[2:])
		default:
			out[len(out)-1].printed = append(out[len(out)-1].printed, line)
		}
	}
	return out
}

// TestDocsTranscripts does what the pages say, each page in a directory and a
// home of its own, and compares what comes out; times, sizes and hashes may be
// others. With -reference the pages are written again.
func TestDocsTranscripts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the pages are for a Unix shell")
	}
	n := 0
	for _, page := range markdownPages(t) {
		tr := parseTranscript(readPage(t, page))
		if len(tr.blocks) == 0 {
			continue
		}
		n++
		t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) {
			t.Parallel()
			tr.play(t, page)
		})
	}
	if n < 5 {
		t.Errorf("only %d pages have transcripts", n)
	}
}

func (tr *transcript) play(t *testing.T, page string) {
	home := t.TempDir()
	var b strings.Builder
	end, differs := 0, false
	for _, at := range tr.blocks {
		b.WriteString(tr.text[end:at[0]])
		end = at[1]
		for _, s := range steps(tr.text[at[0]:at[1]]) {
			printed := typed(t, home, strings.Join(s.typed, "\n"))
			if !regexp.MustCompile(pattern(s.printed)).MatchString(masked(printed) + "\n") {
				differs = true
				if !*updateReference {
					t.Errorf("%s: %s\n%s", page, s.typed, cmp.Diff(masked(s.printed), masked(printed)))
				}
			}
			b.WriteString("$ " + strings.Join(s.typed, "\n> ") + "\n")
			for _, line := range abridged(printed, s.printed) {
				b.WriteString(line + "\n")
			}
		}
	}
	b.WriteString(tr.text[end:])
	// A page is written again as a whole, so that what it says is of one session.
	if *updateReference && differs {
		if err := os.WriteFile(filepath.Join(repository, filepath.FromSlash(page)), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// abridged leaves out of what is printed what the page has a line … for.
func abridged(printed, page []string) []string {
	i := slices.Index(page, "…")
	if tail := len(page) - i - 1; i >= 0 && i+tail <= len(printed) {
		return slices.Concat(printed[:i], []string{"…"}, printed[len(printed)-tail:])
	}
	return printed
}

var logged = regexp.MustCompile(`(?m)^time=\S+ level=INFO .*\n`)

// typed runs a command line and returns the lines that it prints.
func typed(t *testing.T, home, line string) []string {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "TZ=UTC", "LANG=C.UTF-8", "COLUMNS=100"}
	out, err := cmd.CombinedOutput()
	text := logged.ReplaceAllString(strings.ReplaceAll(string(out), home, "/home/ann"), "")
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		text += fmt.Sprintf("[exit code %d]\n", failed.ExitCode())
	} else if err != nil {
		t.Fatal(err)
	}
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// masks cover what differs from one run to the next.
var masks = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?`), "TIME"},
	{regexp.MustCompile(`\d{8}T\d{6}Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{10,}\b`), "HEX"},
	{regexp.MustCompile(`\b[0-9a-f]{4,8}-[0-9a-f-]+\b`), "HEX"},
	{regexp.MustCompile(`embedded [0-9a-f]{8}\b`), "embedded HEX"},
	{regexp.MustCompile(`"seconds":[0-9.e-]+`), `"seconds":0`},
	{regexp.MustCompile(`\b\d+[dhm] \d\d[hms]\b|\b\d[\d.,]* ?(ns|µs|ms|s)\b`), "SPAN"},
	{regexp.MustCompile(`\b\d[\d.,]* (B|bytes|KiB|MiB|GiB|TiB)\b`), "SIZE"},
	{regexp.MustCompile(`\b\d[\d.,]* (rows|records|reads)/s`), "RATE"},
	{regexp.MustCompile(`format \d+, tidemark \S+|^tidemark [^ ]+ .*`), "VERSION"},
	{regexp.MustCompile(`[─-]{3,}`), "---"},
	{regexp.MustCompile(` +`), " "},
}

func masked(lines []string) string {
	out := make([]string, len(lines))
	for i, line := range lines {
		for _, m := range masks {
			line = m.re.ReplaceAllString(line, m.with)
		}
		out[i] = strings.TrimSpace(line)
	}
	return strings.Join(out, "\n")
}

// pattern is what the printed lines of a page stand for.
func pattern(lines []string) string {
	var b strings.Builder
	for line := range strings.Lines(masked(lines) + "\n") {
		if line == "…\n" {
			b.WriteString(`(?:.*\n)*`)
		} else {
			b.WriteString(regexp.QuoteMeta(line))
		}
	}
	return `\A` + b.String() + `\z`
}
