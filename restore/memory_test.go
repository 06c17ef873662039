package restore_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// heap returns the bytes of objects, dead ones that were not collected included.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// TestMemory restores far more than the memory it is given, from the log alone.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes an archive of 300,000 rows; not with -short")
	}
	const rows, text, memory, bound = 300_000, 600, 32 << 20, 128 << 20
	bucket, err := storage.CreateDir(t.TempDir(), storage.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, bucket)
	db, err := embedded.Open(t.TempDir(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		if err := fill(db, rows, text); err != nil {
			return err
		}
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	runtime.GC()
	before, peak := heap(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, heap())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	p := new(place)
	res, err := restore.Run(t.Context(), a, recovery.Latest(), p, restore.Options{Memory: memory, TempDir: t.TempDir()})
	close(stop)
	<-stopped
	if err != nil || res.Rows != rows || res.Bytes < rows*text {
		t.Fatalf("%+v, %v", res, err)
	}
	t.Logf("%d MiB of rows with %d MiB: the heap grew from %d to %d MiB at most", res.Bytes>>20, int64(memory)>>20, before>>20, peak>>20)
	if grown := peak - min(before, peak); grown > bound {
		t.Errorf("the heap grew by %d MiB, want %d at most for %d MiB of memory", grown>>20, bound>>20, int64(memory)>>20)
	}
}

// fill puts rows in an order that is not that of their keys.
func fill(db *embedded.DB, rows, text int64) error {
	err := db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "text", Type: change.Text})
		return err
	})
	const each = 5000
	for from := int64(0); err == nil && from < rows; from += each {
		err = db.Update(func(tx *embedded.Tx) error {
			for i := from; i < from+each; i++ {
				id := i * 7919 % rows
				long := strings.Repeat(fmt.Sprintf("%d ", id), int(text/2))[:text]
				if err := tx.Put("c", change.Row{change.IntValue(id), change.TextValue(long)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}
