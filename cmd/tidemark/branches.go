package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/health"
)

// branches are the timelines of an archive that a command is about.
type branches struct {
	all   []*archive.Branch // those that can be read; parents come before their children
	live  []*chain.State    // of those, the ones that somebody still writes to
	named bool              // one was named on the command line or by the configuration: it is the only one
	bad   error             // the first that can't be read, once everything else is shown
}

// branches reads the timeline that was named or configured or, when none was,
// every one.
func (c *console) branches(ctx context.Context, name string) (*branches, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return nil, err
	}
	if c.timeline != "" || a.Timeline() != chain.MainTimeline {
		s, err := a.Load(ctx)
		if err != nil {
			return nil, damaged(noTimeline(err, name), name)
		}
		return &branches{all: []*archive.Branch{{Timeline: a.Timeline(), Archive: a, State: s}}, live: []*chain.State{s}, named: true}, nil
	}
	all, err := a.Timelines(ctx)
	if err != nil {
		return nil, damaged(err, name)
	}
	b := &branches{}
	var states []*chain.State
	for _, branch := range all {
		if branch.Err != nil {
			if b.bad == nil {
				b.bad = damaged(branch.Err, name)
			}
			continue
		}
		b.all = append(b.all, branch)
		states = append(states, branch.State)
	}
	if len(b.all) == 0 {
		return nil, b.bad
	}
	b.live = health.Live(states)
	return b, nil
}

// several reports whether timelines must be told apart.
func (b *branches) several() bool { return !b.named && (len(b.all) > 1 || b.bad != nil) }

// isLive reports whether somebody still writes to a timeline.
func (b *branches) isLive(s *chain.State) bool { return slices.Contains(b.live, s) }

// chooseLive names the timeline that a command is about which is about one: when
// none was named, the one that is written to. Where there are several of those,
// a person has to say which.
func (c *console) chooseLive(ctx context.Context, name, command string) error {
	b, err := c.branches(ctx, name)
	if err != nil || b.named || len(b.all) == 1 {
		return err
	}
	if len(b.live) > 1 {
		var names []string
		for _, s := range b.live {
			names = append(names, string(s.Timeline))
		}
		err := fmt.Errorf("several timelines are captured now: %s; name one", strings.Join(names, ", "))
		return hinted{usageError{err}, "tidemark " + command + " " + shell(name) + " --timeline " + shell(names[len(names)-1])}
	}
	if live := b.live[0].Timeline; live != chain.MainTimeline {
		c.timeline = string(live)
		c.notef("timeline %s, which was written to last\n", live)
	}
	return nil
}
