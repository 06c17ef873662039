package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name  string
		chain func(c *chaintest.Chain)
		want  []string
	}{
		{"nothing", func(*chaintest.Chain) {}, nil},
		{"claimed, nothing happened", func(c *chaintest.Chain) { c.Claim() }, []string{"0–0: 0–0"}},
		{"claimed, covered", func(c *chaintest.Chain) { c.Claim().Covered(700) }, []string{"0–0: 700–700"}},
		{"log from the empty database", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4) }, []string{"0–7: 1001–2002"}},
		{"covered after the last transaction", func(c *chaintest.Chain) { c.Claim().Segment(3).Covered(9000) }, []string{"0–3: 1001–9000"}},
		{"a base changes nothing then", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Base(3, "a") }, []string{"0–7: 1001–2002"}},
		{"a database with a history, no base", func(c *chaintest.Chain) { c.ClaimAt(50).Segment(3) }, nil},
		{"with its first base", func(c *chaintest.Chain) { c.ClaimAt(50).Base(50, "a").Segment(3) }, []string{"50–53: 5–1001"}},
		{"with a base after a segment", func(c *chaintest.Chain) { c.ClaimAt(50).Segment(3).Segment(3).Base(53, "a") }, []string{"53–56: 1001–2002"}},
		{"a gap without a base after it", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Segment(2) }, []string{"0–3: 1001–2000"}},
		{"a gap with a base at once", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Segment(2) }, []string{"0–3: 1001–2000", "4–6: 5000–6000"}},
		{"a gap with a base later", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Segment(2).Segment(2).Base(6, "a") }, []string{"0–3: 1001–2000", "6–8: 6000–7001"}},
		{"two gaps, nothing between", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 3000).Gap(4000, 5000).Base(5, "a") }, []string{"0–3: 1001–2000", "5–5: 5000–5000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := chaintest.New(t)
			c.chain(ch)
			var got []string
			for _, w := range Windows(ch.State) {
				got = append(got, fmt.Sprintf("%d–%d: %d–%d", w.FromLSN, w.ToLSN, int64(w.From), int64(w.To)))
			}
			if d := gocmp.Diff(c.want, got); d != "" {
				t.Errorf("windows (-want +got)\n%s", d)
			}
		})
	}
}

