package salvage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// load brings what the routes lead to into the target.
type load struct {
	a      *archive.Archive
	o      Options
	s      *survey
	dst    driver.Target
	state  *chain.State
	report *Report
}

// run fills the target, tells the report, and gives the target its name.
func (l *load) run(ctx context.Context, routes []route, want driver.State, began time.Time) (err error) {
	if _, err := l.dst.Preflight(ctx, want); err != nil {
		return fmt.Errorf("%w: %w", restore.ErrPreflight, err)
	}
	defer func() {
		if err != nil {
			_, aborted := l.dst.Abort(false)
			err = errors.Join(err, aborted)
		}
	}()
	want.Job.Fresh = true
	if _, err := l.dst.Begin(ctx, want); err != nil {
		return fmt.Errorf("%w: %w", restore.ErrPreflight, err)
	}
	for _, g := range groups(routes) {
		if err := l.group(ctx, g); err != nil {
			return err
		}
	}
	for i := range l.report.Collections {
		c := &l.report.Collections[i]
		c.confirm(l.state)
		l.report.Rows += c.Rows
	}
	l.report.Elapsed = time.Since(began)
	if l.o.Tell != nil {
		if err := l.o.Tell(l.report); err != nil {
			return err
		}
	}
	return l.dst.Finish(ctx, want)
}

// groups puts together the collections whose routes read the same.
func groups(routes []route) [][]*route {
	type key struct {
		start, reach change.LSN
		base         int
	}
	at := make(map[key]int)
	var out [][]*route
	for i := range routes {
		r := &routes[i]
		if !r.found {
			continue
		}
		k := key{r.start, r.reach, r.base}
		n, known := at[k]
		if !known {
			n = len(out)
			at[k] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], r)
	}
	return out
}

// group loads collections of one start and one reach.
func (l *load) group(ctx context.Context, routes []*route) (err error) {
	first := routes[0]
	by := make(map[change.CollectionID]*route)
	rules := &merge.Rules{Bags: make(map[change.CollectionID]bool), Cuts: make(map[change.CollectionID]change.LSN)}
	for _, r := range routes {
		by[r.id] = r
		rules.Bags[r.id], rules.Cuts[r.id] = r.schema.Bag(), r.cut
	}
	rules.Want = func(c change.CollectionID) bool { return by[c] != nil }
	memory := l.o.Memory
	if memory <= 0 {
		memory = recovery.DefaultMemory
	}
	sorter := merge.NewSorter(rules, merge.Options{Memory: max(memory/2, 1), TempDir: l.o.TempDir})
	defer func() { err = errors.Join(err, sorter.Close()) }()
	f := filter{by: by, after: first.start, through: first.reach}
	if first.base >= 0 {
		f.base = &l.s.bases[first.base]
	}
	if err := l.log(ctx, &f, sorter); err != nil {
		return err
	}
	parts, _, err := sorter.Parts(ctx, nil, false, merge.PartOptions{AtOnce: 1})
	if err != nil {
		return err
	}
	sources := []merge.Source{&baseSource{bucket: l.a, filter: &f}}
	for _, p := range parts { // one: everything
		sources = append(sources, p.Source)
	}
	all := merge.Merge(rules, true, sources...)
	defer func() { err = errors.Join(err, all.Close()) }()
	return l.rows(ctx, all, by)
}

// filter says which records of a log count for a group.
type filter struct {
	by             map[change.CollectionID]*route
	base           *base // nil: empty at the start
	after, through change.LSN
}

// takes reports whether a record counts: one of the group's, after the base and
// not after its reach, and of no row that the base has lost.
func (f *filter) takes(r *change.Record) bool {
	route := f.by[r.Collection]
	if route == nil || r.LSN <= f.after || r.LSN > f.through {
		return false
	}
	return !f.missing(route, r)
}

// missing reports whether a row lies where its base has lost some.
func (f *filter) missing(route *route, r *change.Record) bool {
	if !route.partial {
		return false
	}
	row := pack.RowKey{Collection: r.Collection, Key: r.Key}
	return slices.ContainsFunc(f.base.lost, func(h hole) bool { return h.holds(row) })
}

// log reads what the log says of a group.
func (l *load) log(ctx context.Context, f *filter, sorter *merge.Sorter) error {
	for i := range l.s.segments {
		seg := &l.s.segments[i]
		if seg.Body.Last <= f.after || seg.Body.First > f.through {
			continue
		}
		touched := false
		for id := range f.by {
			touched = touched || seg.touches(id)
		}
		if !touched {
			continue
		}
		last := min(f.through, seg.Body.Last)
		if !seg.whole {
			last = min(last, seg.good)
		}
		for _, ref := range seg.Body.Packs {
			if k, err := parseRange(ref); err != nil || k > last {
				break
			}
			if err := l.pack(ctx, ref, f, last, sorter); err != nil {
				return err
			}
		}
	}
	return nil
}

