package chain_test

import (
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

func TestChainOfEveryKind(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3).Segment(4)
	if c.State.Last != 7 || c.State.Epoch != 1 || !c.State.EpochOpen || c.State.Schemas[1] == nil || c.State.NextCollection != 2 {
		t.Fatalf("after two segments: %+v", c.State)
	}
	c.Add(chaintest.Snapshot(c.State, 7, "aaaaaaaaaaaaaaaa", chaintest.Schema(t, 1)))
	c.Add(chain.Manifest{Kind: chain.KindDigest, Digest: &chain.Digest{LSN: 7, Digests: []chain.CollectionDigest{{1, 5, change.Hash{2}}}}})
	c.Add(chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: 7, CoveredUntil: 1e6}})
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "before-migration", LSN: 3}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "audit", LSN: 3, Reason: "legal"}})
	c.Add(chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: &chain.Checkpoint{First: 1, Last: 5, Key: chain.CheckpointKey(chain.MainTimeline, 1, 5), Size: 9, Hash: change.Hash{3}, Index: change.Hash{4}}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "audit", Release: true}})
	c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: 8, Last: 8, Reason: "log lost", From: 2e6, To: 3e6, LogHash: change.Hash{8}}})
	c.Add(chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: 8}})
	c.Claim()
	if c.State.Epoch != 2 || c.State.Last != 8 || c.State.Effective != 3e6 || c.State.CoveredUntil != 1e6 || len(c.State.Holds) != 0 || len(c.State.Labels) != 1 {
		t.Fatalf("at the end: %+v", c.State)
	}
	again := chain.NewState(chaintest.Repo, chain.MainTimeline)
	for _, raw := range c.Raws {
		m, err := chain.DecodeManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Next(m, chain.HashManifest(raw)); err != nil {
			t.Fatal(err)
		}
	}
	if again.Head != c.State.Head || again.LogHash != c.State.LogHash {
		t.Fatal("replaying the stored bytes ends elsewhere")
	}
}
