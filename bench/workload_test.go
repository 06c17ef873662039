package bench

import (
	"bytes"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

// TestCustomers checks the workload against a map to which its transactions are applied.
func TestCustomers(t *testing.T) {
	const rows, changes = 500, 3000
	c, err := NewCustomers(7, rows)
	if err != nil {
		t.Fatal(err)
	}
	model := make(map[string][]byte)
	size := 0
	for r, err := range c.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		model[string(r.Key)] = r.Image
		size += len(r.Key) + len(r.Image)
	}
	if mean := size / rows; len(model) != rows || mean < 190 || mean > 210 {
		t.Fatalf("base of %d rows of %d bytes, want %d of about 200", len(model), mean, rows)
	}
	lsn := c.LSN()
	ops := make(map[change.Op]int)
	for n := 0; n < changes; {
		tx, err := c.Next(changes - n)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range tx.Records {
			if lsn++; r.LSN != lsn {
				t.Fatalf("LSN %d after %d", r.LSN, lsn-1)
			}
			_, exists := model[string(r.Key)]
			if exists == (r.Op == change.Insert) {
				t.Fatalf("LSN %d: %v of a row that exists: %t", r.LSN, r.Op, exists)
			}
			if r.Op == change.Delete {
				delete(model, string(r.Key))
			} else {
				model[string(r.Key)] = r.Image
			}
			ops[r.Op]++
		}
		n += len(tx.Records)
	}
	if ops[change.Update] < changes/2 || ops[change.Insert] < changes/5 || ops[change.Delete] < changes/20 {
		t.Errorf("mix of operations %v", ops)
	}
	var d change.Digest
	for k, v := range model {
		if err := d.Add(c.Schema, change.Key(k), v, 1); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got.Sum() != d.Sum() || got.Rows != d.Rows || c.Len() != len(model) {
		t.Errorf("workload ends with %d rows, digest %v; applied: %d, %v", got.Rows, got.Sum(), d.Rows, d.Sum())
	}
}

// TestStreams checks sizes, numbering and that a seed gives the same bytes twice.
func TestStreams(t *testing.T) {
	for _, tt := range []struct {
		name       string
		open       func() (Stream, error)
		least, max int // bytes of key and image a record, on average
	}{
		{"documents", func() (Stream, error) { return NewDocuments(3, 5000) }, 125, 135},
		{"pgbench", func() (Stream, error) { return NewPgbench(3, 1) }, 25, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := tt.open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := tt.open()
			if err != nil {
				t.Fatal(err)
			}
			var bytesSum, records int
			var last change.Time
			lsn := change.LSN(0)
			for range 2000 {
				ta, err := a.Next()
				if err != nil {
					t.Fatal(err)
				}
				tb, err := b.Next()
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(change.AppendTx(nil, ta), change.AppendTx(nil, tb)) {
					t.Fatal("the same seed gives different transactions")
				}
				if ta.Commit <= last || ta.First() != lsn+1 {
					t.Fatalf("transaction at LSN %d, %v after LSN %d, %v", ta.First(), ta.Commit, lsn, last)
				}
				last, lsn = ta.Commit, ta.Last()
				for _, r := range ta.Records {
					bytesSum += len(r.Key) + len(r.Image)
					records++
				}
			}
			if mean := bytesSum / records; mean < tt.least || mean > tt.max {
				t.Errorf("%d bytes a record, want %d to %d", mean, tt.least, tt.max)
			}
		})
	}
}
