package merge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// writeRuns stores sorted records as run packs of at most each records.
func writeRuns(t rapid.TB, bucket *temp, recs []change.Record, each, blockSize int) []pack.Ref {
	t.Helper()
	var refs []pack.Ref
	for len(recs) > 0 {
		n := min(each, len(recs))
		var buf bytes.Buffer
		w := pack.NewRunWriter(&buf, pack.WriterOptions{BlockSize: blockSize})
		for i := range recs[:n] {
			if err := w.Append(&recs[i]); err != nil {
				t.Fatalf("append %v: %v", recs[i], err)
			}
		}
		ref, _, err := w.Close()
		if err != nil {
			t.Fatalf("close pack: %v", err)
		}
		ref.Key = bucket.names(1)[0]
		if err := bucket.Create(context.Background(), ref.Key, &buf); err != nil {
			t.Fatalf("store pack: %v", err)
		}
		refs = append(refs, ref)
		recs = recs[n:]
	}
	return refs
}

func openRun(t rapid.TB, bucket *temp, refs []pack.Ref) *Run {
	t.Helper()
	r, err := OpenRun(context.Background(), bucket, refs, 3)
	if err != nil {
		t.Fatalf("open run: %v", err)
	}
	return r
}

func testBucket(t *testing.T) *temp {
	t.Helper()
	b, err := newTemp(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// emptyDir fails when something is left in dir.
func emptyDir(t rapid.TB, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Fatalf("left in %s: %v, %v", dir, left, err)
	}
}

// TestSorter checks that whatever the memory, the block sizes, the number of
// ranges and the place of the base are, the rows are the model's, every block
// of the log is given back and no file is left.
func TestSorter(t *testing.T) {
	schema := testSchema(t, keyedA)
	bucket := testBucket(t)
	spillDir := t.TempDir()
	spilled, passed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, schema, 150)
		base := rapid.IntRange(0, len(h.log)).Draw(t, "base")
		before, after := testRules, testRules
		before.Cuts, after.Cuts = map[change.CollectionID]change.LSN{}, map[change.CollectionID]change.LSN{}
		for _, r := range h.log {
			if r.Op == change.Truncate && int(r.LSN) <= base {
				before.Cuts[r.Collection] = r.LSN
			} else if r.Op == change.Truncate {
				after.Cuts[r.Collection] = r.LSN
			}
		}
		rows := drain(t, Merge(&before, true, composed(&before, h.log[:base])))
		older := openRun(t, bucket, writeRuns(t, bucket, rows, rapid.IntRange(1, 40).Draw(t, "pack"), rapid.IntRange(1, 400).Draw(t, "block")))
		s := NewSorter(&after, Options{Memory: rapid.Int64Range(100, 60_000).Draw(t, "memory"), TempDir: spillDir,
			Workers: rapid.IntRange(1, 3).Draw(t, "workers"), Ahead: rapid.IntRange(1, 3).Draw(t, "ahead")})
		added, released := 0, 0
		for rest := h.log[base:]; len(rest) > 0; added++ {
			n := rapid.IntRange(1, min(30, len(rest))).Draw(t, "add")
			if err := s.Add(t.Context(), rest[:n], 100, func() { released++ }); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		before2 := len(s.runs)
		o := PartOptions{AtOnce: rapid.IntRange(1, 4).Draw(t, "parts"), Bytes: rapid.Int64Range(0, 500).Draw(t, "bytes"), Done: someRanges(t, h.final)}
		parts, atOnce, err := s.Parts(t.Context(), []*Run{older}, true, o)
		if err != nil {
			t.Fatal(err)
		}
		if atOnce < 1 || atOnce > o.AtOnce {
			t.Fatalf("%d parts at once, want 1 to %d", atOnce, o.AtOnce)
		}
		left := slices.DeleteFunc(slices.Clone(h.final), func(r change.Record) bool {
			return slices.ContainsFunc(o.Done, func(d Range) bool { return !d.below(&r) && !d.above(&r) })
		})
		if len(s.runs) > 0 {
			spilled++
		}
		if len(s.runs) < before2 {
			passed++
		}
		got := make([][]change.Record, len(parts))
		var wg sync.WaitGroup
		for i, p := range parts {
			wg.Go(func() { got[i] = drain(t, p.Source) })
		}
		wg.Wait()
		equalRecords(t, "rows", slices.Concat(got...), left)
		for _, p := range parts {
			if err := p.Source.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if added != released {
			t.Fatalf("%d blocks added, %d released", added, released)
		}
		emptyDir(t, spillDir)
	})
	if spilled == 0 || passed == 0 {
		t.Errorf("%d cases spilled, %d merged in several passes; the test should reach both", spilled, passed)
	}
}

