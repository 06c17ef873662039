package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/salvage"
)

const salvageHelp = `With --salvage it takes from a damaged archive what can still be proved, where an
ordinary restore can't reach the target: each collection as far as its own snapshot
and log are whole. That is no restore: collections may stand at different moments, and
rows may be missing. DEST.salvage.json lists exactly what is lost, the exit code is
3, and the archive is not touched. No archive can go on from the result but a new one.`

// salvaged is the result of a salvage as --json prints it.
type salvaged struct {
	Destination string `json:"destination"`
	ReportFile  string `json:"report_file"`
	*salvage.Report
}

// conflict names the flags that make no sense with --salvage.
func (f *restoreFlags) conflict() error {
	for _, x := range []struct {
		flag string
		set  bool
	}{{"--plan", f.plan != ""}, {"--replace", f.replace}, {"--no-digest", f.noDigest}, {"--restart", f.restart}} {
		if x.set {
			return usageError{fmt.Errorf("--salvage and %s don't go together", x.flag)}
		}
	}
	return nil
}

func runSalvage(ctx context.Context, c *console, name, dest string, f restoreFlags) (err error) {
	if err := f.conflict(); err != nil {
		return err
	}
	if f.to == "" {
		f.to = "latest"
	}
	target, err := c.parseTarget("--to", f.to)
	if err != nil {
		return err
	}
	at, err := place.Database.Parse(dest)
	if err != nil {
		return err
	}
	file := at.Path + ".salvage.json"
	if _, err := os.Lstat(file); err == nil {
		return hinted{fmt.Errorf("%s is the report of another salvage: %w", file, driver.ErrNotEmpty), fmt.Sprintf("tidemark restore --salvage %s %s", shell(name), shell(dest+"-2"))}
	}
	dst, err := openTarget(dest)
	if err != nil {
		return err
	}
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return err
	}
	if err := c.oneTimeline(ctx, a); err != nil {
		return err
	}
	defer c.record(job.Restore, name)(&err)
	limitHeap(int64(f.memory))
	p := c.progress("salvage", "packs")
	written := false
	r, err := salvage.Run(ctx, a, dst, salvage.Options{Target: target, Newest: f.newest, Memory: int64(f.memory),
		Progress: c.together(p), Tell: func(r *salvage.Report) error {
			written = true
			return writeReport(file, r)
		}})
	p.close()
	switch {
	case errors.Is(err, salvage.ErrNotNeeded):
		return usageError{hinted{err, fmt.Sprintf("tidemark restore %s %s --to %s", shell(name), shell(dest), shell(f.to))}}
	case err != nil && written:
		return errors.Join(err, os.Remove(file)) // it tells of what is not there
	case err != nil && r != nil:
		c.printSalvage(r)
		return err
	case err != nil:
		return withTry(err, driver.ErrNotEmpty, fmt.Sprintf("tidemark restore --salvage %s %s", shell(name), shell(dest+"-2")))
	}
	c.printSalvage(r)
	c.did(numbers{"lsn": r.Target, "rows": r.Rows, "bytes": r.Bytes, "collections": r.Delivered()}, "salvaged %s", plural(r.Rows, "row", "rows"))
	c.printf("\nSALVAGED, NOT RESTORED: %s in %s is what could be proved of LSN %d.\n", plural(r.Rows, "row", "rows"), dest, r.Target)
	c.printf("What is lost is listed above and in %s.\n", file)
	c.warned.Store(true)
	return c.emit("salvage", salvaged{dest, file, r})
}

// oneTimeline refuses to guess which of several timelines is meant. Where the
// damage hides how many there are, the one that was opened is.
func (c *console) oneTimeline(ctx context.Context, a *archive.Archive) error {
	if c.timeline != "" || a.Timeline() != chain.MainTimeline {
		return nil
	}
	all, err := archive.Timelines(ctx, a.Bucket(), archive.OpenOptions{})
	if err != nil || len(all) < 2 {
		return nil
	}
	return usageError{fmt.Errorf("the archive has %d timelines, and their history can't be compared where it is damaged: name one with --timeline", len(all))}
}

// together makes a progress bar fit for several goroutines.
func (c *console) together(p *progress) func(done, all int64) {
	turn := make(chan struct{}, 1)
	return func(done, all int64) {
		turn <- struct{}{}
		p.update(done, all)
		<-turn
	}
}

// writeReport stores a report beside the result, for good.
func writeReport(name string, r *salvage.Report) (err error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write the report of the salvage: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the report of the salvage: %w", err), os.Remove(name))
	}
	return nil
}

// printSalvage says what was taken and what is lost.
func (c *console) printSalvage(r *salvage.Report) {
	c.printf("target    LSN %d of timeline %s\n", r.Target, r.Timeline)
	if r.Coarse != "" {
		c.printf("          %s\n", r.Coarse)
	}
	for _, f := range r.Damaged {
		c.printf("damaged   %s\n          want %s, found %s\n", f.Key, f.Want, f.Found)
	}
	if len(r.Bundled) > 0 {
		c.printf("manifests %s from a checkpoint, as their objects are gone\n", plural(int64(len(r.Bundled)), "is", "are"))
	}
	if r.Listed > r.Seq {
		c.printf("lost      manifests %d to %d, and all that they announced\n", r.Seq+1, r.Listed)
	}
	for _, l := range r.Lost {
		c.printf("lost      LSN %d to %d, %s to %s, of a segment of %s\n", l.First, l.Last, instant(l.From), instant(l.To), plural(l.Txs, "transaction", "transactions"))
	}
	for _, g := range r.Gaps {
		c.printf("gap       LSN %d to %d: %s\n", g.First, g.Last, g.Why)
	}
	t := newTable("COLLECTION", "ROWS>", "AS OF LSN>", "LOST RECORDS>", "STATE")
	for i := range r.Collections {
		k := &r.Collections[i]
		name, lsn := k.Name, "-"
		if name == "" {
			name = fmt.Sprintf("collection %d", k.ID)
		}
		if k.Delivered {
			lsn = k.LSN.String()
		}
		t.add(name, count(k.Rows), lsn, count(k.Records), salvagedState(k))
	}
	if !c.json {
		t.print(c.out)
	}
}

// salvagedState says in words what became of a collection.
func salvagedState(k *salvage.Collection) string {
	switch {
	case !k.Delivered:
		return "LOST: nothing of it can be proved"
	case k.Differs != "":
		return "DIFFERS: at that LSN " + k.Differs
	case k.Complete:
		return "complete"
	case k.Whole:
		return "whole, as of an earlier moment"
	}
	s := fmt.Sprintf("IN PART: %s of the snapshot lost", plural(k.LostRows, "row", "rows"))
	for _, r := range k.LostKeys {
		s += "; " + r.String()
	}
	return s
}
