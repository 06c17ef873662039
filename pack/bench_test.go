package pack

import (
	"io"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// benchRecords is enough for some dozen blocks: more than fit into a cache.
const benchRecords = 400_000

var workloads = []struct {
	name string
	txs  func(testing.TB, int) []*change.Tx
}{{"json", jsonRows}, {"pgbench", pgbenchRows}}

// size returns the bytes of all keys and images.
func size(txs []*change.Tx) (records int, bytes int64) {
	for _, tx := range txs {
		records += len(tx.Records)
		for i := range tx.Records {
			bytes += int64(len(tx.Records[i].Key) + len(tx.Records[i].Image))
		}
	}
	return records, bytes
}

// report adds what counts: records per second of wall time, processor time per
// record (which other work on the machine does not change; garbage collection
// included), and sizes.
func report(b *testing.B, began time.Duration, records int, raw, stored int64) {
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(records)/float64(b.N), "cpu-ns/record")
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
	b.ReportMetric(float64(raw)/float64(records), "rawB/record")
	b.ReportMetric(float64(stored)/float64(records), "storedB/record")
}

// BenchmarkReadLog opens a log pack and reads it through: fetch from memory,
// SHA-256, decompress, decode.
func BenchmarkReadLog(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			txs := load.txs(b, benchRecords)
			records, raw := size(txs)
			data, ref, _ := logPack(b, WriterOptions{}, txs...)
			bk, ref := bucketOf(data, ref)
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				r, err := Open(b.Context(), bk, ref)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for blk, err := range r.Blocks(b.Context(), 0, len(r.Index().Blocks), 0) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(blk.Records())
				}
				if n != records {
					b.Fatalf("%d records, want %d", n, records)
				}
			}
			report(b, began, records, raw, ref.Size)
		})
	}
}

// BenchmarkReadTxs reads the same as transactions.
func BenchmarkReadTxs(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			txs := load.txs(b, benchRecords)
			records, raw := size(txs)
			data, ref, _ := logPack(b, WriterOptions{}, txs...)
			r := mustOpen(b, data, ref)
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				n := 0
				for tx, err := range r.Txs(b.Context(), 0) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(tx.Records)
				}
				if n != records {
					b.Fatalf("%d records, want %d", n, records)
				}
			}
			report(b, began, records, raw, ref.Size)
		})
	}
}

// BenchmarkReadRun reads the last version of each row, in key order.
func BenchmarkReadRun(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			run := asRun(load.txs(b, benchRecords))
			data, ref, _ := runPack(b, WriterOptions{}, run)
			r := mustOpen(b, data, ref)
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				n := 0
				for _, err := range r.Records(b.Context(), RowKey{}) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != len(run) {
					b.Fatalf("%d records, want %d", n, len(run))
				}
			}
			report(b, began, len(run), ref.Raw, ref.Size)
		})
	}
}

// BenchmarkWriteLog writes a log pack to nowhere.
func BenchmarkWriteLog(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			txs := load.txs(b, benchRecords)
			records, raw := size(txs)
			var stored int64
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				w := NewLogWriter(io.Discard, WriterOptions{})
				for _, tx := range txs {
					if err := w.AppendTx(tx); err != nil {
						b.Fatal(err)
					}
				}
				ref, _, err := w.Close()
				if err != nil {
					b.Fatal(err)
				}
				stored = ref.Size
			}
			report(b, began, records, raw, stored)
		})
	}
}

// BenchmarkWriteRun writes a run pack to nowhere.
func BenchmarkWriteRun(b *testing.B) {
	for _, load := range workloads {
		b.Run(load.name, func(b *testing.B) {
			run := asRun(load.txs(b, benchRecords))
			var ref Ref
			b.ReportAllocs()
			began := cpuTime()
			for b.Loop() {
				w := NewRunWriter(io.Discard, WriterOptions{})
				for i := range run {
					if err := w.Append(&run[i]); err != nil {
						b.Fatal(err)
					}
				}
				var err error
				if ref, _, err = w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, began, len(run), ref.Raw, ref.Size)
		})
	}
}
