package pack

import (
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
)

// RunWriter writes a run pack: one version per row, in order of (collection, key).
type RunWriter struct {
	w   *writer
	any bool
}

// NewRunWriter returns a writer of a run pack to w, which gets few, large
// writes. Close it in any case.
func NewRunWriter(w io.Writer, o WriterOptions) *RunWriter {
	return &RunWriter{w: newWriter(w, Run, o)}
}

// Append appends a row version, which it does not keep: an Insert, an Update
// (its image may be partial) or a Delete, with any LSN; rows of bags with
// their Count. Its (collection, key) must be greater than the last (ErrOrder);
// an error of that kind, or ErrLimit, leaves the pack as it was. An error of
// the underlying writer is final.
func (rw *RunWriter) Append(r *change.Record) error {
	w := rw.w
	if w.err != nil {
		return w.err
	}
	if err := checkRecord(r); err != nil {
		return err
	}
	switch {
	case r.Op > change.Delete:
		return fmt.Errorf("a run holds row versions, not a record of operation %s", r.Op)
	case len(r.Key) == 0:
		return fmt.Errorf("a row version of collection %d has no key", r.Collection)
	case rw.any && rowOf(r).Compare(w.row) <= 0:
		return fmt.Errorf("row %v after %v: %w", rowOf(r), w.row, ErrOrder)
	}
	if !w.b.fits(r, len(r.Key)+len(r.Image), w.opts.BlockSize) {
		w.flush()
	}
	w.row.Collection, w.row.Key = r.Collection, append(w.row.Key[:0], r.Key...)
	if w.b.records == 0 {
		w.first = RowKey{r.Collection, append(change.Key(nil), r.Key...)}
	}
	rw.any = true
	w.b.add(r)
	w.count(r)
	return w.err
}

// AddTombstone lists a tombstone in the index: versions of the collection's
// rows before its LSN that other packs hold are gone.
func (rw *RunWriter) AddTombstone(t Tombstone) {
	rw.w.ix.Tombstones = append(rw.w.ix.Tombstones, t)
}

// Size returns about how many bytes the pack would have if it were closed now.
func (rw *RunWriter) Size() int64 { return rw.w.size() }

// Close ends the pack and returns what its manifest needs: the reference,
// whose Key the caller sets, and the index. It does not close the underlying
// writer. A pack without records is well formed.
func (rw *RunWriter) Close() (Ref, *Index, error) { return rw.w.close() }
