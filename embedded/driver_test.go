package embedded

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/driver/drivertest"
)

// tested is a database in the form that drivertest wants.
type tested struct {
	*DB
	fs vfs.FS
}

func openPieces(fs vfs.FS, mustExist bool, piece int64) (drivertest.Database, error) {
	o := small(fs)
	o.PieceBytes = piece
	o.MustExist = mustExist
	o.LogFileBytes = 2 << 10
	db, err := Open("db", o)
	if err != nil {
		return nil, err
	}
	return &tested{db, fs}, nil
}

// Do implements drivertest.Database.
func (d *tested) Do(ops []drivertest.Op) error {
	return d.Update(func(tx *Tx) error {
		for _, op := range ops {
			if err := doOp(tx, op); err != nil {
				return err
			}
		}
		return nil
	})
}

func doOp(tx *Tx, op drivertest.Op) (err error) {
	switch op.Kind {
	case drivertest.Create:
		_, err = tx.CreateCollection(op.Collection, op.Key, op.Columns...)
	case drivertest.AddColumn:
		_, err = tx.AddColumns(op.Collection, op.Columns...)
	case drivertest.Drop:
		err = tx.DropCollection(op.Collection)
	case drivertest.Truncate:
		err = tx.Truncate(op.Collection)
	case drivertest.Put:
		err = tx.Put(op.Collection, op.Row)
	case drivertest.Delete:
		_, err = tx.Delete(op.Collection, op.Row[2], op.Row[0])
	case drivertest.Add:
		err = tx.Add(op.Collection, op.Row, 1)
	case drivertest.Remove:
		err = tx.Remove(op.Collection, op.Row)
	}
	return err
}

// Show implements drivertest.Database.
func (d *tested) Show() (map[string][]string, error) {
	out := make(map[string][]string)
	err := d.View(func(tx *Tx) error {
		schemas, err := tx.Collections()
		for _, s := range schemas {
			out[s.Name] = []string{}
			for row, err := range tx.Scan(s.Name, Range{}) {
				if err != nil {
					return err
				}
				out[s.Name] = append(out[s.Name], fmt.Sprint(row))
			}
		}
		return err
	})
	return out, err
}

func TestDriver(t *testing.T) {
	// In pieces of the default size, and of a few records.
	for piece, records := range map[int64]int{0: 0, 100: 30} {
		t.Run(fmt.Sprint("pieces of ", piece), func(t *testing.T) { testDriver(t, piece, records) })
	}
}

func testDriver(t *testing.T, piece int64, records int) {
	openTested := func(fs vfs.FS, mustExist bool) (drivertest.Database, error) { return openPieces(fs, mustExist, piece) }
	drivertest.Run(t, drivertest.Suite{
		Piece: records,
		Open:  func() (drivertest.Database, error) { return openTested(vfs.NewMem(), false) },
		Reopen: func(db drivertest.Database) (drivertest.Database, error) {
			if err := db.Close(); err != nil {
				return nil, err
			}
			return openTested(db.(*tested).fs, true)
		},
		LoseLog: func(db drivertest.Database) (drivertest.Database, error) {
			d := db.(*tested).DB
			if e := d.detach(Lag{}); e.Err != nil {
				return nil, e.Err
			}
			// Until all that there was lies in files that are gone.
			for end := d.Info().LSN; d.log.Extent().First <= end; {
				err := d.Update(func(tx *Tx) error {
					name := fmt.Sprintf("lost%d", d.Info().LSN)
					_, err := tx.CreateCollection(name, nil, columns()...)
					return errors.Join(err, tx.DropCollection(name))
				})
				if err = errors.Join(err, d.state.Flush(), d.releaseLog()); err != nil {
					return nil, err
				}
			}
			return db, nil
		},
		Place: func() (drivertest.Place, error) {
			fs := vfs.NewMem()
			return drivertest.Place{
				Target: func() (driver.Target, error) { return NewTarget("db", small(fs)) },
				Open:   func() (drivertest.Database, error) { return openTested(fs, true) },
			}, nil
		},
		Standby: func(db drivertest.Database) (driver.Standby, error) { return db.(*tested).Follow() },
	})
}

