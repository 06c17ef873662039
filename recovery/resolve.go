package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

var (
	// ErrInsideTx says that an LSN lies inside a transaction, which is never
	// split: [InsideTxError] has its ends.
	ErrInsideTx = errors.New("inside a transaction")

	// ErrNoLabel says that no restore point has that name.
	ErrNoLabel = errors.New("no such label")

	// ErrNoTx says that the archive holds no transaction with that ID.
	ErrNoTx = errors.New("no such transaction")
)

// InsideTxError says which transaction an LSN would split. It wraps [ErrInsideTx].
type InsideTxError struct {
	LSN    change.LSN
	Tx     change.TxID
	Before change.LSN // restoring to it leaves the transaction out
	Last   change.LSN // restoring to it includes the transaction
}

func (e *InsideTxError) Error() string {
	return fmt.Sprintf("LSN %d is inside transaction %d, which can't be split: restore to LSN %d to leave it out, or to LSN %d to include it",
		e.LSN, e.Tx, e.Before, e.Last)
}

// Unwrap returns ErrInsideTx.
func (e *InsideTxError) Unwrap() error { return ErrInsideTx }

// Point is a place between two transactions: what a target resolves to.
type Point struct {
	LSN       change.LSN  `json:"lsn"`                 // of the last record before it
	Tx        change.TxID `json:"tx,omitempty"`        // the transaction that ends there; 0 when the log has none
	Commit    change.Time `json:"commit,omitempty"`    // its times; 0 when the log has none
	Effective change.Time `json:"effective,omitempty"` //
	Rest      int64       `json:"rest,omitempty"`      // transactions after it in the same segment
}

// Resolve finds the place in the log that a target means. It reads at most
// the index and one or two blocks of the segment concerned, except for a
// transaction ID, which is looked for in the whole log.
//
// A time is good up to what the archive covers, however old the last
// transaction is. Errors: [ErrOutside], [ErrInGap], [ErrInsideTx], [ErrNoLabel],
// [ErrNoTx], and those of reading a pack.
func Resolve(ctx context.Context, bucket storage.Bucket, s *chain.State, t Target) (Point, error) {
	r := resolver{bucket: bucket, s: s, target: t}
	switch t.Kind {
	case TargetTime:
		return r.time(ctx)
	case TargetLSN:
		return r.lsn(ctx, t.LSN)
	case TargetLabel:
		l, ok := s.Labels[t.Label]
		if !ok {
			return Point{}, fmt.Errorf("label %q: %w%s", t.Label, ErrNoLabel, someLabels(s))
		}
		return r.lsn(ctx, l.Body.LSN)
	case TargetTx:
		return r.tx(ctx)
	case TargetLatest, "":
		return r.lsn(ctx, s.Last)
	}
	return Point{}, fmt.Errorf("unknown kind of target %q", t.Kind)
}

// someLabels names a few labels, for an error.
func someLabels(s *chain.State) string {
	if len(s.Labels) == 0 {
		return "; the archive has none"
	}
	var names []string
	for n := range s.Labels {
		names = append(names, n)
	}
	sort.Strings(names)
	return fmt.Sprintf("; there are %d, such as %q", len(names), names[:min(len(names), 5)])
}

type resolver struct {
	bucket storage.Bucket
	s      *chain.State
	target Target
}

// refuse says why an LSN can't be restored.
func (r *resolver) refuse(n change.LSN) error {
	e := &UnrestorableError{Target: r.target}
	switch {
	case n > r.s.Last:
		e.Detail = fmt.Sprintf("the archive ends at LSN %d", r.s.Last)
	case n < r.s.Start:
		e.Detail = fmt.Sprintf("the archive starts at LSN %d", r.s.Start)
	default:
		return unrestorable(r.s, r.target, n)
	}
	e.Before, e.After = NearestLSN(r.s, n)
	return e
}

// time resolves a time to the last transaction with an effective time at or
// before it, or strictly before it.
func (r *resolver) time(ctx context.Context) (Point, error) {
	s, t := r.s, r.target.Time
	covered := max(s.Effective, s.CoveredUntil)
	if r.target.Before {
		t-- // times are whole microseconds
	}
	if covered == 0 || t > covered {
		e := &UnrestorableError{Target: r.target, Detail: "the archive covers no time yet"}
		if covered != 0 {
			e.Detail = fmt.Sprintf("the archive covers the time up to %s", covered)
		}
		e.Before, e.After = Nearest(s, t)
		return Point{}, e
	}
	n := s.Start
	for _, b := range breaks(s) {
		if b.from < t && t < b.to {
			e := &UnrestorableError{Target: r.target}
			e.in(&b, b.between())
			e.Before, e.After = Nearest(s, t)
			return Point{}, e
		}
		if b.to <= t {
			n = b.last
		}
	}
	if w := Windows(s); len(w) > 0 && t < w[0].From {
		// Inside the first base's segment the chain knows the time only
		// roughly; else this is before everything.
		seg, err := s.SegmentAt(ctx, w[0].FromLSN)
		if err != nil {
			return Point{}, err
		}
		if seg == nil || t < seg.Effective.From {
			e := &UnrestorableError{Target: r.target, Detail: "that is before what the archive can restore"}
			e.Before, e.After = Nearest(s, t)
			return Point{}, e
		}
	}
	at, err := s.Segments.Starting(ctx, t)
	if err != nil {
		return Point{}, err
	}
	if at == nil || at.Body.Last < n {
		return r.point(ctx, n)
	}
	seg := &at.Body
	if seg.Effective.To <= t {
		return r.point(ctx, seg.Last)
	}
	tx, err := r.firstAfter(ctx, seg, t)
	if err != nil {
		return Point{}, err
	}
	return r.point(ctx, tx.First-1)
}

