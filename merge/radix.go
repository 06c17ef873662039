package merge

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// ref stands for one record of a held block while records are sorted. It has
// no pointer, so that sorting costs the garbage collector nothing.
type ref struct {
	prefix uint64 // of the key, after what all keys of the collection share
	block  uint32
	rec    uint32
}

// refBytes is what a record costs while it is sorted: a ref and its copy.
const refBytes = 2 * 16

// prefixOf returns the eight bytes of the key from skip on, as a number.
func prefixOf(key []byte, skip int) uint64 {
	if skip >= len(key) {
		return 0
	}
	k := key[skip:]
	if len(k) >= 8 {
		return binary.BigEndian.Uint64(k)
	}
	var b [8]byte
	copy(b[:], k)
	return binary.BigEndian.Uint64(b[:])
}

// common returns how many leading bytes a and b share.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// sortRefs sorts refs by key, leaving equal keys in the order they have. It
// returns refs or scratch, whichever holds the result; scratch is as long as refs.
func sortRefs(refs, scratch []ref, at func(ref) *change.Record) []ref {
	const few = 128
	if len(refs) < few {
		slices.SortStableFunc(refs, func(a, b ref) int { return cmp.Compare(a.prefix, b.prefix) })
	} else {
		refs = radixSort(refs, scratch)
	}
	for i := 0; i < len(refs); {
		j := i + 1
		for j < len(refs) && refs[j].prefix == refs[i].prefix {
			j++
		}
		if j > i+1 {
			sortTies(refs[i:j], at)
		}
		i = j
	}
	return refs
}

// sortTies sorts refs of one prefix by their whole keys. Most often it is one
// key that changed several times.
func sortTies(refs []ref, at func(ref) *change.Record) {
	first := at(refs[0]).Key
	for _, r := range refs[1:] {
		if !bytes.Equal(at(r).Key, first) {
			slices.SortStableFunc(refs, func(a, b ref) int { return bytes.Compare(at(a).Key, at(b).Key) })
			return
		}
	}
}

// radixSort sorts refs by prefix, stably, a byte at a time from the lowest;
// bytes that all refs share cost nothing.
func radixSort(refs, scratch []ref) []ref {
	var counts [8][256]uint32
	for _, r := range refs {
		p := r.prefix
		for b := range 8 {
			counts[b][byte(p>>(8*b))]++
		}
	}
	for b := range 8 {
		c := &counts[b]
		if c[byte(refs[0].prefix>>(8*b))] == uint32(len(refs)) {
			continue
		}
		var sum uint32
		for i, n := range c {
			c[i] = sum
			sum += n
		}
		for _, r := range refs {
			d := byte(r.prefix >> (8 * b))
			scratch[c[d]] = r
			c[d]++
		}
		refs, scratch = scratch, refs
	}
	return refs
}