// pack reads a log pack up to an LSN.
func (l *load) pack(ctx context.Context, ref pack.Ref, f *filter, last change.LSN, sorter *merge.Sorter) error {
	r, err := pack.Open(ctx, l.a.Bucket(), ref)
	if err != nil {
		return err
	}
	defer r.Close()
	ix := r.Index()
	for i := range ix.Blocks {
		info := &ix.Blocks[i]
		if info.First > last {
			break
		}
		if info.Last <= f.after {
			continue
		}
		b := new(pack.Block)
		if err := r.Block(ctx, i, b); err != nil {
			return err
		}
		recs := b.Records()
		kept := make([]change.Record, 0, len(recs))
		for j := range recs {
			if f.takes(&recs[j]) && recs[j].LSN <= last {
				kept = append(kept, recs[j])
			}
		}
		if len(kept) == 0 {
			continue
		}
		if err := sorter.Add(ctx, kept, merge.BlockMemory(info), nil); err != nil {
			return err
		}
	}
	return nil
}

// baseSource yields the intact rows of a group's base.
type baseSource struct {
	bucket *archive.Archive
	filter *filter
	next   int
	run    int
	reader *pack.Reader
	block  pack.Block
	out    []change.Record
}

func (s *baseSource) Next(ctx context.Context) ([]change.Record, error) {
	b := s.filter.base
	if b == nil {
		return nil, nil
	}
	for s.next < len(b.blocks) {
		at := b.blocks[s.next]
		s.next++
		if s.reader == nil || s.run != at.run {
			r, err := pack.Open(ctx, s.bucket.Bucket(), b.Body.Runs[at.run])
			if err != nil {
				return nil, err
			}
			s.reader, s.run = r, at.run
		}
		if !s.wanted(&s.reader.Index().Blocks[at.index]) {
			continue
		}
		if err := s.reader.Block(ctx, at.index, &s.block); err != nil {
			return nil, err
		}
		s.out = s.out[:0]
		recs := s.block.Records()
		for i := range recs {
			r := &recs[i]
			if route := s.filter.by[r.Collection]; route != nil && route.cut == 0 && !s.filter.missing(route, r) {
				s.out = append(s.out, *r)
			}
		}
		if len(s.out) > 0 {
			return s.out, nil
		}
	}
	return nil, nil
}

// wanted reports whether a block may hold rows of the group.
func (s *baseSource) wanted(info *pack.BlockInfo) bool {
	for id := range s.filter.by {
		if info.FirstRow.Collection <= id && id <= info.LastRow.Collection {
			return true
		}
	}
	return false
}

func (s *baseSource) Close() error { return nil }

// parseRange returns the first LSN of a log pack.
func parseRange(ref pack.Ref) (change.LSN, error) {
	k, err := chain.ParsePackKey(ref.Key)
	return k.First, err
}

// rows loads what a merge yields, each collection as a part of its own.
func (l *load) rows(ctx context.Context, src merge.Source, by map[change.CollectionID]*route) error {
	next, stop := iter.Pull2(records(ctx, src))
	defer stop()
	rec, err, more := next()
	for more {
		if err != nil {
			return err
		}
		id := rec.Collection
		part := &driver.Part{From: &driver.Bound{Collection: id}, To: &driver.Bound{Collection: id + 1}}
		digest, bytes := new(change.Digest), int64(0)
		schema := by[id].schema
		loaded := l.dst.Load(ctx, part, func(yield func(*change.Record, error) bool) {
			var buf []byte
			for ; more && (err != nil || rec.Collection == id); rec, err, more = next() {
				if err == nil {
					var image change.Image
					if image, err = schema.Normalize(buf[:0], rec.Image); err == nil {
						rec.Image = image
						err = digest.AddNormal(schema, rec.Key, rec.Image, max(1, rec.Count))
					}
				}
				if err != nil {
					yield(nil, err)
					return
				}
				bytes += int64(len(rec.Key) + len(rec.Image))
				if !yield(rec, nil) {
					return
				}
			}
			part.Tallies = []driver.Tally{{Collection: id, Rows: digest.Rows, Bytes: bytes, Digest: digest.Sum()}}
		})
		if loaded != nil {
			return loaded
		}
		i := slices.IndexFunc(l.report.Collections, func(c Collection) bool { return c.ID == id })
		l.report.Collections[i].Rows, l.report.Collections[i].Digest = digest.Rows, digest.Sum()
		l.report.Bytes += bytes
	}
	return nil
}

// records yields the versions of a source one by one.
func records(ctx context.Context, src merge.Source) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		for {
			recs, err := src.Next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(recs) == 0 {
				return
			}
			for i := range recs {
				if !yield(&recs[i], nil) {
					return
				}
			}
		}
	}
}
