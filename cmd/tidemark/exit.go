package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/flatfile"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/kit"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/plan"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/salvage"
	"github.com/tidemarkdb/tidemark/storage"
)

// exitMeanings says what each exit code means, for people and scripts.
var exitMeanings = []exitMeaning{
	{exitOK, "done"},
	{exitOther, "any other error"},
	{exitUsage, "the command line, the configuration, or what they name or hold, makes no sense"},
	{exitWarnings, "done, with warnings"},
	{exitMissing, "archive or database missing or unreachable"},
	{exitFenced, "another process holds the archive or the database, or has taken it over"},
	{exitOutside, "the target lies outside what can be restored"},
	{exitGap, "the target lies in a gap"},
	{exitCorrupt, "something is damaged"},
	{exitNotEmpty, "the destination already holds something"},
	{exitPreflight, "a restore could not start"},
	{exitDrill, "a drill failed"},
	{exitInterrupted, "interrupted"},
}

// exitMeaning is an exit code as --json prints it.
type exitMeaning struct {
	Code    int    `json:"exit_code"`
	Meaning string `json:"meaning"`
}

// exitHelp is the help text about exit codes.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("A script may rely on these exit codes (12, wrong key, is kept for encrypted archives):\n\n")
	for _, m := range exitMeanings {
		fmt.Fprintf(&b, "  %3d  %s\n", m.Code, m.Meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func newExitCodes(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes say",
		Long:  exitHelp(),
		Args:  args(),
		RunE: func(*cobra.Command, []string) error {
			for _, m := range exitMeanings {
				if err := c.emit("exit_code", m); err != nil {
					return err
				}
			}
			c.printf("%s\n", page(exitHelp()))
			return nil
		},
	}
}

// The exit codes.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2   // the command line, or what it names or holds, makes no sense
	exitWarnings    = 3   // done, with warnings
	exitMissing     = 10  // archive or database missing or unreachable
	exitFenced      = 11  // another process holds the archive or the database
	exitOutside     = 20  // the target lies outside what can be restored
	exitGap         = 21  // the target lies in a gap
	exitCorrupt     = 22  // something is damaged
	exitNotEmpty    = 23  // the destination already holds something
	exitPreflight   = 24  // a restore could not start
	exitDrill       = 30  // a rehearsal did not yield what the database held
	exitInterrupted = 130 // by a signal
)

// exits maps errors to exit codes; the first that fits decides.
var exits = []struct {
	err  error
	code int
}{
	{drill.ErrFailed, exitDrill},
	{salvage.ErrNothing, exitCorrupt},
	{salvage.ErrNotNeeded, exitUsage},
	{recovery.ErrOutside, exitOutside},
	{recovery.ErrInGap, exitGap},
	{recovery.ErrLost, exitCorrupt},
	{recovery.ErrNoLabel, exitUsage},
	{place.ErrPlace, exitUsage},
	{recovery.ErrNoTx, exitOutside},
	{recovery.ErrInsideTx, exitUsage},
	{recovery.ErrNoPlan, exitCorrupt},
	{errNoRow, exitOther},
	{errWarnings, exitWarnings},
	{config.ErrConfig, exitUsage},
	{kit.ErrKit, exitUsage},
	{restore.ErrAmbiguous, exitUsage},
	{archive.ErrNoTimeline, exitUsage},
	{archive.ErrTimelineTaken, exitUsage},
	{driver.ErrTruncated, exitCorrupt},
	{chain.ErrVersion, exitOther},
	{chain.ErrWrongRepo, exitCorrupt},
	{archive.ErrNotArchive, exitMissing},
	{archive.ErrAlreadyInitialized, exitNotEmpty},
	{archive.ErrForeign, exitNotEmpty},
	{driver.ErrNotEmpty, exitNotEmpty},
	{driver.ErrUnfinished, exitNotEmpty},
	{plan.ErrChanged, exitCorrupt},
	{plan.ErrUnknown, exitUsage},
	{chain.ErrFenced, exitFenced},
	{chain.ErrLocked, exitFenced},
	{embedded.ErrLocked, exitFenced},
	{job.ErrKept, exitFenced},
	{embedded.ErrNoDatabase, exitMissing},
	{chain.ErrDamaged, exitCorrupt},
	{plan.ErrNotHere, exitUsage}, // unless it is damage too
	{follow.ErrGap, exitGap},
	{driver.ErrNotStandby, exitUsage},
	{driver.ErrStandby, exitUsage},
	{driver.ErrTruncated, exitCorrupt},
	{driver.ErrDiverged, exitOther},
	{chain.ErrLabelTaken, exitOther},
	{chain.ErrBroken, exitCorrupt},
	{chain.ErrManifest, exitCorrupt},
	{pack.ErrCorrupt, exitCorrupt},
	{merge.ErrDivergence, exitCorrupt},
	{restore.ErrMismatch, exitCorrupt},
	{embedded.ErrCorrupt, exitCorrupt},
	{embedded.ErrArchiveLag, exitOther},
	{restore.ErrPreflight, exitPreflight},
	{drill.ErrBehind, exitOther},
	{storage.ErrUnavailable, exitMissing},
	{storage.ErrNotFound, exitCorrupt}, // what a manifest announces is not there
	{embedded.ErrNoCollection, exitUsage},
	{history.ErrNoCollection, exitUsage},
	{change.ErrSchema, exitUsage},
	{flatfile.ErrInput, exitUsage},
	{context.Canceled, exitInterrupted},
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// hinted is an error with the command line that helps.
type hinted struct {
	error
	try string
}

func (e hinted) Unwrap() error { return e.error }

// reported is an error that the result has already told, such as damage that
// verify found. It only sets the exit code.
type reported struct{ error }

func (e reported) Unwrap() error { return e.error }

// withTry adds a command line that helps to an error of the given kind.
func withTry(err, kind error, try string) error {
	if errors.Is(err, kind) {
		return hinted{err, try}
	}
	return err
}

func exitCode(err error) int {
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	for _, e := range exits {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return exitOther
}

// hint returns the command line that helps, or "".
func hint(err error) string {
	var h hinted
	switch {
	case errors.As(err, &h):
		return h.try
	case errors.As(err, new(usageError)):
		return "tidemark --help"
	case errors.Is(err, chain.ErrVersion):
		return "a newer tidemark; this one is shown by: tidemark version"
	}
	return ""
}
