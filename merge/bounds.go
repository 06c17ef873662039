package merge

import (
	"slices"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// sample stands for the data that follows a place, up to the next sample.
type sample struct {
	at     pack.RowKey
	weight int64 // bytes
}

// sampleEvery is how many held records one sample stands for.
const sampleEvery = 64

// samples picks some of the held records.
func (h *held) samples() []sample {
	var out []sample
	n := 0
	var weight int64
	h.each(0, len(h.blocks), func(_, _ int, r *change.Record) {
		weight += int64(len(r.Key) + len(r.Image))
		if n%sampleEvery == 0 {
			out = append(out, sample{rowKey(r), weight})
			weight = 0
		}
		n++
	})
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
