package chain_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// TestKnownDamage checks what a later verification clears, and what it can't.
func TestKnownDamage(t *testing.T) {
	lost := func(first, last change.LSN) chain.Lost {
		return chain.Lost{First: first, Last: last, Effective: chain.Span{From: change.Time(first), To: change.Time(last)}, Detail: "gone"}
	}
	base := func(seq chain.Seq, lsn change.LSN) chain.LostBase {
		return chain.LostBase{Timeline: chain.MainTimeline, Seq: seq, LSN: lsn, Detail: "gone"}
	}
	type found struct {
		level string
		lost  []chain.Lost
		bases []chain.LostBase
	}
	for _, c := range []struct {
		name  string
		runs  []found
		lost  []chain.Lost
		bases []chain.LostBase
	}{
		{"nobody looked", nil, nil, nil},
		{"clean", []found{{"records", nil, nil}}, nil, nil},
		{"a lower level clears nothing", []found{{"objects", []chain.Lost{lost(3, 4)}, []chain.LostBase{base(2, 3)}}, {"chain", nil, nil}},
			[]chain.Lost{lost(3, 4)}, []chain.LostBase{base(2, 3)}},
		{"the same level clears", []found{{"objects", []chain.Lost{lost(3, 4)}, []chain.LostBase{base(2, 3)}}, {"objects", nil, nil}}, nil, nil},
		{"a higher level clears", []found{{"chain", []chain.Lost{lost(3, 4)}, nil}, {"records", nil, nil}}, nil, nil},
		{"a lower level adds", []found{{"records", []chain.Lost{lost(7, 8)}, []chain.LostBase{base(2, 9)}}, {"chain", []chain.Lost{lost(3, 4)}, []chain.LostBase{base(1, 4), base(2, 9)}}},
			[]chain.Lost{lost(3, 4), lost(7, 8)}, []chain.LostBase{base(1, 4), base(2, 9)}},
		{"overlaps are one", []found{{"records", []chain.Lost{lost(1, 2), lost(4, 6)}, nil}, {"objects", []chain.Lost{lost(2, 4), lost(7, 7)}, nil}},
			[]chain.Lost{lost(1, 6), lost(7, 7)}, nil},
		{"only the last of a level", []found{{"objects", []chain.Lost{lost(1, 2)}, nil}, {"objects", []chain.Lost{lost(3, 4)}, nil}},
			[]chain.Lost{lost(3, 4)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := chain.NewState(chaintest.Repo, chain.MainTimeline)
			for _, f := range c.runs {
				s.Verifies = append(s.Verifies, chain.Announced[chain.Verify]{Body: chain.Verify{Level: f.level, Lost: f.lost, Bases: f.bases}})
			}
			lost, bases := s.KnownDamage()
			if d := cmp.Diff(c.lost, lost); d != "" {
				t.Errorf("lost:\n%s", d)
			}
			if d := cmp.Diff(c.bases, bases); d != "" {
				t.Errorf("bases:\n%s", d)
			}
		})
	}
}

// TestHealth checks which drill and which verification a person is told of.
func TestHealth(t *testing.T) {
	s := chain.NewState(chaintest.Repo, chain.MainTimeline)
	if h := s.Health(); h.Drill != nil || h.Agreed != nil || h.Verify != nil || h.Proof != nil || h.RTO != 0 {
		t.Errorf("nothing happened, and %+v", h)
	}
	for _, d := range []chain.Drill{{LSN: 1, OK: true, Independent: true, Elapsed: 5}, {LSN: 2, OK: true, Elapsed: 7}, {LSN: 3, Detail: "it differs", Elapsed: 9}} {
		s.Drills = append(s.Drills, chain.Announced[chain.Drill]{Body: d})
	}
	for _, level := range []string{chain.VerifyObjects, chain.VerifyChain} {
		s.Verifies = append(s.Verifies, chain.Announced[chain.Verify]{Body: chain.Verify{Level: level}})
	}
	h := s.Health()
	if h.Drill.LSN != 3 || h.Agreed.LSN != 1 || h.RTO != 7*time.Microsecond {
		t.Errorf("drills: last %+v, agreed %+v, RTO %s", h.Drill, h.Agreed, h.RTO)
	}
	if h.Verify.Level != chain.VerifyChain || h.Proof.Level != chain.VerifyObjects {
		t.Errorf("verifications: last %+v, proof %+v", h.Verify, h.Proof)
	}
}
