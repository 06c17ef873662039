package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/restore"
)

func newVerify(c *console) *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "verify ARCHIVE",
		Short: "Prove what an archive holds",
		Long: `Prove what an archive holds, and list everything that is wrong. Each level
includes those before it:

  chain     every manifest and link; every object is there with the right size
  objects   every block of every object has the hash that was announced
  records   every record decodes; numbering, transactions, counts, order, the log's
            hash and the digests of snapshots are as announced

Exit code 22 says that something is damaged.`,
		Example: "  tidemark verify /backup/shop --level records",
		Args:    args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerify(cmd.Context(), c, args[0], level)
		},
	}
	cmd.Flags().StringVar(&level, "level", "objects", "chain, objects or records")
	return cmd
}

func runVerify(ctx context.Context, c *console, name, levelName string) (err error) {
	level, err := restore.ParseLevel(levelName)
	if err != nil {
		return usageError{fmt.Errorf("--level: %w", err)}
	}
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return err
	}
	defer c.record(job.Verify, name)(&err)
	p := c.progress("verify", "packs")
	var mu sync.Mutex
	began := c.now()
	r, err := restore.Verify(ctx, a, restore.VerifyOptions{Level: level, Progress: func(done, all int64) {
		mu.Lock()
		defer mu.Unlock()
		p.update(done, all)
	}})
	p.close()
	if r != nil { // also when something kept it from looking everywhere
		for _, f := range r.Findings {
			c.printf("damaged: %s\n  want   %s\n  found  %s\n", f.Key, f.Want, f.Found)
		}
		err = errors.Join(err, c.emit("verify", r))
	}
	if err != nil {
		return err
	}
	checked := fmt.Sprintf("%s, %s (%s)", plural(r.Manifests, "manifest", "manifests"), plural(r.Objects, "object", "objects"), size(r.Bytes))
	if level >= restore.LevelRecords {
		checked += ", " + plural(r.Records, "record", "records")
	}
	c.did(numbers{"manifests": r.Manifests, "objects": r.Objects, "bytes": r.Bytes, "records": r.Records, "findings": len(r.Findings)},
		"level %s: %s in %s", r.Level, plural(int64(len(r.Findings)), "problem", "problems"), checked)
	if r.OK() {
		c.printf("ok: %s verified at level %s in %s\n", checked, r.Level, span(c.now().Sub(began)))
		return nil
	}
	c.printf("%s found in %s, at level %s\n", plural(int64(len(r.Findings)), "problem", "problems"), checked, r.Level)
	return reported{chain.ErrDamaged}
}
