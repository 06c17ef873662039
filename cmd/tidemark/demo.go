package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/internal/demo"
)

func newDemo(c *console) *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work on real data: load, wreck, find, plan, restore, compare",
		Long: `See it work on real data, in a few seconds: a database of 171,075 cities is loaded
and archived, wrecked by one wrong transaction, and restored to just before it.
Nothing is left behind unless --keep is given.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out, o.Log = c.out, c.log
			if c.json {
				o.Out = io.Discard
			}
			if !c.verbose {
				o.Log = nil
			}
			o.Command = c.inner
			res, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return c.emit("demo", res)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "work in this `directory`, which must be new or empty; default a temporary one")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the databases and the archive there, to play with")
	return cmd
}

// inner carries out a command line within another command.
func (c *console) inner(ctx context.Context, out io.Writer, args ...string) error {
	if code := run(ctx, append(args, "--quiet"), c.in, out, c.errs); code != exitOK {
		return reported{fmt.Errorf("exit code %d", code)} // it has printed why
	}
	return nil
}
