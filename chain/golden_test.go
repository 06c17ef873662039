package chain_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

var update = flag.Bool("update", false, "write the golden files anew; a change to a valid one breaks every archive there is")

func TestGoldenManifests(t *testing.T) {
	c := chaintest.EveryKind(t)
	s := chain.NewState(chaintest.Repo, chain.MainTimeline)
	for _, raw := range c.Raws {
		m, err := chain.DecodeManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		chaintest.Golden(t, "manifest/"+path.Base(chain.ManifestKey(chain.MainTimeline, m.Seq)), raw, *update)
		if err := s.Next(m, chain.HashManifest(raw)); err != nil {
			t.Error(err)
		}
	}
	chaintest.Golden(t, "manifest/fork.json", c.Child("t2").Raws[0], *update)
}

// recheck gives an edited object a new check.
func recheck(raw string) []byte {
	at := strings.LastIndex(raw, chain.CheckField)
	return chain.AppendCheck([]byte(raw[:at] + "}\n"))
}

func TestGoldenInvalidManifests(t *testing.T) {
	label := string(chaintest.EveryKind(t).Raws[6])
	edit := func(old, new string) []byte {
		if !strings.Contains(label, old) {
			t.Fatalf("%q is not in %s", old, label)
		}
		return recheck(strings.Replace(label, old, new, 1))
	}
	for _, test := range []struct {
		name string
		raw  []byte
		is   error
		says string
	}{
		{"empty", nil, chain.ErrDamaged, "check"},
		{"truncated", []byte(label[:len(label)-40]), chain.ErrDamaged, "check"},
		{"flipped", []byte(strings.Replace(label, `"lsn":3`, `"lsn":2`, 1)), chain.ErrDamaged, "check"},
		{"trailing-data", []byte(label + "\n"), chain.ErrDamaged, "check"},
		{"newer-format", []byte(strings.Replace(label, `"format":1`, `"format":2`, 1)), chain.ErrVersion, "format 2"},
		{"newer-format-checked", edit(`"format":1`, `"format":2`), chain.ErrVersion, "format 2"},
		{"format-0", edit(`"format":1`, `"format":0`), chain.ErrManifest, "format is 0"},
		{"unknown-field", edit(`"lsn":3`, `"lsn":3,"colour":"red"`), chain.ErrManifest, "colour"},
		{"unknown-kind", edit(`"kind":"label"`, `"kind":"rumour"`), chain.ErrManifest, "rumour"},
		{"wrong-section", edit(`"kind":"label"`, `"kind":"hold"`), chain.ErrManifest, "section"},
		{"no-section", edit(`,"label":{`, `,"hold":{`), chain.ErrManifest, "note"},
		{"field-twice", edit(`"lsn":3`, `"lsn":2,"lsn":3`), chain.ErrManifest, "want"},
		{"field-in-capitals", edit(`"lsn":3`, `"LSN":3`), chain.ErrManifest, "want"},
		{"null", edit(`"written":"1970-01-01T00:00:00.007000Z"`, `"written":null`), chain.ErrManifest, "null"},
		{"default-written-out", edit(`"lsn":3`, `"lsn":3,"note":""`), chain.ErrManifest, "want"},
		{"other-order", edit(`"name":"before-migration","lsn":3`, `"lsn":3,"name":"before-migration"`), chain.ErrManifest, "want"},
		{"fraction", edit(`"lsn":3`, `"lsn":3.5`), chain.ErrManifest, "3.5"},
		{"negative", edit(`"lsn":3`, `"lsn":-3`), chain.ErrManifest, "-3"},
		{"short-hash", edit(`"prev_hash":"`, `"prev_hash":"00`), chain.ErrManifest, "hash"},
		{"nonce-in-capitals", edit(`"nonce":"00`, `"nonce":"AA`), chain.ErrManifest, "nonce"},
		{"bad-name", edit(`"before-migration"`, `"before migration"`), chain.ErrManifest, "name"},
		{"epoch-of-none", edit(`"written"`, `"epoch":1,"written"`), chain.ErrManifest, "epoch"},
		{"first-with-predecessor", edit(`"seq":7`, `"seq":1`), chain.ErrManifest, "prev_hash"},
		{"not-an-object", recheck(`["x"` + chain.CheckField), chain.ErrManifest, "JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chaintest.Golden(t, "manifest/invalid/"+test.name+".json", test.raw, *update)
			_, err := chain.DecodeManifest(test.raw)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v and something about %q", err, test.is, test.says)
			}
		})
	}
}

func FuzzDecodeManifest(f *testing.F) {
	c := chaintest.EveryKind(f)
	for _, raw := range append(c.Raws, c.Child("t2").Raws...) {
		f.Add(raw[:bytes.LastIndex(raw, []byte(chain.CheckField))])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := chain.AppendCheck(append(bytes.Clone(body), "}\n"...))
		m, err := chain.DecodeManifest(raw)
		if err != nil {
			if !errors.Is(err, chain.ErrManifest) && !errors.Is(err, chain.ErrVersion) && !errors.Is(err, chain.ErrDamaged) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		back, err := chain.DecodeManifest(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back, cmp.AllowUnexported(change.Value{})); d != "" {
			t.Fatal(d)
		}
		s := chain.NewState(m.Repo, m.Timeline)
		s.Seq, s.Head = m.Seq-1, m.Prev
		_ = s.Next(m, chain.HashManifest(raw)) // must not panic
	})
}

// TestFormatPage holds FORMAT.md to the golden files and the rules' names.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[chain.Kind]bool)
	for line := range strings.Lines(string(page)) {
		if m, err := chain.DecodeManifest([]byte(line)); err == nil {
			shown[m.Kind] = true
		}
	}
	for _, k := range []chain.Kind{chain.KindClaim, chain.KindClose, chain.KindSegment, chain.KindSnapshot, chain.KindDigest, chain.KindCoverage, chain.KindLabel, chain.KindHold, chain.KindCheckpoint, chain.KindGap,
		chain.KindGapAck, chain.KindPin, chain.KindFork, chain.KindDrill, chain.KindVerify} {
		if !shown[k] {
			t.Errorf("no valid example of a %s", k)
		}
	}
	for _, r := range ruleTests() {
		if !strings.Contains(string(page), "`"+r.rule+"`") {
			t.Errorf("the rule %s is not described", r.rule)
		}
	}
}
