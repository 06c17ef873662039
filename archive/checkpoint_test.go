package archive

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

// replace puts other bytes in an object's place, as damage would.
func replace(t testing.TB, b storage.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if data == nil {
		return
	}
	if err := b.Create(t.Context(), key, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func bytesOf(t testing.TB, b storage.Bucket, key string) []byte {
	t.Helper()
	raw, err := readAll(t.Context(), b, key, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// longChain publishes a claim, n segments and labels, checkpointed every ten.
func longChain(t testing.TB, b storage.Bucket, n int) *Archive {
	t.Helper()
	a := newArchive(t, b)
	c := claim(t, a, claimOptions("h"))
	for i := range n {
		publishSegment(t, c, 2)
		if i%5 == 4 {
			if err := a.Label(t.Context(), chain.Label{Name: fmt.Sprintf("l%d", i), LSN: a.State().Last}); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Checkpoint(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	return a
}

func loadWarned(t testing.TB, b storage.Bucket) (s *chain.State, warnings []string, err error) {
	opts := testOptions()
	opts.Warn = func(err error) { warnings = append(warnings, err.Error()) }
	a, err := Open(t.Context(), b, opts)
	if err != nil {
		t.Fatal(err)
	}
	s, err = a.Load(t.Context())
	return s, warnings, err
}

func TestCheckpoints(t *testing.T) {
	mem := storage.NewMem()
	a := longChain(t, mem, 30)
	want := a.State()
	if len(want.Checkpoints) < 2 {
		t.Fatalf("%d checkpoints after %d manifests", len(want.Checkpoints), want.Seq)
	}
	last := want.Checkpoints[len(want.Checkpoints)-1].Body
	first := want.Checkpoints[0].Body

	s, warnings, err := loadWarned(t, mem)
	if err != nil || len(warnings) > 0 || s.Head != want.Head || s.Last != want.Last || s.Segments.Len() != 30 {
		t.Fatalf("load with checkpoints: LSN %d, %v, warnings %q", s.Last, err, warnings)
	}
	if r, err := a.VerifyChain(t.Context()); err != nil || r.Err() != nil || r.State.Head != want.Head {
		t.Fatalf("verify: %v, %v", err, r.Findings)
	}

	damage := map[string]func(b storage.Bucket){
		"flipped byte": func(b storage.Bucket) {
			raw := bytesOf(t, b, last.Key)
			raw[50] ^= 1
			replace(t, b, last.Key, raw)
		},
		"truncated": func(b storage.Bucket) { replace(t, b, last.Key, bytesOf(t, b, last.Key)[:50]) },
		"swapped":   func(b storage.Bucket) { replace(t, b, last.Key, bytesOf(t, b, first.Key)) },
		"emptied":   func(b storage.Bucket) { replace(t, b, last.Key, []byte{}) },
		"a history of its own": func(b storage.Bucket) {
			other := chaintest.New(t)
			other.State.Repo = a.id.Repo
			other.Claim()
			for other.State.Seq < last.Last {
				other.Segment(1)
			}
			o, err := checkpoint.Encode(other.State, 1, other.Raws, 0)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, b, last.Key, o.Bytes)
		},
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			copied := copyBucket(t, mem)
			spoil(copied)
			s, warnings, err := loadWarned(t, copied)
			if err != nil || s.Head != want.Head || s.Segments.Len() != want.Segments.Len() {
				t.Fatalf("load: %v", err)
			}
			if len(warnings) == 0 {
				t.Error("no warning")
			}
			r, err := openArchive(t, copied).VerifyChain(t.Context())
			if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Key, "checkpoint/") {
				t.Errorf("verify: %v, %v", err, r.Findings)
			}
		})
	}
}

func copyBucket(t testing.TB, from storage.Bucket) *storage.Mem {
	t.Helper()
	to := storage.NewMem()
	for info, err := range from.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		replace(t, to, info.Key, bytesOf(t, from, info.Key))
	}
	return to
}

func TestCheckpointWhereOneIs(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	c := claim(t, a, claimOptions("h"))
	publishSegment(t, c, 1)
	key := chain.CheckpointKey(chain.MainTimeline, 1, 2)

	replace(t, mem, key, []byte("not a checkpoint"))
	if _, err := a.Checkpoint(t.Context(), 2); err == nil || !strings.Contains(err.Error(), key) {
		t.Fatalf("over a bad object: %v", err)
	}
	o, err := checkpoint.Encode(a.State(), 1, [][]byte{bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, 1)), bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, 2))}, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := o.Bytes
	replace(t, mem, key, raw)
	if did, err := a.Checkpoint(t.Context(), 2); err != nil || !did {
		t.Fatalf("over an orphan of the same manifests: %t, %v", did, err)
	}
	if got := a.State().Checkpoints[0].Body; got.Hash != chain.HashManifest(raw) || got.Size != int64(len(raw)) {
		t.Errorf("announced %+v", got)
	}
	if did, err := a.Checkpoint(t.Context(), 2); err != nil || did {
		t.Errorf("again at once: %t, %v", did, err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	mem := storage.NewMem()
	a := longChain(t, mem, 8)
	pack := chaintest.Segments(a.State())[3].Body.Packs[0].Key
	manifest := chain.ManifestKey(chain.MainTimeline, 4)
	flip := func(key string) []byte {
		raw := bytesOf(t, mem, key)
		raw[len(raw)/2] ^= 1
		return raw
	}
	for _, test := range []struct {
		name, key string
		data      []byte
		load      string // what Load without checkpoints says; "" if it does not notice
	}{
		{"pack missing", pack, nil, ""},
		{"pack cut", pack, bytesOf(t, mem, pack)[:300], ""},
		{"manifest missing", manifest, nil, "missing"},
		{"manifest flipped", manifest, flip(manifest), "check"},
		{"manifest swapped", manifest, bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, 5)), "link.seq"},
		{"manifest emptied", manifest, []byte{}, "check"},
		{"stray object", "main/manifest/0000000000000/0000000000000004.json.bak", []byte("x"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := copyBucket(t, mem)
			for info, err := range mem.List(t.Context(), chain.CheckpointPrefix(chain.MainTimeline), "") {
				if err != nil {
					t.Fatal(err)
				}
				if test.load != "" { // otherwise checkpoints would help Load over it
					replace(t, b, info.Key, nil)
				}
			}
			replace(t, b, test.key, test.data)
			other := openArchive(t, b)
			r, err := other.VerifyChain(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Findings) == 0 || r.Findings[0].Key != test.key || r.Err() == nil {
				t.Errorf("findings: %v", r.Findings)
			}
			if _, err := other.Load(t.Context()); test.load == "" && err != nil || test.load != "" && (err == nil || !strings.Contains(err.Error(), test.load)) {
				t.Errorf("load: %v", err)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	mem := storage.NewMem()
	a := newArchive(b, mem)
	c := claim(b, a, claimOptions("h"))
	for range 10000 {
		if err := c.Segment(b.Context(), *chaintest.Segment(b, c.State(), 3).Segment); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := a.Checkpoint(b.Context(), 1000); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fresh, err := Open(context.Background(), mem, testOptions())
		if err == nil {
			_, err = fresh.Load(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10000/b.Elapsed().Seconds(), "manifests/s")
}
