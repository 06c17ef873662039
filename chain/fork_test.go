package chain_test

import (
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// TestForkInherits forks inside a segment, goes on in both timelines, and
// forks the fork.
func TestForkInherits(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(4).Base(4, "a")
	c.Segment(6)
	seg := &c.State.Segments.Last().Body
	seg.Largest, seg.Smaller = nil, 6 // of many small transactions
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "early", LSN: 4}})
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "late", LSN: 10}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "h", LSN: 4}})
	c.Base(10, "b").Segment(3)

	at := seg.Effective.From
	f := c.Fork("t2", 7, change.Hash{77}, at)
	s := f.State
	if s.Seq != 1 || s.Last != 7 || s.LogHash != (change.Hash{77}) || s.Effective != at || s.CoveredUntil != at || s.EpochOpen || s.Epoch != 0 {
		t.Fatalf("the child starts at %+v", s)
	}
	cut := segmentAt(t, s, 7)
	if s.Segments.Len() != 2 || cut == nil || cut.Last != 7 || cut.PackLast != 10 || cut.LogHash != s.LogHash || s.Segments.Last().Timeline != chain.MainTimeline {
		t.Errorf("its last segment: %+v", cut)
	}
	if hash, ok, err := s.LogHashAt(t.Context(), 7); err != nil || !ok || hash != s.LogHash {
		t.Errorf("log hash at the fork: %v, %t", hash, ok)
	}
	if _, late := s.Labels["late"]; late || len(s.Labels) != 1 || len(s.Snapshots) != 1 || len(s.Holds) != 0 || s.Schemas[1] == nil || s.NextCollection != 2 {
		t.Errorf("it inherits labels %v, %d bases, holds %v, schemas %v", s.Labels, len(s.Snapshots), s.Holds, s.Schemas)
	}
	if c.State.Last != 13 || seg.Last != 10 || len(c.State.Forks()) != 1 {
		t.Errorf("the parent is at %d, its segment ends at %d, it has %d forks", c.State.Last, seg.Last, len(c.State.Forks()))
	}

	other := chain.Source{Kind: "embedded", System: "s2"}
	m := chaintest.Claim(s)
	m.Claim.Source = other
	f.Add(m).Segment(5)
	if s.Last != 12 || s.Source != other || segmentAt(t, s, 8).First != 8 {
		t.Errorf("the child goes on to %d as %v", s.Last, s.Source)
	}
	c.Segment(1)
	first := &chaintest.Segments(c.State)[0].Body
	again := f.Fork("t3", 4, first.LogHash, first.Effective.To).State
	if again.Last != 4 || again.Segments.Len() != 1 || len(again.Snapshots) != 1 || again.Parent.Parent != "t2" || again.Segments.Last().Timeline != chain.MainTimeline {
		t.Errorf("the fork of the fork: %+v", again)
	}
}

func segmentAt(t *testing.T, s *chain.State, lsn change.LSN) *chain.Segment {
	t.Helper()
	seg, err := s.SegmentAt(t.Context(), lsn)
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// TestForkBeforeTheLastGap forks where the chain knew other schemas than now.
func TestForkBeforeTheLastGap(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(4)
	hash, at := c.State.LogHash, c.State.Effective
	c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: 5, Last: 50, Reason: "log lost", From: 1e6, To: 2e6, LogHash: change.Hash{5}}})
	before := c.State.Clone()
	c.Add(chaintest.Snapshot(c.State, 50, "cccccccccccccccc", chaintest.Schema(t, 9)))
	s := c.Fork("t2", 4, hash, at).State
	if !s.SchemasKnown() || len(s.Schemas) != 1 || s.Schemas[1] == nil || s.NextCollection != 2 || len(s.Gaps) != 0 {
		t.Errorf("before the gap: %v, next %d, gaps %v", s.Schemas, s.NextCollection, s.Gaps)
	}
	s = c.Fork("t3", 50, change.Hash{5}, 2e6).State
	if !s.SchemasKnown() || len(s.Schemas) != 1 || s.Schemas[9] == nil || s.NextCollection != 10 || len(s.Gaps) != 1 {
		t.Errorf("at the base after the gap: %v, next %d, gaps %v", s.Schemas, s.NextCollection, s.Gaps)
	}
	b := &chaintest.Chain{T: t, State: before}
	if s = b.Fork("t2", 50, change.Hash{5}, 2e6).State; s.SchemasKnown() {
		t.Errorf("without that base the schemas are said to be %v", s.Schemas)
	}
}

// TestForkIsOfThePin holds the parent's history to what the pin saw.
func TestForkIsOfThePin(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(4)
	if _, err := c.State.Fork("t2"); err == nil {
		t.Error("a timeline that nobody pinned")
	}
	one := c.Fork("t2", 4, c.State.LogHash, c.State.Effective)
	c.Segment(1)
	if _, err := c.State.Fork("t2"); err == nil {
		t.Error("a later state of the parent")
	}
	again := chain.NewState(chaintest.Repo, chain.MainTimeline)
	for _, raw := range c.Raws[:len(c.Raws)-1] {
		m, err := chain.DecodeManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Next(m, chain.HashManifest(raw)); err != nil {
			t.Fatal(err)
		}
	}
	two := &chaintest.Chain{T: t, State: again}
	if d := chaintest.Diff(one.State, two.Child("t2").State); d != "" {
		t.Errorf("the replayed parent forks otherwise:\n%s", d)
	}
}
