package pack

import (
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
)

// LogWriter writes a log pack.
type LogWriter struct {
	w    *writer
	next change.LSN // wanted of the next record; 0: any
	time change.Time
}

// NewLogWriter returns a writer of a log pack to w, which gets few, large
// writes. Close it in any case.
func NewLogWriter(w io.Writer, o WriterOptions) *LogWriter {
	return &LogWriter{w: newWriter(w, Log, o)}
}

// AppendTx appends a transaction, which it does not keep. Its LSNs must
// continue those before it, its effective time must not be earlier than the
// last (ErrOrder); an error of that kind, or ErrLimit, leaves the pack as it
// was. An error of the underlying writer is final.
func (l *LogWriter) AppendTx(t *change.Tx) error {
	w := l.w
	if w.err != nil {
		return w.err
	}
	marks, err := l.check(t)
	if err != nil {
		return err
	}
	head := txHead{t.ID, t.Commit, t.Effective, t.Position, int64(len(t.Records))}
	for i := range t.Records {
		r := &t.Records[i]
		more := len(r.Key) + len(r.Image)
		if i == 0 {
			more += len(t.Position)
		}
		full := !w.b.fits(r, more, w.opts.BlockSize)
		if full {
			w.flush()
		}
		if i == 0 || full {
			w.b.begin(head, int64(i))
		}
		w.b.add(r)
		w.count(r)
	}
	w.ix.Txs++
	w.ix.Tombstones = append(w.ix.Tombstones, marks.tombstones...)
	w.ix.Schemas = append(w.ix.Schemas, marks.schemas...)
	l.next, l.time = t.Last()+1, t.Effective
	return w.err
}

// marks are what the index lists of a transaction.
type marks struct {
	tombstones []Tombstone
	schemas    []SchemaMark
}

// check reports why a transaction can't be appended.
func (l *LogWriter) check(t *change.Tx) (m marks, err error) {
	if len(t.Records) == 0 {
		return m, fmt.Errorf("transaction %d has no records: %w", t.ID, ErrOrder)
	}
	next := t.First()
	switch {
	case next == 0 || (l.next != 0 && next != l.next):
		return m, fmt.Errorf("transaction %d starts at LSN %d, want %d: %w", t.ID, next, l.next, ErrOrder)
	case l.next != 0 && t.Effective < l.time:
		return m, fmt.Errorf("transaction %d has effective time %v, after %v: %w", t.ID, t.Effective, l.time, ErrOrder)
	case len(t.Position) > MaxPosition:
		return m, fmt.Errorf("transaction %d has a position of %d bytes, the limit is %d: %w", t.ID, len(t.Position), MaxPosition, ErrLimit)
	}
	for i := range t.Records {
		r := &t.Records[i]
		if r.LSN != next || r.LSN == change.MaxLSN {
			return m, fmt.Errorf("transaction %d has LSN %d, want %d: %w", t.ID, r.LSN, next, ErrOrder)
		}
		next++
		if err := checkRecord(r); err != nil {
			return m, err
		}
		if r.Count != 0 {
			return m, fmt.Errorf("record at LSN %d has a count of %d; those of a log have none", r.LSN, r.Count)
		}
		switch r.Op {
		case change.Truncate:
			m.tombstones = append(m.tombstones, Tombstone{Collection: r.Collection, LSN: r.LSN})
		case change.SetSchema:
			s, err := r.Schema()
			if err != nil {
				return m, err
			}
			m.schemas = append(m.schemas, SchemaMark{r.Collection, r.LSN})
			if s.Dropped {
				m.tombstones = append(m.tombstones, Tombstone{r.Collection, r.LSN, true})
			}
		}
	}
	return m, nil
}

// Size returns about how many bytes the pack would have if it were closed now.
func (l *LogWriter) Size() int64 { return l.w.size() }

// Close ends the pack and returns what its manifest needs: the reference,
// whose Key the caller sets, and the index. It does not close the underlying
// writer. A pack without records is well formed.
func (l *LogWriter) Close() (Ref, *Index, error) { return l.w.close() }
