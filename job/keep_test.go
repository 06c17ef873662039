package job

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestKeep: one at a time for a database; whoever comes later is told.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	l := Open(dir)
	held, err := l.Keep("shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir).Keep("shop"); !errors.Is(err, ErrKept) {
		t.Errorf("twice: %v", err)
	}
	other, err := l.Keep("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(held.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := l.Keep("shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file).Keep("shop"); !errors.Is(err, ErrRecord) || errors.Is(err, ErrKept) {
		t.Errorf("a state directory that is a file: %v", err)
	}
	if jobs, err := l.List(""); err != nil || len(jobs) != 0 {
		t.Errorf("locks are no jobs: %v, %v", jobs, err)
	}
}
