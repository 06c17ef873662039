package change

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
)

// Tx is a transaction: records that became visible together. One too large for
// memory comes in pieces: each is a Tx that says the same of the whole and
// holds the next of its records.
type Tx struct {
	ID        TxID
	Commit    Time     // by the database's clock
	Effective Time     // the time it has in the archive; 0 until capture gives one
	Position  Position // the database's position just after it; may be empty
	Records   []Record // consecutive LSNs, at least one

	Before int64 // how many of its records came in earlier pieces
	After  int64 // how many are still to come; both are 0 in a whole transaction
}

// First returns the LSN of the first record of the transaction or piece.
func (t *Tx) First() LSN { return t.Records[0].LSN }

// Last returns the LSN of the last record of the transaction or piece.
// Restoring to that of a whole transaction, or of its last piece, restores the
// transaction.
func (t *Tx) Last() LSN { return t.Records[len(t.Records)-1].LSN }

// Whole reports whether t is a transaction and not a piece of one.
func (t *Tx) Whole() bool { return t.Before == 0 && t.After == 0 }

// Head returns what t, whole or a piece, says of the whole transaction.
func (t *Tx) Head() TxHead {
	return TxHead{ID: t.ID, Commit: t.Commit, Effective: t.Effective, Position: t.Position,
		First: t.First() - LSN(t.Before), Count: t.Before + int64(len(t.Records)) + t.After}
}

// TxHead is what every piece of a transaction says of the whole.
type TxHead struct {
	ID        TxID
	Commit    Time
	Effective Time
	Position  Position
	First     LSN   // of its first record
	Count     int64 // of its records
}

// Last returns the LSN of the last record of the whole transaction.
func (h *TxHead) Last() LSN { return h.First + LSN(h.Count) - 1 }

// Splice checks that pieces of transactions fit together. The zero Splice
// stands between two transactions and takes any whole one or first piece.
type Splice struct {
	head TxHead
	next int64 // records of head that came; 0 between transactions
}

// ResumeAt returns a Splice that stands inside a transaction, before the piece t.
func ResumeAt(t *Tx) Splice {
	if len(t.Records) == 0 || t.Before <= 0 {
		return Splice{}
	}
	return Splice{t.Head(), t.Before}
}

// Open reports whether the last transaction goes on.
func (s *Splice) Open() bool { return s.next > 0 }

// Head returns the transaction that is open, or else was the last.
func (s *Splice) Head() TxHead { return s.head }

// Left returns how many records of the open transaction are still to come.
func (s *Splice) Left() int64 {
	if s.next == 0 {
		return 0
	}
	return s.head.Count - s.next
}

// Add takes the next transaction or piece. It refuses one that is malformed or
// no continuation, and is then as it was. That LSNs go on from one transaction
// to the next is for others to check.
func (s *Splice) Add(t *Tx) error {
	if len(t.Records) == 0 {
		return fmt.Errorf("transaction %d holds no record: %w", t.ID, errTx)
	}
	if t.Before < 0 || t.After < 0 || t.First() <= LSN(t.Before) || uint64(t.After) > uint64(MaxLSN-t.Last()) {
		return fmt.Errorf("transaction %d at LSN %d has %d records before and %d after: %w", t.ID, t.First(), t.Before, t.After, errTx)
	}
	for i := range t.Records {
		if want := t.First() + LSN(i); t.Records[i].LSN != want || want == MaxLSN {
			return fmt.Errorf("transaction %d: record %d has LSN %d, want %d: %w", t.ID, i+1, t.Records[i].LSN, want, errTx)
		}
	}
	head := t.Head()
	if t.Before != s.next || t.Before > 0 && head != s.head {
		return fmt.Errorf("transaction %d at LSN %d, after %d records of its own, does not go on from transaction %d, of which %d of %d records came: %w",
			t.ID, t.First(), t.Before, s.head.ID, s.next, s.head.Count, errTx)
	}
	s.head, s.next = head, t.Before+int64(len(t.Records))
	if t.After == 0 {
		s.next = 0
	}
	return nil
}

// Join yields whole transactions from a sequence of pieces, for those who have
// the memory. A transaction is valid until the next one. A sequence that ends
// inside a transaction, or whose pieces do not fit, ends with an error.
func Join(pieces iter.Seq2[*Tx, error]) iter.Seq2[*Tx, error] {
	return func(yield func(*Tx, error) bool) {
		var s Splice
		var records []Record
		for t, err := range pieces {
			if err == nil {
				err = s.Add(t)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !t.Whole() {
				if t.Before == 0 {
					records = make([]Record, 0, len(t.Records))
				}
				for i := range t.Records {
					r := t.Records[i]
					r.Key, r.Image = bytes.Clone(r.Key), bytes.Clone(r.Image)
					records = append(records, r)
				}
				if t.After > 0 {
					continue
				}
				t = &Tx{ID: t.ID, Commit: t.Commit, Effective: t.Effective, Position: t.Position, Records: records}
			}
			if !yield(t, nil) {
				return
			}
		}
		if s.Open() {
			yield(nil, fmt.Errorf("transaction %d ends after %d of %d records: %w", s.head.ID, s.next, s.head.Count, errTx))
		}
	}
}

// Cut returns a whole transaction in pieces of at most n records, which point
// into it.
func Cut(t *Tx, n int) []*Tx {
	total := len(t.Records)
	var out []*Tx
	for records := range slices.Chunk(t.Records, n) {
		p := *t
		p.Records = records
		p.Before = int64(records[0].LSN - t.First())
		p.After = int64(total-len(records)) - p.Before
		out = append(out, &p)
	}
	return out
}
