// Package apply brings a log of transactions onto a state: in LSN order, each
// record held against what the state shows, so that a wrong history is noticed
// instead of merged in. Crash recovery and every follower run this code.
package apply

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrGap says that transactions are missing between the state and the log.
	ErrGap = errors.New("transactions are missing")

	// ErrDiverged says that the state is not what the log's writer saw.
	ErrDiverged = errors.New("state and log have diverged")
)

// Outcome says what became of a transaction.
type Outcome int

// The outcomes.
const (
	Applied Outcome = 1 + iota
	Skipped         // the state already held it
)

func (o Outcome) String() string {
	switch o {
	case Applied:
		return "applied"
	case Skipped:
		return "skipped"
	}
	return fmt.Sprintf("outcome(%d)", int(o))
}

// Rows is the state that records are applied to. Keys and images passed in stay
// valid and unchanged as long as the transaction they came from.
type Rows interface {
	// Schema returns the schema of a live collection, or nil.
	Schema(c change.CollectionID) *change.Schema

	// Count returns how many copies of the row with this key there are: 0 or 1
	// unless the collection is a bag.
	Count(c change.CollectionID, key change.Key) (int64, error)

	// Set stores a row, replacing what the key held. For a keyed collection
	// count is 1. An image of a bag's row that is already there may be dropped.
	Set(c change.CollectionID, key change.Key, image change.Image, count int64) error

	// Remove takes a key's row away.
	Remove(c change.CollectionID, key change.Key) error

	// Clear takes every row of a collection away.
	Clear(c change.CollectionID) error

	// SetSchema stores a schema; one with Dropped set ends its collection,
	// whose rows Clear has already taken away.
	SetSchema(s *change.Schema) error
}

// Mode says how much a record is held against what the rows show.
type Mode int

// The modes.
const (
	// Replica is strict: a record must fit the rows exactly.
	Replica Mode = iota

	// Restore is for a log that was proved to be that of the rows. A record of a
	// keyed collection has its outcome whatever row is there, which is not read.
	// Schemas and rows of bags, whose counts must be known, are held against
	// what is there as ever.
	Restore
)

func (m Mode) String() string {
	switch m {
	case Replica:
		return "replica"
	case Restore:
		return "restore"
	}
	return fmt.Sprintf("mode(%d)", int(m))
}

// Record applies one record. It wraps [ErrDiverged] when the record can't
// follow on what the rows show, as far as the mode looks at them; the rows are
// then unchanged.
func Record(rows Rows, r *change.Record, m Mode) error {
	if r.Op == change.SetSchema {
		return setSchema(rows, r)
	}
	s := rows.Schema(r.Collection)
	if s == nil {
		return diverged(r, "the collection does not exist")
	}
	if r.Op == change.Truncate {
		return rows.Clear(r.Collection)
	}
	if len(r.Key) == 0 {
		return diverged(r, "the key is empty")
	}
	if m == Replica || s.Bag() {
		count, err := rows.Count(r.Collection, r.Key)
		switch {
		case err != nil:
			return err
		case s.Bag():
			return bagRecord(rows, r, count)
		case r.Op == change.Insert && count != 0:
			return diverged(r, "the row is already there")
		case r.Op != change.Insert && count == 0:
			return diverged(r, "the row is not there")
		}
	}
	switch {
	case r.Op == change.Delete:
		return rows.Remove(r.Collection, r.Key)
	case r.Image.Partial():
		return diverged(r, "its image is partial; a log of full images is needed")
	}
	return rows.Set(r.Collection, r.Key, r.Image, 1)
}

func bagRecord(rows Rows, r *change.Record, count int64) error {
	switch {
	case r.Op == change.Insert:
		return rows.Set(r.Collection, r.Key, r.Image, count+1)
	case r.Op != change.Delete:
		return diverged(r, "a bag has no such operation")
	case count == 0:
		return diverged(r, "the bag holds no such row")
	case count == 1:
		return rows.Remove(r.Collection, r.Key)
	}
	return rows.Set(r.Collection, r.Key, r.Image, count-1)
}

func setSchema(rows Rows, r *change.Record) error {
	s, err := r.Schema()
	if err != nil {
		return err
	}
	prev := rows.Schema(r.Collection)
	switch {
	case prev == nil && (s.Version != 1 || s.Dropped):
		return diverged(r, fmt.Sprintf("schema version %d of %q follows nothing", s.Version, s.Name))
	case prev != nil:
		if err := s.Follows(prev); err != nil {
			return fmt.Errorf("%w: %w", diverged(r, "the schema can't follow"), err)
		}
	}
	if s.Dropped {
		if err := rows.Clear(s.Collection); err != nil {
			return err
		}
	}
	return rows.SetSchema(s)
}

func diverged(r *change.Record, why string) error {
	return fmt.Errorf("%s at LSN %d in collection %d: %s: %w", r.Op, r.LSN, r.Collection, why, ErrDiverged)
}

// Applier applies transactions to rows in log order. It is for one goroutine.
type Applier struct {
	Rows Rows
	LSN  change.LSN  // of the last record that Rows holds
	Hash change.Hash // log hash through LSN
	Mode Mode        // of all transactions; the zero value is strict
}

// Tx applies a transaction whose canonical encoding is given, and moves LSN
// and Hash past it. A transaction that lies wholly at or below LSN is skipped.
// It returns [ErrGap] when the transaction starts later than just after LSN,
// and [ErrDiverged] when LSN falls inside it or a record does not fit.
// After an error of a record the rows hold part of the transaction.
func (a *Applier) Tx(t *change.Tx, canonical []byte) (Outcome, error) {
	switch first, last := t.First(), t.Last(); {
	case last <= a.LSN:
		return Skipped, nil
	case first <= a.LSN:
		return 0, fmt.Errorf("transaction %d has LSNs %d to %d, the state ends inside it at %d: %w", t.ID, first, last, a.LSN, ErrDiverged)
	case first != a.LSN+1:
		return 0, fmt.Errorf("transaction %d starts at LSN %d, the state ends at %d: %w", t.ID, first, a.LSN, ErrGap)
	}
	for i := range t.Records {
		if err := Record(a.Rows, &t.Records[i], a.Mode); err != nil {
			return 0, fmt.Errorf("transaction %d: %w", t.ID, err)
		}
	}
	a.LSN = t.Last()
	a.Hash = change.LogHash(a.Hash, canonical)
	return Applied, nil
}
