package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/plan"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

type restoreFlags struct {
	to       string
	plan     string
	memory   byteFlag
	partSize byteFlag
	noDigest bool
	noStore  bool
	restart  bool
	replace  bool
	yes      string
	kit      kitFlags
	salvage  bool
	newest   bool
}

// restored is the result of a restore as --json prints it.
type restored struct {
	Destination string `json:"destination"`
	*restore.Result
	Plan     change.Hash `json:"plan_hash"`
	Replaced string      `json:"replaced,omitempty"` // where the database is that was there
}

func newRestore(c *console) *cobra.Command {
	f := restoreFlags{memory: defaultMemory, partSize: 64 << 20}
	cmd := &cobra.Command{
		Use:   "restore ARCHIVE DEST",
		Short: "Bring the database back as it was at a target, in a new place",
		Long: `Bring the database back as it was at a target, in a new place. DEST must not exist
or be empty; nothing appears there before the restore is complete.

It makes the plan that "tidemark plan" shows, stores it, and carries it out; with
--plan it carries out a stored one, and nothing else.

A restore that was interrupted, by Ctrl-C, a crash or a store that is away, keeps
its finished parts in DEST.partial. The same command goes on from there; only the
log is read again. --restart begins anew.

With --replace, DEST may be a database that nobody has open. It stays where it is
until the new one is complete, and is then kept as DEST.before-TIME.

With --kit, the recovery kit says which archive it is and where; one that was
rewritten since the kit was printed, or that holds less than it did then, is
refused. So a restore needs nothing but the kit and the archive.

` + salvageHelp + `

` + targetLine,
		Example: `  tidemark restore /backup/shop ./shop-restored.db --to lsn:88212
  tidemark restore /backup/shop ./shop-restored.db --to '2026-11-22 15:32:07Z'
  tidemark restore /backup/shop ./shop-restored.db --plan 1f0c9a7be2d4
  tidemark restore --kit kit.txt ./shop-restored.db --to latest`,
		Args: f.kit.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dest, err := f.kit.archive(c, args)
			if err != nil {
				return err
			}
			if f.salvage {
				return runSalvage(cmd.Context(), c, name, dest, f)
			}
			return runRestore(cmd.Context(), c, name, dest, f)
		},
	}
	toFlag(cmd, &f.to)
	f.kit.add(cmd)
	cmd.Flags().BoolVar(&f.salvage, "salvage", false, "take what can be proved of a damaged archive (--to is latest unless given)")
	cmd.Flags().BoolVar(&f.newest, "newest", false, "with --salvage: prefer a damaged newer snapshot with rows lost to a whole older one")
	cmd.Flags().StringVar(&f.plan, "plan", "", "carry out this stored `plan`: its ID, or a file")
	cmd.Flags().Var(&f.memory, "memory", "memory for sorting; more spills to disk")
	cmd.Flags().Var(&f.partSize, "part-size", "how much is loaded, and kept when the restore is interrupted, as one")
	cmd.Flags().BoolVar(&f.noDigest, "no-digest", false, "don't fingerprint the rows on their way")
	cmd.Flags().BoolVar(&f.noStore, "no-store", false, "don't store the plan")
	cmd.Flags().BoolVar(&f.restart, "restart", false, "discard what an interrupted restore has left, and begin anew")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "put the restored database in the place of the one in DEST, which is kept under another name")
	cmd.Flags().StringVar(&f.yes, "yes", "", "with --replace: the `name` of the database to be replaced, instead of typing it")
	return cmd
}

func runRestore(ctx context.Context, c *console, name, dest string, f restoreFlags) (err error) {
	dst, aside, err := f.target(dest)
	if err != nil {
		return err
	}
	o := restore.Options{Memory: int64(f.memory), PartSize: int64(f.partSize), NoDigest: f.noDigest, Fresh: f.restart}
	a, state, doc, err := c.restorePlan(ctx, name, f, plan.Options{Archive: name, Destination: dest, Target: dst, Restore: o})
	if err != nil {
		return err
	}
	if !c.quiet {
		c.printDocument(doc)
		c.printf("\n")
	}
	stored := ""
	if f.plan == "" {
		if stored, err = c.store(doc, planFlags{noStore: f.noStore}); err != nil {
			return err
		}
	}
	if err := c.emit("plan", planReport{doc, quietAfter(doc.Asked, doc.Plan), stored}); err != nil {
		return err
	}
	defer c.record(job.Restore, name)(&err)
	if err := doc.Err(); err != nil {
		return f.failed(err, name, dest, stored)
	}
	if err := c.confirm(ctx, dest, f); err != nil {
		return err
	}
	limitHeap(int64(f.memory))
	p := c.progress("restore", "records")
	o.Progress = func(now restore.Progress) { p.update(now.Read+now.Rows, now.Log+now.Total) }
	res, err := restore.Execute(ctx, a, state, doc.Plan, dst, o)
	p.close()
	if err != nil {
		return f.failed(err, name, dest, stored)
	}
	figures := numbers{"lsn": doc.Plan.Point.LSN, "rows": res.Rows, "bytes": res.Bytes, "seconds": res.Elapsed.Seconds()}
	if res.Resumed == 0 {
		figures["work"] = doc.Forecast.Work // by which later plans judge how long they take
	}
	c.did(figures, "LSN %d into %s: %s, %s", doc.Plan.Point.LSN, dest, plural(res.Rows, "row", "rows"), size(res.Bytes))
	c.printRestored(doc.Plan, res, dest)
	was := aside()
	if was != "" {
		c.printf("what was there is kept as %s; the way back: mv %s %s && mv %s %s\n", was, shell(dest), shell(dest+".undone"), shell(was), shell(dest))
	}
	res.Asked = doc.Asked
	return c.emit("restored", restored{Destination: dest, Plan: doc.ID, Replaced: was, Result: res})
}

