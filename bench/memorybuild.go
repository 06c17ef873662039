package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
)

// largeRowBytes is about how many bytes a row of the large database has.
const largeRowBytes = 256

// build makes the database of a [MemoryCase].
func (j *job) build(ctx context.Context) (outcome, error) {
	if j.Build == caseTx {
		return buildTx(ctx, j.Dest, j.Rows)
	}
	return buildDatabase(ctx, j.Dest, j.Rows)
}

// buildTx makes a database whose log holds one transaction of n modest rows.
func buildTx(ctx context.Context, dir string, n int) (got outcome, err error) {
	db, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Source().Start(ctx); err != nil { // from here on the log is kept for an archive
		return got, err
	}
	var schema *change.Schema
	err = db.Update(func(tx *embedded.Tx) error {
		schema, err = tx.CreateCollection("account", []string{"id"}, change.Column{Name: "id", Type: change.Int64},
			change.Column{Name: "name", Type: change.Text}, change.Column{Name: "balance", Type: change.Int64}, change.Column{Name: "seen", Type: change.Timestamp})
		return err
	})
	if err != nil {
		return got, err
	}
	var d change.Digest
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	row := make(change.Row, 4)
	err = db.Update(func(tx *embedded.Tx) error {
		for i := range int64(n) {
			row = append(row[:0], change.IntValue(i), change.TextValue(fmt.Sprintf("account %07d", i)), change.IntValue(rng.Int64N(1e9)),
				change.TimeValue(workloadStart+change.Time(rng.Int64N(1e12))))
			if err := got.add(&d, schema, row); err != nil {
				return err
			}
			if err := tx.Insert("account", row); err != nil {
				return err
			}
		}
		return nil
	})
	got.Rows, got.Digest = d.Rows, d.Sum()
	return got, err
}

// add counts in a row.
func (got *outcome) add(d *change.Digest, s *change.Schema, row change.Row) error {
	key, image, err := s.EncodeRow(row)
	if err != nil {
		return err
	}
	got.Bytes += int64(len(key) + len(image))
	return d.Add(s, key, image, 1)
}

// buildDatabase makes a database of n rows that do not compress, as a restore
// would.
func buildDatabase(ctx context.Context, dir string, n int) (got outcome, err error) {
	schema, err := change.Define(1, "blob", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "bytes", Type: change.Bytes})
	if err != nil {
		return got, err
	}
	target, err := embedded.NewTarget(dir, embedded.Options{})
	if err != nil {
		return got, err
	}
	defer func() {
		_, abort := target.Abort(false)
		err = errors.Join(err, abort)
	}()
	want := driver.State{LSN: 1, LogHash: change.Hash{1}, Commit: workloadStart, LastTx: 1, Schemas: []*change.Schema{schema}, NextID: 2, Rows: int64(n)}
	if _, err := target.Begin(ctx, want); err != nil {
		return got, err
	}
	var d change.Digest
	part := &driver.Part{Tallies: []driver.Tally{{Collection: schema.Collection, Rows: int64(n)}}}
	if err := target.Load(ctx, part, largeRows(schema, n, &d, &got)); err != nil {
		return got, err
	}
	got.Rows, got.Digest = d.Rows, d.Sum()
	return got, target.Finish(ctx, want)
}

func largeRows(schema *change.Schema, n int, d *change.Digest, got *outcome) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		rng := rand.New(rand.NewPCG(2, uint64(n)))
		payload := make([]byte, largeRowBytes-8)
		for i := range int64(n) {
			for at := 0; at < len(payload); at += 8 {
				binary.LittleEndian.PutUint64(payload[at:], rng.Uint64())
			}
			key, image, err := schema.EncodeRow(change.Row{change.IntValue(i), change.BytesValue(payload)})
			if err == nil {
				got.Bytes += int64(len(key) + len(image))
				err = d.Add(schema, key, image, 1)
			}
			if !yield(&change.Record{Op: change.Insert, Collection: schema.Collection, Key: key, Image: image}, err) || err != nil {
				return
			}
		}
	}
}
