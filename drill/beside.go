package drill

import (
	"context"
	"errors"
	"time"

	"github.com/tidemarkdb/tidemark/capture"
)

// Schedule says what [Beside] does how often; 0 means never.
type Schedule struct {
	Drill  time.Duration // rehearse a restore
	Digest time.Duration // read the database for evidence; before each drill it is read in any case
}

// Beside rehearses restores while c captures into a, until ctx ends; it then
// returns nil. Each outcome is told: a result, or nil and what kept the drill
// or the reading of evidence from being carried out. Neither ends anything.
func Beside(ctx context.Context, c *capture.Capturer, when Schedule, o Options, tell func(*Result, error)) error {
	drills, stop := every(when.Drill)
	defer stop()
	digests, stop := every(when.Digest)
	defer stop()
	for {
		var r *Result
		var err error
		rehearse := false
		select {
		case <-ctx.Done():
			return nil
		case <-digests:
		case <-drills:
			rehearse = true
		}
		if _, err = c.Digest(ctx); err == nil && rehearse {
			r, err = Run(ctx, c.Archive(), o)
		}
		if errors.Is(err, capture.ErrStopped) || ctx.Err() != nil {
			return nil
		}
		if r != nil || err != nil {
			tell(r, err)
		}
	}
}

// every returns a clock that ticks, or one that never does.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}
