package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/hook"
)

// steady is how long a capture must have gone on for its failure to be a new
// one: the pauses start again from the shortest.
const steady = time.Minute

// capture captures until ctx ends or another capturer takes over. After any
// other failure it is started again, after a pause that grows. A failure is
// told when it is another than the last one.
func (k *keeper) capture(ctx context.Context) (fenced error) {
	pause, told := k.o.RetryMin, ""
	for {
		began := time.Now()
		started, err := k.captureOnce(ctx)
		switch {
		case final(err):
			k.event(hook.CaptureFenced, err, "another capturer took over: this one stays away")
			return err
		case err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.Is(err, capture.ErrUnfinished):
			if started {
				k.event(hook.CaptureStopped, nil, "capture stopped")
			}
			return nil
		}
		if started {
			told = ""
		}
		if time.Since(began) >= steady {
			pause = k.o.RetryMin
		}
		if err.Error() != told {
			told = err.Error()
			k.event(hook.CaptureFailed, err, "capture failed; it is tried again")
		} else {
			k.log.Debug("capture failed again", "error", err, "in", pause)
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, k.o.RetryMax)
	}
}

// captureOnce captures until ctx ends or something fails. started says whether
// anything of the source was archived, or found to be.
func (k *keeper) captureOnce(ctx context.Context) (started bool, err error) {
	src, err := k.OpenSource(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	a, done, err := k.OpenArchive(ctx, "", true)
	if err != nil {
		return false, err
	}
	if done != nil {
		defer done()
	}
	c := capture.New(a, src.Source(), capture.Options{FlushBytes: k.Capture.FlushBytes, FlushAge: k.Capture.FlushAge,
		CoverageEvery: k.Capture.CoverageEvery, Notify: k.captured, Log: k.log})
	err = c.While(ctx, func(ctx context.Context) error {
		mark, err := c.Sync(ctx)
		if err != nil {
			return err
		}
		started = true
		timeline := c.Archive().Timeline()
		k.setCapturer(c, timeline)
		defer k.setCapturer(nil, timeline)
		k.event(hook.CaptureStarted, nil, "capturing: archived through LSN %d", mark.LSN)
		<-ctx.Done()
		return nil
	})
	if ctx.Err() != nil && errors.Is(err, capture.ErrStopped) {
		err = nil
	}
	return started, err
}

// captured tells of what a capture has to say.
func (k *keeper) captured(e capture.Event) {
	switch e.Kind {
	case capture.EventGap:
		k.gap(e.Timeline, e.Gap)
	case capture.EventForked:
		k.send(hook.Event{Kind: hook.CaptureForked, Message: e.String(), Figures: map[string]any{"timeline": e.Timeline, "parent": e.Parent, "lsn": e.LSN}})
	case capture.EventPutBack:
		k.send(hook.Event{Kind: hook.TailPutBack, Message: e.String(), Figures: map[string]any{"timeline": e.Timeline, "lsn": e.LSN}})
	}
}

// gap tells of a gap, once, whoever has found it.
func (k *keeper) gap(timeline chain.TimelineID, g *chain.Gap) {
	k.mu.Lock()
	told := k.gaps[g.Last]
	k.gaps[g.Last] = true
	k.mu.Unlock()
	if told {
		return
	}
	k.send(hook.Event{Kind: hook.GapDeclared, Message: fmt.Sprintf("changes of LSN %d to %d are not in the archive: %s", g.First, g.Last, g.Reason),
		Figures: map[string]any{"timeline": timeline, "lsn_start": g.First, "lsn_end": g.Last, "from": g.From.String(), "to": g.To.String()}})
}

// sleep waits and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
