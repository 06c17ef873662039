package capture

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// EventKind says what happened to a capture that somebody should know of.
type EventKind string

// The kinds of event.
const (
	EventForked  EventKind = "forked"   // the database goes on in a timeline of its own from here
	EventGap     EventKind = "gap"      // the source has lost part of its log: a gap was declared
	EventPutBack EventKind = "put-back" // the archive had lost its tail; the source still has that part and puts it back
)

// Event is something that a person should know of. It goes to
// [Options].Notify and to the log.
type Event struct {
	Kind     EventKind        `json:"kind"`
	Timeline chain.TimelineID `json:"timeline"`          // that is captured
	Parent   chain.TimelineID `json:"parent,omitempty"`  // forked: where it comes from
	LSN      change.LSN       `json:"lsn"`               // forked: the last in common; gap: its end; put-back: the archive's end
	Gap      *chain.Gap       `json:"gap,omitempty"`     // gap
	Warning  bool             `json:"warning,omitempty"` // something was lost
}

// String says it in a sentence.
func (e Event) String() string {
	switch e.Kind {
	case EventForked:
		return fmt.Sprintf("timeline %s begins: it goes on from LSN %d of %s", e.Timeline, e.LSN, e.Parent)
	case EventGap:
		return fmt.Sprintf("GAP in timeline %s: LSN %d to %d are lost (%s); a new base is taken now, and only from there on can anything be restored again",
			e.Timeline, e.Gap.First, e.Gap.Last, e.Gap.Reason)
	case EventPutBack:
		return fmt.Sprintf("THE ARCHIVE HAS LOST ITS TAIL: timeline %s ends at LSN %d, but more was archived before; the database's log still holds that, and it is archived again",
			e.Timeline, e.LSN)
	}
	return string(e.Kind)
}

func (c *Capturer) notify(e Event) {
	if e.Warning {
		c.o.Log.Warn(e.String(), "event", e.Kind, "timeline", e.Timeline)
	} else {
		c.o.Log.Info(e.String(), "event", e.Kind, "timeline", e.Timeline)
	}
	if c.o.Notify != nil {
		c.o.Notify(e)
	}
}

// Archive returns the archive at the timeline that is captured; before that is
// decided, as it was given to [New].
func (c *Capturer) Archive() *archive.Archive {
	if s := c.claimed.Load(); s != nil {
		return s.Archive()
	}
	return c.archive
}
