package plan_test

import (
	"errors"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/plan"
	"github.com/tidemarkdb/tidemark/recovery"
)

// TestForgedPlan edits stored plans and makes their hashes fit: the chain, not
// the plan, says what is restored.
func TestForgedPlan(t *testing.T) {
	_, a := captured(t)
	for _, c := range []struct {
		name  string
		forge func(p *recovery.Plan)
	}{
		{"as it was", nil},
		{"a truncate that never was", func(p *recovery.Plan) { p.Cuts = []chain.Tombstone{{Collection: 1, LSN: p.Point.LSN}} }},
		{"rows without a collection", func(p *recovery.Plan) { p.Schemas = nil }},
		{"a schema of nothing", func(p *recovery.Plan) { p.Schemas = append(p.Schemas, nil) }},
		{"a renamed collection", func(p *recovery.Plan) {
			s := *p.Schemas[0]
			s.Name = "other"
			p.Schemas = []*change.Schema{&s}
		}},
		{"an ID to be used again", func(p *recovery.Plan) { p.NextID = 1 }},
		{"IDs that the archive never saw", func(p *recovery.Plan) { p.NextID += 1000 }},
		{"the log without the base", func(p *recovery.Plan) {
			p.Base, p.Segments[0].First, p.Segments[0].Prev = nil, 1, change.Hash{}
		}},
		{"another base", func(p *recovery.Plan) { p.Base.Seq-- }},
		{"a base without its runs", func(p *recovery.Plan) { p.Base.Runs = nil }},
		{"the base's rows as of later", func(p *recovery.Plan) {
			p.Base.LSN, p.Base.LogHash, p.Segments = p.Point.LSN, p.Segments[len(p.Segments)-1].LogHash, nil
		}},
		{"an LSN beyond the archive", func(p *recovery.Plan) { p.Point.LSN += 1 << 40 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, s := made(t, a, plan.Options{})
			if d.Plan.Base == nil || len(d.Plan.Segments) == 0 {
				t.Fatalf("the plan has no base or no segments:\n%s", d.Plan)
			}
			var want error
			if c.forge != nil {
				want = plan.ErrChanged
				c.forge(d.Plan)
			}
			var err error
			if d.ID, err = d.Plan.Hash(); err != nil {
				t.Fatal(err)
			}
			b, err := d.Encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := plan.Decode(b)
			if err == nil {
				err = back.Fits(t.Context(), a, s)
			}
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}
