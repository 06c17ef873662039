package embedded

import (
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestLockWhile has many take and give back a lock whose file comes and goes.
// No two hold it at once: also not one who opened the file before its holder
// removed it, beside one who made it anew.
func TestLockWhile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a process can't hold the lock twice")
	}
	name := filepath.Join(t.TempDir(), "lock")
	var holders, taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for tries := 0; tries < 1e6 && taken.Load() < 1000; tries++ {
				l, err := lockWhile(vfs.Default, name)
				if err != nil {
					continue // another has it
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				taken.Add(1)
				runtime.Gosched()
				holders.Add(-1)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if taken.Load() < 1000 {
		t.Errorf("the lock was taken %d times only", taken.Load())
	}
	if ok, err := exists(vfs.Default, name); ok || err != nil {
		t.Errorf("the file stays: %v", err)
	}
	if l, err := lockWhile(vfs.Default, filepath.Join(name, "x")); err == nil {
		t.Error(errors.Join(errors.New("a lock in no directory"), l.Close()))
	}
}