// target opens the destination; aside says afterwards where a database is that
// was replaced.
func (f *restoreFlags) target(dest string) (dst driver.Target, aside func() string, err error) {
	if !f.replace {
		if dst, err = openTarget(dest); err == nil && wrapTarget != nil {
			dst = wrapTarget(dst)
		}
		return dst, func() string { return "" }, err
	}
	r, err := openReplacement(dest)
	if err != nil {
		return nil, nil, err
	}
	return r, r.Aside, nil
}

// restorePlan reads the plan that the flags name, or makes one.
func (c *console) restorePlan(ctx context.Context, name string, f restoreFlags, o plan.Options) (*archive.Archive, *chain.State, *plan.Document, error) {
	if f.plan != "" && f.to != "" {
		return nil, nil, nil, usageError{errors.New("--plan and --to: a stored plan has its target")}
	}
	if f.plan == "" {
		target, err := c.parseTarget("--to", f.to)
		if err != nil {
			return nil, nil, nil, err
		}
		if !c.quiet {
			c.echoTarget(target)
		}
		return c.prepare(ctx, name, target, o)
	}
	doc, err := c.findPlan(f.plan)
	if err != nil {
		return nil, nil, nil, err
	}
	if c.timeline == "" {
		c.timeline = string(doc.Plan.Timeline)
	}
	a, state, err := c.openState(ctx, name)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := doc.Fits(ctx, a, state); err != nil {
		return nil, nil, nil, err
	}
	c.measured(&o)
	return a, state, doc, doc.Examine(ctx, a, state, o)
}

// again is the command line that goes on with an interrupted restore.
func (f *restoreFlags) again(name, dest, stored string) string {
	s := fmt.Sprintf("tidemark restore %s %s", shell(name), shell(dest))
	switch {
	case f.plan != "":
		s += " --plan " + shell(f.plan)
	case stored != "":
		s += " --plan " + shell(stored)
	default:
		s += " --to " + shell(f.to)
	}
	if f.noDigest {
		s += " --no-digest"
	}
	if f.replace {
		s += " --replace --yes " + shell(filepath.Base(dest))
	}
	return s
}

// failed adds what a person can do to the error of a restore.
func (f *restoreFlags) failed(err error, name, dest, stored string) error {
	again := f.again(name, dest, stored)
	var interrupted *restore.InterruptedError
	var other *driver.UnfinishedError
	switch {
	case errors.As(err, &interrupted):
		return hinted{fmt.Errorf("%w; rm -r %s gives them up", err, shell(dest+".partial")), again}
	case errors.As(err, &other) && other.Damage == nil:
		id, _, _ := strings.Cut(strings.TrimPrefix(other.About, "plan "), ",")
		return hinted{fmt.Errorf("%w; go on with that one, or discard it with --restart", err),
			fmt.Sprintf("tidemark restore %s %s --plan %s", shell(name), shell(dest), id)}
	case errors.As(err, &other):
		return hinted{err, again + " --restart"}
	case errors.Is(err, driver.ErrNotEmpty):
		return hinted{err, f.again(name, dest+"-2", "")}
	}
	return damaged(err, name)
}

// confirm has a person type the name of the database that is replaced.
func (c *console) confirm(ctx context.Context, dest string, f restoreFlags) error {
	if !f.replace {
		return nil
	}
	if _, err := os.Stat(dest); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	want, got := filepath.Base(dest), f.yes
	if in, ok := c.in.(*os.File); got == "" && ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(c.errs, "%s will be replaced, and kept under another name. Type its name, %s, to go on: ", dest, want)
		line, err := readLine(ctx, in)
		if err != nil {
			return err
		}
		got = strings.TrimSpace(line)
	}
	switch got {
	case want:
		return nil
	case "":
		return hinted{usageError{fmt.Errorf("%s is to be replaced: confirm that with its name", dest)}, "add --yes " + shell(want)}
	}
	return usageError{fmt.Errorf("%q is not the name of %s, which is %q: nothing was done", got, dest, want)}
}

// readLine reads a line, or what there is before the end, unless ctx ends first.
// Then the reading goes on in the background, to the end of the process.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// limitHeap makes the garbage collector work harder before the process grows
// far beyond the memory that a restore may use, unless GOMEMLIMIT says otherwise.
func limitHeap(memory int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memory + memory/8 + 32<<20)
	}
}

// maxListed is how many collections the report of a restore lists.
const maxListed = 50

// printRestored reports what a restore has reached.
func (c *console) printRestored(plan *recovery.Plan, r *restore.Result, dest string) {
	c.printf("restored %s, %s, to %s in %s\n", plural(r.Rows, "row", "rows"), size(r.Bytes), dest, span(r.Elapsed))
	if r.Resumed > 0 {
		c.printf("%d of %d parts had been finished before the restore was interrupted\n", r.Resumed, r.Parts)
	}
	if len(r.Digests) > 0 && !c.json {
		names := make(map[any]string)
		for _, s := range plan.Schemas {
			names[s.Collection] = s.Name
		}
		t := newTable("COLLECTION", "ROWS>", "DIGEST")
		for _, d := range r.Digests[:min(len(r.Digests), maxListed)] {
			t.add(names[d.Collection], count(d.Rows), d.Digest.String())
		}
		t.print(c.out)
		if more := len(r.Digests) - maxListed; more > 0 {
			c.printf("and %s; --json lists all\n", plural(int64(more), "collection", "collections"))
		}
	}
	if r.Confirmed {
		c.printf("the database itself showed the same digests at this LSN\n")
	}
}
