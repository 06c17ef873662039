package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
)

// evidence is what the live database itself showed at an LSN.
type evidence struct {
	lsn     change.LSN
	logHash change.Hash // of the database there; zero when not known
	seq     chain.Seq   // the manifest that tells; 0 for a read just now
	base    bool        // it is a snapshot's: a restore that starts from that one proves nothing
	text    string
	digests []chain.CollectionDigest
}

// read fingerprints the source, if there is one, and waits until the archive
// holds what it showed.
func (d *drill) read(ctx context.Context) (_ *evidence, err error) {
	if d.o.Source == nil {
		return nil, nil
	}
	view, err := d.o.Source.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	sums, err := driver.Digests(ctx, view)
	mark := view.Mark()
	if err := errors.Join(err, view.Close()); err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	ev := &evidence{lsn: mark.LSN, logHash: mark.LogHash, text: fmt.Sprintf("the database itself, read at LSN %d", mark.LSN)}
	for _, id := range slices.Sorted(maps.Keys(sums)) {
		ev.digests = append(ev.digests, chain.CollectionDigest{Collection: id, Rows: sums[id].Rows, Digest: sums[id].Sum()})
	}
	for deadline := time.Now().Add(d.o.Wait); ; {
		s, err := d.a.Refresh(ctx)
		switch {
		case err != nil:
			return nil, err
		case s.Last >= mark.LSN:
			return ev, nil
		case !time.Now().Before(deadline):
			return nil, fmt.Errorf("the database is at LSN %d, the archive ends at LSN %d: %w", mark.LSN, s.Last, ErrBehind)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// plan chooses what to restore to and what to compare with: the read just now,
// or else the newest evidence in the archive that a restore can reach from an
// older start. Without any it is the end of the archive.
func (d *drill) plan(ctx context.Context, s *chain.State, now *evidence) (*recovery.Plan, *evidence, error) {
	if now != nil {
		plan, err := d.toward(ctx, s, now)
		return plan, now, err
	}
	all := shown(s)
	for i := range all {
		plan, err := d.toward(ctx, s, &all[i])
		if err == nil {
			return plan, &all[i], nil
		}
		if !errors.As(err, new(*recovery.UnrestorableError)) {
			d.result.LSN = all[i].lsn
			return nil, nil, err
		}
	}
	d.result.Why = "the archive holds no snapshot or digest of the database that a restore could reach from an older start"
	if len(all) == 0 {
		d.result.Why = "the archive holds neither a snapshot nor a digest of the database"
	}
	point, err := recovery.Resolve(ctx, d.a.Bucket(), s, recovery.Latest())
	if err != nil {
		return nil, nil, err
	}
	plan, err := recovery.MakePlan(ctx, s, point)
	return plan, nil, err
}

// toward plans a restore to where evidence was taken, from a base before it.
// Where there is none, another read at that very place will do.
func (d *drill) toward(ctx context.Context, s *chain.State, ev *evidence) (*recovery.Plan, error) {
	point, err := recovery.Resolve(ctx, d.a.Bucket(), s, recovery.AtLSN(ev.lsn))
	if err != nil {
		return nil, err
	}
	plan, err := recovery.MakePlanWith(ctx, s, point, recovery.PlanOptions{BaseBefore: max(ev.lsn, 1)})
	if !ev.base && errors.As(err, new(*recovery.UnrestorableError)) {
		return recovery.MakePlan(ctx, s, point)
	}
	return plan, err
}

// shown returns what the archive was told of the live database, newest first.
func shown(s *chain.State) []evidence {
	var out []evidence
	for i := range s.Digests {
		d := &s.Digests[i]
		out = append(out, evidence{lsn: d.Body.LSN, seq: own(s, d.Timeline, d.Seq), digests: d.Body.Digests,
			text: fmt.Sprintf("the digests that the database showed at LSN %d (%s)", d.Body.LSN, d.Key())})
	}
	for i := range s.Snapshots {
		b := &s.Snapshots[i]
		if b.Body.Origin == chain.OriginSource && len(b.Body.Digests) > 0 {
			out = append(out, evidence{lsn: b.Body.LSN, seq: own(s, b.Timeline, b.Seq), base: true, digests: b.Body.Digests,
				text: fmt.Sprintf("the snapshot of the database at LSN %d (%s)", b.Body.LSN, b.Key())})
		}
	}
	slices.SortStableFunc(out, func(a, b evidence) int {
		return cmp.Or(cmp.Compare(b.lsn, a.lsn), cmp.Compare(rank(&a), rank(&b)), cmp.Compare(b.seq, a.seq))
	})
	merged := out[:0]
	for _, ev := range out {
		if n := len(merged); n > 0 && merged[n-1].lsn == ev.lsn { // all that was shown there has to agree
			merged[n-1].digests = slices.Concat(merged[n-1].digests, ev.digests)
			continue
		}
		merged = append(merged, ev)
	}
	return merged
}

// rank puts digests, which no restore starts from, before snapshots.
func rank(ev *evidence) int {
	if ev.base {
		return 1
	}
	return 0
}

// own returns the number of a manifest of the state's own timeline, 0 for an
// ancestor's, whose numbers mean something else there.
func own(s *chain.State, t chain.TimelineID, seq chain.Seq) chain.Seq {
	if t != s.Timeline {
		return 0
	}
	return seq
}
