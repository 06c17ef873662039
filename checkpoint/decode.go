package checkpoint

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// leastSegment is less than the bytes that a segment, or a pack, takes in its
// columns.
const leastSegment = 40

// decodeSegments reads what encodeSegments wrote. Without the largest
// transactions, largest is nil.
func decodeSegments(main, largest []byte) ([]segment, error) {
	r := &reader{b: main}
	segs := make([]segment, r.count(leastSegment))
	r.places(segs)
	r.times(segs)
	r.packs(segs)
	r.lists(len(segs), func(i int, l []chain.Count) { segs[i].Body.Counts = l })
	r.marks(segs)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("segments: %w", err)
	}
	if largest == nil {
		return segs, nil
	}
	r = &reader{b: largest}
	r.largest(segs)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("largest transactions: %w", err)
	}
	return segs, nil
}

func (r *reader) places(segs []segment) {
	last := chain.TimelineID("")
	for i := range segs {
		if n := r.count(1); n > 0 {
			last = chain.TimelineID(r.bytes(n))
			if err := chain.CheckTimeline(last); err != nil && r.err == nil {
				r.fail(err)
			}
		}
		segs[i].Timeline = last
	}
	seq := chain.Seq(0)
	for i := range segs {
		seq += chain.Seq(r.int())
		segs[i].Seq = seq
	}
	for i := range segs {
		segs[i].Body.First = change.LSN(r.uint())
	}
	lsn := change.LSN(0)
	for i := range segs {
		b := &segs[i].Body
		gap := b.First
		b.First += lsn
		b.Last = b.First + change.LSN(r.uint())
		if (gap == 0 || b.First < lsn || b.Last < b.First) && r.err == nil {
			r.fail(fmt.Errorf("segment %d holds LSN %d to %d, after %d", i, b.First, b.Last, lsn))
		}
		lsn = b.Last
	}
	for i := range segs {
		if n := change.LSN(r.uint()); n > 0 {
			segs[i].Body.PackLast = segs[i].Body.Last + n - 1
		}
	}
	for i := range segs {
		if n := r.count(1); n > 0 {
			segs[i].Body.Position = change.Position(r.bytes(n))
		}
	}
	for i := range segs {
		segs[i].Body.LogHash = r.hash()
	}
	for i := range segs {
		segs[i].Body.Txs = r.amount()
	}
}

func (r *reader) times(segs []segment) {
	for i := range segs {
		segs[i].Body.Effective.From = change.Time(r.int())
	}
	var last change.Time
	for i := range segs {
		b := &segs[i].Body
		b.Effective.From += last
		b.Effective.To = b.Effective.From + change.Time(r.int())
		last = b.Effective.To
	}
	for i := range segs {
		segs[i].Body.Commit.From = segs[i].Body.Effective.From + change.Time(r.int())
	}
	for i := range segs {
		segs[i].Body.Commit.To = segs[i].Body.Commit.From + change.Time(r.int())
	}
	for i := range segs {
		segs[i].Body.CoveredUntil = segs[i].Body.Effective.To + change.Time(r.int())
	}
}

