package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
)

func newInit(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "init ARCHIVE",
		Short: "Make a directory an archive",
		Long: `Make a directory an archive. It is created when it does not exist.
Before that the store is tried: it must keep one object per name, whoever comes first.`,
		Example: "  tidemark init /backup/shop",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInit(cmd.Context(), c, args[0])
		},
	}
}

func runInit(ctx context.Context, c *console, name string) error {
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
	c.notef("Write the repository's ID down somewhere else: it tells this archive from any other.\n")
	return c.emit("init", id)
}
