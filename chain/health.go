package chain

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// The levels of verification that a [Verify] manifest names, each of which
// includes those before it.
const (
	VerifyChain   = "chain"   // every manifest, and every object's size
	VerifyObjects = "objects" // every block of every object
	VerifyRecords = "records" // every record
)

// verifyLevels lists them, the one that proves most last.
var verifyLevels = []string{VerifyChain, VerifyObjects, VerifyRecords}

func (b *LostBase) compare(o *LostBase) int {
	return cmp.Or(cmp.Compare(b.LSN, o.LSN), cmp.Compare(b.Timeline, o.Timeline), cmp.Compare(b.Seq, o.Seq))
}

// KnownDamage returns what verifications have found to be lost and no later one
// of the same level or above has found to be whole again: ranges of the log in
// LSN order, which do not overlap, and bases in order of LSN.
func (s *State) KnownDamage() (log []Lost, bases []LostBase) {
	above := -1 // the highest level looked at after the verification at hand
	for i := len(s.Verifies) - 1; i >= 0 && above < len(verifyLevels)-1; i-- {
		v := &s.Verifies[i].Body
		level := slices.Index(verifyLevels, v.Level)
		if level <= above {
			continue
		}
		above = level
		for _, l := range v.Lost {
			log = addLost(log, l)
		}
		for _, b := range v.Bases {
			if at, known := slices.BinarySearchFunc(bases, b, func(a, b LostBase) int { return a.compare(&b) }); !known {
				bases = slices.Insert(bases, at, b)
			}
		}
	}
	return log, bases
}

// addLost adds a range to others. Where it overlaps with some they are one.
func addLost(list []Lost, l Lost) []Lost {
	from, _ := slices.BinarySearchFunc(list, l.First, func(o Lost, n change.LSN) int { return cmp.Compare(o.Last, n) })
	to := from
	for ; to < len(list) && list[to].First <= l.Last; to++ {
		o := &list[to]
		l.First, l.Last = min(l.First, o.First), max(l.Last, o.Last)
		l.Effective = Span{min(l.Effective.From, o.Effective.From), max(l.Effective.To, o.Effective.To)}
	}
	return slices.Replace(list, from, to, l)
}

// Health is what the chain tells of rehearsals and verifications, for people
// and monitoring.
type Health struct {
	Drill  *Drill  // the last one; nil for none
	Agreed *Drill  // the last one that went well and was compared with an independent read of the database
	Verify *Verify // the last verification
	Proof  *Verify // the last verification at level objects or above

	RTO   time.Duration // how long the restore of the last drill that went well took; 0 for none
	Lost  []Lost        // what of the log is known to be lost
	Bases []LostBase    // the bases that are known to be lost
}

// Health sums up what is known of the timeline's health.
func (s *State) Health() Health {
	var h Health
	for i := len(s.Drills) - 1; i >= 0 && (h.Agreed == nil || h.RTO == 0); i-- {
		d := &s.Drills[i].Body
		if h.Drill == nil {
			h.Drill = d
		}
		if d.OK && h.RTO == 0 {
			h.RTO = time.Duration(d.Elapsed) * time.Microsecond
		}
		if d.OK && d.Independent && h.Agreed == nil {
			h.Agreed = d
		}
	}
	for i := len(s.Verifies) - 1; i >= 0 && h.Proof == nil; i-- {
		v := &s.Verifies[i].Body
		if h.Verify == nil {
			h.Verify = v
		}
		if v.Level != VerifyChain {
			h.Proof = v
		}
	}
	h.Lost, h.Bases = s.KnownDamage()
	return h
}

// SortLostBases puts bases into the order that a [Verify] lists them in.
func SortLostBases(list []LostBase) {
	slices.SortFunc(list, func(a, b LostBase) int { return a.compare(&b) })
}
