package embedded

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// ErrArchiveLag says that a commit was refused because the archive is too far
// behind: see [LagBlock]. Nothing of the transaction was stored. The error is
// a [*LagError].
var ErrArchiveLag = errors.New("the archive is too far behind")

// LagAction says what a database does when its archive falls behind the limits
// of a [LagPolicy].
type LagAction int

// The actions.
const (
	LagKeep   LagAction = iota // nothing: the log grows
	LagBlock                   // commits wait, and fail with [ErrArchiveLag] when that takes too long
	LagDetach                  // the log is given up: the archive goes on after a gap, with a new base
)

var lagActions = [...]string{LagKeep: "keep", LagBlock: "block", LagDetach: "detach"}

func (a LagAction) String() string {
	if a < 0 || int(a) >= len(lagActions) {
		return fmt.Sprintf("lag action(%d)", int(a))
	}
	return lagActions[a]
}

// ParseLagAction reads keep, block or detach.
func ParseLagAction(s string) (LagAction, error) {
	for a, name := range lagActions {
		if s == name {
			return LagAction(a), nil
		}
	}
	return 0, fmt.Errorf("%q is nothing to do about a lagging archive (want keep, block or detach)", s)
}

// LagPolicy bounds how far an archive may fall behind its database. It says
// nothing about a database that no archive was attached to. The zero value is
// LagKeep.
type LagPolicy struct {
	Action LagAction

	// Bytes is the most log that is not acknowledged; 0 sets no limit. A part
	// of the log that was there at Open counts by whole files; where that alone
	// is too much, LagDetach waits until it has grown by an eighth of Bytes.
	Bytes int64

	// Age is the most that the oldest transaction which is not acknowledged may
	// have waited while the database was open; 0 sets no limit. No clock that
	// steps changes it.
	Age time.Duration

	// Wait is how long a commit waits for the archive under LagBlock before it
	// fails; 0 means 30 s, less than 0 not at all.
	Wait time.Duration

	// Event is told what happens, from a goroutine of the database's own; nil for
	// nobody. It must not block and must not close the database.
	Event func(LagEvent)
}

func (p *LagPolicy) fill() error {
	switch {
	case p.Action < LagKeep || p.Action > LagDetach:
		return fmt.Errorf("option Lag.Action is %d, want %d to %d", p.Action, LagKeep, LagDetach)
	case p.Bytes < 0 || p.Age < 0:
		return fmt.Errorf("options Lag.Bytes %d and Lag.Age %s must not be negative", p.Bytes, p.Age)
	case p.Action != LagKeep && p.Bytes == 0 && p.Age == 0:
		return fmt.Errorf("option Lag.Action is %s, which needs a limit: set Lag.Bytes or Lag.Age", p.Action)
	}
	if p.Wait == 0 {
		p.Wait = 30 * time.Second
	}
	return nil
}

// active reports whether there is something to watch.
func (p *LagPolicy) active() bool { return p.Action != LagKeep }

// exceeded reports whether the archive is too far behind. A log is not given up
// before a capture had a chance: what was there already does not count by
// itself.
func (p *LagPolicy) exceeded(l Lag) bool {
	most := p.Bytes
	if p.Action == LagDetach {
		most = max(most, l.found+p.Bytes/8)
	}
	return p.Bytes > 0 && l.Bytes > most || p.Age > 0 && l.Age > p.Age
}

// Lag is how far an archive is behind its database.
type Lag struct {
	Bytes int64         // of log that is not acknowledged
	Age   time.Duration // that the oldest transaction of it has waited since it was committed, or since Open

	found int64 // of Bytes, what was there when the count began
}

func (l Lag) String() string {
	return fmt.Sprintf("%d bytes of log and %s behind", l.Bytes, l.Age.Round(time.Second))
}

// LagEventKind says what happened.
type LagEventKind string

// What happens when an archive lags.
const (
	LagBlocked  LagEventKind = "blocked"  // commits wait from now on
	LagReleased LagEventKind = "released" // they no longer do
	LagDetached LagEventKind = "detached" // the log was given up
)

// LagEvent is told to [LagPolicy].Event.
type LagEvent struct {
	Kind LagEventKind
	Lag  Lag        // just before
	LSN  change.LSN // where the database was
	Err  error      // LagDetached: that could not be written down yet; nil when it was
}

// LagError is an [ErrArchiveLag] with the facts.
type LagError struct {
	Lag
	Policy LagPolicy
	Acked  change.LSN // through which the archive has acknowledged
	Waited time.Duration
}

func (e *LagError) Error() string {
	limits := ""
	if e.Policy.Bytes > 0 {
		limits = fmt.Sprintf(", %d bytes", e.Policy.Bytes)
	}
	if e.Policy.Age > 0 {
		limits += fmt.Sprintf(", %s", e.Policy.Age)
	}
	return fmt.Sprintf("%v: %s, archived through LSN %d, and the limit is%s; the commit waited for %s and nothing of it was stored; "+
		"capture the database or bring its archive back, or raise the limit", ErrArchiveLag, e.Lag, e.Acked, limits[1:], e.Waited.Round(time.Millisecond))
}

func (e *LagError) Unwrap() error { return ErrArchiveLag }

// Detached says that a database gave up log that no archive had acknowledged.
type Detached struct {
	LSN    change.LSN  `json:"lsn"`   // where the database was
	Acked  change.LSN  `json:"acked"` // through where it was archived
	Time   change.Time `json:"time"`
	Reason string      `json:"reason"`
}
