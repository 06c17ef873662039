package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/flatfile"
)

// rowReport is a row as --json prints it.
type rowReport struct {
	Collection string          `json:"collection"`
	Row        json.RawMessage `json:"row"`
}

// printRow prints a row as a JSON object.
func (c *console) printRow(w *bufio.Writer, s *change.Schema, row change.Row) error {
	b, err := flatfile.AppendObject(nil, s, row)
	if err != nil {
		return err
	}
	if c.json {
		return writeMessage(w, "row", rowReport{Collection: s.Name, Row: b})
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

func newDBPut(c *console) *cobra.Command {
	return &cobra.Command{
		Use:     "put DB COLLECTION ROW…",
		Short:   "Store rows, all in one transaction",
		Long:    "Store rows, all in one transaction. A row takes the place of the one with its key;\nin a bag it is added.",
		Example: `  tidemark db put ./shop.db item '{"id":1,"name":"lamp","price":"19.90"}'`,
		Args:    args("DB", "COLLECTION", "ROW…"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.update(args[0], args[1], "stored", func(tx *embedded.Tx) (int64, error) {
				s, err := tx.Schema(args[1])
				if err != nil {
					return 0, err
				}
				for _, text := range args[2:] {
					row, err := flatfile.ParseObject(s, []byte(text))
					if err == nil {
						err = flatfile.Put(tx, s, row)
					}
					if err != nil {
						return 0, err
					}
				}
				return int64(len(args) - 2), nil
			})
		},
	}
}

// errNoRow says that there is no row with a key.
var errNoRow = errors.New("no such row")

func newDBGet(c *console) *cobra.Command {
	return &cobra.Command{
		Use:     "get DB COLLECTION KEY…",
		Short:   "Print the row with a key",
		Example: "  tidemark db get ./shop.db item 1",
		Args:    args("DB", "COLLECTION", "KEY…"),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.view(args[0], args[1], func(tx *embedded.Tx, s *change.Schema, w *bufio.Writer) error {
				key, err := flatfile.ParseKey(s, args[2:])
				if err != nil {
					return err
				}
				row, ok, err := tx.Get(args[1], key...)
				if err != nil {
					return err
				}
				if !ok {
					return fmt.Errorf("collection %q has no row with the key %s: %w", args[1], strings.Join(args[2:], ", "), errNoRow)
				}
				return c.printRow(w, s, row)
			})
		},
	}
}

// view runs fn in a transaction that reads, with a buffer for what it prints.
func (c *console) view(name, collection string, fn func(*embedded.Tx, *change.Schema, *bufio.Writer) error) error {
	return c.withDB(name, false, func(db *embedded.DB) error {
		return db.View(func(tx *embedded.Tx) error {
			s, err := tx.Schema(collection)
			if err != nil {
				return err
			}
			w := bufio.NewWriter(c.out)
			return errors.Join(fn(tx, s, w), w.Flush())
		})
	})
}

func newDBDelete(c *console) *cobra.Command {
	var where []string
	cmd := &cobra.Command{
		Use:   "delete DB COLLECTION [KEY…]",
		Short: "Remove rows, all in one transaction",
		Long: `Remove the row with a key, or with --where every row whose columns hold the given
values, all in one transaction.`,
		Example: `  tidemark db delete ./shop.db item 1
  tidemark db delete ./geo.db cities --where country=IT`,
		Args: args("DB", "COLLECTION", "[KEY…]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(where) > 0) == (len(args) > 2) {
				return usageError{errors.New("give either a key or --where")}
			}
			return c.update(args[0], args[1], "removed", func(tx *embedded.Tx) (int64, error) {
				s, err := tx.Schema(args[1])
				if err != nil {
					return 0, err
				}
				if len(where) > 0 {
					return deleteWhere(cmd.Context(), tx, s, where)
				}
				key, err := flatfile.ParseKey(s, args[2:])
				if err != nil {
					return 0, err
				}
				ok, err := tx.Delete(args[1], key...)
				if err == nil && !ok {
					err = fmt.Errorf("collection %q has no row with the key %s: %w", args[1], strings.Join(args[2:], ", "), errNoRow)
				}
				return 1, err
			})
		},
	}
	cmd.Flags().StringArrayVar(&where, "where", nil, "rows whose `COLUMN=VALUE`; may be given several times, then all must hold")
	return cmd
}

func deleteWhere(ctx context.Context, tx *embedded.Tx, s *change.Schema, where []string) (n int64, err error) {
	match, err := flatfile.ParseMatch(s, where)
	if err != nil {
		return 0, usageError{err}
	}
	for row, err := range tx.Scan(s.Name, embedded.Range{}) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return n, err
		}
		if !match(row) {
			continue
		}
		if err := flatfile.Remove(tx, s, row); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

type scanFlags struct {
	limit   int64
	prefix  []string
	where   []string
	reverse bool
}

func newDBScan(c *console) *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:     "scan DB COLLECTION",
		Short:   "Print rows in key order",
		Example: "  tidemark db scan ./geo.db cities --where country=BE --limit 5",
		Args:    args("DB", "COLLECTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runScan(cmd.Context(), c, args[0], args[1], f)
		},
	}
	fl := cmd.Flags()
	fl.Int64Var(&f.limit, "limit", 0, "print so many rows at most; 0 for all")
	fl.StringArrayVar(&f.prefix, "prefix", nil, "rows whose first key column holds this `value`; again for the second, and so on")
	fl.StringArrayVar(&f.where, "where", nil, "rows whose `COLUMN=VALUE`; may be given several times, then all must hold")
	fl.BoolVar(&f.reverse, "reverse", false, "last row first")
	return cmd
}

func runScan(ctx context.Context, c *console, name, collection string, f scanFlags) error {
	return c.view(name, collection, func(tx *embedded.Tx, s *change.Schema, w *bufio.Writer) error {
		prefix, err := flatfile.ParseKeyPrefix(s, f.prefix)
		if err != nil {
			return err
		}
		match, err := flatfile.ParseMatch(s, f.where)
		if err != nil {
			return usageError{err}
		}
		n := int64(0)
		for row, err := range tx.Scan(collection, embedded.Range{Prefix: prefix, Reverse: f.reverse}) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if !match(row) {
				continue
			}
			if err := c.printRow(w, s, row); err != nil {
				return err
			}
			if n++; n == f.limit {
				break
			}
		}
		return nil
	})
}