// TestRefusals checks what a person is told whose target can't be restored.
func TestRefusals(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3).Gap(2000, 5000).Segment(2).Segment(2).Base(6, "a").Covered(9000)
	first := Moment{LSN: 3, Time: 2000}
	second := Moment{LSN: 6, Time: 6000}
	end := Moment{LSN: 8, Time: 9000}
	for _, w := range []struct {
		target        Target
		is            error
		before, after *Moment
		text          string
	}{
		{AtTime(9001), ErrOutside, &end, nil, "covers the time up to"},
		{AtTime(9001).JustBefore(), nil, nil, nil, ""}, // 9000 is covered; the pack is made up
		{AtTime(1000), ErrOutside, nil, &Moment{0, 1001}, "before what the archive can restore"},
		{AtTime(3000), ErrInGap, &first, &second, "gap from"},
		{AtTime(5500), ErrInGap, &first, &second, "log lost"},
		{AtLSN(9), ErrOutside, &end, nil, "ends at LSN 8"},
		{AtLSN(4), ErrInGap, &first, &second, "no base was taken"},
		{AtLSN(0).JustBefore(), ErrOutside, nil, &Moment{0, 1001}, "before the start of the log"},
	} {
		_, err := Resolve(t.Context(), storage.NewMem(), c.State, w.target)
		var e *UnrestorableError
		if w.is == nil {
			if errors.As(err, &e) {
				t.Errorf("%s: %v, want it to be looked for", w.target, err)
			}
			continue
		}
		if !errors.Is(err, w.is) || !errors.As(err, &e) || !strings.Contains(err.Error(), w.text) {
			t.Errorf("%s: got %v, want %v with %q", w.target, err, w.is, w.text)
			continue
		}
		if d := gocmp.Diff([]*Moment{w.before, w.after}, []*Moment{e.Before, e.After}); d != "" {
			t.Errorf("%s: nearest moments (-want +got)\n%s", w.target, d)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name  string
		chain func(c *chaintest.Chain)
		lsn   change.LSN
		want  string // base; segments; discards
		is    error
	}{
		{"log alone", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4) }, 7, "none; 1–3 4–7; 0 records", nil},
		{"part of the log", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Segment(5) }, 3, "none; 1–3; 9 records 2 txs", nil},
		{"the empty database", func(c *chaintest.Chain) { c.Claim().Segment(3) }, 0, "none; ; 3 records 1 txs", nil},
		// The first design dropped every segment at or below the base, yet
		// wanted the first one kept to start the chain.
		{"a base in the middle", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Base(7, "a").Segment(5) }, 12, "7; 8–12; 0 records", nil},
		{"a base at the target", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Base(3, "a").Base(7, "b") }, 7, "7; ; 0 records", nil},
		{"a base after the target", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Base(7, "b") }, 3, "none; 1–3; 4 records 1 txs", nil},
		{"the newest base", func(c *chaintest.Chain) { c.Claim().Segment(3).Segment(4).Base(3, "a").Segment(5).Base(7, "b") }, 12, "7; 8–12; 0 records", nil},
		{"two bases at one place", func(c *chaintest.Chain) { c.Claim().Segment(3).Base(3, "a").Base(3, "b") }, 3, "3 of manifest 4; ; 0 records", nil},
		{"beyond a gap", func(c *chaintest.Chain) { c.Claim().Segment(3).Base(3, "a").Gap(2000, 5000).Segment(2) }, 6, "", ErrInGap},
		{"beyond a gap, with a base", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Segment(2).Segment(2) }, 6, "4; 5–6; 2 records 1 txs", nil},
		{"before the gap", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Segment(2) }, 3, "none; 1–3; 2 records 1 txs", nil},
		{"no base", func(c *chaintest.Chain) { c.ClaimAt(50).Segment(3) }, 53, "", ErrOutside},
		{"beyond the end", func(c *chaintest.Chain) { c.Claim().Segment(3) }, 4, "", ErrOutside},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := chaintest.New(t)
			c.chain(ch)
			p, err := MakePlan(context.Background(), ch.State, Point{LSN: c.lsn})
			if c.is != nil {
				if !errors.Is(err, c.is) {
					t.Errorf("got %v, want %v", err, c.is)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := "none"
			if p.Base != nil {
				got = fmt.Sprint(p.Base.LSN)
				if strings.Contains(c.want, "manifest") {
					got += fmt.Sprintf(" of manifest %d", p.Base.Seq)
				}
			}
			var segs []string
			for _, s := range p.Segments {
				segs = append(segs, fmt.Sprintf("%d–%d", s.First, s.Last))
			}
			got += "; " + strings.Join(segs, " ") + fmt.Sprintf("; %d records", p.Discards.Records)
			if p.Discards.Records > 0 {
				got += fmt.Sprintf(" %d txs", p.Discards.Txs)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestPlanContent checks schemas, cuts and estimates on a segment that says all.
func TestPlanContent(t *testing.T) {
	c := chaintest.New(t).Claim()
	create := func(id change.CollectionID) change.Record {
		r, err := change.SchemaRecord(chaintest.Schema(t, id))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	drop := *chaintest.Schema(t, 2)
	drop.Version, drop.Dropped = 2, true
	dropped, err := change.SchemaRecord(&drop)
	if err != nil {
		t.Fatal(err)
	}
	row := func(id change.CollectionID) change.Record {
		return change.Record{Op: change.Insert, Collection: id, Key: change.Key{0x14}, Image: change.Image{0}}
	}
	b := chain.NewSegmentBuilder(change.Hash{})
	lsn := change.LSN(0)
	for i, recs := range [][]change.Record{
		{create(1), create(2), row(1)},                             // 1–3
		{row(2), {Op: change.Truncate, Collection: 1}, row(1)},     // 4–6
		{dropped, create(3), {Op: change.Truncate, Collection: 3}}, // 7–9
	} {
		for j := range recs {
			lsn++
			recs[j].LSN = lsn
		}
		if err := b.Add(&change.Tx{ID: 1, Commit: change.Time(i), Effective: change.Time(i + 1), Records: recs}); err != nil {
			t.Fatal(err)
		}
	}
	seg := b.Segment()
	seg.Packs = append(seg.Packs, chaintest.Ref(chain.PackKey{Timeline: chain.MainTimeline, Kind: chain.LogPack, First: 1, Last: lsn, Nonce: "0123456789abcdef"}, int64(lsn)))
	c.Add(chain.Manifest{Kind: chain.KindSegment, Segment: &seg})
	for _, w := range []struct {
		lsn                 change.LSN
		schemas, cuts, gone string
	}{
		{3, "[1 2]", "[]", "[]"},
		{6, "[1 2]", "[1<5]", "[]"},
		{9, "[1 3]", "[1<5 2<7 3<9]", "[2]"},
	} {
		p, err := MakePlan(context.Background(), c.State, Point{LSN: w.lsn})
		if err != nil {
			t.Fatal(err)
		}
		var schemas []change.CollectionID
		for _, s := range p.Schemas {
			schemas = append(schemas, s.Collection)
		}
		var cuts []string
		for _, c := range p.Cuts {
			cuts = append(cuts, fmt.Sprintf("%d<%d", c.Collection, c.LSN))
		}
		if got, want := fmt.Sprint(schemas, cuts, p.Dropped), w.schemas+" "+w.cuts+" "+w.gone; got != want {
			t.Errorf("LSN %d: got %s, want %s", w.lsn, got, want)
		}
	}
}

// TestPlanText checks that a plan survives JSON with its hash, that another
// plan has another hash, and that what a person reads says what matters.
func TestPlanText(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3).Segment(4).Base(3, "a").Segment(5)
	p, err := MakePlan(context.Background(), c.State, Point{LSN: 7, Tx: 7, Commit: 2001, Effective: 2001})
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(j, &back); err != nil {
		t.Fatal(err)
	}
	h1, err1 := p.Hash()
	h2, err2 := back.Hash()
	if err := errors.Join(err1, err2); err != nil || h1 != h2 || h1.IsZero() {
		t.Errorf("hashes %v and %v, %v", h1, h2, err)
	}
	other, err := MakePlan(context.Background(), c.State, Point{LSN: 12})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := other.Hash(); err != nil || h == h1 {
		t.Errorf("another plan has hash %v, %v", h, err)
	}
	for _, want := range []string{"LSN 7, included", "transaction 7", "1970-01-01T00:00:00.002001Z", "manifest 4: LSN 3, source", "LSN 4 to 7", "discards  1 transactions, 5 records"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, p)
		}
	}
	if !slices.IsSortedFunc(p.Schemas, func(a, b *change.Schema) int { return int(a.Collection) - int(b.Collection) }) {
		t.Errorf("schemas are not in order: %v", p.Schemas)
	}
}
