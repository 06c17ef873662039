package recovery

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

func TestStretches(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(*chaintest.Chain)
		want  string
	}{
		{"nothing yet", func(*chaintest.Chain) {}, ""},
		{"one window", func(c *chaintest.Chain) { c.Claim().Segment(3) }, "restorable 0–3"},
		{"no base", func(c *chaintest.Chain) { c.ClaimAt(10) }, "no-base 10–10"},
		{"a base at the start", func(c *chaintest.Chain) { c.ClaimAt(10).Base(10, "a") }, "restorable 10–10"},
		{"a gap at the end", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Segment(2) }, "restorable 0–3; gap 4–6 [4–4]"},
		{"a base at once", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Segment(2) },
			"restorable 0–3; gap 4–4 [4–4]; restorable 4–6"},
		{"a base later", func(c *chaintest.Chain) { c.Claim().Segment(3).Gap(2000, 5000).Segment(2).Segment(2).Base(6, "a") },
			"restorable 0–3; gap 4–6 [4–4]; restorable 6–8"},
		{"two gaps, one known", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Gap(2000, 3000).Gap(4000, 5000).Base(5, "a")
			c.Add(chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: 5, Reason: "we moved it"}})
		}, "restorable 0–3; gap 4–5 [4–4 5–5 known: we moved it]; restorable 5–5"},
		{"what a verification found lost", func(c *chaintest.Chain) {
			c.Claim().Segment(3).Segment(2).Segment(2).Base(5, "a")
			c.Add(chain.Manifest{Kind: chain.KindVerify, Verify: &chain.Verify{Level: "objects", Through: c.State.Seq, Findings: 1,
				Lost: []chain.Lost{{First: 4, Last: 5, Effective: chain.Span{From: 2001, To: 3000}, Detail: "a pack is gone"}}}})
		}, "restorable 0–3; lost 4–5 {4–5}; restorable 5–7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := chaintest.New(t)
			tt.build(c)
			var got []string
			var last *Stretch
			for _, s := range Stretches(c.State) {
				line := fmt.Sprintf("%s %d–%d", s.Kind, s.FromLSN, s.ToLSN)
				var gaps []string
				for _, g := range s.Gaps {
					text := fmt.Sprintf("%d–%d", g.First, g.Last)
					if g.Acknowledged {
						text += " known: " + g.Note
					}
					gaps = append(gaps, text)
				}
				if len(gaps) > 0 {
					line += " [" + strings.Join(gaps, " ") + "]"
				}
				for _, l := range s.Lost {
					line += fmt.Sprintf(" {%d–%d}", l.First, l.Last)
				}
				if last != nil && s.From != last.To {
					t.Errorf("%s starts at %v, the one before ends at %v", line, s.From, last.To)
				}
				last = &s
				got = append(got, line)
			}
			if text := strings.Join(got, "; "); text != tt.want {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
	c := chaintest.New(t).Claim().Segment(3).Gap(2000, 3000).Gap(4000, 5000)
	if n := Unacknowledged(c.State); n != 2 {
		t.Errorf("%d gaps are unacknowledged, want 2", n)
	}
	c.Add(chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: change.LSN(4), Reason: "x"}})
	if n := Unacknowledged(c.State); n != 1 {
		t.Errorf("%d gaps are unacknowledged, want 1", n)
	}
}