// TestKeepCompositions checks that a fold over part of a history can be laid
// over the rest later.
func TestKeepCompositions(t *testing.T) {
	schema := testSchema(t, keyedA)
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, schema, 100)
		rules := testRules
		rules.Cuts = h.cuts
		i := rapid.IntRange(0, len(h.log)).Draw(t, "i")
		j := rapid.IntRange(i, len(h.log)).Draw(t, "j")
		middle := drain(t, Merge(&rules, false, composed(&rules, h.log[i:j])))
		got := drain(t, Merge(&rules, true, composed(&rules, h.log[:i]), &sliceSource{recs: middle}, composed(&rules, h.log[j:])))
		equalRecords(t, "rows", got, h.final)
	})
}

func TestDivergence(t *testing.T) {
	schema := testSchema(t, keyedA)
	_, partial, err := schema.EncodeRow(change.Row{change.TextValue("x"), change.Unchanged(), change.TextValue("b")})
	if err != nil {
		t.Fatal(err)
	}
	_, full, err := schema.EncodeRow(change.Row{change.TextValue("x"), change.IntValue(1), change.TextValue("b")})
	if err != nil {
		t.Fatal(err)
	}
	key := change.Key("x")
	for name, log := range map[string][]change.Record{
		"partial over delete":  {{LSN: 1, Op: change.Delete, Collection: keyedA, Key: key}, {LSN: 2, Op: change.Update, Collection: keyedA, Key: key, Image: partial}},
		"partial over nothing": {{LSN: 1, Op: change.Update, Collection: keyedA, Key: key, Image: partial}},
		"partial insert":       {{LSN: 1, Op: change.Insert, Collection: keyedA, Key: key, Image: partial}},
		"bag below zero":       {{LSN: 1, Op: change.Delete, Collection: bagB, Key: key, Image: full}},
		"update in a bag":      {{LSN: 1, Op: change.Update, Collection: bagB, Key: key, Image: full}},
		"negative count":       {{LSN: 1, Op: change.Insert, Collection: bagB, Key: key, Image: full, Count: -1}},
		"count overflows": {{LSN: 1, Op: change.Insert, Collection: bagB, Key: key, Image: full, Count: 1<<63 - 1},
			{LSN: 2, Op: change.Insert, Collection: bagB, Key: key, Image: full}},
	} {
		t.Run(name, func(t *testing.T) {
			src := Merge(&testRules, true, composed(&testRules, log))
			defer src.Close()
			recs, err := src.Next(t.Context())
			if !errors.Is(err, ErrDivergence) {
				t.Fatalf("got %v, %v; want ErrDivergence", recs, err)
			}
			if !strings.Contains(err.Error(), "78") {
				t.Errorf("error %q does not name the key", err)
			}
		})
	}
}

