package archive

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestKnown: a chain that holds what is known is read as ever, but without the
// checkpoints made since; one that does not is refused.
func TestKnown(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	c := claim(t, a, claimOptions("h"))
	grow := func(n int) {
		t.Helper()
		for range n {
			if err := c.Segment(t.Context(), *chaintest.Segment(t, c.State(), 3).Segment); err != nil {
				t.Fatal(err)
			}
		}
	}
	bundle := func() string {
		t.Helper()
		if _, err := a.Checkpoint(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		all := a.State().Checkpoints
		return all[len(all)-1].Body.Key
	}
	grow(5)
	bundle()
	known := Known{a.State().Seq, a.State().Head}
	grow(5)
	since := bundle()
	grow(3)

	load := func(k *Known, seq chain.Seq) (warned bool, err error) {
		opts := testOptions()
		opts.Known, opts.Warn = k, func(error) { warned = true }
		o, err := Open(t.Context(), mem, opts)
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.Load(t.Context())
		if err == nil {
			if diff := cmp.Diff(a.State().Summary(), s.Summary()); diff != "" || s.Seq != seq {
				t.Errorf("manifest %d: %s", s.Seq, diff)
			}
		}
		return warned, err
	}
	end := a.State().Seq
	for _, k := range []*Known{nil, &known, {end, a.State().Head}} {
		if warned, err := load(k, end); warned || err != nil {
			t.Errorf("%+v: %t, %v", k, warned, err)
		}
	}
	// A checkpoint made since is not even looked at.
	replace(t, mem, since, []byte("forged"))
	if warned, err := load(nil, end); !warned || err != nil {
		t.Errorf("nothing known: %t, %v", warned, err)
	}
	if warned, err := load(&known, end); warned || err != nil {
		t.Errorf("known: %t, %v", warned, err)
	}
	for _, k := range []Known{{known.Seq, change.Hash{1}}, {known.Seq + 1, known.Hash}, {end + 1, known.Hash}} {
		if _, err := load(&k, 0); !errors.Is(err, ErrNotKnown) || !errors.Is(err, chain.ErrDamaged) {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

// TestHashAt: a manifest is proved by the links up to the head.
func TestHashAt(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	c := claim(t, a, claimOptions("h"))
	heads := map[chain.Seq]change.Hash{a.State().Seq: a.State().Head}
	for range 5 {
		if err := c.Segment(t.Context(), *chaintest.Segment(t, c.State(), 3).Segment); err != nil {
			t.Fatal(err)
		}
		heads[a.State().Seq] = a.State().Head
	}
	for seq, want := range heads {
		if got, err := a.HashAt(t.Context(), a.State(), seq); err != nil || got != want {
			t.Errorf("manifest %d: %s, %v, want %s", seq, got, err, want)
		}
	}
	for _, seq := range []chain.Seq{0, a.State().Seq + 1} {
		if _, err := a.HashAt(t.Context(), a.State(), seq); err == nil {
			t.Errorf("manifest %d has a hash", seq)
		}
	}
	if err := mem.Delete(t.Context(), chain.ManifestKey(chain.MainTimeline, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.HashAt(t.Context(), a.State(), 3); !errors.Is(err, chain.ErrDamaged) {
		t.Errorf("over a hole: %v", err)
	}
	if got, err := a.HashAt(t.Context(), a.State(), 5); err != nil || got != heads[5] {
		t.Errorf("after the hole: %s, %v", got, err)
	}
}

// TestHashAtFromCheckpoints: the hash of any manifest costs a few reads however
// long the chain, and is right whatever part of a checkpoint is damaged.
func TestHashAtFromCheckpoints(t *testing.T) {
	mem := storage.NewMem()
	a := longChain(t, mem, 60)
	s := a.State()
	heads := make(map[chain.Seq]change.Hash)
	for seq := chain.Seq(1); seq <= s.Seq; seq++ {
		heads[seq] = chain.HashManifest(bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, seq)))
	}
	bare := copyBucket(t, mem)
	for seq := chain.Seq(1); seq <= s.Bundled(); seq++ {
		replace(t, bare, chain.ManifestKey(chain.MainTimeline, seq), nil)
	}
	for seq, want := range heads { // of the manifests in checkpoints, none is read
		if got, err := openArchive(t, bare).HashAt(t.Context(), s, seq); err != nil || got != want {
			t.Errorf("manifest %d: %s, %v, want %s", seq, got, err, want)
		}
	}
	c := s.Checkpoints[1].Body
	whole := bytesOf(t, mem, c.Key)
	for at := 0; at < len(whole); at += 1 + len(whole)/50 {
		b := copyBucket(t, mem)
		raw := bytes.Clone(whole)
		raw[at] ^= 4
		replace(t, b, c.Key, raw)
		for _, seq := range []chain.Seq{c.First - 1, c.First, c.Last, c.Last + 1} {
			if got, err := openArchive(t, b).HashAt(t.Context(), s, seq); err != nil || got != heads[seq] {
				t.Errorf("byte %d is damaged, manifest %d: %s, %v", at, seq, got, err)
			}
		}
	}
	// Without the checkpoint, another manifest in its place is found by its links.
	b := copyBucket(t, mem)
	replace(t, b, c.Key, nil)
	m := decodeStored(bytesOf(t, mem, chain.ManifestKey(chain.MainTimeline, c.Last))).m
	m.Written++
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	replace(t, b, chain.ManifestKey(chain.MainTimeline, c.Last), raw)
	for _, seq := range []chain.Seq{c.First, c.Last} {
		if got, err := openArchive(t, b).HashAt(t.Context(), s, seq); !errors.Is(err, chain.ErrDamaged) {
			t.Errorf("a forged manifest: number %d is %s, %v", seq, got, err)
		}
	}
}
