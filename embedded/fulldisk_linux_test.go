package embedded

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a small file system to the brim and then makes it larger.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	db := filepath.Join(dir, "db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fullEnv+"="+db)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked, end := int64(0), ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if n, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
			acked = n
		} else {
			end = lines.Text()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if acked < 100 || !strings.Contains(end, ErrPoisoned.Error()) || !strings.Contains(end, syscall.ENOSPC.Error()) {
		t.Errorf("%d commits were acknowledged, then: %s", acked, end)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=60m"); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, db, Options{LogFileBytes: 256 << 10})
	defer func() { mustClose(t, again) }()
	var load crashLoad
	n, err := load.check(again)
	if err != nil || n < acked {
		t.Errorf("%d commits remain of %d that were acknowledged: %v", n, acked, err)
	}
	load.attempted.Store(n)
	if err := load.commit(again); err != nil {
		t.Errorf("a commit with room again: %v", err)
	}
}