func TestUnsortedSource(t *testing.T) {
	image := change.Image{0}
	recs := []change.Record{
		{Op: change.Insert, Collection: keyedA, Key: change.Key("b"), Image: image},
		{Op: change.Insert, Collection: keyedA, Key: change.Key("a"), Image: image},
	}
	for _, size := range []int{1, 2} {
		src := Merge(&testRules, true, &sliceSource{recs: recs, sizes: []int{size, size}})
		var err error
		for n := 0; n < 3 && err == nil; n++ {
			_, err = src.Next(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "not sorted") {
			t.Errorf("batches of %d: got %v, want an error that says so", size, err)
		}
		src.Close()
	}
}

// TestOverlappingRun checks that packs of one run must follow each other.
func TestOverlappingRun(t *testing.T) {
	bucket := testBucket(t)
	row := func(k string) change.Record {
		return change.Record{Op: change.Insert, Collection: keyedA, Key: change.Key(k), Image: change.Image{0}}
	}
	refs := writeRuns(t, bucket, []change.Record{row("a"), row("c"), row("d"), row("e")}, 2, 0)
	if _, err := OpenRun(t.Context(), bucket, refs, 1); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(refs)
	if _, err := OpenRun(t.Context(), bucket, refs, 1); !errors.Is(err, pack.ErrCorrupt) {
		t.Fatalf("got %v, want pack.ErrCorrupt", err)
	}
}

// TestSpillDamage checks that a spilled file that changes or goes is noticed.
func TestSpillDamage(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"flipped": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[40] ^= 1
			return os.WriteFile(path, b, 0o600)
		},
		"truncated": func(path string) error { return os.Truncate(path, 50) },
		"removed":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := NewSorter(&testRules, Options{Memory: 100, TempDir: dir, Workers: 1})
			recs := []change.Record{{LSN: 1, Op: change.Insert, Collection: keyedA, Key: change.Key("k"), Image: bytes.Repeat([]byte{0}, 200)}}
			if err := s.Add(t.Context(), recs, 0, nil); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("files %v, %v; want one", files, err)
			}
			if err := harm(files[0]); err != nil {
				t.Fatal(err)
			}
			parts, _, err := s.Parts(t.Context(), nil, false, PartOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if recs, err := parts[0].Source.Next(t.Context()); err == nil {
				t.Errorf("got %v, want an error", recs)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			emptyDir(t, dir)
		})
	}
}

// TestNoRoomToSpill checks that a failing spill is reported and leaves nothing.
func TestNoRoomToSpill(t *testing.T) {
	s := NewSorter(&testRules, Options{Memory: 1, TempDir: filepath.Join(t.TempDir(), "missing")})
	released := false
	recs := []change.Record{{LSN: 1, Op: change.Insert, Collection: keyedA, Key: change.Key("k"), Image: change.Image{0}}}
	if err := s.Add(t.Context(), recs, 0, func() { released = true }); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want os.ErrNotExist", err)
	}
	if err := s.Close(); err != nil || !released {
		t.Fatalf("close: %v, released: %t", err, released)
	}
}

// TestReadAheadStops checks that a canceled context ends a stream with an
// error, never as if it were complete.
func TestReadAheadStops(t *testing.T) {
	bucket := testBucket(t)
	var recs []change.Record
	for i := range 50 {
		recs = append(recs, change.Record{Op: change.Insert, Collection: keyedA, Key: change.Key{byte(i)}, Image: change.Image{0}})
	}
	run := openRun(t, bucket, writeRuns(t, bucket, recs, 50, 1))
	for _, ahead := range []int{0, 1, 5} {
		ctx, cancel := context.WithCancel(t.Context())
		src := run.Source(&testRules, Range{}, ahead)
		n := 0
		var err error
		for {
			var got []change.Record
			if got, err = src.Next(ctx); err != nil || len(got) == 0 {
				break
			}
			n += len(got)
			cancel()
		}
		if n < 50 && err == nil || errors.Is(err, io.EOF) {
			t.Errorf("ahead %d: ended after %d rows with %v", ahead, n, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// someRanges draws ranges between the keys of rows, in order and apart.
func someRanges(t *rapid.T, rows []change.Record) []Range {
	if len(rows) == 0 {
		return nil
	}
	places := rapid.SliceOfNDistinct(rapid.IntRange(0, len(rows)-1), 0, min(6, len(rows)), rapid.ID[int]).Draw(t, "places")
	slices.Sort(places)
	cuts := []*pack.RowKey{nil}
	for _, n := range places {
		k := rowKey(&rows[n])
		cuts = append(cuts, &k)
	}
	cuts = append(cuts, nil)
	var out []Range
	for i := 1; i < len(cuts); i++ {
		if rapid.Bool().Draw(t, "done") {
			out = append(out, Range{From: cuts[i-1], To: cuts[i]})
		}
	}
	return out
}
