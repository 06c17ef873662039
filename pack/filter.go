package pack

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/tidemarkdb/tidemark/change"
)

// A filter says of a row either "not in this block" or "perhaps". It is a
// Bloom filter in lines of 256 bits: a row's hash picks one line and one bit
// in each of its eight 32-bit words. At filterBits per key about one row in a
// hundred that is not there passes.
const (
	filterLine = 32 // bytes of a line
	filterBits = 10 // per key
)

// filterSalts are odd; multiplying by them picks the bit of each word.
var filterSalts = [8]uint32{
	0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1, 0xd3a2646d, 0xfd7046c5, 0xb55a4f09,
}

// rowHash is the hash that filters are made of: XXH64 of the key with seed 0,
// mixed with the collection.
func rowHash(c change.CollectionID, key change.Key) uint64 {
	h := xxhash.Sum64(key) + uint64(c)*0x9e3779b97f4a7c15
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// appendFilter appends the filter of these hashes. Unless they are of different
// rows, it sorts them.
func appendFilter(dst []byte, hashes []uint64, different bool) []byte {
	if len(hashes) == 0 {
		return dst
	}
	if !different {
		slices.Sort(hashes)
		hashes = slices.Compact(hashes)
	}
	lines := (len(hashes)*filterBits + 8*filterLine - 1) / (8 * filterLine)
	start := len(dst)
	dst = slices.Grow(dst, lines*filterLine)[:start+lines*filterLine]
	f := dst[start:]
	clear(f)
	for _, h := range hashes {
		line := f[filterAt(h, lines):][:filterLine]
		for i, salt := range filterSalts {
			bit := uint32(h) * salt >> 27
			line[4*i+int(bit>>3)] |= 1 << (bit & 7)
		}
	}
	return dst
}

// filterAt returns the offset of a hash's line.
func filterAt(h uint64, lines int) int {
	return int((h>>32)*uint64(lines)>>32) * filterLine
}

// filterHas reports whether a row with this hash may have been added to f.
func filterHas(f []byte, h uint64) bool {
	if len(f) == 0 {
		return true
	}
	line := f[filterAt(h, len(f)/filterLine):][:filterLine]
	for i, salt := range filterSalts {
		if binary.LittleEndian.Uint32(line[4*i:])&(1<<(uint32(h)*salt>>27)) == 0 {
			return false
		}
	}
	return true
}
