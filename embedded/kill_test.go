package embedded

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const killEnv = "TIDEMARK_TEST_KILL_DIR"

// TestMain turns the test binary into the writer that TestKill kills, or the
// one that fills a disk.
func TestMain(m *testing.M) {
	if dir := os.Getenv(fullEnv); dir != "" {
		fullWriter(dir)
		return
	}
	if dir := os.Getenv(killEnv); dir != "" {
		if err := killedWriter(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// killedWriter commits from four goroutines and prints the number of each
// commit that was acknowledged, until it is killed.
func killedWriter(dir string) error {
	db, err := Open(dir, Options{LogFileBytes: 64 << 10, MemTableBytes: 256 << 10})
	if err != nil {
		return err
	}
	var load crashLoad
	first, err := load.check(db)
	if err != nil {
		return err
	}
	load.attempted.Store(first)
	if first == 0 {
		_ = load.create(db) // fails when an earlier run got no further
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				var n int64
				err := db.Update(func(tx *Tx) error {
					var err error
					n, err = load.fill(tx)
					return err
				})
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println(n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

// TestKill kills a writing process several times, each time at another
// moment, and checks what is left.
func TestKill(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGKILL")
	}
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := int64(0) // commits 1 … acked were acknowledged
		seen := make(map[int64]bool)
		lines := bufio.NewScanner(out)
		for i := 0; lines.Scan(); i++ {
			n, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				t.Errorf("writer says %q", lines.Text())
				break
			}
			seen[n] = true
			acked = max(acked, n)
			if i == 150+round*97 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		db := mustOpen(t, dir, Options{LogFileBytes: 64 << 10})
		var load crashLoad
		n, err := load.check(db)
		if err != nil || n < acked {
			t.Fatalf("round %d: %d commits remain, %d were acknowledged: %v", round, n, acked, err)
		}
		if len(seen) < 100 {
			t.Fatalf("round %d: the writer acknowledged only %d commits", round, len(seen))
		}
		mustClose(t, db)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".tmp") || n.Name() == creatingName {
			t.Errorf("%s is left over", n.Name())
		}
	}
}
