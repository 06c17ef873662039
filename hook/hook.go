// Package hook tells programs and web services of what happened to a database:
// an [Event] is handed to a command, or posted to a URL.
package hook

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Kind says what happened.
type Kind string

// The kinds of event.
const (
	CaptureStarted Kind = "capture-started" // a capturer is at work
	CaptureStopped Kind = "capture-stopped" // it ended in good order
	CaptureFailed  Kind = "capture-failed"  // it ended with an error and is tried again
	CaptureFenced  Kind = "capture-fenced"  // another capturer took over: this one stays away
	CaptureForked  Kind = "capture-forked"  // the database was restored: it goes on in a timeline of its own
	TailPutBack    Kind = "tail-put-back"   // the archive had lost its end; the database still had it
	GapDeclared    Kind = "gap-declared"    // a stretch of the log can't be proved
	SnapshotOK     Kind = "snapshot-ok"
	SnapshotFailed Kind = "snapshot-failed"
	VerifyOK       Kind = "verify-ok"
	VerifyFailed   Kind = "verify-failed" // something is damaged, or it could not be looked at
	DrillOK        Kind = "drill-ok"
	DrillFailed    Kind = "drill-failed"
	RPOExceeded    Kind = "rpo-exceeded" // the last moment that can be restored is older than the goal
	RPOOK          Kind = "rpo-ok"       // it no longer is
	RestoreDone    Kind = "restore-done"
)

// Kinds lists every kind of event.
var Kinds = []Kind{CaptureStarted, CaptureStopped, CaptureFailed, CaptureFenced, CaptureForked, TailPutBack, GapDeclared, SnapshotOK, SnapshotFailed,
	VerifyOK, VerifyFailed, DrillOK, DrillFailed, RPOExceeded, RPOOK, RestoreDone}

// Event is what a hook is told, as JSON.
type Event struct {
	Kind     Kind           `json:"event"`
	Database string         `json:"database"` // its configured name
	Time     time.Time      `json:"time"`
	Message  string         `json:"message"`           // for people, one line
	Error    string         `json:"error,omitempty"`   // of what failed
	Job      string         `json:"job,omitempty"`     // the ID of the job that it is about
	Figures  map[string]any `json:"figures,omitempty"` // such as rows, bytes, seconds
}

// DefaultTimeout is how long a hook may take unless it says otherwise.
const DefaultTimeout = 30 * time.Second

// Hook says who is told of what. Exactly one of Run and Post is set.
type Hook struct {
	On        []Kind        // empty: everything
	Run       []string      // a command and its arguments; no shell reads them
	Post      string        // a URL; see CheckURL
	TokenFile string        // with Post: a file whose content is sent as a bearer token
	Timeout   time.Duration // default DefaultTimeout
}

// Wants reports whether the hook is to be told of events of a kind.
func (h *Hook) Wants(k Kind) bool { return len(h.On) == 0 || slices.Contains(h.On, k) }

// String names the hook for people: its command, or its URL without the query,
// which may hold a secret.
func (h *Hook) String() string {
	if len(h.Run) > 0 {
		return "run " + h.Run[0]
	}
	u, err := url.Parse(h.Post)
	if err != nil {
		return "post"
	}
	return "post " + u.Scheme + "://" + u.Host + u.Path
}

// ErrURL is wrapped by the errors of [CheckURL].
var ErrURL = errors.New("not a URL for a hook")

// CheckURL reports what keeps a URL from being posted to: it must be https, or
// http to this very machine, and hold no password.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("want one such as https://example.org/hook: %w", ErrURL)
	case u.User != nil:
		return fmt.Errorf("it holds a name or password; put the secret into a token_file: %w", ErrURL)
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("want https, found %s: %w", u.Scheme, ErrURL)
	case !loopback(u.Hostname()):
		return fmt.Errorf("http is for this machine only (localhost, 127.0.0.1, ::1); use https: %w", ErrURL)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Bad reports whether the kind tells of trouble.
func (k Kind) Bad() bool {
	switch k {
	case CaptureFailed, CaptureFenced, TailPutBack, GapDeclared, SnapshotFailed, VerifyFailed, DrillFailed, RPOExceeded:
		return true
	}
	return false
}
