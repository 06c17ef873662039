package bench

import (
	"testing"
)

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
			if err := writeBare(dir, c.Rows(), c.Changes(tt.changes), tt.perSegment); err != nil {
				t.Fatal(err)
			}
			n, err := restoreBare(t.Context(), &job{From: dir, Dest: dest})
			if err != nil {
				t.Fatal(err)
			}
			want, err := c.Digest()
			if err != nil {
				t.Fatal(err)
			}
			got, err := digestBare(t.Context(), dest)
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
