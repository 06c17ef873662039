package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

func TestMain(m *testing.M) {
	seenMessage = mustBeDocumented
	if n, err := strconv.Atoi(os.Getenv(loadsEnv)); err == nil {
		wrapTarget = func(t driver.Target) driver.Target { return &stalled{Target: t, loads: int64(n)} }
	}
	testscript.Main(m, map[string]func(){"tidemark": main})
}

// TestScripts runs the real binary; testdata/*.txtar say what must come out.
//
// Beside testscript's own commands there are
//
//	wantexit CODE tidemark …       the command ends with that exit code
//	pick VAR GLOB [N]              sets VAR to the Nth file that matches, from 0; negative from the end
//	flip FILE [OFFSET]             flips a bit of a byte; default the middle
//	cut FILE                       takes away the second half
//	swap FILE FILE                 exchanges two files
//	edit FILE OLD NEW              replaces the first OLD in a file
//	capturing ARCHIVE              waits until a capturer holds the archive
//	losing ARCHIVE N               declares a gap of N records and takes an empty base after it
//	forking ARCHIVE CHILD LSN      begins a timeline, as a restored database does
//	loselog DB                     makes a database give up its log, as one does that lags behind
//	judged ARCHIVE HOW             records a verification or a drill that went well or badly
//	until FILE REGEXP              waits until the file matches
//	parts DIR N                    waits until an unfinished restore has N finished parts
//	csv FILE N                     writes a file of N items
//	setenv VAR REGEXP              sets VAR to the first group's match in stdout
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"wantexit":  wantExit,
			"pick":      pick,
			"flip":      flip,
			"cut":       cut,
			"swap":      swap,
			"edit":      edit,
			"capturing": capturing,
			"parts":     parts,
			"csv":       csvFile,
			"losing":    losing,
			"loselog":   loseLog,
			"judged":    judged,
			"forking":   forking,
			"until":     until,
			"setenv":    setenv,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, ".state"))
			return nil
		},
	})
}

func want(ts *testscript.TestScript, neg bool, args []string, least, most int, usage string) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func wantExit(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 1<<10, "wantexit CODE command …")
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != code {
		ts.Fatalf("exit code %d, want %d", got, code)
	}
}

func pick(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 3, "pick VAR GLOB [N]")
	files, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	slices.Sort(files)
	n := 0
	if len(args) == 3 {
		n, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	if n < 0 {
		n += len(files)
	}
	if n < 0 || n >= len(files) {
		ts.Fatalf("%d files match %s", len(files), args[1])
	}
	ts.Setenv(args[0], files[n])
}

// rewrite changes a file, which may be read-only.
func rewrite(ts *testscript.TestScript, name string, fn func([]byte) []byte) {
	name = ts.MkAbs(name)
	b, err := os.ReadFile(name)
	ts.Check(err)
	b = fn(b)
	ts.Check(os.Remove(name))
	ts.Check(os.WriteFile(name, b, 0o600))
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 2, "flip FILE [OFFSET]")
	rewrite(ts, args[0], func(b []byte) []byte {
		at := len(b) / 2
		if len(args) == 2 {
			n, err := strconv.Atoi(args[1])
			ts.Check(err)
			at = n
		}
		b[at] ^= 4
		return b
	})
}

func cut(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 1, "cut FILE")
	rewrite(ts, args[0], func(b []byte) []byte { return b[:len(b)/2] })
}

func swap(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "swap FILE FILE")
	a, b := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	ts.Check(os.Rename(a, a+".aside"))
	ts.Check(os.Rename(b, a))
	ts.Check(os.Rename(a+".aside", b))
}

func edit(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "edit FILE OLD NEW")
	rewrite(ts, args[0], func(b []byte) []byte {
		if !bytes.Contains(b, []byte(args[1])) {
			ts.Fatalf("%s does not hold %q", args[0], args[1])
		}
		return bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1)
	})
}

// capturing waits until a capturer has claimed the archive.
func capturing(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 1, "capturing ARCHIVE")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	bucket, err := storage.OpenDir(ts.MkAbs(args[0]), storage.DirOptions{ReadOnly: true})
	ts.Check(err)
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	ts.Check(err)
	for {
		s, err := a.Load(ctx)
		ts.Check(err)
		if s.EpochOpen {
			return
		}
	}
}

// until waits until a file, which may not be there yet, matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "until FILE REGEXP")
	re := regexp.MustCompile("(?m)" + args[1])
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && re.Match(b) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no match for %s in %s: %q, %v", args[1], args[0], b, err)
		}
	}
}

// parts waits until an unfinished restore has so many finished parts.
func parts(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "parts DIR N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "load", "*.part"))
		ts.Check(err)
		if len(found) >= n {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%d parts in %s, want %d", len(found), args[0], n)
		}
	}
}

// loadsEnv makes a restore stall once it has begun to load so many parts.
const loadsEnv = "TIDEMARK_TEST_LOADS"

// stalled is a target that loads so many parts and then waits until the restore
// is given up.
type stalled struct {
	driver.Target
	loads int64
	begun atomic.Int64
}

func (s *stalled) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	if s.begun.Add(1) > s.loads {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Target.Load(ctx, p, rows)
}

// csvFile writes items to import.
func csvFile(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "csv FILE N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b bytes.Buffer
	b.WriteString("id,name\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,item %d with a name of some length\n", i+1, i*7919%n)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o600))
}

// setenv keeps a part of the last command's output.
func setenv(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "setenv VAR REGEXP")
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// TestExitCodes holds the table against UX: first fit decides.
func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitOther},
		{usageError{chain.ErrDamaged}, exitUsage},
		{fmt.Errorf("a: %w", archive.ErrNotArchive), exitMissing},
		{&archive.LockedError{}, exitFenced},
		{&recovery.UnrestorableError{}, exitOutside},
		{&recovery.UnrestorableError{Gap: &chain.Gap{}}, exitGap},
		{&chain.RuleError{Err: chain.ErrVersion}, exitOther},
		{&chain.RuleError{}, exitCorrupt},
		{reported{chain.ErrDamaged}, exitCorrupt},
		{context.Canceled, exitInterrupted},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0 µs",
		1500 * time.Microsecond:         "1 ms",
		2340 * time.Millisecond:         "2.3 s",
		59 * time.Second:                "59 s",
		62 * time.Second:                "1m 02s",
		2*time.Hour + 14*time.Minute:    "2h 14m",
		75 * time.Hour:                  "3d 03h",
		-90 * time.Second:               "-1m 30s",
		math.MinInt64:                   "-106751d 23h",
		47*time.Hour + 59*time.Minute:   "47h 59m",
		999*time.Millisecond + 999*1000: "999 ms",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %q, want %q", d, got, want)
		}
	}
	var b strings.Builder
	tab := newTable("NAME", "N>")
	tab.add("ä", "1,000")
	tab.add("long", "7")
	tab.print(&b)
	if want := "NAME      N\nä     1,000\nlong      7\n"; b.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", b.String(), want)
	}
}
