package checkpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/storage"
)

var update = flag.Bool("update", false, "write the golden files anew; a change to one breaks every archive there is")

// put stores an object.
func put(t testing.TB, b storage.Bucket, o *checkpoint.Object) {
	t.Helper()
	if err := b.Create(t.Context(), o.Key, bytes.NewReader(o.Bytes)); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, s *chain.State, first chain.Seq, manifests [][]byte, chunk int) *checkpoint.Object {
	t.Helper()
	o, err := checkpoint.Encode(s, first, manifests, chunk)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// open reads the state that an object holds.
func open(t testing.TB, b storage.Bucket, key string) (*checkpoint.Reader, *chain.State) {
	t.Helper()
	r, err := checkpoint.Open(t.Context(), b, key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.State(t.Context(), checkpoint.NewLoader(b, nil))
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func hashesOf(manifests [][]byte) (out []change.Hash) {
	for _, m := range manifests {
		out = append(out, chain.HashManifest(m))
	}
	return out
}

// long is a history of n segments with labels, bases and a gap.
func long(t testing.TB, n int) *chaintest.Chain {
	c := chaintest.New(t).Claim()
	for i := range n {
		c.Segment(1 + i%4)
		switch {
		case i%7 == 3:
			c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: fmt.Sprintf("l%d", i), LSN: c.State.Last}})
		case i%11 == 5:
			c.Base(c.State.Last, "abcdef0123456789"[i%16:i%16+1])
		case i == n/2:
			c.Gap(c.State.Effective, c.State.Effective+10)
		}
	}
	return c
}

// TestStateReadsBack writes two checkpoints of which the second knows the
// chunks of the first, and reads the state from each.
func TestStateReadsBack(t *testing.T) {
	for _, chunk := range []int{1, 3, 8, 1000} {
		b := storage.NewMem()
		c := long(t, 40)
		half := c.State.Clone()
		first := encode(t, half, 1, c.Raws, chunk)
		put(t, b, first)
		_, s := open(t, b, first.Key)
		if d := chaintest.Diff(half, s); d != "" {
			t.Errorf("chunks of %d: the first state reads back otherwise:\n%s", chunk, d)
		}
		log, err := half.Segments.Fold(first.Chunks, checkpoint.NewLoader(b, nil))
		if err != nil {
			t.Fatal(err)
		}
		c.State.Segments = log
		before := len(c.Raws)
		for range 20 {
			c.Segment(2)
		}
		second := encode(t, c.State, chain.Seq(before)+1, c.Raws[before:], chunk)
		put(t, b, second)
		r, s := open(t, b, second.Key)
		if d := chaintest.Diff(c.State, s); d != "" {
			t.Errorf("chunks of %d: the second state reads back otherwise:\n%s", chunk, d)
		}
		chunks, err := r.Derive(t.Context(), c.State, hashesOf(c.Raws[before:]))
		if d := cmp.Diff(second.Chunks, chunks); d != "" || err != nil {
			t.Errorf("chunks of %d: derived again: %v\n%s", chunk, err, d)
		}
		if chunk < 10 && len(chunks) <= len(first.Chunks) {
			t.Errorf("chunks of %d: %d and then %d", chunk, len(first.Chunks), len(chunks))
		}
	}
}

// TestDeriveFindsLies holds objects whose hashes all fit to what the manifests say.
func TestDeriveFindsLies(t *testing.T) {
	c := long(t, 20)
	for name, lie := range map[string]func(s *chain.State) [][]byte{
		"a label": func(s *chain.State) [][]byte { delete(s.Labels, "l3"); return c.Raws },
		"a segment": func(s *chain.State) [][]byte {
			segs := chaintest.Segments(s)
			segs[2].Body.LogHash[0] ^= 1
			s.Segments = chain.SegmentsOf(segs...)
			return c.Raws
		},
		"the last segment": func(s *chain.State) [][]byte {
			segs := chaintest.Segments(s)
			segs[19].Body.Packs = slices.Clone(segs[19].Body.Packs)
			segs[19].Body.Packs[0].Hash[0] ^= 1
			s.Segments = chain.SegmentsOf(segs...)
			return c.Raws
		},
		"a largest transaction": func(s *chain.State) [][]byte {
			segs := chaintest.Segments(s)
			segs[2].Body.Largest = []chain.TxSize{segs[2].Body.Largest[0]}
			segs[2].Body.Largest[0].ID++
			s.Segments = chain.SegmentsOf(segs...)
			return c.Raws
		},
		"a manifest": func(*chain.State) [][]byte {
			return append([][]byte{c.Raws[1]}, c.Raws[1:]...)
		},
		"nothing": func(*chain.State) [][]byte { return c.Raws },
	} {
		s := c.State.Clone()
		o := encode(t, s, 1, lie(s), 6)
		r, err := checkpoint.Of(t.Context(), storage.NewMem(), o.Key, o.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.Derive(t.Context(), c.State, hashesOf(c.Raws)); name == "nothing" && err != nil || name != "nothing" && !errors.Is(err, chain.ErrDamaged) {
			t.Errorf("a lie about %s: %v", name, err)
		}
	}
}

// TestUnloaded shows that rules ask for the part of the log that they need.
func TestUnloaded(t *testing.T) {
	b := storage.NewMem()
	c := long(t, 40)
	o := encode(t, c.State, 1, c.Raws, 5)
	put(t, b, o)
	_, s := open(t, b, o.Key)
	l := chaintest.Chain{T: t, State: s}
	label := l.Seal(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "old", LSN: 10}})
	err := s.Check(label)
	var need *chain.NotLoadedError
	if !errors.As(err, &need) || need.LSN != 10 || errors.Is(err, chain.ErrBroken) {
		t.Fatalf("a label in a part that is not in memory: %v", err)
	}
	if err := s.Segments.Hold(t.Context(), need.LSN); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(label); err != nil {
		t.Error(err)
	}
	s.Segments.Release()
	if err := s.Check(label); !errors.Is(err, chain.ErrNotLoaded) {
		t.Errorf("after the release: %v", err)
	}
}

