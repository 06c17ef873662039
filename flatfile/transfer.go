package flatfile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

// ImportOptions tune an import. The zero value is ready for use.
type ImportOptions struct {
	TxRows   int              // rows in one transaction; default 1,000
	Progress func(rows int64) // called after each transaction
}

// Imported says what an import has stored, also when it ended with an error.
type Imported struct {
	Rows int64 `json:"rows"`
	Txs  int64 `json:"transactions"`
}

// Import stores the rows of a file in the collection that r's schema is of, a
// transaction at a time:
// rows of a keyed collection take the place of those with their key, rows of a
// bag are added. On an error the transactions before it stay; nothing of the
// one at hand does.
func Import(ctx context.Context, db *embedded.DB, r *Reader, o ImportOptions) (Imported, error) {
	if o.TxRows <= 0 {
		o.TxRows = 1000
	}
	var done Imported
	for end := false; !end; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		var n int64
		err := db.Update(func(tx *embedded.Tx) (err error) {
			n, end, err = importSome(tx, r, o.TxRows)
			return err
		})
		if err != nil {
			return done, err
		}
		if n > 0 {
			done.Rows += n
			done.Txs++
		}
		if o.Progress != nil {
			o.Progress(done.Rows)
		}
	}
	return done, nil
}

func importSome(tx *embedded.Tx, r *Reader, most int) (n int64, end bool, err error) {
	for n < int64(most) {
		row, err := r.Next()
		if err == io.EOF {
			return n, true, nil
		}
		if err == nil {
			err = Put(tx, r.schema, row)
			if errors.Is(err, change.ErrSchema) {
				err = lineError(r.line, err)
			}
		}
		if err != nil {
			return n, false, err
		}
		n++
	}
	return n, false, nil
}

// Put stores a row in the collection of a schema: in the place of the one with
// its key, or one more in a bag.
func Put(tx *embedded.Tx, s *change.Schema, row change.Row) error {
	if s.Bag() {
		return tx.Add(s.Name, row, 1)
	}
	return tx.Put(s.Name, row)
}

// Remove takes a row that is there out of the collection of a schema; of equal
// rows in a bag, one.
func Remove(tx *embedded.Tx, s *change.Schema, row change.Row) error {
	if s.Bag() {
		return tx.Remove(s.Name, row)
	}
	_, err := tx.Delete(s.Name, KeyOf(s, row)...)
	return err
}

// Export writes the rows of a collection, as one moment shows them, and
// returns how many there are.
func Export(ctx context.Context, db *embedded.DB, collection string, out io.Writer, f Format) (rows int64, err error) {
	err = db.View(func(tx *embedded.Tx) error {
		s, err := tx.Schema(collection)
		if err != nil {
			return err
		}
		w, err := NewWriter(out, f, s)
		if err != nil {
			return err
		}
		for row, err := range tx.Scan(collection, embedded.Range{}) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = w.Write(row)
			}
			if err != nil {
				return fmt.Errorf("export collection %q after %d rows: %w", collection, rows, err)
			}
			rows++
		}
		return w.Flush()
	})
	return rows, err
}
