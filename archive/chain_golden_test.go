package archive

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

var update = flag.Bool("update", false, "write the golden files anew; a change to a valid one breaks every archive there is")

func TestGoldenManifests(t *testing.T) {
	c := goldenChain(t)
	s := NewState(testRepo, MainTimeline)
	for _, raw := range c.Raws {
		m, err := DecodeManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "manifest/"+strings.TrimPrefix(ManifestKey(MainTimeline, m.Seq), "main/manifest/"), raw, *update)
		if err := s.Next(m, HashManifest(raw)); err != nil {
			t.Error(err)
		}
	}
}

// recheck gives an edited object a new check.
func recheck(raw string) []byte {
	at := strings.LastIndex(raw, CheckField)
	return AppendCheck([]byte(raw[:at] + "}\n"))
}

func TestGoldenInvalidManifests(t *testing.T) {
	label := string(goldenChain(t).Raws[6])
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
		{"empty", nil, ErrDamaged, "check"},
		{"truncated", []byte(label[:len(label)-40]), ErrDamaged, "check"},
		{"flipped", []byte(strings.Replace(label, `"lsn":3`, `"lsn":2`, 1)), ErrDamaged, "check"},
		{"trailing-data", []byte(label + "\n"), ErrDamaged, "check"},
		{"newer-format", []byte(strings.Replace(label, `"format":1`, `"format":2`, 1)), ErrVersion, "format 2"},
		{"newer-format-checked", edit(`"format":1`, `"format":2`), ErrVersion, "format 2"},
		{"format-0", edit(`"format":1`, `"format":0`), ErrManifest, "format is 0"},
		{"unknown-field", edit(`"lsn":3`, `"lsn":3,"colour":"red"`), ErrManifest, "colour"},
		{"unknown-kind", edit(`"kind":"label"`, `"kind":"rumour"`), ErrManifest, "rumour"},
		{"wrong-section", edit(`"kind":"label"`, `"kind":"hold"`), ErrManifest, "section"},
		{"no-section", edit(`,"label":{`, `,"hold":{`), ErrManifest, "note"},
		{"field-twice", edit(`"lsn":3`, `"lsn":2,"lsn":3`), ErrManifest, "want"},
		{"field-in-capitals", edit(`"lsn":3`, `"LSN":3`), ErrManifest, "want"},
		{"null", edit(`"written":"1970-01-01T00:00:00.007000Z"`, `"written":null`), ErrManifest, "null"},
		{"default-written-out", edit(`"lsn":3`, `"lsn":3,"note":""`), ErrManifest, "want"},
		{"other-order", edit(`"name":"before-migration","lsn":3`, `"lsn":3,"name":"before-migration"`), ErrManifest, "want"},
		{"fraction", edit(`"lsn":3`, `"lsn":3.5`), ErrManifest, "3.5"},
		{"negative", edit(`"lsn":3`, `"lsn":-3`), ErrManifest, "-3"},
		{"short-hash", edit(`"prev_hash":"`, `"prev_hash":"00`), ErrManifest, "hash"},
		{"nonce-in-capitals", edit(`"nonce":"00`, `"nonce":"AA`), ErrManifest, "nonce"},
		{"bad-name", edit(`"before-migration"`, `"before migration"`), ErrManifest, "name"},
		{"epoch-of-none", edit(`"written"`, `"epoch":1,"written"`), ErrManifest, "epoch"},
		{"first-with-predecessor", edit(`"seq":7`, `"seq":1`), ErrManifest, "prev_hash"},
		{"not-an-object", recheck(`["x"` + CheckField), ErrManifest, "JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			golden(t, "manifest/invalid/"+test.name+".json", test.raw, *update)
			_, err := DecodeManifest(test.raw)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v and something about %q", err, test.is, test.says)
			}
		})
	}
}

func FuzzDecodeManifest(f *testing.F) {
	for _, raw := range goldenChain(f).Raws {
		f.Add(raw[:bytes.LastIndex(raw, []byte(CheckField))])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := AppendCheck(append(bytes.Clone(body), "}\n"...))
		m, err := DecodeManifest(raw)
		if err != nil {
			if !errors.Is(err, ErrManifest) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrDamaged) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("what was read can't be written: %v", err)
		}
		back, err := DecodeManifest(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back, cmp.AllowUnexported(change.Value{})); d != "" {
			t.Fatal(d)
		}
		s := NewState(m.Repo, m.Timeline)
		s.Seq, s.Head = m.Seq-1, m.Prev
		_ = s.Next(m, HashManifest(raw)) // must not panic
	})
}

// TestFormatPage holds FORMAT.md to the golden files and the rules' names.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[Kind]bool)
	for line := range strings.Lines(string(page)) {
		if m, err := DecodeManifest([]byte(line)); err == nil {
			shown[m.Kind] = true
		}
	}
	for _, k := range []Kind{KindClaim, KindClose, KindSegment, KindSnapshot, KindDigest, KindCoverage, KindLabel, KindHold, KindCheckpoint, KindGap} {
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
