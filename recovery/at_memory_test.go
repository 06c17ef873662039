package recovery

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// bigLog is a log of n rows of size bytes, each written twice, in segments of
// a few; some transactions are larger than the memory that the test allows.
func bigLog(t *testing.T, bucket storage.Bucket, n, size int) *chain.State {
	t.Helper()
	c := chaintest.New(t).Claim()
	schema := chaintest.Schema(t, 1)
	create, err := change.SchemaRecord(schema)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	lsn, commit := change.LSN(0), change.Time(0)
	text := make([]byte, size)
	for done := 0; done < 2*n; {
		b := chain.NewSegmentBuilder(c.State.LogHash)
		var buf bytes.Buffer
		lw := pack.NewLogWriter(&buf, pack.WriterOptions{})
		first := lsn + 1
		for range 2 {
			commit++
			tx := &change.Tx{ID: change.TxID(commit), Commit: commit, Effective: commit * 10}
			if lsn == 0 {
				tx.Records = append(tx.Records, create)
			}
			for ; done < 2*n && len(tx.Records) < max(n/4, 2); done++ {
				for j := range text {
					text[j] = 'a' + byte(rng.Uint32()&15)
				}
				key, image, err := schema.EncodeRow(change.Row{change.IntValue(int64(done % n * 7919 % n)), change.TextValue(string(text))})
				if err != nil {
					t.Fatal(err)
				}
				tx.Records = append(tx.Records, change.Record{Op: change.Insert, Collection: 1, Key: key, Image: image})
			}
			if len(tx.Records) == 0 {
				break
			}
			for i := range tx.Records {
				lsn++
				tx.Records[i].LSN = lsn
			}
			if err := lw.AppendTx(tx); err != nil {
				t.Fatal(err)
			}
			if err := b.Add(tx); err != nil {
				t.Fatal(err)
			}
		}
		ref, _, err := lw.Close()
		if err != nil {
			t.Fatal(err)
		}
		ref.Key = chain.PackKey{Timeline: chain.MainTimeline, Kind: chain.LogPack, First: first, Last: lsn, Nonce: "0123456789abcdef"}.String()
		if err := bucket.Create(t.Context(), ref.Key, &buf); err != nil {
			t.Fatal(err)
		}
		seg := b.Segment()
		seg.Packs = []pack.Ref{ref}
		c.Add(chain.Manifest{Kind: chain.KindSegment, Segment: &seg})
	}
	return c.State
}

// peakHeap returns the most bytes of heap in use while f runs.
func peakHeap(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is garbage shall not count
	runtime.GC()
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), int64(m.HeapAlloc)))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	return peak.Load()
}

// TestMemoryIsBounded reads several times more than the memory allowed holds,
// in small rows and in large ones, and watches the heap.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("slow under the race detector, and at its best without")
	}
	for _, c := range []struct {
		name    string
		n, size int
		memory  int64
		limit   int64 // bytes of heap
	}{
		{"small rows", 100_000, 200, 8 << 20, 28 << 20},
		{"next to nothing", 50_000, 200, 1, 20 << 20},
		{"large rows", 20, 2 << 20, 24 << 20, 56 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			bucket, err := storage.CreateDir(t.TempDir()+"/bucket", storage.DirOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer bucket.Close()
			s := bigLog(t, bucket, c.n, c.size)
			plan, err := MakePlan(context.Background(), s, Point{LSN: s.Last})
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			peak := peakHeap(func() {
				r, err := At(t.Context(), bucket, plan, AtOptions{Memory: c.memory, TempDir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				for _, err := range r.All() {
					if err != nil {
						t.Fatal(err)
					}
					rows++
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			})
			t.Logf("%d rows, %d MiB raw: %d MiB of heap with %d MiB allowed", rows, plan.Estimate.Raw>>20, peak>>20, c.memory>>20)
			if rows != c.n {
				t.Errorf("%d rows, want %d", rows, c.n)
			}
			if peak > c.limit {
				t.Errorf("%d MiB of heap, want %d MiB at most", peak>>20, c.limit>>20)
			}
		})
	}
}
