package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/when"
)

// console is what a command reads from and writes to.
type console struct {
	in        io.Reader
	out, errs io.Writer

	// Set by flags.
	json, quiet, verbose, noColor bool
	tz                            string
	configFile, stateDirFlag      string

	conf    *config.Config // see configuration
	confErr error          // likewise
	kit     *pinnedKit     // see pin

	jobResult  string // see did
	jobFigures numbers

	timeline string // named by --timeline, or chosen; "" for none

	ready    bool // the command line was accepted
	terminal bool // errs is a terminal
	log      *slog.Logger
	now      func() time.Time
	zone     *time.Location // of times that are typed without one; nil: they are refused
	warned   atomic.Bool    // something was not as it must be, and was got around
	closers  []io.Closer    // what the command has opened and nobody else closes
}

// close closes what the command has opened.
func (c *console) close() {
	for _, o := range c.closers {
		if err := o.Close(); err != nil {
			c.log.Warn("close", "error", err)
		}
	}
}

func newConsole(in io.Reader, out, errs io.Writer) *console {
	return &console{in: in, out: out, errs: errs, log: slog.New(slog.DiscardHandler), now: time.Now}
}

// begin is called once the flags are read.
func (c *console) begin() {
	c.ready = true
	if f, ok := c.errs.(*os.File); ok {
		c.terminal = term.IsTerminal(int(f.Fd()))
	}
	level := slog.LevelInfo
	switch {
	case c.verbose:
		level = slog.LevelDebug
	case c.quiet:
		level = slog.LevelWarn
	}
	switch {
	case c.json:
		c.log = slog.New(slog.NewJSONHandler(c.errs, &slog.HandlerOptions{Level: level})).With("message_type", "log")
	case c.terminal:
		c.log = slog.New(tint.NewTextHandler(c.errs, &tint.Options{Level: level, TimeFormat: "15:04:05", NoColor: !c.color()}))
	default:
		c.log = slog.New(slog.NewTextHandler(c.errs, &slog.HandlerOptions{Level: level}))
	}
}

// color reports whether colours may be used on standard error.
func (c *console) color() bool {
	return c.terminal && !c.noColor && os.Getenv("NO_COLOR") == ""
}

// warn tells of something that is not as it must be but was got around. The
// command then ends with the exit code for warnings.
func (c *console) warn(err error) {
	c.warned.Store(true)
	c.log.Warn("got around some damage", "error", err)
}

// printf writes a line or more of a result in words.
func (c *console) printf(format string, a ...any) {
	if !c.json {
		fmt.Fprintf(c.out, format, shownArgs(a)...)
	}
}

// notef writes what a person should know beside the result.
func (c *console) notef(format string, a ...any) {
	if !c.json && !c.quiet {
		fmt.Fprintf(c.errs, format, shownArgs(a)...)
	}
}

// emit writes v, which is a JSON object, as one line with its message type
// first. It does nothing unless --json was given.
func (c *console) emit(kind string, v any) error {
	if !c.json {
		return nil
	}
	return writeMessage(c.out, kind, v)
}

// seenMessage is told of every message before it is written, by tests.
var seenMessage func(kind string, v any, object string)

func writeMessage(w io.Writer, kind string, v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write %s as JSON: %w", kind, err)
	}
	if seenMessage != nil {
		seenMessage(kind, v, b.String())
	}
	rest, ok := strings.CutPrefix(b.String(), "{")
	if !ok {
		return fmt.Errorf("write %s as JSON: it is not an object", kind)
	}
	sep := ","
	if strings.HasPrefix(rest, "}") {
		sep = ""
	}
	_, err := fmt.Fprintf(w, `{"message_type":%q%s%s`, kind, sep, rest)
	return err
}

// failure is an error as --json prints it.
type failure struct {
	Code   int              `json:"exit_code"`
	Error  string           `json:"error"`
	Before *recovery.Moment `json:"nearest_before,omitempty"` // of a target that can't be restored
	After  *recovery.Moment `json:"nearest_after,omitempty"`
	Try    string           `json:"try,omitempty"`
}

// fail prints an error and returns the exit code for it.
func (c *console) fail(ctx context.Context, err error) int {
	code := exitCode(err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code = exitInterrupted
	}
	if !errors.As(err, new(reported)) { // else the result said it all
		c.tell(err, code)
	}
	return code
}

// tell prints an error that ends, or would end, with the given exit code.
func (c *console) tell(err error, code int) {
	f := failure{Code: code, Error: err.Error(), Try: hint(err)}
	if code == exitInterrupted {
		_, rest, _ := strings.Cut(f.Error, context.Canceled.Error())
		f.Error = "interrupted" + rest
	}
	var no *recovery.UnrestorableError
	if errors.As(err, &no) {
		f.Before, f.After = no.Before, no.After
	}
	if c.json {
		if e := writeMessage(c.errs, "error", f); e == nil {
			return
		}
	}
	label := "error:"
	if c.color() {
		label = "\x1b[31merror:\x1b[0m"
	}
	if no != nil && (no.Before != nil || no.After != nil) {
		f.Error = strings.ReplaceAll(f.Error, no.Error(), no.Reason())
	}
	fmt.Fprintf(c.errs, "%s %s\n", label, strings.ReplaceAll(shownLines(f.Error), "\n", "\n       "))
	var bad *when.Error
	if errors.As(err, &bad) && bad.Text != "" {
		fmt.Fprintf(c.errs, "    %s\n    %s\n", shown(bad.Text), bad.Caret())
	}
	if f.Before != nil {
		fmt.Fprintf(c.errs, "  nearest before: %s (LSN %d)\n", instant(f.Before.Time), f.Before.LSN)
	}
	if f.After != nil {
		fmt.Fprintf(c.errs, "  nearest after:  %s (LSN %d)\n", instant(f.After.Time), f.After.LSN)
	}
	if f.Try != "" {
		fmt.Fprintf(c.errs, "  try: %s\n", shown(f.Try))
	}
}