// firstAfter finds the first transaction of a segment with an effective time
// after t; there is one.
func (r *resolver) firstAfter(ctx context.Context, seg *chain.Segment, t change.Time) (pack.TxPart, error) {
	_, b, err := r.seek(ctx, seg, func(ix *pack.Index) int { return ix.SeekTime(t + 1) })
	if err != nil {
		return pack.TxPart{}, err
	}
	txs := b.Txs()
	return txs[sort.Search(len(txs)-1, func(i int) bool { return txs[i].Effective > t })], nil
}

// seek reads the first block of a segment for which an index, asked in order
// of packs, has one.
func (r *resolver) seek(ctx context.Context, seg *chain.Segment, find func(*pack.Index) int) (ref pack.Ref, _ *pack.Block, err error) {
	lo, hi := 0, len(seg.Packs)-1
	for lo <= hi {
		mid := (lo + hi) / 2
		p, err := pack.Open(ctx, r.bucket, seg.Packs[mid])
		if err != nil {
			return ref, nil, err
		}
		n := find(p.Index())
		if n == len(p.Index().Blocks) {
			lo = mid + 1
			continue
		}
		if n > 0 || mid == lo {
			b := &pack.Block{Skip: pack.SkipKeys | pack.SkipImages}
			if err := p.Block(ctx, n, b); err != nil {
				return ref, nil, err
			}
			if len(b.Txs()) == 0 {
				return ref, nil, fmt.Errorf("pack %s holds no transactions: %w", seg.Packs[mid].Key, pack.ErrCorrupt)
			}
			return seg.Packs[mid], b, nil
		}
		hi = mid // perhaps an earlier pack has one
	}
	return ref, nil, fmt.Errorf("the packs of segment LSN %d to %d, from %s on, don't hold what its manifest says: %w",
		seg.First, seg.Last, seg.Packs[0].Key, pack.ErrCorrupt)
}

// txAt reads what the log says of the transaction that holds an LSN.
func (r *resolver) txAt(ctx context.Context, seg *chain.Segment, n change.LSN) (pack.TxPart, error) {
	ref, b, err := r.seek(ctx, seg, func(ix *pack.Index) int { return ix.SeekLSN(n) })
	if err != nil {
		return pack.TxPart{}, err
	}
	txs := b.Txs()
	i := slices.IndexFunc(txs, func(p pack.TxPart) bool { return p.First <= n && n <= p.Last() })
	if i < 0 {
		return pack.TxPart{}, fmt.Errorf("pack %s does not hold LSN %d: %w", ref.Key, n, pack.ErrCorrupt)
	}
	return txs[i], nil
}

// lsn resolves an LSN that the target names.
func (r *resolver) lsn(ctx context.Context, n change.LSN) (Point, error) {
	if !r.s.Started || n > r.s.Last || n < r.s.Start {
		return Point{}, r.refuse(n)
	}
	if r.target.Before {
		seg, err := r.s.SegmentAt(ctx, n)
		if err != nil {
			return Point{}, err
		}
		if l := lostAt(r.s, n); l != nil {
			if seg != nil && seg.First == n { // no segment begins inside a transaction
				return r.point(ctx, n-1)
			}
			e := &UnrestorableError{Target: r.target, Lost: l, Detail: fmt.Sprintf("the transaction that holds LSN %d is lost", n)}
			e.Before, e.After = NearestLSN(r.s, n)
			return Point{}, e
		}
		if seg == nil { // the start of the log, or a gap: no transaction
			if n == r.s.Start {
				e := &UnrestorableError{Target: r.target, Detail: fmt.Sprintf("nothing lies before the start of the log, LSN %d", n)}
				_, e.After = NearestLSN(r.s, n)
				return Point{}, e
			}
			return r.point(ctx, n-1)
		}
		tx, err := r.txAt(ctx, seg, n)
		if err != nil {
			return Point{}, err
		}
		n = tx.First - 1
	}
	return r.point(ctx, n)
}

