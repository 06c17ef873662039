package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

func newDB(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Work with an embedded database by hand",
		Long: `Work with an embedded database by hand. Rows are JSON objects, keys are plain
values in the order of the key columns.`,
		Example: `  tidemark db create ./shop.db item id:int64 name:text price:decimal? --key id
  tidemark db put ./shop.db item '{"id":1,"name":"lamp","price":"19.90"}'
  tidemark db get ./shop.db item 1
  tidemark db import ./shop.db city cities.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDBCreate(c), newDBCollections(c), newDBAlter(c), newDBTruncate(c), newDBDrop(c), newDBDigest(c),
		newDBPut(c), newDBGet(c), newDBDelete(c), newDBScan(c), newDBImport(c), newDBExport(c))
	return cmd
}

// changed is what a command that changed rows reports.
type changed struct {
	Collection string     `json:"collection"`
	Rows       int64      `json:"rows"`
	LSN        change.LSN `json:"lsn"` // of the database afterwards
}

// withDB opens a database for as long as fn runs.
func (c *console) withDB(name string, create bool, fn func(*embedded.DB) error) (err error) {
	db, err := c.openDB(name, create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return fn(db)
}

// update runs fn in one transaction and tells how many rows it changed.
func (c *console) update(name, collection, did string, fn func(*embedded.Tx) (int64, error)) error {
	return c.withDB(name, false, func(db *embedded.DB) error {
		var n int64
		err := db.Update(func(tx *embedded.Tx) (err error) {
			n, err = fn(tx)
			return err
		})
		if err != nil {
			return err
		}
		return c.changed(db, collection, did, n)
	})
}

func (c *console) changed(db *embedded.DB, collection, did string, n int64) error {
	r := changed{Collection: collection, Rows: n, LSN: db.Info().LSN}
	c.printf("%s %s (LSN %d)\n", did, plural(n, "row", "rows"), r.LSN)
	return c.emit("changed", r)
}
