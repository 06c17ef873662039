package recovery

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

var benchRows = flag.Int("rows", 100_000, "rows of the base, and changes after it, of the benchmark of At")

// benchArchive is a base of n rows of about 200 bytes and n random changes,
// in transactions of txSize and segments of segSize records.
func benchArchive(b *testing.B, bucket storage.Bucket, n, txSize, segSize int) *chain.State {
	schema, err := change.Define(1, "rows", []string{"id"}, change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "name", Type: change.Text}, change.Column{Name: "n", Type: change.Int64}, change.Column{Name: "data", Type: change.Text})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	record := func(i int) change.Record {
		var raw [80]byte
		for j := range raw {
			raw[j] = byte(rng.Uint32())
		}
		key, image, err := schema.EncodeRow(change.Row{change.IntValue(int64(i)), change.TextValue(fmt.Sprint("name of row ", i)),
			change.IntValue(int64(rng.IntN(1000))), change.TextValue(hex.EncodeToString(raw[:]))})
		if err != nil {
			b.Fatal(err)
		}
		return change.Record{Op: change.Update, Collection: 1, Key: key, Image: image}
	}
	put := func(k chain.PackKey, write func(io.Writer) (pack.Ref, error)) pack.Ref {
		k.Timeline, k.Nonce = chain.MainTimeline, "0000000000000001"
		var buf bytes.Buffer
		ref, err := write(&buf)
		if err != nil {
			b.Fatal(err)
		}
		ref.Key = k.String()
		if err := bucket.Create(b.Context(), ref.Key, &buf); err != nil {
			b.Fatal(err)
		}
		return ref
	}
	c := chaintest.New(b).Claim()
	segment := func(txs []*change.Tx) {
		sb := chain.NewSegmentBuilder(c.State.LogHash)
		ref := put(chain.PackKey{Kind: chain.LogPack, First: txs[0].First(), Last: txs[len(txs)-1].Last()}, func(w io.Writer) (pack.Ref, error) {
			lw := pack.NewLogWriter(w, pack.WriterOptions{})
			for _, tx := range txs {
				if err := errors.Join(lw.AppendTx(tx), sb.Add(tx)); err != nil {
					return pack.Ref{}, err
				}
			}
			ref, _, err := lw.Close()
			return ref, err
		})
		seg := sb.Segment()
		seg.Packs = []pack.Ref{ref}
		c.Add(chain.Manifest{Kind: chain.KindSegment, Segment: &seg})
	}
	create, err := change.SchemaRecord(schema)
	if err != nil {
		b.Fatal(err)
	}
	create.LSN = 1
	segment([]*change.Tx{{ID: 1, Commit: 1000, Effective: 1000, Records: []change.Record{create}}})
	run := put(chain.PackKey{Kind: chain.RunPack, Last: 1}, func(w io.Writer) (pack.Ref, error) {
		rw := pack.NewRunWriter(w, pack.WriterOptions{})
		for i := range n {
			r := record(i)
			r.Op = change.Insert
			if err := rw.Append(&r); err != nil {
				return pack.Ref{}, err
			}
		}
		ref, _, err := rw.Close()
		return ref, err
	})
	c.Add(chain.Manifest{Kind: chain.KindSnapshot, Snapshot: &chain.Snapshot{LSN: 1, LogHash: c.State.LogHash, Origin: chain.OriginSource, Taken: 2000,
		Schemas: []*change.Schema{schema}, Runs: []pack.Ref{run}, Digests: []chain.CollectionDigest{{Collection: 1, Rows: int64(n)}}}})
	var txs []*change.Tx
	held := 0
	for i := 0; i < n; {
		tx := &change.Tx{ID: change.TxID(i + 2), Commit: change.Time(10_000 + i), Effective: change.Time(10_000 + i)}
		for ; i < n && len(tx.Records) < txSize; i++ {
			r := record(rng.IntN(n))
			r.LSN = change.LSN(i + 2)
			tx.Records = append(tx.Records, r)
		}
		txs = append(txs, tx)
		if held += len(tx.Records); held >= segSize || i == n {
			segment(txs)
			txs, held = nil, 0
		}
	}
	return c.State
}

// BenchmarkAt reads the state at the end of an archive and reports input
// records a second: all of a restore but the writing.
func BenchmarkAt(b *testing.B) {
	n := *benchRows
	for _, c := range []struct {
		name        string
		tx, segment int
		memory      int64
	}{
		{"segments", 100, 40_000, 0}, {"one_segment", 100, n, 0}, {"small_transactions", 1, 40_000, 0}, {"memory_64MiB", 100, 40_000, 64 << 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			bucket := storage.NewMem()
			s := benchArchive(b, bucket, n, c.tx, c.segment)
			plan, err := MakePlan(context.Background(), s, Point{LSN: s.Last})
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			dir := b.TempDir()
			for b.Loop() {
				rows, err := At(b.Context(), bucket, plan, AtOptions{Memory: c.memory, TempDir: dir})
				if err != nil {
					b.Fatal(err)
				}
				var wg sync.WaitGroup
				for _, p := range rows.Parts() {
					wg.Go(func() {
						for _, err := range p.Rows {
							if err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if err := rows.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(2*n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}
