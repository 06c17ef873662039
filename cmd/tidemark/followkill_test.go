package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestFollowKilled kills a following process again and again, while a database
// changes and is captured. What it leaves is each time what the database was.
func TestFollowKilled(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	db, err := embedded.Open(filepath.Join(dir, "db"), embedded.Options{})
	must(t, err)
	defer db.Close()
	must(t, db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("n", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "n", Type: change.Int64})
		return err
	}))
	name := filepath.Join(dir, "a")
	bucket, err := storage.CreateDir(name, storage.DirOptions{})
	must(t, err)
	defer bucket.Close()
	_, err = archive.Init(ctx, bucket, archive.InitOptions{})
	must(t, err)
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	must(t, err)
	c := capture.New(a, db.Source(), capture.Options{FlushAge: 10 * time.Millisecond})
	standby := filepath.Join(dir, "standby")
	must(t, c.While(ctx, func(ctx context.Context) error {
		if _, err := c.Sync(ctx); err != nil { // so that there is something to follow
			return err
		}
		writing, stop := context.WithCancel(ctx)
		defer stop()
		wrote := make(chan error, 1)
		go func() { wrote <- countUp(writing, db) }()
		last := change.LSN(0)
		for round := range 8 {
			follow := exec.Command("tidemark", "follow", name, standby, "--poll", "2ms")
			if err := follow.Start(); err != nil {
				return err
			}
			// Batches begin with this file: it dies at some moment of the next.
			moved := movesOn(standby, last+change.LSN(1+round%3*20))
			err := follow.Process.Kill()
			_ = follow.Wait()
			if err != nil || !moved {
				return fmt.Errorf("round %d: kill: %v; it went on past LSN %d: %t", round, err, last, moved)
			}
			at, err := counted(standby)
			if err != nil || at < last {
				return fmt.Errorf("round %d: after LSN %d there is %d: %w", round, last, at, err)
			}
			last = at
		}
		stop()
		if err := <-wrote; err != nil {
			return err
		}
		_, err := c.Sync(ctx)
		return err
	}))
	if out, err := exec.Command("tidemark", "follow", name, standby, "--once").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if at, err := counted(standby); err != nil || at != db.Info().LSN {
		t.Errorf("in the end the standby is at LSN %d, the database at %d: %v", at, db.Info().LSN, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// countUp counts in row 0, and leaves a row of each number behind.
func countUp(ctx context.Context, db *embedded.DB) error {
	for n := int64(1); ctx.Err() == nil; n++ {
		err := db.Update(func(tx *embedded.Tx) error {
			if err := tx.Put("n", change.Row{change.IntValue(0), change.IntValue(n)}); err != nil {
				return err
			}
			return tx.Insert("n", change.Row{change.IntValue(n), change.IntValue(n)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// movesOn waits until a standby is about to be past an LSN.
func movesOn(standby string, lsn change.LSN) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var marks struct {
			Will struct {
				LSN change.LSN `json:"lsn"`
			} `json:"will"`
		}
		b, err := os.ReadFile(filepath.Join(standby, "STANDBY"))
		if err == nil && json.Unmarshal(b, &marks) == nil && marks.Will.LSN > lsn {
			return true
		}
	}
	return false
}

// counted checks that a database is as countUp has left it after some
// transaction, and returns its LSN.
func counted(dir string) (change.LSN, error) {
	db, err := embedded.Open(dir, embedded.Options{MustExist: true})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	at := db.Info().LSN
	if at == 0 {
		return 0, nil // it was not even that far
	}
	n := (int64(at) - 1) / 2 // the schema, then two records each
	return at, db.View(func(tx *embedded.Tx) error {
		next := int64(0)
		for row, err := range tx.Scan("n", embedded.Range{}) {
			if err != nil {
				return err
			}
			want := next
			if next == 0 {
				want = n
			}
			if row[0].Int() != next || row[1].Int() != want {
				return fmt.Errorf("at LSN %d: row %d holds %d, want row %d with %d", at, row[0].Int(), row[1].Int(), next, want)
			}
			next++
		}
		if int64(at)%2 != 1 || next != n+1 && at > 1 {
			return fmt.Errorf("at LSN %d: %d rows, want %d", at, next, n+1)
		}
		return nil
	})
}