// point describes the place after an LSN, and refuses one that can't be restored.
func (r *resolver) point(ctx context.Context, n change.LSN) (Point, error) {
	if !restorable(r.s, n) {
		return Point{}, r.refuse(n)
	}
	seg, err := r.s.SegmentAt(ctx, n)
	if err != nil {
		return Point{}, err
	}
	if seg == nil {
		return Point{LSN: n}, nil
	}
	if lostAt(r.s, n) != nil { // a base stands here
		return lostPoint(seg, n), nil
	}
	tx, err := r.txAt(ctx, seg, n)
	if err != nil {
		return Point{}, err
	}
	if tx.Last() != n {
		return Point{}, &InsideTxError{LSN: n, Tx: tx.ID, Before: tx.First - 1, Last: tx.Last()}
	}
	rest, err := r.rest(ctx, seg, n)
	return Point{LSN: n, Tx: tx.ID, Commit: tx.Commit, Effective: tx.Effective, Rest: rest}, err
}

// lostPoint describes the end of a transaction in a segment that can't be read,
// as far as its manifest tells: small ones of many are not in it.
func lostPoint(seg *chain.Segment, n change.LSN) Point {
	p := Point{LSN: n}
	if seg.Last == n {
		p.Effective, p.Commit = seg.Effective.To, seg.Commit.To
	}
	for i := range seg.Largest {
		if t := &seg.Largest[i]; t.Last == n {
			p.Tx, p.Commit, p.Effective = t.ID, t.Commit, t.Effective
		}
	}
	return p
}

// rest counts the transactions of a segment after the one that ends at n. It
// reads the log from there to the segment's end, without the rows.
func (r *resolver) rest(ctx context.Context, seg *chain.Segment, n change.LSN) (int64, error) {
	var count int64
	for _, ref := range slices.Backward(seg.Packs) {
		if seg.Last == n {
			break
		}
		inside, txs, err := r.packRest(ctx, ref, n, seg.Last)
		if err != nil {
			return 0, err
		}
		count += txs
		if inside {
			break
		}
	}
	return count, nil
}

// packRest counts the transactions of a pack that begin after n and not after
// last, and reports whether n is one of its own LSNs.
func (r *resolver) packRest(ctx context.Context, ref pack.Ref, n, last change.LSN) (inside bool, count int64, err error) {
	p, err := pack.Open(ctx, r.bucket, ref)
	if err != nil {
		return false, 0, err
	}
	defer p.Close()
	ix := p.Index()
	inside = ix.First() <= n
	switch {
	case ix.First() > last:
		return false, 0, nil
	case !inside && ix.Last() <= last:
		return false, ix.Txs, nil
	}
	for b, err := range p.Blocks(ctx, ix.SeekLSN(max(n, ix.First())), len(ix.Blocks), pack.SkipKeys|pack.SkipImages) {
		if err != nil {
			return inside, 0, err
		}
		for _, t := range b.Txs() {
			if !t.Before && t.First > n && t.Last() <= last {
				count++
			}
		}
	}
	return inside, count, nil
}

// tx looks for a transaction by its ID: first among those that manifests
// describe, then in the log, newest first.
func (r *resolver) tx(ctx context.Context) (Point, error) {
	id := r.target.Tx
	for seg, err := range r.s.Segments.All(ctx) {
		if err != nil {
			return Point{}, err
		}
		for _, t := range seg.Body.Largest {
			if t.ID == id {
				return r.lsn(ctx, t.Last)
			}
		}
	}
	unread := ""
	for seg, err := range r.s.Segments.Backward(ctx, r.s.Last) {
		if err != nil {
			return Point{}, err
		}
		if int64(len(seg.Body.Largest)) == seg.Body.Txs {
			continue // all were described
		}
		if l := lostAt(r.s, seg.Body.First); l != nil {
			unread = fmt.Sprintf(", as far as it can be read: LSN %d to %d are lost", l.First, l.Last)
			continue
		}
		for _, ref := range slices.Backward(seg.Body.Packs) {
			last, err := findTx(ctx, r.bucket, ref, id)
			if err != nil {
				return Point{}, err
			}
			if last != 0 && last <= seg.Body.Last {
				return r.lsn(ctx, last)
			}
		}
	}
	return Point{}, fmt.Errorf("transaction %d: %w in the archive%s", id, ErrNoTx, unread)
}

// findTx returns the last LSN of a transaction in a pack, or 0.
func findTx(ctx context.Context, bucket storage.Bucket, ref pack.Ref, id change.TxID) (change.LSN, error) {
	p, err := pack.Open(ctx, bucket, ref)
	if err != nil {
		return 0, err
	}
	for b, err := range p.Blocks(ctx, 0, len(p.Index().Blocks), pack.SkipKeys|pack.SkipImages) {
		if err != nil {
			return 0, err
		}
		for _, t := range b.Txs() {
			if t.ID == id {
				return t.Last(), nil
			}
		}
	}
	return 0, nil
}
