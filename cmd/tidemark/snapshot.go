package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/job"
)

// baseReport is what snapshot reports.
type baseReport struct {
	LSN   change.LSN  `json:"lsn"`
	Taken change.Time `json:"taken"`
	Rows  int64       `json:"rows"`
	Bytes int64       `json:"bytes"`
	Packs int         `json:"packs"`
}

func newSnapshot(c *console) *cobra.Command {
	f := captureFlags{flushBytes: 8 << 20}
	cmd := &cobra.Command{
		Use:   "snapshot DB ARCHIVE",
		Short: "Archive what a database holds, and its changes up to now",
		Long: `Archive the whole state of a database, and its changes up to now. A restore
starts from the newest snapshot at or before its target, so snapshots make it
faster; nothing else depends on them.`,
		Example: "  tidemark snapshot ./shop.db /backup/shop",
		Args:    args("DB", "ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSnapshot(cmd.Context(), c, args[0], args[1], f)
		},
	}
	f.add(cmd)
	return cmd
}

func runSnapshot(ctx context.Context, c *console, dbName, archiveName string, f captureFlags) (err error) {
	defer c.record(job.Snapshot, archiveName)(&err)
	var base *chain.Snapshot
	return c.withCapturer(ctx, dbName, archiveName, f, func(ctx context.Context, cap *capture.Capturer, _ *archive.Archive) (err error) {
		base, err = cap.Snapshot(ctx)
		return err
	}, func(*archive.Archive) error {
		r := baseReport{LSN: base.LSN, Taken: base.Taken, Packs: len(base.Runs)}
		for _, d := range base.Digests {
			r.Rows += d.Rows
		}
		for _, run := range base.Runs {
			r.Bytes += run.Size
		}
		c.did(numbers{"lsn": r.LSN, "rows": r.Rows, "bytes": r.Bytes}, "LSN %d: %s, %s", r.LSN, plural(r.Rows, "row", "rows"), size(r.Bytes))
		c.printf("snapshot at LSN %d: %s in %s, %s\n", r.LSN, plural(r.Rows, "row", "rows"), plural(int64(r.Packs), "pack", "packs"), size(r.Bytes))
		return c.emit("snapshot", r)
	})
}