// TestLogInParts compares what the two kinds of list answer.
func TestLogInParts(t *testing.T) {
	b := storage.NewMem()
	c := long(t, 40)
	o := encode(t, c.State, 1, c.Raws, 4)
	put(t, b, o)
	_, s := open(t, b, o.Key)
	whole, parts := &c.State.Segments, &s.Segments
	ctx := t.Context()
	for lsn := change.LSN(0); lsn <= c.State.Last+1; lsn++ {
		var want, got []chain.Seq
		for i, l := range []*chain.Segments{whole, parts} {
			out := []*[]chain.Seq{&want, &got}[i]
			for seg, err := range l.From(ctx, lsn) {
				if err != nil {
					t.Fatal(err)
				}
				*out = append(*out, seg.Seq)
			}
			for seg, err := range l.Backward(ctx, lsn) {
				if err != nil {
					t.Fatal(err)
				}
				*out = append(*out, seg.Seq)
				if len(*out) > 50 {
					break
				}
			}
		}
		wantAt, err1 := whole.Covering(ctx, lsn)
		gotAt, err2 := parts.Covering(ctx, lsn)
		wantSum, err3 := whole.Through(ctx, lsn)
		gotSum, err4 := parts.Through(ctx, lsn)
		if d := cmp.Diff(want, got) + cmp.Diff(wantAt, gotAt) + cmp.Diff(wantSum, gotSum); d != "" || errors.Join(err1, err2, err3, err4) != nil {
			t.Fatalf("at LSN %d: %v\n%s", lsn, errors.Join(err1, err2, err3, err4), d)
		}
	}
	for at := change.Time(0); at < c.State.Effective+500; at += 250 {
		want, err1 := whole.Starting(ctx, at)
		got, err2 := parts.Starting(ctx, at)
		if d := cmp.Diff(want, got); d != "" || errors.Join(err1, err2) != nil {
			t.Fatalf("at time %d: %v\n%s", at, errors.Join(err1, err2), d)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range parts.All(canceled) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	}
}

// everything reads all that an object holds.
func everything(ctx context.Context, key string, object []byte) error {
	b := storage.NewMem()
	if err := b.Create(ctx, key, bytes.NewReader(object)); err != nil {
		return err
	}
	r, err := checkpoint.Of(ctx, b, key, object)
	if err != nil {
		return err
	}
	s, err := r.State(ctx, checkpoint.NewLoader(b, nil))
	if err != nil {
		return err
	}
	for _, err := range s.Segments.All(ctx) {
		if err != nil {
			return err
		}
	}
	_, err = r.Manifests(ctx)
	return err
}

// TestEveryByteCounts flips each byte of an object and cuts it short.
func TestEveryByteCounts(t *testing.T) {
	c := long(t, 12)
	o := encode(t, c.State, 1, c.Raws, 5)
	if err := everything(t.Context(), o.Key, o.Bytes); err != nil {
		t.Fatal(err)
	}
	for i := range o.Bytes {
		raw := bytes.Clone(o.Bytes)
		raw[i] ^= 1 << (i % 8)
		if err := everything(t.Context(), o.Key, raw); !errors.Is(err, chain.ErrDamaged) && !errors.Is(err, chain.ErrVersion) {
			t.Fatalf("a flip in byte %d of %d: %v", i, len(o.Bytes), err)
		}
		if err := everything(t.Context(), o.Key, o.Bytes[:i]); !errors.Is(err, chain.ErrDamaged) {
			t.Fatalf("cut to %d of %d bytes: %v", i, len(o.Bytes), err)
		}
	}
}

// TestGolden reads an object as it was once written. How zstd compresses may
// change; what was compressed must stay readable.
func TestGolden(t *testing.T) {
	c := chaintest.EveryKind(t)
	o := encode(t, c.State, 1, c.Raws, 1)
	if *update {
		chaintest.Golden(t, "checkpoint", o.Bytes, true)
	}
	stored, err := os.ReadFile("testdata/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{o.Bytes, stored} {
		b := storage.NewMem()
		put(t, b, &checkpoint.Object{Key: o.Key, Bytes: raw})
		r, s := open(t, b, o.Key)
		if d := chaintest.Diff(c.State, s); d != "" {
			t.Errorf("it reads back otherwise:\n%s", d)
		}
		if _, err := r.Derive(t.Context(), c.State, hashesOf(c.Raws)); err != nil {
			t.Error(err)
		}
	}
}

// FuzzObject reads any bytes, as they are and with hashes that fit them: what
// lies behind the hashes must stand on its own feet too.
func FuzzObject(f *testing.F) {
	c := long(f, 12)
	o := encode(f, c.State, 1, c.Raws, 5)
	f.Add(o.Bytes)
	f.Add(o.Bytes[:400])
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, b := range [][]byte{raw, sealed(raw)} {
			if err := everything(t.Context(), o.Key, b); err != nil && !errors.Is(err, chain.ErrDamaged) && !errors.Is(err, chain.ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
		}
	})
}

