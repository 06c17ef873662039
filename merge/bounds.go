package merge

import (
	"slices"

	"github.com/tidemarkdb/tidemark/pack"
)

// sample stands for the data that follows a place, up to the next sample.
type sample struct {
	at     pack.RowKey
	weight int64 // bytes
}

// sampleEvery is how many held records one sample stands for: a prime, so that
// it does not fall on one place of transactions that are all alike.
const sampleEvery = 61

// samples picks some of the held records: the first of each block that counts,
// and about one in sampleEvery.
func (h *held) samples() []sample {
	var out []sample
	for b := range h.blocks {
		recs := h.blocks[b].recs
		for i := 0; i < len(recs); {
			r := &recs[i]
			from, takes := h.rules.takes(r.Collection)
			if !takes || r.LSN < from || !isVersion(r) {
				i++
				continue
			}
			n := min(sampleEvery, len(recs)-i)
			out = append(out, sample{rowKey(r), int64(n * (len(r.Key) + len(r.Image)))})
			i += n
		}
	}
	return out
}

// cutRanges returns at most parts ranges, in order and covering everything,
// that hold about the same weight each.
func cutRanges(samples []sample, parts int) []Range {
	slices.SortFunc(samples, func(a, b sample) int { return a.at.Compare(b.at) })
	var total int64
	for _, s := range samples {
		total += s.weight
	}
	ranges := []Range{{}}
	var sum int64
	for _, s := range samples {
		n := int64(len(ranges))
		last := &ranges[n-1]
		if n < int64(parts) && sum*int64(parts) >= n*total && sum > 0 && (last.From == nil || last.From.Compare(s.at) < 0) {
			b := pack.RowKey{Collection: s.at.Collection, Key: slices.Clone(s.at.Key)}
			last.To = &b
			ranges = append(ranges, Range{From: &b})
		}
		sum += s.weight
	}
	return ranges
}

// without cuts ranges, which lie in order and cover everything, also where the
// done ones begin and end: afterwards each is done as a whole or not at all.
func without(ranges, done []Range) []Range {
	var cuts []pack.RowKey
	for _, r := range slices.Concat(ranges, done) {
		for _, at := range []*pack.RowKey{r.From, r.To} {
			if at != nil {
				cuts = append(cuts, *at)
			}
		}
	}
	slices.SortFunc(cuts, pack.RowKey.Compare)
	cuts = slices.CompactFunc(cuts, func(a, b pack.RowKey) bool { return a.Compare(b) == 0 })
	out := []Range{{}}
	for i := range cuts {
		out[len(out)-1].To = &cuts[i]
		out = append(out, Range{From: &cuts[i]})
	}
	return out
}

// within reports whether a range lies in one of those that are done.
func within(r Range, done []Range) bool {
	return slices.ContainsFunc(done, func(d Range) bool {
		return (d.From == nil || r.From != nil && d.From.Compare(*r.From) <= 0) &&
			(d.To == nil || r.To != nil && r.To.Compare(*d.To) <= 0)
	})
}
