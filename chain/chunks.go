package chain

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"

	"github.com/tidemarkdb/tidemark/change"
)

// Totals counts what segments hold.
type Totals struct {
	Segments int64 `json:"segments"`
	Txs      int64 `json:"transactions"`
	Records  int64 `json:"records"`
	Bytes    int64 `json:"bytes"` // of packs, as stored
}

// totalsOf counts one segment.
func totalsOf(s *Segment) Totals {
	t := Totals{Segments: 1, Txs: s.Txs, Records: int64(s.Last-s.First) + 1}
	for i := range s.Packs {
		t.Bytes += s.Packs[i].Size
	}
	return t
}

func sum(segs []Announced[Segment]) (t Totals) {
	for i := range segs {
		t = t.Plus(totalsOf(&segs[i].Body))
	}
	return t
}

// Plus returns the sum of both.
func (t Totals) Plus(o Totals) Totals {
	return Totals{t.Segments + o.Segments, t.Txs + o.Txs, t.Records + o.Records, t.Bytes + o.Bytes}
}

// Minus returns what is in t but not in o.
func (t Totals) Minus(o Totals) Totals {
	return Totals{t.Segments - o.Segments, t.Txs - o.Txs, t.Records - o.Records, t.Bytes - o.Bytes}
}

// ChunkOf describes consecutive segments; where they lie is the caller's to set.
func ChunkOf(segs []Announced[Segment]) Chunk {
	first, last := &segs[0].Body, &segs[len(segs)-1].Body
	return Chunk{First: first.First, Last: last.Last, Effective: Span{From: first.Effective.From, To: last.Effective.To}, Totals: sum(segs)}
}

// NewSegments returns the log of these chunks, in order, and the segments that
// follow them, of which there must be some.
func NewSegments(chunks []Chunk, loader Loader, rest []Announced[Segment]) (Segments, error) {
	l := Segments{loader: loader, chunks: make([]part, 0, len(chunks))}
	for i := range chunks {
		c := &chunks[i]
		n := c.Totals
		switch {
		case c.First < 1 || c.First > c.Last || i > 0 && c.First <= chunks[i-1].Last:
			return l, fmt.Errorf("chunk %d holds LSN %d to %d", i, c.First, c.Last)
		case c.Effective.From < 1 || c.Effective.To < c.Effective.From || i > 0 && c.Effective.From < chunks[i-1].Effective.To:
			return l, fmt.Errorf("chunk %d holds times %d to %d", i, c.Effective.From, c.Effective.To)
		case c.Offset < 0 || c.Size < 1 || n.Segments < 1 || n.Txs < n.Segments || n.Records < n.Segments || n.Bytes < n.Segments:
			return l, fmt.Errorf("chunk %d lies at %d, with %d bytes for %d segments", i, c.Offset, c.Size, n.Segments)
		}
		l.totals = l.totals.Plus(n)
		l.chunks = append(l.chunks, part{*c, l.totals})
	}
	if len(chunks) > 0 && (len(rest) == 0 || rest[0].Body.First <= chunks[len(chunks)-1].Last) {
		return l, errors.New("no segment follows the last chunk")
	}
	for i := range rest {
		l.add(rest[i])
	}
	return l, nil
}

// SegmentsOf returns the log of these segments.
func SegmentsOf(all ...Announced[Segment]) Segments {
	var l Segments
	for _, s := range all {
		l.add(s)
	}
	return l
}

// Chunks returns which parts of the log are in the store, oldest first.
func (l *Segments) Chunks() []Chunk {
	out := make([]Chunk, len(l.chunks))
	for i := range l.chunks {
		out[i] = l.chunks[i].Chunk
	}
	return out
}

// Rest returns the segments after those of Chunks. It is not to be modified.
func (l *Segments) Rest() []Announced[Segment] { return l.list }

// Fold returns the same list with what these chunks hold left to the store:
// all chunks of the log from its start, after which at least one segment is in
// memory.
func (l *Segments) Fold(chunks []Chunk, loader Loader) (Segments, error) {
	if len(chunks) == 0 {
		return *l, nil
	}
	end := chunks[len(chunks)-1].Last
	n := startedBy(l.list, end)
	out, err := NewSegments(chunks, loader, l.list[n:])
	switch {
	case err != nil:
		return out, err
	case out.totals != l.totals || n > 0 && l.list[n-1].Body.Last != end:
		return out, fmt.Errorf("the chunks through LSN %d in %s do not hold what comes before the rest", end, chunks[len(chunks)-1].Key)
	}
	return out, nil
}

