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
			for tx, err := range change.Join(r.Txs(t.Context(), 0)) {
				if err != nil {
					t.Fatal(err)
				}
				if want := txs[i]; tx.ID != want.ID || tx.Commit != want.Commit || tx.Effective != want.Effective || !equalRecords(want.Records, tx.Records) {
					t.Fatalf("transaction %d (-written +read):\n%s", i, cmp.Diff(want, tx))
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
				got = append(got, copyRecords([]change.Record{*rec})...)
			}
			if !equalRecords(run, got) {
				t.Errorf("rows (-written +read):\n%s", cmp.Diff(run, got))
			}
			if err := r.VerifyRecords(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
