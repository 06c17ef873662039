package capture

import (
	"context"
	"errors"
)

// While captures for as long as fn runs, and returns when both have ended: fn
// and the capture, which closes its epoch in good order. When the capture ends
// first, with an error, the context of fn ends and that error is returned.
func (c *Capturer) While(ctx context.Context, fn func(ctx context.Context) error) error {
	fnCtx, stopFn := context.WithCancel(ctx)
	defer stopFn()
	runCtx, stopRun := context.WithCancel(ctx)
	defer stopRun()
	ended := make(chan error, 1)
	go func() {
		err := c.Run(runCtx)
		stopFn()
		ended <- err
	}()
	err := fn(fnCtx)
	stopRun()
	runErr := <-ended
	if errors.Is(runErr, context.Canceled) && !errors.Is(runErr, ErrUnfinished) {
		runErr = nil // fn ended before the capture had begun
	}
	switch {
	case runErr != nil:
		return runErr
	case errors.Is(err, context.Canceled) && ctx.Err() == nil:
		return ErrStopped
	}
	return err
}
