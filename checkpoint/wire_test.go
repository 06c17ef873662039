package checkpoint

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestCompressedLengths compresses sections of lengths where zstd frames differ,
// with contents that compress and that don't.
func TestCompressedLengths(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, edge := range []int{0, 255, zstd.MinWindowSize, 2 * zstd.MinWindowSize, 65536 + 256, 1 << 17, 1 << 20, 8 << 20, 9 << 20} {
		for n := max(0, edge-1); n <= edge+1; n++ {
			noise := make([]byte, n)
			if _, err := random.Read(noise); err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{noise, bytes.Repeat([]byte("tide"), n/4+1)[:n]} {
				z, err := compress(b)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := decompress(z, int64(n)); err != nil || !bytes.Equal(got, b) {
					t.Errorf("%d bytes: got %d, %v", n, len(got), err)
				}
			}
		}
	}
}
