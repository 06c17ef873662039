package salvage

import (
	"context"
	"errors"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// survey is what is there of a timeline up to a target, looked at block by
// block.
type survey struct {
	target   change.LSN
	start    change.LSN // the log holds what comes after it
	segments []segment  // in LSN order
	bases    []base     // in chain order
	gaps     []chain.Gap
}

// segment is a segment and how much of it can be read.
type segment struct {
	*chain.Announced[chain.Segment]
	whole bool
	good  change.LSN                    // the end of the last transaction before the first damage; First−1 for none
	lost  map[change.CollectionID]int64 // records after good, by collection, as the manifest counts; nil when whole
}

// touches reports whether a segment may hold records of a collection.
func (s *segment) touches(c change.CollectionID) bool {
	for i := range s.Body.Counts {
		if s.Body.Counts[i].Collection == c {
			return true
		}
	}
	return false
}

// base is a base and what can be read of it.
type base struct {
	*chain.Announced[chain.Snapshot]
	whole  map[change.CollectionID]bool // every row is there: the digest says so
	rows   map[change.CollectionID]int64
	blocks []baseBlock // intact ones, in order of rows
	lost   []hole      // between and around them, in order
}

// baseBlock is an intact block of a base.
type baseBlock struct {
	run, index int
}

// look reads what may lead to the target and says what of it is damaged.
func look(ctx context.Context, a *archive.Archive, state *chain.State, target change.LSN, o Options) (*survey, []archive.Finding, error) {
	s := &survey{target: target, start: state.Start}
	sub := state.Clone()
	var list []chain.Announced[chain.Segment]
	for seg, err := range state.Segments.All(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if seg.Body.First > target {
			break
		}
		list = append(list, *seg)
		s.segments = append(s.segments, segment{Announced: seg, whole: true, good: seg.Body.Last})
	}
	sub.Segments, sub.Snapshots = chain.SegmentsOf(list...), nil
	for i := range state.Snapshots {
		if b := &state.Snapshots[i]; b.Body.LSN <= target {
			sub.Snapshots = append(sub.Snapshots, *b)
			s.bases = append(s.bases, base{Announced: b})
		}
	}
	for i := range state.Gaps {
		if g := &state.Gaps[i].Body; g.First <= target {
			s.gaps = append(s.gaps, *g)
		}
	}
	r, err := restore.VerifyState(ctx, a, sub, restore.VerifyOptions{Level: restore.LevelRecords, Progress: o.Progress})
	if err != nil {
		return nil, nil, err
	}
	bad := make(map[string]bool)
	for _, f := range r.Findings {
		bad[f.Key] = true
	}
	for i := range s.segments {
		if err := s.segments[i].look(ctx, a.Bucket(), bad); err != nil {
			return nil, nil, err
		}
	}
	for i := range s.bases {
		if err := s.bases[i].look(ctx, a.Bucket(), bad); err != nil {
			return nil, nil, err
		}
	}
	return s, r.Findings, nil
}

// away reports whether an error says nothing of the object that was read.
func away(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable)
}

// look finds how far a damaged segment can be read.
func (s *segment) look(ctx context.Context, bucket storage.Bucket, bad map[string]bool) error {
	b := &s.Body
	for i := range b.Packs {
		s.whole = s.whole && !bad[b.Packs[i].Key]
	}
	if s.whole && !bad[s.Key()] {
		return nil
	}
	s.good = b.First - 1
	read := make(map[change.CollectionID]int64) // in whole transactions through good
	if !s.whole {                               // else its blocks are intact, but not what the manifest says
		if err := s.prefix(ctx, bucket, read); err != nil {
			return err
		}
	}
	s.whole, s.lost = false, make(map[change.CollectionID]int64)
	for i := range b.Counts {
		c := &b.Counts[i]
		if n := c.Inserts + c.Updates + c.Deletes + c.Truncates + c.Schemas - read[c.Collection]; n > 0 {
			s.lost[c.Collection] = n
		}
	}
	return nil
}

