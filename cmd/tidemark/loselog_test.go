package main

import (
	"context"
	"errors"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
)

// loseLog makes a captured database give up its log, which it does when its
// archive is too far behind. It fills a collection blob(id, data).
func loseLog(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, 1, "loselog DB")
	db, err := embedded.Open(ts.MkAbs(args[0]), embedded.Options{LogFileBytes: 16 << 10, MemTableBytes: 64 << 10,
		Lag: embedded.LagPolicy{Action: embedded.LagDetach, Bytes: 64 << 10}})
	ts.Check(err)
	defer db.Close()
	id, err := db.Source().Identity(context.Background())
	ts.Check(err)
	for i := range int64(10_000) {
		c, err := db.Source().Changes(context.Background(), id.Acked.Mark)
		if errors.Is(err, driver.ErrLogLost) {
			return
		}
		ts.Check(err)
		ts.Check(c.Close())
		ts.Check(db.Update(func(tx *embedded.Tx) error {
			return tx.Put("blob", change.Row{change.IntValue(i), change.TextValue(strings.Repeat("x", 5000))})
		}))
	}
	ts.Fatalf("the log is not lost")
}
