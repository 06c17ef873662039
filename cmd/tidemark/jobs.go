package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
)

// jobReport is a job as --json prints it.
type jobReport struct {
	job.Job
	Seconds float64 `json:"seconds,omitempty"` // that it took, or has taken so far
}

func newJobs(c *console) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "jobs [NAME]",
		Short: "Show the restores, verifications, drills and snapshots of this machine",
		Long: `Show the restores, verifications, drills and snapshots that were done on this
machine, by hand or by "tidemark run", newest last. NAME is a configured database,
or the archive as it was typed. A job whose process died is shown as interrupted.

They are remembered in the state directory (--state-dir).`,
		Example: "  tidemark jobs shop --limit 5",
		Args:    args("[NAME]"),
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return c.printJobs(name, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "show the newest so many; 0 for all")
	return cmd
}

func (c *console) printJobs(name string, limit int) error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	jobs, err := job.Open(dir).List(name)
	if err != nil {
		return err
	}
	left := 0
	if limit > 0 && len(jobs) > limit {
		left = len(jobs) - limit
		jobs = jobs[left:]
	}
	now := c.now()
	t := newTable("STARTED", "DATABASE", "JOB", "STATE", "TOOK>", "RESULT")
	for _, j := range jobs {
		took := j.Took(now)
		if err := c.emit("job", jobReport{j, took.Seconds()}); err != nil {
			return err
		}
		text := j.Result
		if j.State == job.Failed {
			text = "error: " + j.Error
		}
		lasted := "-"
		if took > 0 {
			lasted = span(took)
		}
		t.add(instant(change.TimeOf(j.Start)), j.Database, string(j.Kind), string(j.State), lasted, text)
	}
	switch {
	case c.json:
	case len(jobs) == 0:
		c.printf("no jobs\n")
	default:
		t.print(c.out)
	}
	if left > 0 {
		c.notef("%s before them; see them with --limit 0\n", plural(int64(left), "job", "jobs"))
	}
	return nil
}

// numbers are what a job's record says in numbers.
type numbers = map[string]any

// did says what the job under way has achieved, for its record.
func (c *console) did(f numbers, format string, args ...any) {
	c.jobResult, c.jobFigures = fmt.Sprintf(format, args...), f
}

// record notes in the state directory that a job begins; what it returns notes
// its end, with the error that is there by then. A record that can't be written
// is told and keeps nobody from the work.
//
//	defer c.record(job.Verify, name)(&err)
func (c *console) record(kind job.Kind, name string) func(*error) {
	result, figures := c.jobResult, c.jobFigures // of the job that this one is part of
	c.jobResult, c.jobFigures = "", nil
	dir, err := c.stateDir()
	var active *job.Active
	if err == nil {
		active, err = job.Open(dir).Begin(kind, name, "")
	}
	if err != nil {
		c.log.Warn("the job leaves no record", "error", err)
		return func(*error) {}
	}
	return func(failed *error) {
		defer func() { c.jobResult, c.jobFigures = result, figures }()
		told := *failed
		if r := (reported{}); errors.As(told, &r) && c.jobResult != "" {
			told = fmt.Errorf("%s: %w", c.jobResult, r.error)
		}
		if err := active.End(c.jobResult, c.jobFigures, told); err != nil {
			c.log.Warn("the job's end is not recorded", "error", err)
		}
		if kind == job.Restore && *failed == nil {
			c.restored(name, active.ID())
		}
	}
}

// restored tells the hooks of a configured database that a restore of it is done.
func (c *console) restored(name, id string) {
	if c.kit != nil && c.kit.name == name {
		return
	}
	db, err := c.named(name)
	if err != nil || db == nil {
		return
	}
	// An interrupt that comes now does not undo the restore.
	hook.Tell(context.Background(), db.Hooks, hook.Event{Kind: hook.RestoreDone, Database: db.Name, Time: c.now().UTC(),
		Message: "restored " + c.jobResult, Job: id, Figures: c.jobFigures}, c.log)
}
