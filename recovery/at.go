package recovery

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// DefaultMemory is how much [At] uses when it is not told: the process is then
// below 512 MiB, whatever it reads.
const DefaultMemory = 384 << 20 // bytes

// AtOptions says what [At] may use. The zero value is ready for use.
type AtOptions struct {
	Memory  int64  // bytes; default 384 MiB
	TempDir string // where to spill what does not fit; default os.TempDir()
	Parts   int    // ranges of rows to be read at once; default GOMAXPROCS; fewer when memory is short
	// PartBytes is about how large a range is; default as large as Parts allows.
	PartBytes int64
	// Done are ranges of rows that are not wanted any more, in order.
	Done  []merge.Range
	Fetch int // packs and blocks to be read at once; default 2×GOMAXPROCS, at least 4
	// Collections to yield; nil yields all. The log is proved as a whole.
	Collections []change.CollectionID
	// Progress, when set, is called from one goroutine while the log is read,
	// with what was read of it so far.
	Progress func(records int64)
}

func (o AtOptions) withDefaults() AtOptions {
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	if o.Parts <= 0 {
		o.Parts = runtime.GOMAXPROCS(0)
	}
	if o.Fetch <= 0 {
		o.Fetch = max(2*runtime.GOMAXPROCS(0), 4)
	}
	return o
}

// Reached is where a plan led.
type Reached struct {
	Point
	LogHash change.Hash `json:"log_hash"` // of the history up to there, worked out from the transactions read
}

// Rows is the state of a database at a point: every row as it was, in order of
// (collection, key). Close it in any case.
type Rows struct {
	plan    *Plan
	reached Reached
	schemas map[change.CollectionID]*change.Schema
	sorter  *merge.Sorter
	parts   []merge.Part
	atOnce  int
	ctx     context.Context
}

