package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

const (
	txRows = 1000 // rows in one of the application's transactions

	wrongCountry = "IT" // every city of it is deleted by the accident
	movedCountry = "FR" // every city of it is moved to 0°, 0°
	label        = "regions-named"
	lostCity     = 87258
	movedCity    = 56988
)

// load fills the database in transactions.
func (s *story) load(ctx context.Context) error {
	s.chapter("An application loads its data. Tidemark archives every commit beside it.")
	began := time.Now()
	err := s.db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("regions", []string{"code"},
			change.Column{Name: "code", Type: change.Text}, change.Column{Name: "name", Type: change.Text})
		if err != nil {
			return err
		}
		_, err = tx.CreateCollection("cities", []string{"id"},
			change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "name", Type: change.Text},
			change.Column{Name: "country", Type: change.Text}, change.Column{Name: "region", Type: change.Text},
			change.Column{Name: "county", Type: change.Text},
			change.Column{Name: "latitude", Type: change.Float64}, change.Column{Name: "longitude", Type: change.Float64})
		return err
	})
	if err != nil {
		return err
	}
	txs := 1
	put := func(collection string, rows []change.Row) error {
		for part := range slices.Chunk(rows, txRows) {
			txs++
			if err := s.write(collection, (*embedded.Tx).Put, part); err != nil {
				return err
			}
		}
		return nil
	}
	if err := put("regions", regionRows(s.regions)); err != nil {
		return err
	}
	if err := put("cities", cityRows(s.cities)); err != nil {
		return err
	}
	s.line("%s rows in %d transactions, each on disk when its commit returns: %s", comma(len(s.cities)+len(s.regions)), txs, seconds(time.Since(began)))
	return s.archived(ctx)
}

// write applies op to rows in one transaction.
func (s *story) write(collection string, op func(*embedded.Tx, string, change.Row) error, rows []change.Row) error {
	return s.db.Update(func(tx *embedded.Tx) error {
		for _, row := range rows {
			if err := op(tx, collection, row); err != nil {
				return err
			}
		}
		return nil
	})
}

func regionRows(regions []region) (rows []change.Row) {
	for _, r := range regions {
		rows = append(rows, change.Row{change.TextValue(r.code), change.TextValue(r.name)})
	}
	return rows
}

func cityRows(cities []city) (rows []change.Row) {
	for _, c := range cities {
		rows = append(rows, change.Row{change.IntValue(c.id), change.TextValue(c.name), change.TextValue(c.country),
			change.TextValue(c.region), change.TextValue(c.county), change.FloatValue(c.latitude), change.FloatValue(c.longitude)})
	}
	return rows
}

// evolve adds a column and fills it, with a snapshot halfway, sets a label and
// removes duplicates.
func (s *story) evolve(ctx context.Context) error {
	s.chapter("The data evolves.")
	began := time.Now()
	err := s.db.Update(func(tx *embedded.Tx) error {
		_, err := tx.AddColumns("cities", change.Column{Name: "region_name", Type: change.Text, Nullable: true})
		return err
	})
	if err != nil {
		return err
	}
	names := make(map[string]string)
	for _, r := range s.regions {
		names[r.code] = r.name
	}
	var rows []change.Row
	for _, c := range s.cities {
		if name, ok := names[c.country+"."+c.region]; ok {
			rows = append(rows, patch(c.id, columnRegionName, change.TextValue(name)))
		}
	}
	half := len(rows) / 2 / txRows * txRows
	if err := s.patch(rows[:half]); err != nil {
		return err
	}
	base, err := s.capture.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := s.patch(rows[half:]); err != nil {
		return err
	}
	s.line("a new column, cities.region_name, filled in by %s updates: %s", comma(len(rows)), seconds(time.Since(began)))
	s.line("halfway through, a snapshot at LSN %d; nobody had to wait for it", base.LSN)
	if _, err := s.capture.Sync(ctx); err != nil {
		return err
	}
	if err := s.run(ctx, "label", s.archivePath, label, "--note", "every region has a name"); err != nil {
		return err
	}
	return s.tidy()
}

// tidy removes duplicates.
func (s *story) tidy() error {
	seen := make(map[city]bool)
	var doubles []change.Row
	for _, c := range s.cities {
		k := c
		k.id, k.latitude, k.longitude = 0, 0, 0
		if seen[k] {
			doubles = append(doubles, change.Row{change.IntValue(c.id)})
		}
		seen[k] = true
	}
	for part := range slices.Chunk(doubles, 250) {
		err := s.write("cities", func(tx *embedded.Tx, collection string, row change.Row) error {
			_, err := tx.Delete(collection, row...)
			return err
		}, part)
		if err != nil {
			return err
		}
	}
	s.line("%s places that were listed twice are removed", comma(len(doubles)))
	return nil
}

// The columns of cities that change, by their place in a row.
const (
	columnLatitude   = 5
	columnLongitude  = 6
	columnRegionName = 7
	columns          = 8
)

// patch returns a row that sets one column.
func patch(id int64, column int, v change.Value) change.Row {
	row := make(change.Row, columns) // of unchanged values
	row[0], row[column] = change.IntValue(id), v
	return row
}

func (s *story) patch(rows []change.Row) error {
	for part := range slices.Chunk(rows, txRows) {
		if err := s.write("cities", (*embedded.Tx).Patch, part); err != nil {
			return err
		}
	}
	return nil
}

// accident deletes and overwrites thousands of rows in one transaction, after
// taking down what the database held; a few honest transactions follow.
func (s *story) accident(ctx context.Context) (err error) {
	s.chapter("The accident. A clean-up job has a wrong WHERE, and commits.")
	if s.lost, err = s.digests(ctx); err != nil {
		return err
	}
	s.before, s.res.Rows = s.lost.lsn, s.lost.rows()
	if err := s.show("before", lostCity, movedCity); err != nil {
		return err
	}
	if err := s.db.Update(s.wreck); err != nil {
		return err
	}
	s.line("one transaction deletes %s cities, all of Italy, and moves %s, all of France, to 0°, 0°",
		comma(int(s.res.Lost)), comma(int(s.res.Overwrote)))
	if err := s.show("after", lostCity, movedCity); err != nil {
		return err
	}
	for _, id := range []int64{1, 2, 3} {
		err := s.patch([]change.Row{patch(id, columnRegionName, change.TextValue(fmt.Sprintf("corrected %d", id)))})
		if err != nil {
			return err
		}
	}
	s.line("nobody notices; three honest transactions follow")
	return s.archived(ctx)
}

// wreck is the accident.
func (s *story) wreck(tx *embedded.Tx) error {
	for row, err := range tx.Scan("cities", embedded.Range{}) {
		if err != nil {
			return err
		}
		switch row[2].Str() {
		case wrongCountry:
			if _, err := tx.Delete("cities", row[0]); err != nil {
				return err
			}
			s.res.Lost++
		case movedCountry:
			row[columnLatitude], row[columnLongitude] = change.FloatValue(0), change.FloatValue(0)
			if err := tx.Update("cities", row); err != nil {
				return err
			}
			s.res.Overwrote++
		}
	}
	return nil
}