// packs reads references. Their keys share the memory of one text.
func (r *reader) packs(segs []segment) {
	total := 0
	ends := make([]int, len(segs))
	for i := range segs {
		total += r.count(1)
		ends[i] = total
	}
	if total > len(r.b)/leastSegment {
		r.fail(fmt.Errorf("%d packs in %d bytes", total, len(r.b)))
		return
	}
	all := make([]pack.Ref, total)
	keys := make([]chain.PackKey, total)
	var last change.LSN
	for i := range keys {
		keys[i].First = last + change.LSN(r.int())
		keys[i].Last = keys[i].First + change.LSN(r.uint())
		last = keys[i].Last
	}
	nonces := make([]byte, total*chain.NonceDigits)
	hex.Encode(nonces, r.bytes(total*chain.NonceDigits/2))
	if r.err != nil {
		return
	}
	names := make([]byte, 0, total*64)
	at := make([]int, total+1)
	n := 0
	for i := range segs {
		prefix := string(segs[i].Timeline) + "/" + string(chain.LogPack) + "/"
		for ; n < ends[i]; n++ {
			names = append(names, prefix...)
			names = appendHex(names, uint64(keys[n].First))
			names = append(names, '-')
			names = appendHex(names, uint64(keys[n].Last))
			names = append(names, '-')
			names = append(names, nonces[n*chain.NonceDigits:(n+1)*chain.NonceDigits]...)
			at[n+1] = len(names)
		}
	}
	text := string(names)
	for i := range all {
		all[i].Key = text[at[i]:at[i+1]]
	}
	for _, of := range refNumbers {
		for i := range all {
			*of(&all[i]) = r.amount()
		}
	}
	for i := range all {
		all[i].Hash = r.hash()
	}
	n = 0
	for i := range segs {
		segs[i].Body.Packs = all[n:ends[i]:ends[i]]
		n = ends[i]
	}
}

// appendHex appends 16 hexadecimal digits.
func appendHex(b []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

// lists reads n lists of counts and hands each to set. They share memory.
func (r *reader) lists(n int, set func(i int, l []chain.Count)) {
	total := 0
	ends := make([]int, n)
	for i := range n {
		total += r.count(1)
		ends[i] = total
	}
	if total > len(r.b)/(1+len(countNumbers)) {
		r.fail(fmt.Errorf("%d counts in %d bytes", total, len(r.b)))
		return
	}
	all := make([]chain.Count, total)
	for i := range all {
		all[i].Collection = change.CollectionID(r.uint())
	}
	for _, of := range countNumbers {
		for i := range all {
			*of(&all[i]) = r.amount()
		}
	}
	from := 0
	for i := range n {
		if ends[i] > from {
			set(i, all[from:ends[i]:ends[i]])
		}
		from = ends[i]
	}
}

func (r *reader) marks(segs []segment) {
	for i := range segs {
		n := r.count(3)
		if n == 0 {
			continue
		}
		l := make([]chain.Tombstone, n)
		for j := range l {
			l[j] = chain.Tombstone{Collection: change.CollectionID(r.uint()), LSN: change.LSN(r.uint()), Dropped: r.uint() == 1}
		}
		segs[i].Body.Tombstones = l
	}
	for i := range segs {
		n := r.count(1)
		if n == 0 {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(r.bytes(n)))
		d.DisallowUnknownFields()
		err := d.Decode(&segs[i].Body.Schemas)
		if err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = fmt.Errorf("more follows the schema changes")
			}
		}
		for _, c := range segs[i].Body.Schemas {
			if err == nil && c.Schema == nil {
				err = fmt.Errorf("a schema is null")
			}
		}
		if err != nil && r.err == nil {
			r.fail(err)
		}
	}
}

func (r *reader) largest(segs []segment) {
	for i := range segs {
		segs[i].Body.Smaller = r.amount()
	}
	total := 0
	ends := make([]int, len(segs))
	for i := range segs {
		total += r.count(1)
		ends[i] = total
	}
	if total > len(r.b)/6 {
		r.fail(fmt.Errorf("%d transactions in %d bytes", total, len(r.b)))
		return
	}
	all := make([]chain.TxSize, total)
	var lsn change.LSN
	for i := range all {
		all[i].First = lsn + change.LSN(r.int())
		all[i].Last = all[i].First + change.LSN(r.uint())
		lsn = all[i].Last
	}
	var id change.TxID
	for i := range all {
		id += change.TxID(r.int())
		all[i].ID = id
	}
	var t change.Time
	for i := range all {
		t += change.Time(r.int())
		all[i].Effective = t
	}
	for i := range all {
		all[i].Commit = all[i].Effective + change.Time(r.int())
	}
	r.lists(total, func(i int, l []chain.Count) { all[i].Counts = l })
	n := 0
	for i := range segs {
		if ends[i] > n {
			segs[i].Body.Largest = all[n:ends[i]:ends[i]]
		}
		n = ends[i]
	}
}
