package bench

import (
	"iter"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkdb/tidemark/change"
)

// transactions yields n changes of a workload.
func transactions(c *Customers, n int) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for n > 0 {
			t, err := c.Next(n)
			if !yield(t, err) || err != nil {
				return
			}
			n -= len(t.Records)
		}
	}
}

// bareDigest reads the digest of the database that restoreBare made.
func bareDigest(dir string, s *change.Schema) (d change.Digest, err error) {
	db, err := pebble.Open(dir, bareOptions())
	if err != nil {
		return d, err
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		return d, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if err := d.Add(s, change.Key(it.Key()[len(bareRowPrefix):]), it.Value(), 1); err != nil {
			return d, err
		}
	}
	return d, it.Error()
}

// TestBarePipeline restores with the yardstick and compares with the workload.
func TestBarePipeline(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		rows, changes, perSegment int
	}{
		{"several segments", 20000, 20000, 3000},
		{"one segment", 9000, 500, 1000},
		{"no changes", 9000, 0, 1000},
		{"no base", 0, 40, 10},
		{"more changes than rows", 50, 30000, 4000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewCustomers(11, tt.rows)
			if err != nil {
				t.Fatal(err)
			}
			dir, dest := t.TempDir(), t.TempDir()
			if err := writeBare(dir, c.Rows(), transactions(c, tt.changes), tt.perSegment); err != nil {
				t.Fatal(err)
			}
			n, err := restoreBare(t.Context(), dir, dest)
			if err != nil {
				t.Fatal(err)
			}
			want, err := c.Digest()
			if err != nil {
				t.Fatal(err)
			}
			got, err := bareDigest(dest, c.Schema)
			if err != nil {
				t.Fatal(err)
			}
			if n != want.Rows || got.Rows != want.Rows || got.Sum() != want.Sum() {
				t.Errorf("restored %d rows, %d found, digest %v; want %d, %v", n, got.Rows, got.Sum(), want.Rows, want.Sum())
			}
		})
	}
}

// TestSortBare uses keys longer than the prefix, so that ties need the whole key.
func TestSortBare(t *testing.T) {
	keys := []string{"same-prefix-b", "same-prefix-a", "same-pre", "a", "same-prefix-b", "", "a\x00", "same-prefix-a"}
	var changes [bareParts]bareChanges
	var raw []byte
	for i, k := range keys {
		c := &changes[i*bareParts/len(keys)]
		c.entries[0] = append(c.entries[0], bareEntry{prefix: barePrefix([]byte(k)), key: uint32(len(raw)), keyLen: uint16(len(k)), image: uint32(i)})
		raw = append(raw, k...)
	}
	for i := range changes {
		changes[i].blocks = [][]byte{raw}
	}
	want := []uint32{5, 3, 6, 2, 1, 7, 0, 4} // places in keys: by key, then as they came
	for i, r := range sortBare(&changes, 0).entries {
		if got := r.image; got != want[i] {
			t.Errorf("place %d holds key %q of place %d, want place %d", i, keys[got], got, want[i])
		}
	}
}
