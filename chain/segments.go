package chain

import (
	"context"
	"iter"
	"sort"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/change"
)

// Segments is the log of a timeline, segment by segment in LSN order. It is
// only ever added to, so that copies share what they have in common and cost
// nothing. The zero value is the empty log.
//
// Of a long log most may be in the store only: methods that take a context
// read what they need of it, prove it, and return the errors of doing so. What
// they hand out is never to be modified. They may be called concurrently.
type Segments struct {
	list   []Announced[Segment]
	used   *atomic.Int64 // of the memory behind list, by any copy
	totals Totals
}

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

// Plus returns the sum of both.
func (t Totals) Plus(o Totals) Totals {
	return Totals{t.Segments + o.Segments, t.Txs + o.Txs, t.Records + o.Records, t.Bytes + o.Bytes}
}

// Minus returns what is in t but not in o.
func (t Totals) Minus(o Totals) Totals {
	return Totals{t.Segments - o.Segments, t.Txs - o.Txs, t.Records - o.Records, t.Bytes - o.Bytes}
}

// Len returns how many segments there are.
func (l *Segments) Len() int { return int(l.totals.Segments) }

// Totals counts all segments together.
func (l *Segments) Totals() Totals { return l.totals }

// Last returns the last segment, or nil when there is none.
func (l *Segments) Last() *Announced[Segment] {
	if len(l.list) == 0 {
		return nil
	}
	return &l.list[len(l.list)-1]
}

// All yields every segment, oldest first, and ends with the first error.
func (l *Segments) All(ctx context.Context) iter.Seq2[*Announced[Segment], error] {
	return l.From(ctx, 0)
}

// From yields the segments with records at lsn or later, oldest first, and ends
// with the first error.
func (l *Segments) From(ctx context.Context, lsn change.LSN) iter.Seq2[*Announced[Segment], error] {
	return func(yield func(*Announced[Segment], error) bool) {
		first := sort.Search(len(l.list), func(i int) bool { return l.list[i].Body.Last >= lsn })
		for i := first; i < len(l.list); i++ {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&l.list[i], nil) {
				return
			}
		}
	}
}

// Backward yields the segments with records at lsn or before, newest first, and
// ends with the first error.
func (l *Segments) Backward(ctx context.Context, lsn change.LSN) iter.Seq2[*Announced[Segment], error] {
	return func(yield func(*Announced[Segment], error) bool) {
		end := sort.Search(len(l.list), func(i int) bool { return l.list[i].Body.First > lsn })
		for i := end - 1; i >= 0; i-- {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&l.list[i], nil) {
				return
			}
		}
	}
}

// Covering returns the segment that holds an LSN, or nil when none does: the
// LSN is the start of the log or before it, in a gap, or after the end.
func (l *Segments) Covering(ctx context.Context, lsn change.LSN) (*Announced[Segment], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.resident(lsn)
}

// Starting returns the last segment whose first transaction has an effective
// time at or before t, or nil.
func (l *Segments) Starting(ctx context.Context, t change.Time) (*Announced[Segment], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i := sort.Search(len(l.list), func(i int) bool { return l.list[i].Body.Effective.From > t })
	if i == 0 {
		return nil, nil
	}
	return &l.list[i-1], nil
}

// resident is [Segments.Covering] of what is in memory.
func (l *Segments) resident(lsn change.LSN) (*Announced[Segment], error) {
	i := sort.Search(len(l.list), func(i int) bool { return l.list[i].Body.Last >= lsn })
	if i == len(l.list) || l.list[i].Body.First > lsn {
		return nil, nil
	}
	return &l.list[i], nil
}

// add appends a segment.
func (l *Segments) add(s Announced[Segment]) {
	grow(&l.list, &l.used, s)
	l.totals = l.totals.Plus(totalsOf(&s.Body))
}

// place returns the place of an LSN whose segment is in memory.
func (l *Segments) place(lsn change.LSN) Place {
	p := Place{LSN: lsn, Log: l.totals}
	for i := len(l.list) - 1; i >= 0 && l.list[i].Body.Last >= lsn; i-- {
		b := &l.list[i].Body
		if b.First <= lsn {
			p.Effective = b.Effective
			break
		}
		p.Log = p.Log.Minus(totalsOf(b))
	}
	return p
}

// until returns the segments with records at lsn or before. The last one may
// go on beyond.
func (l *Segments) until(lsn change.LSN) (Segments, error) {
	out := Segments{list: l.list, totals: l.totals}
	for n := len(out.list); n > 0 && out.list[n-1].Body.First > lsn; n-- {
		out.totals = out.totals.Minus(totalsOf(&out.list[n-1].Body))
		out.list = out.list[:n-1]
	}
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

// SegmentsOf returns the log of these segments.
func SegmentsOf(all ...Announced[Segment]) Segments {
	var l Segments
	for _, s := range all {
		l.add(s)
	}
	return l
}
