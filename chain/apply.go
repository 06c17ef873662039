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
		grow(&s.Digests, &s.tails.digests, Announced[Digest]{m.Seq, *m.Digest})
	case KindCoverage:
		s.CoveredUntil = m.Coverage.CoveredUntil
	case KindLabel:
		s.Labels[m.Label.Name] = Announced[Label]{m.Seq, *m.Label}
	case KindHold:
		if m.Hold.Release {
			delete(s.Holds, m.Hold.Name)
		} else {
			s.Holds[m.Hold.Name] = Announced[Hold]{m.Seq, *m.Hold}
		}
	case KindCheckpoint:
		grow(&s.Checkpoints, &s.tails.checkpoints, Announced[Checkpoint]{m.Seq, *m.Checkpoint})
	case KindGap:
		s.applyGap(m.Seq, m.Gap)
	}
}

func (s *State) applyClaim(m *Manifest) {
	c := m.Claim
	if !s.Started {
		s.Started, s.Source = true, c.Source
		s.Start, s.StartLog = c.LSN, c.LogHash
		s.Last, s.LogHash, s.Position = c.LSN, c.LogHash, c.Position
		s.schemas.from, s.schemas.unknown = c.LSN, c.LSN > 0
	}
	s.Epoch, s.EpochOpen, s.EpochOwner, s.EpochNonce = m.Epoch, true, c.Holder, m.Nonce
}

func (s *State) applySegment(seq Seq, b *Segment) {
	for _, c := range b.Schemas {
		setSchema(s.Schemas, c.Schema)
		s.NextCollection = max(s.NextCollection, c.Schema.Collection+1)
		grow(&s.schemas.log, &s.tails.schemas, c)
	}
	s.Last, s.LogHash, s.Position = b.Last, b.LogHash, b.Position
	s.Effective, s.CoveredUntil = b.Effective.To, b.CoveredUntil
	grow(&s.Segments, &s.tails.segments, Announced[Segment]{seq, *b})
}

func (s *State) applySnapshot(seq Seq, b *Snapshot) {
	if s.adopts(b) {
		s.Schemas, s.NextCollection, _ = s.schemasWith(b) // checked before
		s.schemas.unknown, s.schemas.from, s.schemas.base = false, b.LSN, slices.Clone(b.Schemas)
	}
	grow(&s.Snapshots, &s.tails.snapshots, Announced[Snapshot]{seq, *b})
}

func (s *State) applyGap(seq Seq, g *Gap) {
	s.Last, s.LogHash, s.Position = g.LSN, g.LogHash, g.Position
	s.Effective = max(s.Effective, g.To)
	if len(g.Collections) == 0 {
		s.schemas.unknown, s.schemas.from, s.schemas.base = true, g.LSN, nil
	}
	grow(&s.Gaps, &s.tails.gaps, Announced[Gap]{seq, *g})
}
