package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidemarkdb/tidemark/hook"
)

// teller tells the hooks of one database of events, in order, beside the work.
type teller struct {
	hooks []hook.Hook
	also  func(hook.Event)
	log   *slog.Logger
	queue chan hook.Event
	done  chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
}

// maxQueue is how many events wait for slow hooks; more are lost, and logged.
const maxQueue = 1000

// lastWords is how long hooks may take after everything else has ended.
const lastWords = 30 * time.Second

func newTeller(hooks []hook.Hook, also func(hook.Event), log *slog.Logger) *teller {
	t := &teller{hooks: hooks, also: also, log: log, queue: make(chan hook.Event, maxQueue), done: make(chan struct{})}
	t.ctx, t.stop = context.WithCancel(context.Background())
	go func() {
		defer close(t.done)
		for e := range t.queue {
			hook.Tell(t.ctx, t.hooks, e, t.log)
		}
	}()
	return t
}

// send logs an event and has the hooks told. It does not wait for them.
func (t *teller) send(e hook.Event) {
	args := []any{"event", e.Kind}
	if e.Error != "" {
		args = append(args, "error", e.Error)
	}
	if e.Kind.Bad() {
		t.log.Error(e.Message, args...)
	} else {
		t.log.Info(e.Message, args...)
	}
	t.also(e)
	if len(t.hooks) == 0 {
		return
	}
	select {
	case t.queue <- e:
	default:
		t.log.Error("the hooks are too slow: an event is lost to them", "event", e.Kind)
	}
}

// close lets the hooks finish, for a while. Nothing is sent any more.
func (t *teller) close() {
	close(t.queue)
	late := time.AfterFunc(lastWords, t.stop)
	defer late.Stop()
	<-t.done
	t.stop()
}
