package archive

import (
	"bytes"
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
