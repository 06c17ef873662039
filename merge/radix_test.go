package merge

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// TestSortRefs checks the radix sort against a stable comparison sort: keys
// that begin each other, share what the prefix holds, and repeat.
func TestSortRefs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(
			rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 0, 12),
			rapid.SliceOfN(rapid.Byte(), 0, 10))
		pool := rapid.SliceOfN(key, 1, 60).Draw(t, "keys")
		seed := rapid.Uint64().Draw(t, "seed")
		n := rapid.IntRange(0, 600).Draw(t, "n")
		recs := make([]change.Record, n)
		refs := make([]ref, n)
		for i := range recs {
			seed = seed*6364136223846793005 + 1442695040888963407
			recs[i].Key = pool[int(seed>>33)%len(pool)]
			refs[i] = ref{prefixOf(recs[i].Key, 0), 0, uint32(i)}
		}
		want := slices.Clone(refs)
		slices.SortStableFunc(want, func(a, b ref) int { return bytes.Compare(recs[a.rec].Key, recs[b.rec].Key) })
		got := sortRefs(refs, make([]ref, n), func(r ref) *change.Record { return &recs[r.rec] })
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestPrefix(t *testing.T) {
	for _, c := range []struct {
		key  string
		skip int
		want uint64
	}{
		{"", 0, 0}, {"", 3, 0}, {"a", 0, 'a' << 56}, {"ab", 1, 'b' << 56},
		{"12345678", 0, 0x3132333435363738}, {"123456789", 1, 0x3233343536373839},
	} {
		if got := prefixOf([]byte(c.key), c.skip); got != c.want {
			t.Errorf("prefixOf(%q, %d) = %#x, want %#x", c.key, c.skip, got, c.want)
		}
	}
}
