package chain

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// Fork returns the state before the first manifest of a timeline that was
// pinned in s, whose last manifest must be that pin: the parent's history
// through the pin's LSN. Segments, bases, digests, gaps and labels up to there
// are inherited; a segment that goes on beyond is cut. Epochs, holds,
// checkpoints, drills and verifications are not. s stays as it is.
func (s *State) Fork(child TimelineID) (*State, error) {
	pin, ok := s.Pins[child]
	if !ok || pin.Timeline != s.Timeline {
		return nil, fmt.Errorf("timeline %s is not pinned in timeline %s by manifest %d", child, s.Timeline, s.Seq)
	}
	if pin.Seq != s.Seq {
		return nil, fmt.Errorf("timeline %s is pinned by manifest %d of timeline %s; its history is that of %d manifests, not of %d", child, pin.Seq, s.Timeline, pin.Seq, s.Seq)
	}
	p := &pin.Body
	f := NewState(s.Repo, child)
	f.Parent = &Fork{Parent: s.Timeline, ParentSeq: pin.Seq, ParentHash: s.Head, LSN: p.LSN, LogHash: p.LogHash, Effective: p.Effective}
	f.Started, f.Start, f.StartLog = true, s.Start, s.StartLog
	f.Last, f.LogHash = p.LSN, p.LogHash
	f.Effective, f.CoveredUntil = p.Effective, p.Effective
	if err := s.cutLog(f, p); err != nil {
		return nil, err
	}
	f.Snapshots = upTo(s.Snapshots, func(b *Snapshot) bool { return b.LSN <= p.LSN })
	f.Digests = upTo(s.Digests, func(b *Digest) bool { return b.LSN <= p.LSN })
	f.Gaps = upTo(s.Gaps, func(b *Gap) bool { return b.Last <= p.LSN })
	for name, l := range s.Labels {
		if l.Body.LSN <= p.LSN {
			f.Labels[name] = l
		}
	}
	for lsn, a := range s.GapAcks {
		if lsn <= p.LSN {
			f.GapAcks[lsn] = a
		}
	}
	f.cutSchemas(s.schemas.log)
	return f, nil
}

// upTo returns the entries that keep allows, in memory of their own.
func upTo[T any](list []Announced[T], keep func(*T) bool) []Announced[T] {
	var out []Announced[T]
	for i := range list {
		if keep(&list[i].Body) {
			out = append(out, list[i])
		}
	}
	return out
}

// cutLog gives f the log of s up to the fork, and what is kept beside it.
func (s *State) cutLog(f *State, p *Pin) error {
	log, err := s.Segments.until(p.LSN)
	if err != nil {
		return err
	}
	if last := log.Last(); last != nil && last.Body.Last > p.LSN {
		log.replaceLast(Announced[Segment]{last.Timeline, last.Seq, p.Cut(last.Body)})
	}
	f.Segments = log
	for _, b := range s.begins {
		if b.First <= p.LSN {
			f.begins = append(f.begins, b)
		}
	}
	for _, at := range s.places {
		switch last := log.Last(); {
		case at.LSN > p.LSN:
		case last != nil && at.LSN >= last.Body.First:
			f.places = append(f.places, log.place(at.LSN))
		default:
			f.places = append(f.places, at)
		}
	}
	return nil
}

// Cut returns what the child inherits of a segment that begins before the fork:
// less than all of one that goes on beyond.
func (p *Pin) Cut(b Segment) Segment {
	if b.Last <= p.LSN {
		return b
	}
	if b.PackLast == 0 {
		b.PackLast = b.Last
	}
	b.Last, b.LogHash, b.Position, b.Txs = p.LSN, p.LogHash, "", p.Txs
	b.Effective.To, b.CoveredUntil = p.Effective, p.Effective
	b.Largest = slices.DeleteFunc(slices.Clone(b.Largest), func(t TxSize) bool { return t.Last > p.LSN })
	b.Tombstones = slices.DeleteFunc(slices.Clone(b.Tombstones), func(t Tombstone) bool { return t.LSN > p.LSN })
	b.Schemas = slices.DeleteFunc(slices.Clone(b.Schemas), func(c SchemaChange) bool { return c.LSN > p.LSN })
	return b
}

// cutSchemas works out what the chain knows of schemas at the fork, from what
// was inherited and the parent's schema changes.
func (s *State) cutSchemas(log []SchemaChange) {
	h := &s.schemas
	for _, c := range log {
		if c.LSN <= s.Last {
			h.log = append(h.log, c)
			s.NextCollection = max(s.NextCollection, c.Schema.Collection+1)
		}
	}
	h.from, h.unknown = s.Start, s.Start > 0
	for i := range s.Gaps {
		if g := &s.Gaps[i].Body; len(g.Collections) == 0 {
			h.from, h.unknown = g.Last, true
		}
	}
	for i := range s.Snapshots {
		b := &s.Snapshots[i].Body
		for _, c := range b.Schemas {
			s.NextCollection = max(s.NextCollection, c.Collection+1)
		}
		if b.Origin == OriginSource && b.LSN >= h.from && (h.unknown || s.Last == 0) {
			h.from, h.unknown, h.base = b.LSN, false, slices.Clone(b.Schemas)
		}
	}
	if m, known := h.at(s.Last); known {
		s.Schemas = m
		return
	}
	s.Schemas = make(map[change.CollectionID]*change.Schema)
	for _, c := range h.log {
		if c.LSN > h.from {
			setSchema(s.Schemas, c.Schema)
		}
	}
}

// Forks lists the timelines that go on from this one, by the place where they do.
func (s *State) Forks() []Announced[Pin] {
	return slices.SortedFunc(maps.Values(s.Pins), func(a, b Announced[Pin]) int {
		switch {
		case a.Body.LSN != b.Body.LSN:
			return int(int64(a.Body.LSN) - int64(b.Body.LSN))
		default:
			return int(int64(a.Seq) - int64(b.Seq))
		}
	})
}
