package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/plan"
)

// printDocument shows a plan, what it needs and what was looked at.
func (c *console) printDocument(d *plan.Document) {
	c.printTarget(d.Asked, d.Plan)
	c.printPlan(d.Plan)
	c.printf("time      %s\n", forecast(&d.Forecast))
	for _, r := range d.Room {
		if r.Need == 0 {
			continue
		}
		free := "free space not known"
		if r.Free >= 0 {
			free = size(r.Free) + " free"
		}
		if r.Place != "" {
			free += " in " + r.Place
		}
		c.printf("needs     about %s for %s, %s\n", size(r.Need), map[string]string{"destination": "the database", "sorting": "sorting"}[r.For], free)
	}
	for i, k := range d.Checks {
		label := "          "
		if i == 0 {
			label = "preflight "
		}
		c.printf("%s%-7s %-12s %s\n", label, k.Status, k.Name, strings.ReplaceAll(k.Detail, "\n", "; "))
		if k.Todo != "" {
			c.printf("%31s%s\n", "", k.Todo)
		}
	}
	c.printf("plan      %s (%s)\n", d.ID.Short(), d.ID)
}

// forecast says how long a plan may take, and by what that is judged.
func forecast(f *plan.Forecast) string {
	if f.Likely == 0 {
		return "not known: no drill and no restore on this machine has shown how fast it goes"
	}
	var from []string
	if f.Drills > 0 {
		from = append(from, plural(int64(f.Drills), "drill", "drills"))
	}
	if f.Restores > 0 {
		from = append(from, plural(int64(f.Restores), "restore", "restores")+" on this machine")
	}
	return fmt.Sprintf("about %s (%s to %s), judged by %s", span(f.Likely), span(f.Low), span(f.High), strings.Join(from, " and "))
}

// storedPlan is a plan in a list as --json prints it.
type storedPlan struct {
	ID       change.Hash `json:"plan_hash"`
	Made     change.Time `json:"made,omitempty"`
	Archive  string      `json:"archive,omitempty"`
	Timeline string      `json:"timeline,omitempty"`
	Asked    string      `json:"requested,omitempty"`
	LSN      change.LSN  `json:"lsn,omitempty"`
	Error    string      `json:"error,omitempty"` // why it can't be read
}

func (c *console) shelf() (*plan.Shelf, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	return plan.OpenShelf(dir), nil
}

// listPlans lists the stored plans.
func (c *console) listPlans() error {
	shelf, err := c.shelf()
	if err != nil {
		return err
	}
	all, err := shelf.List()
	if err != nil {
		return err
	}
	t := newTable("PLAN", "MADE (UTC)", "ARCHIVE", "REQUESTED", "LSN>")
	for _, s := range all {
		if s.Err != nil {
			c.warn(s.Err)
			t.add(s.ID.Short(), "", "", "it was changed: restore refuses it", "")
			if err := c.emit("stored_plan", storedPlan{ID: s.ID, Error: s.Err.Error()}); err != nil {
				return err
			}
			continue
		}
		d := s.Document
		t.add(s.ID.Short(), instant(d.Made), d.Archive, d.Asked.String(), d.Plan.Point.LSN.String())
		if err := c.emit("stored_plan", storedPlan{ID: s.ID, Made: d.Made, Archive: d.Archive, Timeline: string(d.Plan.Timeline),
			Asked: d.Asked.String(), LSN: d.Plan.Point.LSN}); err != nil {
			return err
		}
	}
	switch {
	case c.json:
	case len(all) == 0:
		c.printf("no plans are stored\n")
	default:
		t.print(c.out)
	}
	return nil
}

// removePlans removes stored plans.
func (c *console) removePlans(f planFlags) error {
	shelf, err := c.shelf()
	if err != nil {
		return err
	}
	var gone []change.Hash
	if f.remove != "" {
		id, err := shelf.Remove(f.remove)
		if err != nil {
			return hinted{err, "tidemark plan --list"}
		}
		gone = append(gone, id)
	} else if gone, err = shelf.RemoveBefore(c.now().Add(-f.old)); err != nil {
		return err
	}
	for _, id := range gone {
		c.printf("removed plan %s\n", id.Short())
		if err := c.emit("removed_plan", storedPlan{ID: id}); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		c.printf("no plan is older than %s\n", span(f.old.Round(time.Second)))
	}
	return nil
}

// findPlan reads a plan that --plan names: a file where there is one of that
// name, otherwise a stored plan by its ID.
func (c *console) findPlan(name string) (*plan.Document, error) {
	if info, err := os.Stat(name); strings.ContainsAny(name, "./\\") || err == nil && info.Mode().IsRegular() {
		return plan.ReadFile(name)
	}
	shelf, err := c.shelf()
	if err != nil {
		return nil, err
	}
	d, err := shelf.Get(name)
	if err != nil {
		return nil, hinted{err, "tidemark plan --list"}
	}
	return d, nil
}
