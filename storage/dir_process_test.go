package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
)

const (
	processRounds = 60
	racerDir      = "TIDEMARK_TEST_RACER_DIR"
	racerName     = "TIDEMARK_TEST_RACER_NAME"
)

func raceKey(round int) string { return fmt.Sprintf("race/%d/%d", round%7, round) }

// raceBody is what a racer creates: its name, over and over.
func raceBody(name string, round int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%s-%d ", name, round), 500)
}

// TestProcessRace lets two processes create the same keys at the same time:
// for each key exactly one wins, and its bytes are there.
func TestProcessRace(t *testing.T) {
	if dir := os.Getenv(racerDir); dir != "" {
		runRacer(dir, os.Getenv(racerName))
		return
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	type racer struct {
		name  string
		cmd   *exec.Cmd
		start io.WriteCloser
		out   bytes.Buffer
	}
	racers := []*racer{{name: "anna"}, {name: "bert"}}
	for _, r := range racers {
		r.cmd = exec.CommandContext(t.Context(), exe, "-test.run=^TestProcessRace$", "-test.count=1")
		r.cmd.Env = append(os.Environ(), racerDir+"="+dir, racerName+"="+r.name)
		r.cmd.Stdout, r.cmd.Stderr = &r.out, os.Stderr
		if r.start, err = r.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := r.cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range racers {
		r.start.Close()
	}
	won := map[string]string{}
	for _, r := range racers {
		if err := r.cmd.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s", r.name, err, r.out.String())
		}
		for line := range strings.Lines(r.out.String()) {
			var key string
			if n, _ := fmt.Sscanf(line, "won %s", &key); n != 1 {
				continue
			}
			if other := won[key]; other != "" {
				t.Errorf("%s was won by %s and by %s", key, other, r.name)
			}
			won[key] = r.name
		}
	}
	d, err := storage.OpenDir(dir, storage.DirOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wins := map[string]int{}
	for round := range processRounds {
		name := won[raceKey(round)]
		wins[name]++
		r, err := d.Read(t.Context(), raceKey(round), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, raceBody(name, round)) {
			t.Errorf("%s, won by %q, holds %.20q…, %v", raceKey(round), name, got, err)
		}
	}
	if wins[""] != 0 {
		t.Errorf("%d keys were won by nobody", wins[""])
	}
	t.Logf("wins: %v", wins)
}

// runRacer is one of the two processes. It starts when its stdin ends.
func runRacer(dir, name string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, name, err)
		os.Exit(3)
	}
	d, err := storage.OpenDir(dir, storage.DirOptions{})
	if err != nil {
		fail(err)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fail(err)
	}
	for round := range processRounds {
		switch err := d.Create(context.Background(), raceKey(round), bytes.NewReader(raceBody(name, round))); {
		case err == nil:
			fmt.Println("won", raceKey(round))
		case !errors.Is(err, storage.ErrExists):
			fail(err)
		}
	}
}