// sealed returns the object with a header that fits the sections, as far as
// they are there.
func sealed(object []byte) []byte {
	const sections, entry, start = 5, 56, 12
	const header = start + sections*entry + sha256.Size
	b := bytes.Clone(object)
	if len(b) < header {
		return b
	}
	next := uint64(header)
	for i := range sections {
		e := b[start+i*entry:]
		size := min(binary.LittleEndian.Uint64(e[8:]), uint64(len(b))-next)
		if i == sections-1 {
			size = uint64(len(b)) - next
		}
		binary.LittleEndian.PutUint64(e, next)
		binary.LittleEndian.PutUint64(e[8:], size)
		sum := sha256.Sum256(b[next : next+size])
		copy(e[24:], sum[:])
		next += size
	}
	sum := sha256.Sum256(b[:header-sha256.Size])
	copy(b[header-sha256.Size:], sum[:])
	return b
}

// FuzzSections reads any bytes as the sections that open an archive, whatever
// their hashes and frames.
func FuzzSections(f *testing.F) {
	c := long(f, 12)
	o := encode(f, c.State, 1, c.Raws, 5)
	raw := make([][]byte, 5)
	for i := range raw {
		e := o.Bytes[12+i*56:]
		at, size := binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:])
		raw[i] = o.Bytes[at : at+size]
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		f.Fatal(err)
	}
	defer decoder.Close()
	unpack := func(b []byte) []byte {
		out, err := decoder.DecodeAll(b, nil)
		if err != nil {
			f.Fatal(err)
		}
		return out
	}
	first := binary.LittleEndian.Uint32(raw[3])
	f.Add(unpack(raw[1]), unpack(raw[2]), unpack(raw[3][12:12+first]), unpack(raw[3][12+first:]))
	f.Fuzz(func(t *testing.T, directory, state, main, largest []byte) {
		pack := func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			return encoder.EncodeAll(b, nil)
		}
		a := pack(main)
		tail := binary.LittleEndian.AppendUint32(nil, uint32(len(a)))
		tail = binary.LittleEndian.AppendUint32(tail, uint32(len(main)))
		tail = binary.LittleEndian.AppendUint32(tail, uint32(len(largest)))
		tail = append(append(tail, a...), pack(largest)...)
		object := bytes.Clone(o.Bytes[:12+5*56+sha256.Size])
		for i, s := range [][2][]byte{{raw[0], raw[0]}, {pack(directory), directory}, {pack(state), state}, {tail, tail}, {raw[4], nil}} {
			e := object[12+i*56:]
			binary.LittleEndian.PutUint64(e[8:], uint64(len(s[0])))
			if i < 4 {
				binary.LittleEndian.PutUint64(e[16:], uint64(len(s[1])))
			}
			object = append(object, s[0]...)
		}
		if err := everything(t.Context(), o.Key, sealed(object)); err != nil && !errors.Is(err, chain.ErrDamaged) && !errors.Is(err, chain.ErrVersion) &&
			!errors.Is(err, storage.ErrNotFound) { // a chunk in another object
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
