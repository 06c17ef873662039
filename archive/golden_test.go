package archive

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
)

var update = flag.Bool("update", false, "write the golden files anew; a change to one breaks every archive there is")

func TestGoldenIdentity(t *testing.T) {
	id := Identity{Format: 1, Repo: chaintest.Repo, Created: 1e15}
	raw, err := id.Encode()
	if err != nil {
		t.Fatal(err)
	}
	chaintest.Golden(t, "tidemark.json", raw, *update)
	if back, err := DecodeIdentity(raw); err != nil || back != id {
		t.Errorf("identity reads back as %+v, %v", back, err)
	}
}

func TestGoldenCheckpoint(t *testing.T) {
	c := chaintest.EveryKind(t)
	sum := c.State.Summary()
	raw, err := (&bundle{manifests: c.Raws, summary: &sum}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		chaintest.Golden(t, "checkpoint", raw, *update)
	}
	// How zstd compresses may change; what was compressed must stay readable.
	stored, err := os.ReadFile("testdata/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{raw, stored} {
		b, err := decodeBundle(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !sameManifests(b.manifests, c.Raws) || *b.summary != sum {
			t.Error("the checkpoint reads back otherwise")
		}
	}
}

func FuzzDecodeIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"repo":"00112233445566778899aabbccddeeff","created":"2001-09-09T01:46:40.000000Z"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, err := DecodeIdentity(chain.AppendCheck(append(bytes.Clone(body), "}\n"...)))
		if err != nil {
			return
		}
		raw, err := id.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeIdentity(raw); err != nil || back != id {
			t.Fatalf("%+v reads back as %+v, %v", id, back, err)
		}
	})
}

func FuzzDecodeCheckpoint(f *testing.F) {
	raw, err := (&bundle{manifests: [][]byte{[]byte("one"), []byte("two")}, summary: new(chain.Summary)}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, uint16(0), byte(0))
	f.Add(raw, uint16(12), byte(1))
	f.Fuzz(func(t *testing.T, raw []byte, at uint16, flip byte) {
		b, err := decodeBundle(raw)
		if err != nil {
			if !errors.Is(err, chain.ErrDamaged) && !errors.Is(err, chain.ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
		} else if _, err := b.encode(); err != nil {
			t.Fatal(err)
		}
		if flip != 0 && int(at) < len(raw) && err == nil {
			raw = bytes.Clone(raw)
			raw[at] ^= flip
			if _, err := decodeBundle(raw); err == nil {
				t.Fatalf("a flip at byte %d is not noticed", at)
			}
		}
	})
}

// TestIdentityOnFormatPage holds FORMAT.md to the golden identity.
func TestIdentityOnFormatPage(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile("testdata/tidemark.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(page, id) {
		t.Error("the identity shown is not the golden one")
	}
}
