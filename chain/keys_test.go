package chain_test

import (
	"bytes"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
)

func TestKeys(t *testing.T) {
	p := chain.PackKey{"fork-1", chain.RunPack, 0, 0xabc, "0123456789abcdef"}
	if got, err := chain.ParsePackKey(p.String()); err != nil || got != p {
		t.Errorf("%s reads back as %+v, %v", p, got, err)
	}
	if tl, seq, err := chain.ParseManifestKey(chain.ManifestKey("t", 0x1f)); err != nil || tl != "t" || seq != 0x1f {
		t.Errorf("manifest key: %s, %d, %v", tl, seq, err)
	}
	if key := chain.ManifestKey("t", 0x12345); key != "t/manifest/0000000000012/0000000000012345.json" {
		t.Errorf("manifest key: %s", key)
	}
	if tl, first, last, err := chain.ParseCheckpointKey(chain.CheckpointKey("t", 1, 16)); err != nil || tl != "t" || first != 1 || last != 16 {
		t.Errorf("checkpoint key: %s, %d, %d, %v", tl, first, last, err)
	}
	for _, key := range []string{"", "main/manifest/1.json", "main/manifest/0000000000000/0000000000000000.json", "main/manifest/0000000000000/000000000000000A.json",
		"Main/manifest/0000000000000/0000000000000001.json", "main/manifest/0000000000000/0000000000000001", "/manifest/0000000000000/0000000000000001.json",
		"main/manifest/x/0000000000000001.json", "main/log/0000000000000/0000000000000001.json", "main/manifest/0000000000000/+000000000000001.json",
		"main/manifest/0000000000001/0000000000000001.json", "main/manifest/0000000000000001.json"} {
		if _, _, err := chain.ParseManifestKey(key); err == nil {
			t.Errorf("%q is read as a manifest key", key)
		}
	}
	for _, key := range []string{"main/log/0000000000000002-0000000000000001-0123456789abcdef", "main/log/0000000000000001-0000000000000002",
		"main/log/0000000000000001-0000000000000002-0123456789abcde", "main/logs/0000000000000001-0000000000000002-0123456789abcdef",
		"main/log/0000000000000001-0000000000000002-0123456789ABCDEF", "main/log/0000000000000001-0000000000000002-0123456789abcdef-"} {
		if _, err := chain.ParsePackKey(key); err == nil {
			t.Errorf("%q is read as a pack key", key)
		}
	}
	for _, key := range []string{"main/checkpoint/0000000000000002-0000000000000001", "main/checkpoint/0000000000000000-0000000000000001", "main/checkpoint/0000000000000001"} {
		if _, _, _, err := chain.ParseCheckpointKey(key); err == nil {
			t.Errorf("%q is read as a checkpoint key", key)
		}
	}
	if !bytes.HasPrefix([]byte(p.String()), []byte("fork-1/run/0000000000000000-0000000000000abc-")) {
		t.Errorf("pack key %s", p)
	}
}
