package restore_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// TestDiskFails lets every operation of the destination's file system fail but
// those that clear away: the destination is as it was before, an empty
// directory or nothing, or it is the whole database.
func TestDiskFails(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	m := w.moments[4]
	_, plan, err := restore.Prepare(t.Context(), a, recovery.AtLSN(m.at))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, empty := range []bool{false, true} {
		step := int64(1)
		if testing.Short() {
			step = 3
		}
		for n := int64(1); ; n += step {
			fs := vfs.NewMem()
			if empty {
				if err := fs.MkdirAll("db", 0o755); err != nil {
					t.Fatal(err)
				}
			}
			before, err := fs.List("")
			if err != nil {
				t.Fatal(err)
			}
			var ops atomic.Int64
			var op atomic.Value
			faulty := errorfs.Wrap(fs, errorfs.InjectorFunc(func(o errorfs.Op) error {
				switch o.Kind {
				case errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpFileClose:
					return nil // Abort needs them
				}
				// Pebble ends the process when it can't write what lies in its directory.
				if strings.Contains(o.Path, "/state") {
					return nil
				}
				if ops.Add(1) == n {
					op.Store(o)
					return errorfs.ErrInjected
				}
				return nil
			}))
			dst, err := embedded.NewTarget("db", embedded.Options{FS: faulty})
			if err != nil {
				t.Fatal(err)
			}
			_, err = restore.Execute(t.Context(), a, a.State(), plan, dst, restore.Options{Parts: 1})
			if err == nil {
				sameDatabase(t, "db", fs, m)
				if ops.Load() < n {
					break
				}
				continue
			}
			failed++
			if !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("operation %d (%v): %v", n, op.Load(), err)
			}
			if after, err := fs.List(""); err != nil || !slices.Equal(after, before) {
				t.Errorf("operation %d (%v): there are %v now, there were %v; %v", n, op.Load(), after, before, err)
			}
			if inside, err := fs.List("db"); empty && (err != nil || len(inside) > 0) {
				t.Errorf("operation %d (%v): the destination holds %v, %v", n, op.Load(), inside, err)
			}
		}
	}
	if failed < 12 {
		t.Errorf("only %d restores failed", failed)
	}
}
