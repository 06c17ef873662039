package capture

import (
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// TestCheckpoints shows that a capture bundles manifests as they gather, also
// across a restart, and that a store which refuses bundles stops no segment.
func TestCheckpoints(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		const every = 5
		grow := func(n int) *chain.State {
			c := w.capture(Options{CheckpointEvery: every})
			for range n {
				w.src.fill(1, 10)
				seconds(2)
			}
			c.stop()
			return w.checkAll()
		}
		s := grow(8)
		if n := len(s.Checkpoints); n != 1 {
			t.Fatalf("%d manifests have %d checkpoints, want 1", s.Seq, n)
		}
		s = grow(8)
		for i, c := range s.Checkpoints {
			if n := c.Body.Last - c.Body.First + 1; n < every || n > every+3 { // a restart adds a coverage, a close and a claim
				t.Errorf("checkpoint %d bundles %d manifests, want about %d", i+1, n, every)
			}
		}
		if n := len(s.Checkpoints); n < 3 {
			t.Errorf("%d manifests have %d checkpoints, want at least 3", s.Seq, n)
		}
		w.faulty.SetRules(storagetest.Rule{Op: storagetest.OpCreate, Fault: storagetest.Before, Times: -1,
			Key: func(key string) bool { _, _, _, err := chain.ParseCheckpointKey(key); return err == nil }})
		n, last := len(s.Checkpoints), s.Last
		if s = grow(12); len(s.Checkpoints) != n {
			t.Errorf("checkpoints went from %d to %d although the store refuses them", n, len(s.Checkpoints))
		}
		if s.Last < last+12 {
			t.Errorf("the archive ends at LSN %d, want at least %d", s.Last, last+12)
		}
	})
}
