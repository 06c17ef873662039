package recovery

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// Segment is a segment of the log that was read and proved as a whole, for who
// follows the log as it grows. It is for one goroutine. Close it.
type Segment struct {
	bucket storage.Bucket
	body   *chain.Segment
	open   []*pack.Reader // of the packs, while they are small enough to be held
	hash   change.Hash    // at the LSN that was asked for
}

// holdSegment is the stored size up to which a segment is held in memory
// between its proof and its use; a larger one is read twice.
const holdSegment = 64 << 20

// OpenSegment reads a segment and proves it before anything of it is handed
// out: every block's hash, LSNs without holes, transactions whole, and that the
// log hash leads from prev, which is the one before the segment, to what the
// manifest says. at is an LSN of the segment, or the one before it, at which
// [Segment.Hash] is wanted; inside a transaction it is an [*InsideTxError].
// Damage wraps [pack.ErrCorrupt] or [storage.ErrNotFound] and names the object.
func OpenSegment(ctx context.Context, bucket storage.Bucket, body *chain.Segment, prev change.Hash, at change.LSN) (_ *Segment, err error) {
	if at+1 < body.First || at > body.Last {
		return nil, fmt.Errorf("LSN %d is not in the segment of LSN %d to %d", at, body.First, body.Last)
	}
	s := &Segment{bucket: bucket, body: body}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	var splice change.Splice
	var hasher change.LogHasher
	var txs int64
	next, hash := body.First, prev
	if at+1 == next {
		s.hash = hash
	}
	for t, err := range s.pieces(ctx, true) {
		if err != nil {
			return nil, err
		}
		if err := splice.Add(t); err != nil {
			return nil, s.corrupt("%v", err)
		}
		if t.First() != next {
			return nil, s.corrupt("LSN %d where LSN %d must come", t.First(), next)
		}
		hash = hasher.AddTx(hash, t)
		next = t.Last() + 1
		if splice.Open() {
			continue
		}
		txs++
		if head := splice.Head(); head.First <= at && at < head.Last() {
			return nil, &InsideTxError{LSN: at, Tx: head.ID, Before: head.First - 1, Last: head.Last()}
		}
		if next == at+1 {
			s.hash = hash
		}
	}
	switch {
	case splice.Open() || next != body.Last+1:
		return nil, s.corrupt("the segment ends at LSN %d (inside a transaction: %t), want LSN %d", next-1, splice.Open(), body.Last)
	case hash != body.LogHash:
		return nil, s.corrupt("the segment of LSN %d to %d leads to log hash %s, its manifest says %s", body.First, body.Last, hash, body.LogHash)
	case txs != body.Txs && body.PackLast == 0:
		return nil, s.corrupt("the segment holds %d transactions, its manifest says %d", txs, body.Txs)
	}
	return s, nil
}

func (s *Segment) corrupt(format string, args ...any) error {
	return corrupt(s.body.Packs[len(s.body.Packs)-1], format, args...)
}

// Hash returns the log hash at the LSN that was asked for.
func (s *Segment) Hash() change.Hash { return s.hash }

// Txs yields the transactions after an LSN that lies between two of them, in
// order; a large one in pieces, which [change.Join] puts together. Each, with
// all its records, is valid until the next one. The sequence ends at the first
// error.
func (s *Segment) Txs(ctx context.Context, after change.LSN) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for t, err := range s.pieces(ctx, false) {
			if err == nil && t.First() <= after {
				continue
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// pieces yields what the packs hold up to the end of the segment, and keeps
// the packs that were opened if they are small.
func (s *Segment) pieces(ctx context.Context, first bool) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		var size int64
		for _, ref := range s.body.Packs {
			size += ref.Size
		}
		for i, ref := range s.body.Packs {
			if !s.pack(ctx, i, ref, first && size <= holdSegment, yield) {
				return
			}
		}
	}
}

// pack yields what one pack holds and reports whether the next may follow.
func (s *Segment) pack(ctx context.Context, i int, ref pack.Ref, keep bool, yield func(*change.Tx, error) bool) bool {
	var r *pack.Reader
	var err error
	switch {
	case i < len(s.open):
		r = s.open[i]
	case keep:
		if r, err = pack.OpenWhole(ctx, s.bucket, ref); err == nil {
			s.open = append(s.open, r)
		}
	default:
		if r, err = pack.Open(ctx, s.bucket, ref); err == nil {
			defer r.Close()
		}
	}
	if err == nil && r.Index().Kind != pack.Log {
		err = corrupt(ref, "it is a %s pack, want a log", r.Index().Kind)
	}
	if err != nil {
		yield(nil, err)
		return false
	}
	for t, err := range r.Txs(ctx, 0) {
		if err != nil {
			yield(nil, err)
			return false
		}
		if t.First() > s.body.Last {
			return false // a fork has cut the segment
		}
		if !yield(t, nil) {
			return false
		}
	}
	return true
}

// Close gives the packs back.
func (s *Segment) Close() {
	for _, r := range s.open {
		r.Close()
	}
	s.open = nil
}
