package chain

import (
	"fmt"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

// BenchmarkSegmentBuilder is the cost per transaction.
func BenchmarkSegmentBuilder(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			tx := &change.Tx{ID: 1, Commit: 1e15, Effective: 1e15, Records: make([]change.Record, rows)}
			for i := range tx.Records {
				tx.Records[i] = change.Record{Op: change.Insert, Collection: 1, Key: make(change.Key, 9), Image: make(change.Image, 120)}
			}
			lsn := change.LSN(1)
			s := NewSegmentBuilder(change.Hash{})
			b.ReportAllocs()
			for b.Loop() {
				for i := range tx.Records {
					tx.Records[i].LSN = lsn
					lsn++
				}
				if err := s.Add(tx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
