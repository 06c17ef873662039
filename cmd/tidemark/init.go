package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
)

func newInit(c *console) *cobra.Command {
	var kitFile string
	cmd := &cobra.Command{
		Use:   "init ARCHIVE",
		Short: "Make a directory an archive",
		Long: `Make a directory an archive. It is created when it does not exist.
Before that the store is tried: it must keep one object per name, whoever comes first.

It prints the recovery kit: the page that one must still have when this machine
is gone. Keep it elsewhere. "tidemark status --recovery-kit" prints a newer one.`,
		Example: "  tidemark init /backup/shop",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInit(cmd.Context(), c, args[0], kitFile)
		},
	}
	cmd.Flags().StringVar(&kitFile, "kit", "", "write the recovery kit to this new `file` too")
	return cmd
}

func runInit(ctx context.Context, c *console, name, kitFile string) error {
	if _, err := os.Lstat(kitFile); kitFile != "" && err == nil {
		return usageError{fmt.Errorf("--kit: %s is there already; give the name of a new file", kitFile)}
	}
	bucket, err := c.createBucket(name)
	if err != nil {
		return err
	}
	id, err := archive.Init(ctx, bucket, archive.InitOptions{})
	if err != nil {
		return withTry(err, archive.ErrAlreadyInitialized, "tidemark status "+shell(name))
	}
	c.printf("initialized archive %s\n", name)
	c.printf("  repository %s, format %d\n", id.Repo, id.Format)
	if err := c.emit("init", id); err != nil {
		return err
	}
	if db, err := c.named(name); err == nil && db != nil && db.Repo == "" {
		c.notef("Pin it in %s, below %s: repo: %s\n", c.conf.File, name, id.Repo)
	}
	c.notef("Keep this page somewhere else, and print a newer one now and then: tidemark status --recovery-kit %s\n", shell(name))
	c.printf("\n")
	return c.printKit(ctx, name, kitFile)
}
