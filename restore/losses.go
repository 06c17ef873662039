package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// Section is what a manifest says of the verification.
func (r *Report) Section() chain.Verify {
	return chain.Verify{Level: r.Level, Through: r.Through, Started: r.Started, Elapsed: r.Elapsed.Microseconds(), Objects: r.Objects, Bytes: r.Bytes,
		Records: r.Records, Findings: int64(len(r.Findings)), Lost: r.Lost, Bases: r.Bases}
}

// maxLost bounds how many lost ranges a manifest lists: beyond it neighbours
// are put together with what lies between.
const maxLost = 4096

// maxDetail bounds what is said of each, in bytes.
const maxDetail = 600

// losses works out which segments and bases the findings make unreadable.
func (v *verifier) losses(ctx context.Context, s *chain.State) error {
	r := &v.report
	if len(r.Findings) == 0 {
		return nil
	}
	bad := make(map[string]string)
	for _, f := range r.Findings {
		if _, told := bad[f.Key]; !told {
			bad[f.Key] = detailOf(f)
		}
	}
	basesAt := make(map[change.LSN]bool)
	for i := range s.Snapshots {
		b := &s.Snapshots[i]
		basesAt[b.Body.LSN] = true
		detail := bad[b.Key()]
		for j := range b.Body.Runs {
			if detail == "" {
				detail = bad[b.Body.Runs[j].Key]
			}
		}
		if detail != "" {
			r.Bases = append(r.Bases, chain.LostBase{Timeline: b.Timeline, Seq: b.Seq, LSN: b.Body.LSN, Detail: detail})
		}
	}
	chain.SortLostBases(r.Bases)
	for seg, err := range s.Segments.All(ctx) {
		if err != nil {
			return err
		}
		detail := bad[seg.Key()]
		for j := range seg.Body.Packs {
			if detail == "" {
				detail = bad[seg.Body.Packs[j].Key]
			}
		}
		if detail == "" {
			continue
		}
		b := &seg.Body
		if n := len(r.Lost); n > 0 && r.Lost[n-1].Last+1 == b.First && !basesAt[r.Lost[n-1].Last] {
			r.Lost[n-1] = joinLost(r.Lost[n-1], chain.Lost{Last: b.Last, Effective: b.Effective})
			continue
		}
		r.Lost = append(r.Lost, chain.Lost{First: b.First, Last: b.Last, Effective: b.Effective, Detail: detail})
	}
	for len(r.Lost) > maxLost {
		half := r.Lost[:0]
		for pair := range slices.Chunk(r.Lost, 2) {
			half = append(half, joinLost(pair[0], pair[len(pair)-1]))
		}
		r.Lost = half
	}
	return nil
}

// joinLost makes one of two ranges that follow each other.
func joinLost(a, b chain.Lost) chain.Lost {
	a.Last, a.Effective.To = b.Last, b.Effective.To
	return a
}

func detailOf(f archive.Finding) string {
	s := strings.ToValidUTF8(fmt.Sprintf("%s: found %s", f.Key, f.Found), "?")
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "…"
	}
	return s
}

// digests compares what the source showed of itself with what base and log
// yield at the same LSN, except for what an earlier verification without a
// finding has compared: those objects were proved to be the same.
func (v *verifier) digests(ctx context.Context, s *chain.State) error {
	known := s.Clone()
	known.Verifies = append(slices.Clone(s.Verifies), chain.Announced[chain.Verify]{Timeline: s.Timeline, Seq: s.Seq, Body: v.report.Section()})
	done, through := comparedThrough(s)
	for i := range s.Digests {
		d := &s.Digests[i]
		if done && (d.Timeline != s.Timeline || d.Seq <= through) {
			continue
		}
		plan, err := recovery.MakePlanWith(ctx, known, recovery.Point{LSN: d.Body.LSN}, recovery.PlanOptions{BaseBefore: d.Body.LSN})
		if errors.As(err, new(*recovery.UnrestorableError)) {
			plan, err = recovery.MakePlan(ctx, known, recovery.Point{LSN: d.Body.LSN})
		}
		if errors.As(err, new(*recovery.UnrestorableError)) {
			continue // what is in the way was found, or is a gap
		}
		var got []chain.CollectionDigest
		if err == nil {
			got, err = Digests(ctx, v.a, plan, Options{Memory: v.o.Memory, TempDir: v.o.TempDir})
		}
		if err == nil {
			_, err = compare(d.Body.Digests, d.Body.LSN, got)
		}
		if errors.Is(err, ErrMismatch) || errors.Is(err, recovery.ErrNoPlan) {
			err = damaged(d.Key(), err)
		}
		if err := v.note(ctx, d.Key(), d.Seq, err); err != nil {
			return err
		}
	}
	return errors.Join(v.unread...)
}

// comparedThrough returns the last manifest that a verification at level
// records, which found nothing, has looked at.
func comparedThrough(s *chain.State) (done bool, through chain.Seq) {
	for i := range s.Verifies {
		if b := &s.Verifies[i].Body; b.Level == chain.VerifyRecords && b.Findings == 0 {
			done, through = true, max(through, b.Through)
		}
	}
	return done, through
}

// Digests reads the state that a plan leads to and fingerprints every
// collection, in order of ID.
func Digests(ctx context.Context, a *archive.Archive, plan *recovery.Plan, o Options) (_ []chain.CollectionDigest, err error) {
	rows, err := recovery.At(ctx, a.Bucket(), plan, recovery.AtOptions{Memory: o.Memory, TempDir: o.TempDir, Parts: o.Parts})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []chain.CollectionDigest
	sums := make([]change.Digest, len(plan.Schemas))
	at := 0
	for rec, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		for plan.Schemas[at].Collection != rec.Collection {
			at++ // rows come in order of collection
		}
		if err := sums[at].AddNormal(plan.Schemas[at], rec.Key, rec.Image, max(1, rec.Count)); err != nil {
			return nil, err
		}
	}
	for i, s := range plan.Schemas {
		out = append(out, chain.CollectionDigest{Collection: s.Collection, Rows: sums[i].Rows, Digest: sums[i].Sum()})
	}
	return out, nil
}