// TestAttachedLogIsKept checks what a source that was started still has.
func TestAttachedLogIsKept(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	fill := func(from, to int64) {
		t.Helper()
		for i := from; i < to; i++ {
			update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, fmt.Sprintf("%0200d", i))) })
		}
		if err := db.state.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := db.releaseLog(); err != nil {
			t.Fatal(err)
		}
	}
	fill(0, 100)
	ctx := t.Context()
	if _, err := db.Source().Changes(ctx, driver.Mark{}); !errors.Is(err, driver.ErrLogLost) {
		t.Errorf("changes from the start, whose log was released: %v", err)
	}
	begin, err := db.Source().Start(ctx)
	if err != nil || begin.LSN != 101 {
		t.Fatalf("start at %+v: %v", begin, err)
	}
	fill(100, 200)
	mustClose(t, db)
	db = mustOpen(t, "db", small(fs))
	fill(200, 300)
	c, err := db.Source().Changes(ctx, begin)
	if err != nil {
		t.Fatal(err)
	}
	var last driver.Mark
	last.LogHash = begin.LogHash
	for i := range 200 {
		tx, err := c.Next(ctx)
		if err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
		last = driver.Mark{LSN: tx.Last(), LogHash: change.LogHash(last.LogHash, change.AppendTx(nil, tx))}
	}
	if last.LSN != 301 || last.LogHash != db.visible.Hash {
		t.Errorf("the log ends at %+v, the database at LSN %d, hash %s", last, db.visible.LSN, db.visible.Hash)
	}
	before := db.log.Extent()
	if err := db.Source().Ack(ctx, driver.Receipt{Mark: last}); err != nil {
		t.Fatal(err)
	}
	after := db.log.Extent()
	if before.Files < 10 || after.Files != 1 {
		t.Errorf("%d log files before the acknowledgement, %d after it", before.Files, after.Files)
	}
	if _, err := db.Source().Changes(ctx, begin); !errors.Is(err, driver.ErrLogLost) {
		t.Errorf("changes from what was acknowledged: %v", err)
	}
	beyond := last
	beyond.LSN++
	if err := db.Source().Ack(ctx, driver.Receipt{Mark: beyond}); !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("acknowledgement beyond the end: %v", err)
	}
	// The reader goes on across files that are used again.
	fill(300, 400)
	for i := range 100 {
		if tx, err := c.Next(ctx); err != nil || tx.Last() != change.LSN(302+i) {
			t.Fatalf("transaction %d after the acknowledgement: %v", i, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	mustClose(t, db)
	if _, err := db.Source().Start(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("start after Close: %v", err)
	}
}

// TestSnapshotIsNotBeforeStart checks, beside a writer, that a base taken after
// Start can be the first of an archive that starts there.
func TestSnapshotIsNotBeforeStart(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	update(t, db, createCity)
	put := func(i int64) {
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, fmt.Sprintf("%0200d", i))) })
	}
	for i := range int64(100) {
		put(i)
	}
	if err := errors.Join(db.state.Flush(), db.releaseLog()); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := int64(100); !done.Load(); i++ {
			put(i)
		}
	})
	ctx := t.Context()
	for range 2000 {
		start, err := db.Source().Start(ctx)
		if err != nil || start.LSN == 0 {
			t.Errorf("start at %+v: %v", start, err)
			break
		}
		s, err := db.Source().Snapshot(ctx)
		if err != nil {
			t.Error(err)
			break
		}
		m := s.Mark()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if m.LSN < start.LSN || m.LSN == start.LSN && m.LogHash != start.LogHash {
			t.Errorf("a snapshot at %+v, opened after a start at %+v", m, start)
			break
		}
	}
	done.Store(true)
	writer.Wait()
}

// TestTailFindsLargeFirstFrame reads a log that was opened while it was empty
// and whose first transaction is larger than a log file.
func TestTailFindsLargeFirstFrame(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	defer mustClose(t, db)
	ctx := t.Context()
	c, err := db.Source().Changes(ctx, driver.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	update(t, db, func(tx *Tx) error {
		return errors.Join(createCity(tx), tx.Put("city", city(1, strings.Repeat("x", 3*int(db.opts.LogFileBytes)))))
	})
	update(t, db, func(tx *Tx) error { return tx.Put("city", city(2, "in the next file")) })
	for _, first := range []change.LSN{1, 3} {
		if tx, err := c.Next(ctx); err != nil || tx.First() != first {
			t.Fatalf("got %+v, %v, want the transaction at LSN %d", tx, err, first)
		}
	}
}

// TestCloseWhileAcknowledged closes databases while their capture goes on.
func TestCloseWhileAcknowledged(t *testing.T) {
	for range 300 {
		db := mustOpen(t, "db", small(vfs.NewMem()))
		update(t, db, createCity)
		var acks sync.WaitGroup
		begun := make(chan struct{})
		acks.Go(func() {
			err := db.Source().Ack(t.Context(), driver.Receipt{Mark: driver.Mark{LSN: 1}})
			close(begun)
			for err == nil {
				err = db.Source().Ack(t.Context(), driver.Receipt{Mark: driver.Mark{LSN: 1}})
			}
			if !errors.Is(err, ErrClosed) {
				t.Errorf("acknowledgement while the database is closed: %v", err)
			}
		})
		<-begun
		mustClose(t, db)
		acks.Wait()
	}
}
