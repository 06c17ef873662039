package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal. What is written to it can be read once it
// is closed.
func terminal(t *testing.T) (tty *os.File, written func() string) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		var b strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			b.Write(buf[:n])
			if err != nil { // EIO: nobody has the other side open
				got <- b.String()
				return
			}
		}
	}()
	return tty, func() string {
		if err := tty.Close(); err != nil {
			t.Error(err)
		}
		select {
		case s := <-got:
			return s
		case <-time.After(10 * time.Second):
			t.Fatal("the terminal's other side does not end")
			return ""
		}
	}
}

// TestColours: on a terminal only, and never with --no-color or NO_COLOR.
func TestColours(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	t.Setenv("NO_COLOR", "")
	at := filepath.Join(dir, "a")
	if code := run(t.Context(), []string{"init", at, "-q"}, nil, &strings.Builder{}, &strings.Builder{}); code != 0 {
		t.Fatal(code)
	}
	for _, tt := range []struct {
		name, noColor string
		args          []string
		want          string
		colours       bool
	}{
		{"result", "", []string{"check", at}, "\x1b[33mWARNING", true},
		{"error", "", []string{"check", at + "x"}, "\x1b[31merror:", true},
		{"flag", "", []string{"check", at, "--no-color"}, "WARNING", false},
		{"error, flag", "", []string{"check", at + "x", "--no-color"}, "error:", false},
		{"NO_COLOR", "1", []string{"check", at}, "WARNING", false},
		{"JSON", "", []string{"check", at, "--json"}, `"level":"warning"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			tty, written := terminal(t)
			run(t.Context(), tt.args, nil, tty, tty)
			got := written()
			if !strings.Contains(got, tt.want) || strings.Contains(got, "\x1b[") != tt.colours {
				t.Errorf("got %q, want %q in it, colours: %v", got, tt.want, tt.colours)
			}
		})
	}
}
