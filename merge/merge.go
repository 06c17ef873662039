// Package merge composes versions of rows: it sorts what a log says by
// (collection, key), merges that with runs which are sorted already, and
// yields one version of each key, in bounded memory.
//
// Age decides everything here. Sources are given oldest first, and each covers
// a range of the log of its own, so that composing the versions of one key in
// the order of their sources is composing them in the order of the log.
package merge

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// ErrDivergence says that versions of a row contradict each other: a partial
// image over a row that does not exist, or a bag holding fewer than no copies.
var ErrDivergence = errors.New("the history contradicts itself")

// Rules says which versions count and how they compose. The zero value takes
// every version of keyed collections.
type Rules struct {
	// Bags holds the collections whose versions are counts.
	Bags map[change.CollectionID]bool
	// Cuts holds, by collection, the LSN of the last truncate or drop:
	// versions below it are gone.
	Cuts map[change.CollectionID]change.LSN
	// Want says which collections to take; nil takes all.
	Want func(change.CollectionID) bool
}

// takes reports whether anything of a collection can count, and the LSN from
// which on it does.
func (r *Rules) takes(c change.CollectionID) (from change.LSN, ok bool) {
	if r.Want != nil && !r.Want(c) {
		return change.MaxLSN, false
	}
	return r.Cuts[c], true
}

// Any reports whether any of the records of a log counts as a row version.
func (r *Rules) Any(records []change.Record) bool {
	var collection change.CollectionID
	var cut change.LSN
	takes := false
	for i := range records {
		rec := &records[i]
		if rec.Collection != collection {
			collection = rec.Collection
			cut, takes = r.takes(collection)
		}
		if takes && rec.LSN >= cut && isVersion(rec) {
			return true
		}
	}
	return false
}

// isVersion reports whether a record of a log is a version of a row.
func isVersion(r *change.Record) bool { return r.Op != change.Truncate && r.Op != change.SetSchema }

// Source yields row versions in order of (collection, key), one of each key
// at most. It is for one goroutine.
type Source interface {
	// Next returns the next versions, valid until the following call; none at
	// the end. After an error it must not be called again.
	Next(ctx context.Context) ([]change.Record, error)
	// Close releases what the source holds. Next must not run meanwhile.
	Close() error
}

// Range is a part of the order of (collection, key): from From on, up to but
// not including To. A nil bound leaves that end open.
type Range struct {
	From, To *pack.RowKey
}

func rowKey(r *change.Record) pack.RowKey { return pack.RowKey{Collection: r.Collection, Key: r.Key} }

// below reports whether the record lies before the range.
func (r *Range) below(rec *change.Record) bool {
	return r.From != nil && r.From.Compare(rowKey(rec)) > 0
}

// above reports whether the record lies after the range.
func (r *Range) above(rec *change.Record) bool {
	return r.To != nil && r.To.Compare(rowKey(rec)) <= 0
}

// fold composes the versions of one key, fed from the newest to the oldest.
type fold struct {
	out   change.Record
	count int64
	bag   bool
	done  bool  // nothing older matters
	arena arena // holds composed images until the batch is handed over
}

// start begins a key with its newest version.
func (f *fold) start(bag bool, r *change.Record) error {
	f.out, f.bag, f.done = *r, bag, false
	if bag {
		f.count = 0
		return f.older(r)
	}
	return f.checkKeyed(r)
}

// checkKeyed refuses what no version of a keyed row can be.
func (f *fold) checkKeyed(r *change.Record) error {
	switch r.Op {
	case change.Delete:
		f.done = true
		return nil
	case change.Insert, change.Update:
		partial := r.Image.Partial()
		if len(r.Image) == 0 || (partial && r.Op == change.Insert) {
			return contradiction(r, "an "+r.Op.String()+" without the whole row")
		}
		f.done = !partial
		return nil
	}
	return contradiction(r, "operation "+r.Op.String()+" among row versions")
}

// older lays what was composed so far over the next older version.
func (f *fold) older(r *change.Record) error {
	if f.bag {
		n, err := copies(r)
		if err != nil {
			return err
		}
		sum := f.count + n
		if (n > 0) == (f.count > 0) && (sum > 0) != (n > 0) {
			return contradiction(r, "more copies than can be counted")
		}
		f.count = sum
		return nil
	}
	if f.done {
		return nil
	}
	if r.Op == change.Delete {
		return contradiction(&f.out, "a partial row image follows a delete")
	}
	newer := f.out.Image
	if err := f.checkKeyed(r); err != nil {
		return err
	}
	image, err := change.Compose(f.arena.tail(), r.Image, newer)
	if err != nil {
		return fmt.Errorf("collection %d, key %x, LSN %d over %d: %w", r.Collection, r.Key, f.out.LSN, r.LSN, err)
	}
	f.arena.took(image)
	f.out.Image, f.out.Op = image, r.Op
	return nil
}

// copies is the signed count of a bag's version.
func copies(r *change.Record) (int64, error) {
	n := max(r.Count, 1)
	switch {
	case r.Count < 0:
		return 0, contradiction(r, "a negative count")
	case r.Op == change.Insert:
		return n, nil
	case r.Op == change.Delete:
		return -n, nil
	}
	return 0, contradiction(r, "operation "+r.Op.String()+" in a bag")
}

// finish returns the composition. In the final state of a collection there are
// only rows; else deletes, partial images and negative counts stay, to be laid
// over what is older. ok is false when nothing remains.
func (f *fold) finish(final bool) (ok bool, err error) {
	if f.bag {
		switch {
		case f.count == 0:
			return false, nil
		case f.count < 0 && final:
			return false, contradiction(&f.out, fmt.Sprintf("the bag would hold %d copies of a row", f.count))
		case f.count < 0:
			f.out.Op, f.out.Count = change.Delete, -f.count
		default:
			f.out.Op, f.out.Count = change.Insert, f.count
		}
		if final {
			f.out.LSN = 0 // of which copy? Versions that cancel out leave no trace
		}
		return true, nil
	}
	if !final {
		return true, nil
	}
	if f.out.Op == change.Delete {
		return false, nil
	}
	if f.out.Image.Partial() {
		return false, contradiction(&f.out, "a partial row image changes a row that does not exist")
	}
	f.out.Op = change.Insert
	return true, nil
}

func contradiction(r *change.Record, what string) error {
	return fmt.Errorf("collection %d, key %x, LSN %d: %s: %w", r.Collection, r.Key, r.LSN, what, ErrDivergence)
}

// arena gives out memory that stays as it is until reset.
type arena struct {
	b    []byte
	used int // bytes given out since reset
}

func (a *arena) reset() { a.b, a.used = a.b[:0], 0 }

// full reports whether enough was given out for one batch: composed images
// can be large.
func (a *arena) full() bool { return a.used >= 1<<20 }

// tail returns an empty slice to append to.
func (a *arena) tail() []byte { return a.b[len(a.b):] }

// took keeps what was appended to the last tail.
func (a *arena) took(b []byte) {
	a.used += len(b)
	if len(b) <= cap(a.b)-len(a.b) {
		a.b = a.b[:len(a.b)+len(b)]
		return
	}
	const least, most = 64 << 10, 4 << 20
	if c := min(max(2*cap(a.b), least), most); c > cap(a.b) {
		a.b = make([]byte, 0, c)
	}
}