// prefix reads the blocks of a segment up to the first that is damaged.
func (s *segment) prefix(ctx context.Context, bucket storage.Bucket, read map[change.CollectionID]int64) error {
	next := s.Body.First
	open := make(map[change.CollectionID]int64) // of the transaction that has not ended
	for _, ref := range s.Body.Packs {
		r, err := pack.Open(ctx, bucket, ref)
		if err != nil {
			if away(ctx, err) {
				return err
			}
			return nil
		}
		for b, err := range r.Blocks(ctx, 0, len(r.Index().Blocks), pack.SkipKeys|pack.SkipImages) {
			if err != nil && away(ctx, err) {
				return err
			}
			records := []change.Record(nil)
			if err == nil {
				records = b.Records()
			}
			if err != nil || len(records) == 0 || records[0].LSN != next {
				return nil
			}
			txs := b.Txs()
			for i := range txs {
				p := &txs[i]
				for _, rec := range records[p.From:p.To] {
					if rec.LSN <= s.Body.Last {
						open[rec.Collection]++
					}
				}
				next += change.LSN(p.To - p.From)
				if !p.After && next-1 <= s.Body.Last {
					s.good = next - 1
					for c, n := range open {
						read[c] += n
					}
					clear(open)
				}
			}
		}
		r.Close()
	}
	return nil
}

// look finds which rows of a base can be read.
func (s *base) look(ctx context.Context, bucket storage.Bucket, bad map[string]bool) error {
	b := &s.Body
	s.whole, s.rows = make(map[change.CollectionID]bool), make(map[change.CollectionID]int64)
	damaged := bad[s.Key()]
	for i := range b.Runs {
		damaged = damaged || bad[b.Runs[i].Key]
	}
	if !damaged {
		for _, d := range b.Digests {
			s.whole[d.Collection], s.rows[d.Collection] = true, d.Rows
		}
	}
	l := baseLook{base: s, digests: make(map[change.CollectionID]*change.Digest), schemas: make(map[change.CollectionID]*change.Schema), damaged: damaged}
	for _, c := range b.Schemas {
		l.schemas[c.Collection], l.digests[c.Collection] = c, new(change.Digest)
	}
	for i := range b.Runs {
		if err := l.run(ctx, bucket, i); err != nil {
			return err
		}
	}
	l.known(nil)
	if !damaged {
		return nil
	}
	for _, d := range b.Digests {
		got := l.digests[d.Collection]
		s.whole[d.Collection] = got.Rows == d.Rows && got.Sum() == d.Digest
		s.rows[d.Collection] = got.Rows
	}
	return nil
}

// baseLook goes through the runs of a base, in order of rows.
type baseLook struct {
	*base
	damaged bool // rows have to be read
	schemas map[change.CollectionID]*change.Schema
	digests map[change.CollectionID]*change.Digest
	last    *pack.RowKey // the last row that is known to be there
	hole    bool         // something after it can't be read
}

// run looks at one run.
func (l *baseLook) run(ctx context.Context, bucket storage.Bucket, n int) error {
	r, err := pack.Open(ctx, bucket, l.Body.Runs[n])
	if err != nil {
		l.hole = true
		if away(ctx, err) {
			return err
		}
		return nil
	}
	defer r.Close()
	ix := r.Index()
	if ix.Kind != pack.Run {
		l.hole = true
		return nil
	}
	for i := range ix.Blocks {
		info := &ix.Blocks[i]
		if l.last != nil && info.FirstRow.Compare(*l.last) <= 0 {
			l.hole = true // out of order: its place is not known
			continue
		}
		if l.damaged {
			ok, err := l.block(ctx, r, i)
			if err != nil {
				return err
			}
			if !ok {
				l.hole = true
				continue
			}
		}
		l.known(&info.FirstRow)
		l.last = &info.LastRow
		l.blocks = append(l.blocks, baseBlock{n, i})
	}
	return nil
}

// block proves one block and fingerprints its rows.
func (l *baseLook) block(ctx context.Context, r *pack.Reader, i int) (bool, error) {
	var b pack.Block
	if err := r.Block(ctx, i, &b); err != nil {
		if away(ctx, err) {
			return false, err
		}
		return false, nil
	}
	sums := make(map[change.CollectionID]*change.Digest)
	recs := b.Records()
	for j := range recs {
		rec := &recs[j]
		schema := l.schemas[rec.Collection]
		if schema == nil || rec.LSN > l.Body.LSN || rec.Op != change.Insert || rec.Image.Partial() || schema.Bag() != (rec.Count > 0) {
			return false, nil // it has its hash, and is no part of a base
		}
		if sums[rec.Collection] == nil {
			sums[rec.Collection] = new(change.Digest)
		}
		if err := sums[rec.Collection].Add(schema, rec.Key, rec.Image, max(1, rec.Count)); err != nil {
			return false, nil
		}
	}
	for c, d := range sums {
		l.digests[c].Merge(d)
	}
	return true, nil
}

// known ends a hole before a row that is there, or at the end with nil.
func (l *baseLook) known(row *pack.RowKey) {
	if l.hole {
		l.lost = append(l.lost, hole{l.last, row})
	}
	l.hole = false
}
