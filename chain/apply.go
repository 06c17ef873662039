package chain

import (
	"slices"
)

// apply changes the state by a manifest that broke no rule.
func (s *State) apply(m *Manifest) {
	if m.Epochal() {
		s.EpochSeen = m.Written
	}
	switch m.Kind {
	case KindClaim:
		s.applyClaim(m)
	case KindClose:
		s.EpochOpen = false
	case KindSegment:
		s.applySegment(m.Seq, m.Segment)
	case KindSnapshot:
		s.applySnapshot(m.Seq, m.Snapshot)
	case KindDigest:
		grow(&s.Digests, &s.tails.digests, Announced[Digest]{s.Timeline, m.Seq, *m.Digest})
	case KindCoverage:
		s.CoveredUntil = m.Coverage.CoveredUntil
	case KindLabel:
		s.Labels[m.Label.Name] = Announced[Label]{s.Timeline, m.Seq, *m.Label}
	case KindHold:
		if m.Hold.Release {
			delete(s.Holds, m.Hold.Name)
		} else {
			s.Holds[m.Hold.Name] = Announced[Hold]{s.Timeline, m.Seq, *m.Hold}
		}
	case KindCheckpoint:
		grow(&s.Checkpoints, &s.tails.checkpoints, Announced[Checkpoint]{s.Timeline, m.Seq, *m.Checkpoint})
	case KindGap:
		s.applyGap(m.Seq, m.Gap)
	case KindGapAck:
		s.GapAcks[m.GapAck.First] = Announced[GapAck]{s.Timeline, m.Seq, *m.GapAck}
	case KindPin:
		s.Pins[m.Pin.Child] = Announced[Pin]{s.Timeline, m.Seq, *m.Pin}
	case KindFork: // Fork has put everything in place
	case KindDrill:
		grow(&s.Drills, &s.tails.drills, Announced[Drill]{s.Timeline, m.Seq, *m.Drill})
	case KindVerify:
		grow(&s.Verifies, &s.tails.verifies, Announced[Verify]{s.Timeline, m.Seq, *m.Verify})
	}
}

func (s *State) applyClaim(m *Manifest) {
	c := m.Claim
	if !s.Started {
		s.Started, s.Source = true, c.Source
		s.Start, s.StartLog = c.LSN, c.LogHash
		s.Last, s.LogHash, s.Position = c.LSN, c.LogHash, c.Position
		s.schemas.from, s.schemas.unknown = c.LSN, c.LSN > 0
	} else if s.Source == (Source{}) { // on a fork
		s.Source, s.Position = c.Source, c.Position
	}
	s.Epoch, s.EpochOpen, s.EpochOwner, s.EpochNonce = m.Epoch, true, c.Holder, m.Nonce
}

func (s *State) applySegment(seq Seq, b *Segment) {
	for _, c := range b.Schemas {
		setSchema(s.Schemas, c.Schema)
		s.NextCollection = max(s.NextCollection, c.Schema.Collection+1)
		grow(&s.schemas.log, &s.tails.schemas, c)
	}
	if last := s.Segments.Last(); last == nil || last.Body.Last != s.Last {
		grow(&s.begins, &s.tails.begins, Begin{b.First, b.Effective.From})
	}
	s.Last, s.LogHash, s.Position = b.Last, b.LogHash, b.Position
	s.Effective, s.CoveredUntil = b.Effective.To, b.CoveredUntil
	s.Segments.add(Announced[Segment]{s.Timeline, seq, *b})
}

func (s *State) applySnapshot(seq Seq, b *Snapshot) {
	if s.adopts(b) {
		s.Schemas, s.NextCollection, _ = s.schemasWith(b) // checked before
		s.schemas.unknown, s.schemas.from, s.schemas.base = false, b.LSN, slices.Clone(b.Schemas)
	}
	s.keepPlace(b.LSN)
	grow(&s.Snapshots, &s.tails.snapshots, Announced[Snapshot]{s.Timeline, seq, *b})
}

func (s *State) applyGap(seq Seq, g *Gap) {
	s.Last, s.LogHash, s.Position = g.Last, g.LogHash, g.Position
	s.Effective = max(s.Effective, g.To)
	if len(g.Collections) == 0 {
		s.schemas.unknown, s.schemas.from, s.schemas.base = true, g.Last, nil
	}
	grow(&s.Gaps, &s.tails.gaps, Announced[Gap]{s.Timeline, seq, *g})
}
