package daemon

import (
	"context"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/recovery"
)

// watcher remembers what was told of an archive.
type watcher struct {
	k        *keeper
	since    time.Time  // of the watch
	gap      change.LSN // the end of the last gap that was told or there before
	seen     bool       // the archive was read at least once
	exceeded bool       // and told

	archive *archive.Archive // kept open between looks; nil after a failure
	done    func()
}

// watch looks at the archive now and then, as anybody could who had to restore
// from it, until ctx ends: how old is the last moment that can be restored, and
// are there new gaps?
func (k *keeper) watch(ctx context.Context) {
	w := &watcher{k: k, since: time.Now()}
	defer w.drop()
	every := k.o.WatchMax
	if k.RPOGoal > 0 {
		every = max(min(every, k.RPOGoal/4), 100*time.Millisecond)
	}
	for {
		s, err := w.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			k.log.Debug("the archive can't be looked at", "error", err)
		}
		w.look(s, err, time.Now())
		if !sleep(ctx, every) {
			return
		}
	}
}

// read reads what others have published since the last look.
func (w *watcher) read(ctx context.Context) (_ *chain.State, err error) {
	if t := w.k.current(); w.archive != nil && t != "" && t != w.archive.Timeline() {
		w.drop()
		w.seen, w.gap = false, 0 // another history: its gaps are no news
	}
	if w.archive == nil {
		if w.archive, w.done, err = w.k.open(ctx, false); err != nil {
			w.archive = nil
			return nil, err
		}
	}
	s, err := w.archive.Refresh(ctx)
	if err != nil {
		w.drop()
	}
	return s, err
}

// drop closes the archive.
func (w *watcher) drop() {
	if w.archive != nil {
		w.done()
	}
	w.archive = nil
}

// look tells of what has changed. s is nil where the archive can't be read: what
// can't be read can't be restored either.
func (w *watcher) look(s *chain.State, err error, now time.Time) {
	if s != nil {
		w.gaps(s)
		w.rpo(s, now)
		return
	}
	if goal := w.k.RPOGoal; goal > 0 && !w.exceeded && now.Sub(w.since) > goal {
		w.exceeded = true
		w.k.event(hook.RPOExceeded, err, "the archive has not been readable for longer than the goal of %s", goal)
	}
}

// rpo compares the age of the last restorable moment with the goal.
func (w *watcher) rpo(s *chain.State, now time.Time) {
	goal := w.k.RPOGoal
	if goal <= 0 {
		return
	}
	behind := now.Sub(w.since) // nothing could be restored all the while
	if windows := recovery.Windows(s); len(windows) > 0 {
		behind = age(windows[len(windows)-1].To, now)
		w.since = now.Add(-behind)
	}
	figures := map[string]any{"rpo_seconds": behind.Seconds(), "goal_seconds": goal.Seconds()}
	switch over := behind > goal; {
	case over && !w.exceeded:
		w.exceeded = true
		w.k.send(hook.Event{Kind: hook.RPOExceeded, Figures: figures,
			Message: "what happened in the last " + behind.Round(time.Second).String() + " could not be restored; the goal is " + goal.String()})
	case !over && w.exceeded:
		w.exceeded = false
		w.k.send(hook.Event{Kind: hook.RPOOK, Figures: figures, Message: "the archive keeps up again"})
	}
}

// gaps tells of gaps that are new since the watch began.
func (w *watcher) gaps(s *chain.State) {
	for i := range s.Gaps {
		g := &s.Gaps[i].Body
		if g.Last <= w.gap {
			continue
		}
		w.gap = g.Last
		if w.seen {
			w.k.gap(s.Timeline, g)
		}
	}
	w.seen = true
}
