package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// BenchmarkRawSync is what the machine can do: append 4 KiB to a preallocated
// file and sync it. BenchmarkCommit/writers=1 is to be held against it.
func BenchmarkRawSync(b *testing.B) {
	f, err := vfs.Default.OpenReadWrite(filepath.Join(b.TempDir(), "raw"), vfs.WriteCategoryUnspecified)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const size = 16 << 20
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 4<<10)
	for i := range block {
		block[i] = byte(i)
	}
	off := int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(block, off); err != nil {
			b.Fatal(err)
		}
		if err := f.SyncData(); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(block))) % size
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func benchRow(i int64) change.Row {
	return change.Row{change.IntValue(i), change.TextValue(benchText), change.TextValue("note")}
}

var benchText = strings.Repeat("abcdefghij", 12)

// BenchmarkCommit measures durable commits of one row by several writers.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			benchCommit(b, writers, 1)
		})
	}
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("writers=%d/rows=1000", writers), func(b *testing.B) {
			benchCommit(b, writers, 1000)
		})
	}
}

func benchCommit(b *testing.B, writers, rows int) {
	dir, err := os.MkdirTemp(".", "bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db := mustOpen(b, dir, Options{})
	if err := db.Update(createCity); err != nil {
		b.Fatal(err)
	}
	var next, left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				n := next.Add(int64(rows))
				errs[w] = errors.Join(errs[w], db.Update(func(tx *Tx) error {
					for i := range rows {
						if err := tx.Put("city", benchRow(n+int64(i))); err != nil {
							return err
						}
					}
					return nil
				}))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	if rows > 1 {
		b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
	}
	mustClose(b, db)
}
