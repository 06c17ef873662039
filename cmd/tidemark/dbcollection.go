package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/flatfile"
)

// collection is what the commands about collections report.
type collection struct {
	ID      change.CollectionID `json:"id"`
	Name    string              `json:"name"`
	Version uint32              `json:"version"`
	Columns []string            `json:"columns"` // as db create reads them
	Key     []string            `json:"key"`     // empty for a bag
	Rows    *int64              `json:"rows,omitempty"`
	Digest  *change.Hash        `json:"digest,omitempty"`
}

func newCollection(s *change.Schema) *collection {
	c := &collection{ID: s.Collection, Name: s.Name, Version: s.Version, Key: flatfile.KeyNames(s)}
	for i := range s.Columns {
		c.Columns = append(c.Columns, flatfile.DescribeColumn(&s.Columns[i]))
	}
	return c
}

func (c *collection) keyText() string {
	if len(c.Key) == 0 {
		return "(bag)"
	}
	return strings.Join(c.Key, ", ")
}

// columnForms says how columns are declared, for help texts.
const columnForms = `A column is NAME:TYPE, with a type of bool, int64, float64, text, bytes, time,
decimal or json, and '?' after it when it may be null.`

func newDBCreate(c *console) *cobra.Command {
	var key []string
	cmd := &cobra.Command{
		Use:     "create DB COLLECTION COLUMN:TYPE…",
		Short:   "Make a collection, and the database if it isn't there",
		Long:    "Make a collection, and the database if it isn't there.\n\n" + columnForms,
		Example: "  tidemark db create ./shop.db item id:int64 name:text price:decimal? --key id",
		Args:    args("DB", "COLLECTION", "COLUMN:TYPE…"),
		RunE: func(_ *cobra.Command, args []string) error {
			columns, err := flatfile.ParseColumns(args[2:])
			if err != nil {
				return usageError{err}
			}
			return c.withDB(args[0], true, func(db *embedded.DB) error {
				s, err := create(db, args[1], key, columns)
				if err != nil {
					return err
				}
				return c.created(s)
			})
		},
	}
	cmd.Flags().StringSliceVar(&key, "key", nil, "the key `columns`; without any the collection is a bag, whose rows can only be added and removed")
	return cmd
}

func create(db *embedded.DB, name string, key []string, columns []change.Column) (s *change.Schema, err error) {
	err = db.Update(func(tx *embedded.Tx) (err error) {
		s, err = tx.CreateCollection(name, key, columns...)
		return err
	})
	return s, err
}

func (c *console) created(s *change.Schema) error {
	r := newCollection(s)
	c.printf("created collection %s (%s), key %s\n", r.Name, strings.Join(r.Columns, ", "), r.keyText())
	return c.emit("collection", r)
}

func newDBAlter(c *console) *cobra.Command {
	return &cobra.Command{
		Use:     "add-column DB COLLECTION COLUMN:TYPE[=DEFAULT]…",
		Short:   "Add columns to a collection",
		Long:    "Add columns to a collection. Rows that are there hold the default.\n\n" + columnForms,
		Example: "  tidemark db add-column ./shop.db item stock:int64=0 note:text?",
		Args:    args("DB", "COLLECTION", "COLUMN:TYPE…"),
		RunE: func(_ *cobra.Command, args []string) error {
			columns, err := flatfile.ParseColumns(args[2:])
			if err != nil {
				return usageError{err}
			}
			return c.withDB(args[0], false, func(db *embedded.DB) error {
				var s *change.Schema
				err := db.Update(func(tx *embedded.Tx) (err error) {
					s, err = tx.AddColumns(args[1], columns...)
					return err
				})
				if err != nil {
					return err
				}
				r := newCollection(s)
				c.printf("collection %s is now (%s)\n", r.Name, strings.Join(r.Columns, ", "))
				return c.emit("collection", r)
			})
		},
	}
}

func newDBCollections(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "collections DB",
		Short: "List the collections and how many rows each has",
		Args:  args("DB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.survey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			t := newTable("NAME", "ROWS>", "KEY", "COLUMNS")
			for _, r := range all {
				r.Digest = nil
				t.add(r.Name, count(*r.Rows), r.keyText(), strings.Join(r.Columns, " "))
			}
			return c.list("collection", all, t, "no collections")
		},
	}
}

func newDBDigest(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "digest DB",
		Short: "Fingerprint every collection",
		Long: `Fingerprint every collection. Two databases with the same digests hold the same
rows: compare a restored one with what was there.`,
		Args: args("DB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := c.survey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			t := newTable("NAME", "ROWS>", "DIGEST")
			for _, r := range all {
				t.add(r.Name, count(*r.Rows), r.Digest.String())
			}
			return c.list("digest", all, t, "no collections")
		},
	}
}

// list prints a table, or its items as lines of JSON.
func (c *console) list(kind string, all []*collection, t *table, none string) error {
	for _, r := range all {
		if err := c.emit(kind, r); err != nil {
			return err
		}
	}
	switch {
	case c.json:
	case len(all) == 0:
		c.printf("%s\n", none)
	default:
		t.print(c.out)
	}
	return nil
}

// survey counts and fingerprints the rows of every collection.
func (c *console) survey(ctx context.Context, name string) (all []*collection, err error) {
	err = c.withDB(name, false, func(db *embedded.DB) (err error) {
		view, err := db.Source().Snapshot(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, view.Close()) }()
		digests, err := driver.Digests(ctx, view)
		if err != nil {
			return err
		}
		for _, s := range view.Schemas() {
			r, d := newCollection(s), digests[s.Collection]
			sum := d.Sum()
			r.Rows, r.Digest = &d.Rows, &sum
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

func newDBTruncate(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "truncate DB COLLECTION",
		Short: "Remove every row of a collection",
		Args:  args("DB", "COLLECTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.update(args[0], args[1], "truncated "+args[1]+": removed", func(tx *embedded.Tx) (int64, error) {
				n, err := countRows(tx, args[1])
				if err != nil {
					return 0, err
				}
				return n, tx.Truncate(args[1])
			})
		},
	}
}

func newDBDrop(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "drop DB COLLECTION",
		Short: "Remove a collection and its rows",
		Args:  args("DB", "COLLECTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.update(args[0], args[1], "dropped "+args[1]+" with", func(tx *embedded.Tx) (int64, error) {
				n, err := countRows(tx, args[1])
				if err != nil {
					return 0, err
				}
				return n, tx.DropCollection(args[1])
			})
		},
	}
}

func countRows(tx *embedded.Tx, collection string) (n int64, err error) {
	for _, err := range tx.Scan(collection, embedded.Range{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
