package embedded

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// receiptFor returns a receipt for what a database shows.
func receiptFor(db *DB, archive string) driver.Receipt {
	i := db.Info()
	return driver.Receipt{Archive: archive, Timeline: "main", Mark: driver.Mark{LSN: i.LSN, LogHash: i.LogHash}}
}

func ack(t testing.TB, db *DB, r driver.Receipt) {
	t.Helper()
	if err := db.Source().Ack(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// kept returns the receipt that the files of a database hold.
func kept(t testing.TB, fs vfs.FS) *driver.Receipt {
	t.Helper()
	id, err := readIdentity(fs, "db")
	if err != nil {
		t.Fatal(err)
	}
	return id.Acked
}

// TestReceiptIsKept checks when a receipt becomes durable: after some seconds,
// with the release of log files, and at Close; and not with each.
func TestReceiptIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db := mustOpen(t, "db", small(fs))
		update(t, db, createCity)
		ack(t, db, driver.Receipt{Archive: "a", Timeline: "main"}) // attaches, which is written down
		first := receiptFor(db, "a")
		ack(t, db, first)
		if got := kept(t, fs); got != nil && got.LSN == first.LSN {
			t.Errorf("%+v was written down at once", *got)
		}
		if got := db.Info().Acked; got == nil || *got != first {
			t.Errorf("Info shows %+v, want %+v", got, first)
		}
		time.Sleep(keepReceipt + time.Second)
		synctest.Wait()
		if got := kept(t, fs.CrashClone(vfs.CrashCloneCfg{})); got == nil || *got != first {
			t.Errorf("after some seconds a power cut leaves %+v, want %+v", got, first)
		}
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(1, "Gent")) })
		last := receiptFor(db, "a")
		ack(t, db, last)
		mustClose(t, db)
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
		db = mustOpen(t, "db", small(fs))
		id, err := db.Source().Identity(t.Context())
		if err != nil || id.Acked == nil || *id.Acked != last {
			t.Errorf("after Close the database remembers %+v, %v; want %+v", id.Acked, err, last)
		}
		mustClose(t, db)
	})
}

// TestReceiptIsOlderThanNoLog cuts the power after each release of log files,
// and expects a receipt that covers what is gone.
func TestReceiptIsOlderThanNoLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db := mustOpen(t, "db", small(fs))
	update(t, db, createCity)
	ack(t, db, receiptFor(db, "a"))
	for i := range int64(60) {
		update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, strings.Repeat("x", 300))) })
		if err := db.state.Flush(); err != nil {
			t.Fatal(err)
		}
		ack(t, db, receiptFor(db, "a"))
		first := db.log.Extent().First
		r := kept(t, fs.CrashClone(vfs.CrashCloneCfg{}))
		if first > 1 && (r == nil || r.LSN < first-1) {
			t.Fatalf("the log starts at LSN %d, the receipt on disk says %+v", first, r)
		}
	}
	if db.log.Extent().First < 30 {
		t.Errorf("the log still starts at LSN %d", db.log.Extent().First)
	}
	mustClose(t, db)
}

// TestReceiptOfAnotherArchive hands a database from one archive to another.
func TestReceiptOfAnotherArchive(t *testing.T) {
	fs := vfs.NewMem()
	db := mustOpen(t, "db", small(fs))
	defer func() { mustClose(t, db) }()
	update(t, db, createCity)
	fill := func(n int64) {
		t.Helper()
		for i := range n {
			update(t, db, func(tx *Tx) error { return tx.Put("city", city(i, fmt.Sprintf("%0300d-%d", i, db.Info().LSN))) })
		}
		if err := errors.Join(db.state.Flush(), db.releaseLog()); err != nil {
			t.Fatal(err)
		}
	}
	ack(t, db, receiptFor(db, "first"))
	fill(30)
	middle := receiptFor(db, "second")
	fill(30)
	end := receiptFor(db, "first")
	ack(t, db, end)
	// The second archive starts where the log does, or later, and is behind the first.
	start, err := db.Source().Start(t.Context())
	if err != nil || start.LSN < middle.LSN {
		t.Fatalf("start at %+v, %v", start, err)
	}
	fill(30)
	second := driver.Receipt{Archive: "second", Timeline: "main", Mark: start}
	ack(t, db, second)
	if got := db.Info().Acked; *got != second {
		t.Errorf("the last receipt is %+v, want that of the second archive, %+v", *got, second)
	}
	fill(30)
	if first := db.log.Extent().First; first > start.LSN+1 {
		t.Errorf("the log starts at LSN %d, the second archive needs it from %d on", first, start.LSN+1)
	}
	c, err := db.Source().Changes(t.Context(), second.Mark)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	ack(t, db, receiptFor(db, "second"))
	fill(30)
	// The first one has lost its place: it can't go on without a gap.
	if _, err := db.Source().Changes(t.Context(), end.Mark); !errors.Is(err, driver.ErrLogLost) {
		t.Errorf("changes for the first archive: %v", err)
	}
	if _, err := db.Source().Changes(t.Context(), driver.Mark{LSN: db.Info().LSN, LogHash: change.Hash{1}}); !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("changes from another history: %v", err)
	}
}
