package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// harm replaces an object; nil removes it.
func harm(t rapid.TB, b *storage.Mem, key string, content []byte) {
	t.Helper()
	if err := b.Delete(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	if content == nil {
		return
	}
	if err := b.Create(context.Background(), key, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func object(t rapid.TB, b *storage.Mem, key string) []byte {
	t.Helper()
	r, err := b.Read(context.Background(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// packsOf lists the packs that a plan reads.
func packsOf(p *Plan) []string {
	var out []string
	if p.Base != nil {
		for _, r := range p.Base.Runs {
			out = append(out, r.Key)
		}
	}
	for _, s := range p.Segments {
		for _, r := range s.Packs {
			out = append(out, r.Key)
		}
	}
	return out
}

// TestDamagedPacks harms one pack that a plan needs. Either the harm lies
// where nothing is read, and the rows are right, or the error names the pack,
// and every row that came before it is right.
func TestDamagedPacks(t *testing.T) {
	refused := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		for range 10 + w.n(30, "steps") {
			w.step()
		}
		w.publish()
		s := w.c.State
		lsn := rapid.SampledFrom(w.order).Draw(rt, "target")
		p, err := Resolve(rt.Context(), w.bucket, s, AtLSN(lsn))
		if err != nil {
			return
		}
		plan, err := MakePlan(context.Background(), s, p)
		if err != nil {
			rt.Fatal(err)
		}
		packs := packsOf(plan)
		if len(packs) == 0 {
			return
		}
		key := rapid.SampledFrom(packs).Draw(rt, "pack")
		good := object(rt, w.bucket, key)
		kind := rapid.SampledFrom([]string{"missing", "flipped", "truncated", "longer", "swapped"}).Draw(rt, "harm")
		switch kind {
		case "missing":
			harm(rt, w.bucket, key, nil)
		case "flipped":
			bad := bytes.Clone(good)
			bad[w.n(len(bad)-1, "byte")] ^= 1 << w.n(7, "bit")
			harm(rt, w.bucket, key, bad)
		case "truncated":
			harm(rt, w.bucket, key, good[:w.n(len(good)-1, "size")])
		case "longer":
			harm(rt, w.bucket, key, append(bytes.Clone(good), 0))
		case "swapped":
			other := object(rt, w.bucket, rapid.SampledFrom(packs).Draw(rt, "other"))
			if bytes.Equal(good, other) {
				return
			}
			harm(rt, w.bucket, key, other)
		}
		want := w.states[lsn].rows
		rows, err := At(rt.Context(), w.bucket, plan, AtOptions{Memory: rapid.SampledFrom([]int64{0, 2_000}).Draw(rt, "memory"), TempDir: t.TempDir(), Parts: 2})
		var got []change.Record
		if err == nil {
			got, err = readRows(rows)
			err = errors.Join(err, rows.Close())
		}
		if err == nil {
			if d := gocmp.Diff(rowsText(want), rowsText(got)); d != "" || kind != "flipped" {
				rt.Fatalf("%s %s was not noticed: (-want +got)\n%s", kind, key, d)
			}
			return
		}
		refused[kind]++
		if !strings.Contains(err.Error(), key) || !(errors.Is(err, pack.ErrCorrupt) || errors.Is(err, storage.ErrNotFound)) {
			rt.Fatalf("%s %s: the error does not say so: %v", kind, key, err)
		}
		right := rowsText(want)
		for _, r := range rowsText(got) {
			if !slices.Contains(right, r) {
				rt.Fatalf("%s %s: wrong row %s before %v", kind, key, r, err)
			}
		}
	})
	if testing.Short() {
		return // too few histories to reach every kind
	}
	for _, kind := range []string{"missing", "flipped", "truncated", "longer", "swapped"} {
		if refused[kind] == 0 && !testing.Short() { // with few cases chance may leave one out
			t.Errorf("no case of %s was refused; the test should reach it", kind)
		}
	}
}

// fixedWorld is a history with a base inside the log and three segments after it.
func fixedWorld(t *testing.T) *world {
	t.Helper()
	return rapid.Custom(func(rt *rapid.T) *world {
		w := newWorld(t, rt)
		for w.c.State.Segments.Len() < 4 {
			for range 4 {
				w.commit()
			}
			w.publish()
			if len(w.states[w.last].rows) > 0 && len(w.c.State.Snapshots) == 0 {
				w.base(w.last)
			}
		}
		return w
	}).Example(4)
}

// TestFalsePlans checks what no block hash can show: packs that are whole and
// are not what the chain says of the log.
func TestFalsePlans(t *testing.T) {
	for name, alter := range map[string]func(p *Plan){
		"log hash of a segment":   func(p *Plan) { p.Segments[0].LogHash[3] ^= 1 },
		"log hash of the base":    func(p *Plan) { p.Segments[0].Prev[3] ^= 1 },
		"number of transactions":  func(p *Plan) { p.Segments[1].Txs++ },
		"a segment left out":      func(p *Plan) { p.Segments = slices.Delete(p.Segments, 1, 2) },
		"segments exchanged":      func(p *Plan) { p.Segments[0], p.Segments[1] = p.Segments[1], p.Segments[0] },
		"packs exchanged":         func(p *Plan) { p.Segments[0].Packs, p.Segments[1].Packs = p.Segments[1].Packs, p.Segments[0].Packs },
		"a pack left out":         func(p *Plan) { p.Segments[1].Packs = append(slices.Clone(p.Segments[1].Packs), p.Segments[1].Packs...) },
		"a log pack for the base": func(p *Plan) { p.Base.Runs = p.Segments[0].Packs },
		"a run for the log":       func(p *Plan) { p.Segments[0].Packs = p.Base.Runs },
		"no schema for the base":  func(p *Plan) { p.Base.Schemas = nil },
		"a base of another LSN":   func(p *Plan) { p.Base.LSN++ },
	} {
		t.Run(name, func(t *testing.T) {
			w := fixedWorld(t)
			p, err := Resolve(t.Context(), w.bucket, w.c.State, Latest())
			if err != nil {
				t.Fatal(err)
			}
			plan, err := MakePlan(context.Background(), w.c.State, p)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Base == nil || len(plan.Segments) < 2 || len(plan.Base.Runs) == 0 {
				t.Fatalf("the history is too small: %v", plan)
			}
			alter(plan)
			rows, err := At(t.Context(), w.bucket, plan, AtOptions{TempDir: t.TempDir()})
			if err == nil {
				t.Errorf("accepted; %v, closed: %v", plan, rows.Close())
			}
		})
	}
}

// TestUnknownCollection checks that a log with records of a collection that
// has no schema is refused, not read without them.
func TestUnknownCollection(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3)
	plan, err := MakePlan(context.Background(), c.State, Point{LSN: 3})
	if err != nil || len(plan.Schemas) != 1 {
		t.Fatalf("%v, %v", plan, err)
	}
	seg := chaintest.Segments(c.State)[0]
	seg.Body.Schemas = nil
	s := c.State.Clone()
	s.Segments = chain.SegmentsOf(seg)
	if _, err := MakePlan(context.Background(), s, Point{LSN: 3}); !errors.Is(err, ErrNoPlan) || !strings.Contains(fmt.Sprint(err), "collection 1") {
		t.Errorf("got %v, want ErrNoPlan that names collection 1", err)
	}
}
