package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/flatfile"
)

type importFlags struct {
	format  string
	columns []string
	key     []string
	txRows  int
}

// importReport is what import reports.
type importReport struct {
	Collection string `json:"collection"`
	flatfile.Imported
	Seconds float64 `json:"seconds"`
}

func newDBImport(c *console) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import DB COLLECTION FILE",
		Short: "Load a CSV or JSON Lines file",
		Long: `Load a CSV file with a header line, or JSON Lines, in transactions of 1,000 rows.
FILE is - for standard input. A collection that isn't there is made: its columns are
inferred from the whole file unless --columns says them; its key is --key, or else
the column id if there is one.

` + columnForms,
		Example: `  tidemark db import ./geo.db cities cities.csv --key id
  zcat log.jsonl.gz | tidemark db import ./log.db event - --format jsonl --columns at:time,what:text`,
		Args: args("DB", "COLLECTION", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), c, args[0], args[1], args[2], f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "the file's `format`, csv or jsonl; default by the file's name")
	fl.StringSliceVar(&f.columns, "columns", nil, "the `columns` of a new collection, NAME:TYPE")
	fl.StringSliceVar(&f.key, "key", nil, "the key `columns` of a new collection")
	fl.IntVar(&f.txRows, "tx-rows", 1000, "rows in one transaction")
	return cmd
}

func runImport(ctx context.Context, c *console, name, collection, file string, f importFlags) error {
	format, err := fileFormat(f.format, file)
	if err != nil {
		return err
	}
	if f.txRows < 1 {
		return usageError{errors.New("--tx-rows must be at least 1")}
	}
	in := c.in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return usageError{err}
		}
		defer opened.Close()
		in = opened
	}
	return c.withDB(name, true, func(db *embedded.DB) error {
		s, err := c.importSchema(db, collection, in, format, f)
		if err != nil {
			return err
		}
		r, err := flatfile.NewReader(in, format, s)
		if err != nil {
			return err
		}
		p := c.progress("import", "rows")
		began := time.Now()
		done, err := flatfile.Import(ctx, db, r, flatfile.ImportOptions{TxRows: f.txRows,
			Progress: func(rows int64) { p.update(rows, 0) }})
		p.close()
		if err != nil {
			return fmt.Errorf("%w\n%s before it were stored", err, plural(done.Rows, "row", "rows"))
		}
		d := time.Since(began)
		c.printf("imported %s into %s in %s, %s\n", plural(done.Rows, "row", "rows"), collection,
			plural(done.Txs, "transaction", "transactions"), span(d))
		return c.emit("import", importReport{Collection: collection, Imported: done, Seconds: d.Seconds()})
	})
}

// importSchema returns the schema to read the file by, making the collection
// if it isn't there.
func (c *console) importSchema(db *embedded.DB, collection string, in io.Reader, format flatfile.Format, f importFlags) (s *change.Schema, err error) {
	err = db.View(func(tx *embedded.Tx) (err error) {
		s, err = tx.Schema(collection)
		return err
	})
	if err == nil && (len(f.columns) > 0 || len(f.key) > 0) {
		return nil, usageError{fmt.Errorf("collection %q is there already: --columns and --key are for new ones", collection)}
	}
	if !errors.Is(err, embedded.ErrNoCollection) {
		return s, err
	}
	columns, err := flatfile.ParseColumns(f.columns)
	if err != nil {
		return nil, usageError{fmt.Errorf("--columns: %w", err)}
	}
	if len(columns) == 0 {
		file, ok := in.(io.ReadSeeker)
		if !ok || in == c.in {
			return nil, usageError{fmt.Errorf("collection %q is new: give its --columns, they can't be inferred from standard input", collection)}
		}
		if columns, err = flatfile.Infer(file, format); err != nil {
			return nil, err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	s, err = create(db, collection, flatfile.DefaultKey(columns, f.key), columns)
	if err != nil {
		return nil, err
	}
	return s, c.created(s)
}

func fileFormat(flag, file string) (f flatfile.Format, err error) {
	switch {
	case flag != "":
		f, err = flatfile.ParseFormat(flag)
	case file == "-":
		err = errors.New("--format is needed for standard input and output: csv or jsonl")
	default:
		f, err = flatfile.FormatOf(file)
		if err != nil {
			err = fmt.Errorf("%w; --format says it", err)
		}
	}
	if err != nil {
		return "", usageError{err}
	}
	return f, nil
}

// exportReport is what export reports.
type exportReport struct {
	Collection string `json:"collection"`
	File       string `json:"file"`
	Rows       int64  `json:"rows"`
}

func newDBExport(c *console) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export DB COLLECTION FILE",
		Short: "Write a collection to a CSV or JSON Lines file",
		Long:  "Write a collection to a new CSV or JSON Lines file; FILE is - for standard output.",
		Example: `  tidemark db export ./geo.db cities cities.jsonl
  tidemark db export ./geo.db cities - --format csv | head`,
		Args: args("DB", "COLLECTION", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fileFormat(format, args[2])
			if err != nil {
				return err
			}
			return runExport(cmd.Context(), c, args[0], args[1], args[2], f)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "the file's `format`, csv or jsonl; default by the file's name")
	return cmd
}

func runExport(ctx context.Context, c *console, name, collection, file string, f flatfile.Format) error {
	return c.withDB(name, false, func(db *embedded.DB) error {
		if file == "-" {
			_, err := flatfile.Export(ctx, db, collection, c.out, f)
			return err
		}
		out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%w; choose a new name", err)
		}
		if err != nil {
			return err
		}
		rows, err := flatfile.Export(ctx, db, collection, out, f)
		if err = errors.Join(err, out.Close()); err != nil {
			return errors.Join(err, os.Remove(file))
		}
		c.printf("exported %s of %s to %s\n", plural(rows, "row", "rows"), collection, file)
		return c.emit("export", exportReport{Collection: collection, File: file, Rows: rows})
	})
}
