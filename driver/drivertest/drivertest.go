// Package drivertest proves that a database keeps the contracts of package
// driver: for a random workload a snapshot with the changes after it, from any
// mark, is what the database itself shows; marks of another history are
// refused; what is loaded into a target reads back the same.
package drivertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// OpKind says what an operation of a workload does.
type OpKind int

// The operations. Rows of keyed collections are put and deleted, rows of bags
// added and removed.
const (
	Create OpKind = iota
	AddColumn
	Drop
	Truncate
	Put
	Delete // the row with Row's key, whether it is there or not
	Add
	Remove // one copy of Row, which is there
)

// Op is one operation of a workload.
type Op struct {
	Kind       OpKind
	Collection string
	Key        []string        // Create: the key columns; none for a bag
	Columns    []change.Column // Create and AddColumn
	Row        change.Row
}

// Database is a database under test.
type Database interface {
	Source() driver.Source

	// Do carries the operations out in one transaction.
	Do(ops []Op) error

	// Show returns what the database holds, read in its own way: for each
	// collection its rows in any order, each as fmt.Sprint of the row; rows of
	// a bag once for each copy.
	Show() (map[string][]string, error)

	Close() error
}

// Suite is what to test.
type Suite struct {
	// Open returns a new, empty database.
	Open func() (Database, error)

	// Reopen closes a database and opens it again. Nil skips what needs it.
	Reopen func(Database) (Database, error)

	// LoseLog makes a database, which was started, drop its log so far, and
	// returns it. Nil skips what needs it.
	LoseLog func(Database) (Database, error)

	// Piece is how many records a transaction must have so that Next returns it
	// in pieces. 0 skips what needs it.
	Piece int

	// Place returns a new place to restore to. Nil skips the tests of targets.
	Place func() (Place, error)

	// Standby returns a database, which was restored and has not changed since or
	// is a standby already, as a standby. Nil skips what needs it.
	Standby func(Database) (driver.Standby, error)
}

// Place is where a test restores to.
type Place struct {
	Target func() (driver.Target, error) // a new target for the place, as another process has one
	Open   func() (Database, error)      // what is there once a restore is finished
}

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Run("History", s.history)
	t.Run("Marks", s.marks)
	t.Run("NextWaits", s.nextWaits)
	t.Run("Coverage", s.coverage)
	t.Run("Ack", s.ack)
	t.Run("StartAgain", s.startAgain)

	t.Run("Pieces", s.pieces)
	if s.Place == nil {
		return
	}
	t.Run("LoadReadsBack", s.loadReadsBack)
	t.Run("TargetRefuses", s.targetRefuses)
	t.Run("TargetAborts", s.targetAborts)
	t.Run("TargetGoesOn", s.targetGoesOn)
	t.Run("TargetKeepsAnother", s.targetKeepsAnother)
	t.Run("StandbyFollows", s.standbyFollows)
}

// TB is the part of testing.TB and rapid.T that helpers need.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (s *Suite) open(t TB) Database {
	t.Helper()
	db, err := s.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return db
}

func do(t TB, db Database, ops ...Op) {
	t.Helper()
	if err := db.Do(ops); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

func closing(t TB, what interface{ Close() error }) {
	t.Helper()
	if err := what.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// take reads n transactions, and puts those together that come in pieces.
func take(t TB, c driver.Changes, n int) []*change.Tx {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out []*change.Tx
	for len(out) < n {
		tx, err := next(ctx, c)
		if err != nil {
			t.Fatalf("transaction %d of %d: %v", len(out)+1, n, err)
		}
		out = append(out, tx)
	}
	return out
}

// next reads one transaction, checking that its pieces fit together and that
// nothing is covered between them.
func next(ctx context.Context, c driver.Changes) (*change.Tx, error) {
	var splice change.Splice
	whole := new(change.Tx)
	for {
		tx, err := c.Next(ctx)
		if err != nil {
			return nil, err
		}
		if err := splice.Add(tx); err != nil {
			return nil, err
		}
		records := append(whole.Records, tx.Records...)
		*whole = *tx
		whole.Records, whole.Before, whole.After = records, 0, 0
		if !splice.Open() {
			return whole, nil
		}
		if covered, ok, err := c.Coverage(ctx); ok || err != nil {
			return nil, fmt.Errorf("coverage %s, %t, %w while pieces of transaction %d wait", covered, ok, err, tx.ID)
		}
	}
}

// changes opens the log after a mark.
func changes(t TB, db Database, after driver.Mark) driver.Changes {
	t.Helper()
	c, err := db.Source().Changes(context.Background(), after)
	if err != nil {
		t.Fatalf("changes after LSN %d: %v", after.LSN, err)
	}
	return c
}

func start(t TB, db Database) driver.Mark {
	t.Helper()
	m, err := db.Source().Start(context.Background())
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return m
}
