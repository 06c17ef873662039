package pack

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

// TestRoundTrip writes realistic records and reads them back in every way.
func TestRoundTrip(t *testing.T) {
	for _, load := range workloads {
		t.Run(load.name, func(t *testing.T) {
			txs := load.txs(t, 20_000)
			data, ref, ix := logPack(t, WriterOptions{BlockSize: 64 << 10}, txs...)
			r := mustOpen(t, data, ref)
			if diff := cmp.Diff(ix, r.Index(), cmp.AllowUnexported(BlockInfo{})); diff != "" {
				t.Errorf("the index read differs from the one written:\n%s", diff)
			}
			i := 0
			for tx, err := range r.Txs(t.Context(), 0) {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(txs[i], tx); diff != "" {
					t.Fatalf("transaction %d (-written +read):\n%s", i, diff)
				}
				i++
			}
			if i != len(txs) {
				t.Errorf("read %d of %d transactions", i, len(txs))
			}
			if err := r.VerifyRecords(t.Context()); err != nil {
				t.Error(err)
			}

			run := asRun(txs)
			data, ref, _ = runPack(t, WriterOptions{BlockSize: 64 << 10}, run)
			r = mustOpen(t, data, ref)
			var got []change.Record
			for rec, err := range r.Records(t.Context(), RowKey{}) {
				if err != nil {
					t.Fatal(err)
				}
				c := *rec
				c.Key, c.Image = append(change.Key(nil), c.Key...), append(change.Image(nil), c.Image...)
				got = append(got, c)
			}
			if diff := cmp.Diff(run, got); diff != "" {
				t.Errorf("rows (-written +read):\n%s", diff)
			}
			if err := r.VerifyRecords(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
