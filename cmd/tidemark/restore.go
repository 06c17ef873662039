package main

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

type restoreFlags struct {
	to       string
	memory   byteFlag
	noDigest bool
	kit      kitFlags
}

// restored is the result of a restore as --json prints it.
type restored struct {
	Destination string `json:"destination"`
	*restore.Result
}

func newRestore(c *console) *cobra.Command {
	f := restoreFlags{memory: 512 << 20}
	cmd := &cobra.Command{
		Use:   "restore ARCHIVE DEST",
		Short: "Bring the database back as it was at a target, in a new place",
		Long: `Bring the database back as it was at a target, in a new place. DEST must not exist
or be empty; nothing appears there before the restore is complete.

With --kit, the recovery kit says which archive it is and where; one that was
rewritten since the kit was printed, or that holds less than it did then, is
refused. So a restore needs nothing but the kit and the archive.

A target is ` + targetForms + `.`,
		Example: `  tidemark restore /backup/shop ./shop-restored.db --to lsn:88212
  tidemark restore /backup/shop ./shop-restored.db --to '2026-11-22 15:32:07Z'
  tidemark restore --kit kit.txt ./shop-restored.db --to latest`,
		Args: f.kit.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dest, err := f.kit.archive(c, args)
			if err != nil {
				return err
			}
			return runRestore(cmd.Context(), c, name, dest, f)
		},
	}
	toFlag(cmd, &f.to)
	f.kit.add(cmd)
	cmd.Flags().Var(&f.memory, "memory", "memory for sorting; more spills to disk")
	cmd.Flags().BoolVar(&f.noDigest, "no-digest", false, "don't fingerprint the rows on their way")
	return cmd
}

func runRestore(ctx context.Context, c *console, name, dest string, f restoreFlags) (err error) {
	target, err := c.parseTarget("--to", f.to)
	if err != nil {
		return err
	}
	dst, err := openTarget(dest)
	if err != nil {
		return err
	}
	if !c.quiet {
		c.echoTarget(target)
	}
	a, state, plan, err := c.prepare(ctx, name, target)
	if err != nil {
		return err
	}
	if !c.quiet {
		c.printTarget(target, plan)
		c.printPlan(plan)
		c.printf("\n")
	}
	if err := c.emitPlan(target, plan); err != nil {
		return err
	}
	defer c.record(job.Restore, name)(&err)
	limitHeap(int64(f.memory))
	p := c.progress("restore", "records")
	res, err := restore.Execute(ctx, a, state, plan, dst, restore.Options{Memory: int64(f.memory), NoDigest: f.noDigest,
		Progress: func(now restore.Progress) { p.update(now.Read+now.Rows, now.Log+now.Total) }})
	p.close()
	if err != nil {
		return withTry(damaged(err, name), driver.ErrNotEmpty, fmt.Sprintf("tidemark restore %s %s --to %s", shell(name), shell(dest+"-2"), shell(f.to)))
	}
	c.did(numbers{"lsn": plan.Point.LSN, "rows": res.Rows, "bytes": res.Bytes, "seconds": res.Elapsed.Seconds()},
		"LSN %d into %s: %s, %s", plan.Point.LSN, dest, plural(res.Rows, "row", "rows"), size(res.Bytes))
	c.printRestored(plan, res, dest)
	res.Asked = target
	return c.emit("restored", restored{Destination: dest, Result: res})
}

// limitHeap makes the garbage collector work harder before the process grows
// far beyond the memory that a restore may use, unless GOMEMLIMIT says otherwise.
func limitHeap(memory int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memory + memory/4 + 64<<20)
	}
}

// printRestored reports what a restore has reached.
func (c *console) printRestored(plan *recovery.Plan, r *restore.Result, dest string) {
	c.printf("restored %s, %s, to %s in %s\n", plural(r.Rows, "row", "rows"), size(r.Bytes), dest, span(r.Elapsed))
	if len(r.Digests) > 0 {
		names := make(map[any]string)
		for _, s := range plan.Schemas {
			names[s.Collection] = s.Name
		}
		t := newTable("COLLECTION", "ROWS>", "DIGEST")
		for _, d := range r.Digests {
			t.add(names[d.Collection], count(d.Rows), d.Digest.String())
		}
		t.print(c.out)
	}
	if r.Confirmed {
		c.printf("the database itself showed the same digests at this LSN\n")
	}
}
