package merge

import (
	"context"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

var benchRows = flag.Int("rows", 200_000, "rows of the base, and changes, of the benchmarks")

// benchRecord returns a record of about 200 bytes whose key is n.
func benchRecord(r *rand.Rand, n int) change.Record {
	key := binary.BigEndian.AppendUint32([]byte{0x18}, uint32(n))
	image := make([]byte, 200)
	for i := range image {
		image[i] = byte('a' + r.IntN(16))
	}
	image[0] = 0
	return change.Record{Op: change.Update, Collection: keyedA, Key: key, Image: image}
}

// BenchmarkRestore merges a base of -rows rows with as many random changes,
// in two ranges at once, and reports input records a second.
func BenchmarkRestore(b *testing.B) {
	n := *benchRows
	r := rand.New(rand.NewPCG(1, 2))
	bucket, err := newTemp(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	base := make([]change.Record, n)
	for i := range base {
		base[i] = benchRecord(r, i)
		base[i].Op = change.Insert
	}
	refs := writeRuns(b, bucket, base, n, 0)
	log := make([]change.Record, n)
	for i := range log {
		log[i] = benchRecord(r, r.IntN(n))
		log[i].LSN = change.LSN(i + 1)
	}
	for _, c := range []struct {
		name   string
		memory int64
	}{{"memory", 2 << 30}, {"spill", 64 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				run, err := OpenRun(b.Context(), bucket, refs, 1)
				if err != nil {
					b.Fatal(err)
				}
				s := NewSorter(&Rules{}, Options{Memory: c.memory, TempDir: b.TempDir()})
				for i := 0; i < n; i += 5000 {
					if err := s.Add(b.Context(), log[i:min(i+5000, n)], 5000*208, nil); err != nil {
						b.Fatal(err)
					}
				}
				parts, _, err := s.Parts(b.Context(), []*Run{run}, true, PartOptions{AtOnce: 2})
				if err != nil {
					b.Fatal(err)
				}
				var wg sync.WaitGroup
				for _, p := range parts {
					wg.Go(func() {
						for {
							recs, err := p.Source.Next(context.Background())
							if err != nil {
								b.Error(err)
							}
							if len(recs) == 0 {
								return
							}
						}
					})
				}
				wg.Wait()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(2*n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}

// BenchmarkSort sorts refs as a range does.
func BenchmarkSort(b *testing.B) {
	n := *benchRows
	r := rand.New(rand.NewPCG(1, 2))
	recs := make([]change.Record, n)
	refs, scratch, work := make([]ref, n), make([]ref, n), make([]ref, n)
	for i := range recs {
		recs[i].Key = binary.BigEndian.AppendUint64(nil, r.Uint64N(uint64(n)))
		refs[i] = ref{prefixOf(recs[i].Key, 0), 0, uint32(i)}
	}
	for b.Loop() {
		copy(work, refs)
		sortRefs(work, scratch, func(r ref) *change.Record { return &recs[r.rec] })
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