// add appends a segment.
func (l *Segments) add(s Announced[Segment]) {
	grow(&l.list, &l.used, s)
	l.totals = l.totals.Plus(totalsOf(&s.Body))
}

// chunk returns the segments of chunk i, or those after all chunks.
func (l *Segments) chunk(ctx context.Context, i int, brief bool) ([]Announced[Segment], error) {
	if i == len(l.chunks) {
		return l.list, ctx.Err()
	}
	if segs, ok := l.held[i]; ok {
		return segs, ctx.Err()
	}
	return l.loader.LoadChunk(ctx, &l.chunks[i].Chunk, brief)
}

// ahead is how many chunks are read before they are asked for.
const ahead = 2

// load yields n chunks from number first on, one after the other, in steps of
// 1 or −1, and reads ahead meanwhile. A step up ends with what follows all chunks.
func (l *Segments) load(ctx context.Context, first, n, step int, brief bool) iter.Seq2[[]Announced[Segment], error] {
	if step > 0 {
		n++
	}
	type result struct {
		segs []Announced[Segment]
		err  error
	}
	return func(yield func([]Announced[Segment], error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var queue []chan result
		started := 0
		defer func() {
			cancel()
			for _, c := range queue {
				<-c
			}
		}()
		for range n {
			for ; started < n && len(queue) <= ahead; started++ {
				i, c := first+started*step, make(chan result, 1)
				queue = append(queue, c)
				if started == 0 || i == len(l.chunks) { // often the only one
					segs, err := l.chunk(ctx, i, brief)
					c <- result{segs, err}
					continue
				}
				go func() {
					segs, err := l.chunk(ctx, i, brief)
					c <- result{segs, err}
				}()
			}
			r := <-queue[0]
			queue = queue[1:]
			if !yield(r.segs, r.err) || r.err != nil {
				return
			}
		}
	}
}

// place returns the place of an LSN whose segment is in memory.
func (l *Segments) place(lsn change.LSN) Place {
	p := Place{LSN: lsn, Log: l.totals}
	segs := l.list
	if i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].Last >= lsn }); i < len(l.chunks) {
		if l.chunks[i].First > lsn { // between two chunks
			p.Log = l.chunks[i].through.Minus(l.chunks[i].Totals)
			return p
		}
		p.Log, segs = l.chunks[i].through, l.held[i]
	}
	for i := len(segs) - 1; i >= 0 && segs[i].Body.Last >= lsn; i-- {
		b := &segs[i].Body
		if b.First <= lsn {
			p.Effective = b.Effective
			break
		}
		p.Log = p.Log.Minus(totalsOf(b))
	}
	return p
}

// until returns the segments with records at lsn or before. The last one may
// go on beyond. It must be in memory.
func (l *Segments) until(lsn change.LSN) (Segments, error) {
	out := Segments{loader: l.loader, chunks: l.chunks}
	if n := startedBy(l.list, lsn); n > 0 || len(l.chunks) == 0 {
		out.list, out.totals = l.list[:n:n], l.totals.Minus(sum(l.list[n:]))
		return out, nil
	}
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].First > lsn }) - 1
	if i < 0 {
		return Segments{}, nil
	}
	segs, ok := l.held[i]
	if !ok {
		return out, &NotLoadedError{LSN: l.chunks[i].First, Chunk: l.chunks[i].Chunk}
	}
	n := startedBy(segs, lsn)
	out.chunks, out.list = l.chunks[:i:i], segs[:n:n]
	out.totals = l.chunks[i].through.Minus(sum(segs[n:]))
	return out, nil
}

// replaceLast puts another segment in the place of the last, which other lists
// may share.
func (l *Segments) replaceLast(s Announced[Segment]) {
	n := len(l.list)
	l.totals = l.totals.Minus(totalsOf(&l.list[n-1].Body))
	l.list, l.used = l.list[:n-1:n-1], nil
	l.add(s)
}
