package archive

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

var update = flag.Bool("update", false, "write the golden files anew; a change to a valid one breaks every archive there is")

// goldenChain is a history with every kind of manifest.
func goldenChain(t testing.TB) *chain {
	c := newChain(t).claim().segment(3)
	seg := mSegment(t, c.s, 4)
	seg.Segment.Position = "0/16B3748"
	seg.Segment.Counts[0] = Count{Collection: 1, Inserts: 1, Updates: 1, Deletes: 1, Truncates: 1}
	seg.Segment.Tombstones = []Tombstone{{Collection: 1, LSN: 6}}
	seg.Segment.Largest[0].Counts = seg.Segment.Counts
	c.add(seg)
	c.add(mSnapshot(c.s, 7, "aaaaaaaaaaaaaaaa", testSchema(t, 1)))
	c.add(Manifest{Kind: KindDigest, Digest: &Digest{LSN: 7, Digests: []CollectionDigest{{1, 5, change.Hash{2}}}}})
	c.add(Manifest{Kind: KindCoverage, Coverage: &Coverage{LSN: 7, CoveredUntil: 1e6}})
	c.add(Manifest{Kind: KindLabel, Label: &Label{Name: "before-migration", LSN: 3, Note: "<the \"big\" one> ü"}})
	c.add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", LSN: 3, Until: 1e15, Reason: "legal"}})
	c.add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", Release: true}})
	c.add(Manifest{Kind: KindCheckpoint, Checkpoint: mCheckpoint(1, 5)})
	c.add(Manifest{Kind: KindGap, Gap: &Gap{LSN: 8, Reason: "log lost", From: 2e6, To: 3e6, LogHash: change.Hash{8}, Collections: []change.CollectionID{1}}})
	return c.add(Manifest{Kind: KindClose, Close: &Close{LSN: 8}})
}

// golden compares data with a file, or writes the file.
func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(data)); d != "" {
		t.Errorf("%s differs from what is written now:\n%s", path, d)
	}
}

func TestGoldenManifests(t *testing.T) {
	c := goldenChain(t)
	s := NewState(testRepo, MainTimeline)
	for _, raw := range c.raws {
		b := decodeStored(raw)
		if b.err != nil {
			t.Fatal(b.err)
		}
		golden(t, "manifest/"+strings.TrimPrefix(ManifestKey(MainTimeline, b.m.Seq), "main/manifest/"), raw)
		if err := s.Next(b.m, b.hash); err != nil {
			t.Error(err)
		}
	}
	id := Identity{Format: 1, Repo: testRepo, Created: 1e15}
	raw, err := id.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "tidemark.json", raw)
	if back, err := DecodeIdentity(raw); err != nil || back != id {
		t.Errorf("identity reads back as %+v, %v", back, err)
	}
	sum := s.Summary()
	raw, err = (&bundle{manifests: c.raws, summary: &sum}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		golden(t, "checkpoint", raw)
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
		if !sameManifests(b.manifests, c.raws) || *b.summary != sum {
			t.Error("the checkpoint reads back otherwise")
		}
	}
}

// recheck gives an edited object a new check.
func recheck(raw string) []byte {
	at := strings.LastIndex(raw, checkField)
	return appendCheck([]byte(raw[:at] + "}\n"))
}

func TestGoldenInvalidManifests(t *testing.T) {
	label := string(goldenChain(t).raws[6])
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
		{"not-an-object", recheck(`["x"` + checkField), ErrManifest, "JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			golden(t, "manifest/invalid/"+test.name+".json", test.raw)
			_, err := DecodeManifest(test.raw)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v and something about %q", err, test.is, test.says)
			}
		})
	}
}

func FuzzDecodeManifest(f *testing.F) {
	for _, raw := range goldenChain(f).raws {
		f.Add(raw[:bytes.LastIndex(raw, []byte(checkField))])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := appendCheck(append(bytes.Clone(body), "}\n"...))
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

func FuzzDecodeIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"repo":"00112233445566778899aabbccddeeff","created":"2001-09-09T01:46:40.000000Z"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, err := DecodeIdentity(appendCheck(append(bytes.Clone(body), "}\n"...)))
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
	raw, err := (&bundle{manifests: [][]byte{[]byte("one"), []byte("two")}, summary: new(Summary)}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, uint16(0), byte(0))
	f.Add(raw, uint16(12), byte(1))
	f.Fuzz(func(t *testing.T, raw []byte, at uint16, flip byte) {
		b, err := decodeBundle(raw)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
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
	id, err := os.ReadFile("testdata/tidemark.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(page, id) {
		t.Error("the identity shown is not the golden one")
	}
}
