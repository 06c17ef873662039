package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// rawFile appends blocks of 4 KiB to a preallocated file and syncs each: what
// the machine can do.
type rawFile struct {
	f     vfs.File
	block []byte
	off   int64
}

const rawSize = 16 << 20

func newRawFile(b *testing.B, dir string) *rawFile {
	f, err := vfs.Default.OpenReadWrite(filepath.Join(dir, "raw"), vfs.WriteCategoryUnspecified)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(make([]byte, rawSize), 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &rawFile{f: f, block: bytes.Repeat([]byte("block..."), 512)}
}

func (r *rawFile) append() error {
	if _, err := r.f.WriteAt(r.block, r.off); err != nil {
		return err
	}
	r.off = (r.off + int64(len(r.block))) % rawSize
	return r.f.SyncData()
}

// benchDir returns a directory on the disk that holds the sources: a temporary
// directory may be memory.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(".", "bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkRawSync is what BenchmarkCommit is to be held against.
func BenchmarkRawSync(b *testing.B) {
	raw := newRawFile(b, benchDir(b))
	for b.Loop() {
		if err := raw.append(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkCommitAgainstRawSync takes turns between one writer's commits and
// raw syncs, so that a busy machine slows both, and reports the ratio of rates.
func BenchmarkCommitAgainstRawSync(b *testing.B) {
	raw := newRawFile(b, benchDir(b))
	db := mustOpen(b, benchDir(b), Options{})
	if err := db.Update(createCity); err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	var commits, raws time.Duration
	for b.Loop() {
		const turn = 20
		start := time.Now()
		for range turn {
			if err := raw.append(); err != nil {
				b.Fatal(err)
			}
		}
		raws += time.Since(start)
		start = time.Now()
		for range turn {
			n++
			if err := db.Update(func(tx *Tx) error { return tx.Put("city", benchRow(n)) }); err != nil {
				b.Fatal(err)
			}
		}
		commits += time.Since(start)
	}
	b.ReportMetric(100*float64(raws)/float64(commits), "%ofraw")
	mustClose(b, db)
}

// BenchmarkManyAgainstOne takes turns between one writer and several, and
// reports how many times as many commits several get done.
func BenchmarkManyAgainstOne(b *testing.B) {
	for _, writers := range []int{8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := mustOpen(b, benchDir(b), Options{})
			if err := db.Update(createCity); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			commits := func(n int) {
				for range n {
					row := benchRow(next.Add(1))
					if err := db.Update(func(tx *Tx) error { return tx.Put("city", row) }); err != nil {
						b.Error(err)
					}
				}
			}
			var one, many time.Duration
			for b.Loop() {
				const turn = 20
				start := time.Now()
				commits(turn)
				one += time.Since(start)
				start = time.Now()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() { commits(turn) })
				}
				wg.Wait()
				many += time.Since(start)
			}
			b.ReportMetric(float64(writers)*float64(one)/float64(many), "×one")
			mustClose(b, db)
		})
	}
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
	db := mustOpen(b, benchDir(b), Options{})
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
