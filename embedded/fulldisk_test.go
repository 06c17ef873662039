package embedded

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const fullEnv = "TIDEMARK_TEST_FULL_DIR"

// fullWriter commits until the disk is full, printing the number of each
// acknowledged commit and in the end the error.
func fullWriter(dir string) {
	last := func(err error) {
		fmt.Println("error", err)
		os.Exit(0)
	}
	db, err := Open(dir, Options{LogFileBytes: 256 << 10, MemTableBytes: 256 << 10, Fatal: last})
	if err != nil {
		last(err)
	}
	var load crashLoad
	if err := load.create(db); err != nil {
		last(err)
	}
	if err := db.attach(); err != nil { // the log is kept
		last(err)
	}
	for {
		var n int64
		err := db.Update(func(tx *Tx) (err error) {
			n, err = load.fill(tx)
			return err
		})
		if err != nil {
			last(err)
		}
		fmt.Println(n)
	}
}

// TestFullDiskOfLog refuses room for the next log file only, at every moment of
// its preparation.
func TestFullDiskOfLog(t *testing.T) {
	for nth := int64(1); ; nth++ {
		mem := vfs.NewCrashableMem()
		var ops atomic.Int64
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemove && ops.Load() >= 0 {
				if ops.Add(1) >= nth { // it stays full
					return syscall.ENOSPC
				}
			}
			return nil
		})
		ops.Store(-1 << 40)
		var load crashLoad
		db := mustOpen(t, "db", small(errorfs.Wrap(mem, inject)))
		if err := load.create(db); err != nil {
			t.Fatal(err)
		}
		ops.Store(0)
		acked := int64(0)
		var err error
		for err == nil && acked < 100 {
			if err = load.commit(db); err == nil {
				acked++
			}
		}
		if err == nil {
			if err := db.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if ops.Load() >= nth {
				continue // too late for a commit
			}
			if nth < 20 {
				t.Errorf("only %d moments", nth)
			}
			return
		}
		if !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("operation %d: %v", nth, err)
		}
		_ = db.Close()
		db = mustOpen(t, "db", small(mem.CrashClone(vfs.CrashCloneCfg{})))
		if n, err := load.check(db); err != nil || n < acked || n > acked+1 {
			t.Fatalf("operation %d: %d commits, %d were acknowledged: %v", nth, n, acked, err)
		}
		mustClose(t, db)
	}
}