// At opens the state that a plan leads to. It reads, proves and sorts the log
// before it returns: a damaged, missing or swapped segment is an error here,
// before any row was seen. The base is read, each block proved before its
// first row, while the rows are. ctx must live until they have been.
//
// The log is proved against the chain: every block's hash, LSNs without holes,
// transactions whole, and the log hash of every segment that is read to its
// end. Errors wrap [pack.ErrCorrupt] or [chain.ErrDamaged] and name the object, or
// [merge.ErrDivergence] where the history contradicts itself.
func At(ctx context.Context, bucket storage.Bucket, plan *Plan, opt AtOptions) (_ *Rows, err error) {
	opt = opt.withDefaults()
	if err := plan.check(); err != nil {
		return nil, err
	}
	r := &Rows{plan: plan, schemas: make(map[change.CollectionID]*change.Schema), ctx: ctx}
	rules := plan.rules(opt.Collections)
	for _, s := range plan.Schemas {
		r.schemas[s.Collection] = s
	}
	reading := plan.readingMemory(opt)
	r.sorter = merge.NewSorter(rules, merge.Options{Memory: max(opt.Memory-reading, 1), TempDir: opt.TempDir, Workers: opt.Parts})
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	var older []*merge.Run
	if plan.Base != nil {
		base, err := merge.OpenRun(ctx, bucket, plan.Base.Runs, opt.Fetch)
		if err != nil {
			return nil, fmt.Errorf("base of %s: %w", plan.Base.key(), err)
		}
		if err := plan.checkBase(base); err != nil {
			return nil, err
		}
		older = append(older, base)
	}
	l := logReader{bucket: bucket, plan: plan, opt: opt, memory: reading, rules: rules, sorter: r.sorter}
	if r.reached, err = l.read(ctx); err != nil {
		return nil, err
	}
	r.parts, r.atOnce, err = r.sorter.Parts(ctx, older, true, merge.PartOptions{AtOnce: opt.Parts, Bytes: opt.PartBytes, Done: opt.Done})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// readingMemory returns how much of the memory is for the part of the log that
// is being read; the rest is for sorting.
func (p *Plan) readingMemory(opt AtOptions) int64 {
	const each = 4 << 20 // a few blocks
	need := int64(opt.Fetch) * each
	for i := range p.Segments {
		for _, r := range p.Segments[i].Packs {
			need = max(need, 2*r.MaxBlock)
		}
	}
	return max(min(need, opt.Memory/2), 1)
}

// rules says which row versions count at the point.
func (p *Plan) rules(only []change.CollectionID) *merge.Rules {
	rules := &merge.Rules{Bags: make(map[change.CollectionID]bool), Cuts: make(map[change.CollectionID]change.LSN)}
	want := make(map[change.CollectionID]bool)
	for _, s := range p.Schemas {
		rules.Bags[s.Collection] = s.Bag()
		want[s.Collection] = only == nil || slices.Contains(only, s.Collection)
	}
	for _, t := range p.Cuts {
		rules.Cuts[t.Collection] = t.LSN
	}
	rules.Want = func(c change.CollectionID) bool { return want[c] }
	return rules
}

// checkBase holds what the runs of the base say against its manifest.
func (p *Plan) checkBase(base *merge.Run) error {
	for _, c := range base.Collections() {
		if !slices.Contains(p.Base.Schemas, c) {
			return fmt.Errorf("base of %s holds rows of collection %d, for which it has no schema: %w", p.Base.key(), c, chain.ErrDamaged)
		}
	}
	if last := base.Last(); last > p.Base.LSN {
		return fmt.Errorf("base of %s holds a row of LSN %d, after its own LSN %d: %w", p.Base.key(), last, p.Base.LSN, chain.ErrDamaged)
	}
	return nil
}

// Schemas returns the schema of every collection at the point, in order of ID.
func (r *Rows) Schemas() []*change.Schema { return r.plan.Schemas }

// Reached says where the plan led.
func (r *Rows) Reached() Reached { return r.reached }

// Part is the rows of one range.
type Part struct {
	merge.Range
	Rows iter.Seq2[*change.Record, error]
}

// AtOnce returns how many parts may be read at the same time.
func (r *Rows) AtOnce() int { return r.atOnce }

// Parts returns the rows in ranges that lie in order and do not overlap, each
// to be read once, by one goroutine; [Rows.AtOnce] of them may be read at the
// same time, the first ones first. Together they cover everything but what is
// done. Rows are Insert records with full images in normal form of their schema,
// those of bags with their Count and the LSN 0; a record is valid until the
// next one. A sequence ends at the first error.
func (r *Rows) Parts() []Part {
	out := make([]Part, len(r.parts))
	for i, p := range r.parts {
		out[i] = Part{p.Range, func(yield func(*change.Record, error) bool) { r.part(p.Source, yield) }}
	}
	return out
}

// All yields all rows in order; it is used instead of Parts.
func (r *Rows) All() iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		for _, p := range r.parts {
			if !r.part(p.Source, yield) {
				return
			}
		}
	}
}

// part yields one range and reports whether the next may follow.
func (r *Rows) part(src merge.Source, yield func(*change.Record, error) bool) bool {
	var schema *change.Schema
	var buf []byte
	for {
		recs, err := src.Next(r.ctx)
		if err != nil {
			yield(nil, err)
			return false
		}
		if len(recs) == 0 {
			if err := src.Close(); err != nil { // for the next part to have its memory
				yield(nil, err)
				return false
			}
			return true
		}
		for i := range recs {
			rec := &recs[i]
			if schema == nil || schema.Collection != rec.Collection {
				schema = r.schemas[rec.Collection]
			}
			image, err := schema.Normalize(buf[:0], rec.Image)
			if err != nil {
				yield(nil, fmt.Errorf("collection %q, key %x, LSN %d: %w", schema.Name, rec.Key, rec.LSN, err))
				return false
			}
			if len(image) <= 1<<20 && (len(image) == 0 || &image[0] != &rec.Image[0]) {
				buf = image[:0]
			}
			rec.Image = image
			if !yield(rec, nil) {
				return false
			}
		}
	}
}

// Close gives everything back and removes temporary files. No part may be read
// meanwhile. It may be called more than once.
func (r *Rows) Close() error { return r.sorter.Close() }

// corrupt is the error of an object that is not what the chain says.
func corrupt(ref pack.Ref, format string, args ...any) error {
	return fmt.Errorf("pack %s: %s: %w", ref.Key, fmt.Sprintf(format, args...), pack.ErrCorrupt)
}
