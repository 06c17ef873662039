package archive

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// forkedChain is main, t2 that goes on from the middle of its sixth segment, and
// t3 that goes on from the middle of what t2 has of that, each with checkpoints
// and chunks of its own.
func forkedChain(t *testing.T) (*storage.Mem, []chain.TimelineID) {
	t.Helper()
	mem := storage.NewMem()
	a := newArchive(t, mem)
	names := []chain.TimelineID{chain.MainTimeline, "t2", "t3"}
	var hashes []change.Hash // of the sixth segment
	var first change.LSN
	for i, name := range names {
		if i > 0 {
			end := 5 - 2*i
			child, err := a.Fork(t.Context(), ForkOptions{Child: name, LSN: first + change.LSN(end), LogHash: hashes[end]})
			if err != nil {
				t.Fatal(err)
			}
			a = child
		}
		a.opts.Chunk = 4
		c := claim(t, a, otherClaim(string(name)))
		for n := range 12 {
			got := segmentOf(t, c, 6)
			if i == 0 && n == 5 {
				hashes, first = got, a.State().Last-5
			}
			if _, err := a.Checkpoint(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
		}
	}
	return mem, names
}

// TestRebuildAcrossForks damages and deletes each checkpoint in turn: what the
// timelines inherit of its chunks, cut segments and all, comes from manifests.
func TestRebuildAcrossForks(t *testing.T) {
	mem, names := forkedChain(t)
	rebuilt := 0
	for _, name := range names {
		want := replayed(t, mem, name)
		at := func(b storage.Bucket) (*Archive, *[]string) {
			var mu sync.Mutex
			var warnings []string
			opts := testOptions()
			opts.Timeline = name
			opts.Warn = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				warnings = append(warnings, err.Error())
			}
			a, err := Open(t.Context(), b, opts)
			if err != nil {
				t.Fatal(err)
			}
			return a, &warnings
		}
		whole, _ := at(mem)
		s, err := whole.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		spoiled := make(map[string]bool)
		for _, c := range s.Segments.Chunks() {
			if spoiled[c.Key] {
				continue
			}
			spoiled[c.Key] = true
			for _, missing := range []bool{false, true} {
				b := copyBucket(t, mem)
				// Opened before the damage, so that nothing avoids it.
				a, warnings := at(b)
				s := s.Clone()
				if s.Segments, err = s.Segments.Fold(s.Segments.Chunks(), a.loader); err != nil {
					t.Fatal(err)
				}
				raw := bytesOf(t, b, c.Key)
				for i := range raw {
					raw[i] ^= 0x55
				}
				if missing {
					raw = nil
				}
				replace(t, b, c.Key, raw)
				var got []chain.Announced[chain.Segment]
				for seg, err := range s.Segments.All(t.Context()) {
					if err != nil {
						t.Fatalf("%s without %s: %v", name, c.Key, err)
					}
					got = append(got, *seg)
				}
				s.Segments = chain.SegmentsOf(got...)
				if d := chaintest.Diff(want, s); d != "" {
					t.Fatalf("%s without %s:\n%s", name, c.Key, d)
				}
				if len(*warnings) == 0 || !strings.Contains((*warnings)[0], c.Key) {
					t.Errorf("warnings %q, want them to name %s", *warnings, c.Key)
				}
				rebuilt += len(*warnings)
			}
		}
	}
	if rebuilt < 20 {
		t.Errorf("%d chunks were put together again", rebuilt)
	}
}

// TestRebuildNeedsProof: what manifests say is believed only when it is what the
// checkpoint's directory commits to.
func TestRebuildNeedsProof(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	a.opts.Chunk = 3
	c := claim(t, a, claimOptions("h"))
	for range 12 {
		publishSegment(t, c, 2)
		if _, err := a.Checkpoint(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	chunk := a.State().Segments.Chunks()[0]
	replace(t, mem, chunk.Key, nil)
	read := func(b storage.Bucket) error {
		fresh := openArchive(t, b)
		s, err := fresh.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Segments.Covering(t.Context(), chunk.First)
		return err
	}
	if err := read(mem); err != nil {
		t.Fatalf("all manifests are there: %v", err)
	}
	key := chain.ManifestKey(chain.MainTimeline, 3)
	forged := decodeStored(bytesOf(t, mem, key)).m
	forged.Segment.Packs[0].Hash[0] ^= 1
	raw, err := forged.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"missing": nil, "forged": raw, "flipped": append([]byte("x"), raw...), "another": bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, 4))} {
		b := copyBucket(t, mem)
		replace(t, b, key, data)
		if err := read(b); !errors.Is(err, chain.ErrDamaged) || !strings.Contains(err.Error(), chunk.Key) {
			t.Errorf("manifest 3 %s: %v", name, err)
		}
	}
}

// TestRebuildConcurrently: many readers of one damaged chunk.
func TestRebuildConcurrently(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	a.opts.Chunk = 3
	c := claim(t, a, claimOptions("h"))
	var mu sync.Mutex
	warned := 0
	opts := testOptions()
	opts.Warn = func(error) { mu.Lock(); warned++; mu.Unlock() }
	reader, err := Open(t.Context(), mem, opts)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	damaged := make(chan struct{})
	for range 4 {
		g.Go(func() error {
			<-damaged
			for range 10 {
				s, err := reader.Refresh(t.Context())
				if err != nil {
					return err
				}
				n := 0
				for _, err := range s.Segments.From(t.Context(), 0) {
					if err != nil {
						return err
					}
					n++
				}
				if n != s.Segments.Len() {
					return fmt.Errorf("%d segments of %d", n, s.Segments.Len())
				}
			}
			return nil
		})
	}
	for i := range 40 {
		publishSegment(t, c, 2)
		if _, err := a.Checkpoint(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		if i == 12 {
			replace(t, mem, a.State().Segments.Chunks()[0].Key, nil)
			close(damaged)
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTimelinesInACircle: a forged archive whose forks go on from each other is
// refused, not followed for ever.
func TestTimelinesInACircle(t *testing.T) {
	mem, _ := forkedChain(t)
	// t2 says that it goes on from t3, which goes on from t2.
	key := chain.ManifestKey("t2", 1)
	m := decodeStored(bytesOf(t, mem, key)).m
	m.Fork.Parent = "t3"
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	replace(t, mem, key, raw)
	for info, err := range mem.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(info.Key, "/checkpoint/") {
			replace(t, mem, info.Key, nil)
		}
	}
	opts := testOptions()
	opts.Timeline = "t3"
	a, err := Open(t.Context(), mem, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Load(t.Context()); !errors.Is(err, chain.ErrDamaged) || !strings.Contains(err.Error(), "go on from itself") {
		t.Errorf("load: %v", err)
	}
	if r, err := a.VerifyChain(t.Context()); err != nil || len(r.Findings) == 0 {
		t.Errorf("verify: %v, %v", err, r.Findings)
	}
}
