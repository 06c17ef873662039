package pack

import (
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
)

// LogWriter writes a log pack.
type LogWriter struct {
	w      *writer
	splice change.Splice
	next   change.LSN // wanted of the next record; 0: any
	time   change.Time
}

// NewLogWriter returns a writer of a log pack to w, which gets few, large
// writes. Close it in any case.
func NewLogWriter(w io.Writer, o WriterOptions) *LogWriter {
	return &LogWriter{w: newWriter(w, Log, o)}
}

// AppendTx appends a transaction or a piece of one, which it does not keep. The
// first may be any piece, and the pack may end after any: the rest of the
// transaction is then for packs before and after it. Otherwise pieces must fit
// together, LSNs must continue those before, and an effective time must not
// be earlier than the last (ErrOrder); an error of that kind, or ErrLimit,
// leaves the pack as it was. An error of the underlying writer is final.
func (l *LogWriter) AppendTx(t *change.Tx) error {
	w := l.w
	if w.err != nil {
		return w.err
	}
	splice, marks, err := l.check(t)
	if err != nil {
		return err
	}
	if l.next == 0 {
		w.ix.Before = t.Before
	}
	if t.Before == 0 {
		w.ix.Txs++
	}
	head := t.Head()
	for i := range t.Records {
		r := &t.Records[i]
		more := len(r.Key) + len(r.Image)
		begins := i == 0 && t.Before == 0
		if begins {
			more += len(t.Position)
		}
		if !w.b.fits(r, more, w.opts.BlockSize) {
			w.flush()
		}
		if begins || w.b.records == 0 {
			w.b.begin(head, t.Before+int64(i))
		}
		w.b.add(r)
		w.count(r)
	}
	w.ix.After = t.After
	w.ix.Tombstones = append(w.ix.Tombstones, marks.tombstones...)
	w.ix.Schemas = append(w.ix.Schemas, marks.schemas...)
	l.splice, l.next, l.time = splice, t.Last()+1, t.Effective
	return w.err
}

// marks are what the index lists of a transaction.
type marks struct {
	tombstones []Tombstone
	schemas    []SchemaMark
}

// check reports why a transaction can't be appended, and returns where the pack
// stands after it.
func (l *LogWriter) check(t *change.Tx) (splice change.Splice, m marks, err error) {
	if splice = l.splice; l.next == 0 {
		splice = change.ResumeAt(t)
	}
	if err := splice.Add(t); err != nil {
		return splice, m, fmt.Errorf("%w: %w", err, ErrOrder)
	}
	switch {
	case l.next != 0 && t.First() != l.next:
		return splice, m, fmt.Errorf("transaction %d starts at LSN %d, want %d: %w", t.ID, t.First(), l.next, ErrOrder)
	case l.next != 0 && t.Effective < l.time:
		return splice, m, fmt.Errorf("transaction %d has effective time %v, after %v: %w", t.ID, t.Effective, l.time, ErrOrder)
	case len(t.Position) > MaxPosition:
		return splice, m, fmt.Errorf("transaction %d has a position of %d bytes, the limit is %d: %w", t.ID, len(t.Position), MaxPosition, ErrLimit)
	}
	for i := range t.Records {
		r := &t.Records[i]
		if err := checkRecord(r); err != nil {
			return splice, m, err
		}
		if r.Count != 0 {
			return splice, m, fmt.Errorf("record at LSN %d has a count of %d; those of a log have none", r.LSN, r.Count)
		}
		switch r.Op {
		case change.Truncate:
			m.tombstones = append(m.tombstones, Tombstone{Collection: r.Collection, LSN: r.LSN})
		case change.SetSchema:
			s, err := r.Schema()
			if err != nil {
				return splice, m, err
			}
			m.schemas = append(m.schemas, SchemaMark{r.Collection, r.LSN})
			if s.Dropped {
				m.tombstones = append(m.tombstones, Tombstone{r.Collection, r.LSN, true})
			}
		}
	}
	return splice, m, nil
}

// Size returns about how many bytes the pack would have if it were closed now.
func (l *LogWriter) Size() int64 { return l.w.size() }

// Close ends the pack and returns what its manifest needs: the reference,
// whose Key the caller sets, and the index. It does not close the underlying
// writer. A pack without records is well formed.
func (l *LogWriter) Close() (Ref, *Index, error) { return l.w.close() }
