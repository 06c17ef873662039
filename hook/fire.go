package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ErrFailed is wrapped by every error of [Hook.Fire].
var ErrFailed = errors.New("hook failed")

// maxOutput is how much of a hook's output is kept, in bytes.
const maxOutput = 16 << 10

// Fire hands one event to the hook, whether it wants the kind or not, and
// returns what a command printed, or a service answered, for the log. It waits
// no longer than the hook's timeout; nobody tries again.
//
// A command gets the event as one line of JSON on its standard input, and its
// chief parts as TIDEMARK_EVENT, TIDEMARK_DATABASE, TIDEMARK_TIME,
// TIDEMARK_MESSAGE, TIDEMARK_ERROR and TIDEMARK_JOB in its environment. A URL
// gets the JSON as the body of a POST; an answer other than 2xx is a failure,
// a redirection too.
func (h *Hook) Fire(ctx context.Context, e Event) (output string, err error) {
	timeout := h.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no end after %s", timeout))
	defer cancel()
	body, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", h, ErrFailed, err)
	}
	body = append(body, '\n')
	if len(h.Run) > 0 {
		output, err = h.run(ctx, e, body)
	} else {
		output, err = h.post(ctx, body)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("%s: %w: %w", h, ErrFailed, err)
	}
	return strings.TrimSpace(output), err
}

func (h *Hook) run(ctx context.Context, e Event, body []byte) (string, error) {
	out := &tail{}
	cmd := exec.CommandContext(ctx, h.Run[0], h.Run[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(body), out, out
	cmd.WaitDelay = time.Second // a child of it may hold the pipes
	cmd.Env = append(os.Environ(),
		"TIDEMARK_EVENT="+string(e.Kind),
		"TIDEMARK_DATABASE="+e.Database,
		"TIDEMARK_TIME="+e.Time.UTC().Format(time.RFC3339Nano),
		"TIDEMARK_MESSAGE="+e.Message,
		"TIDEMARK_ERROR="+e.Error,
		"TIDEMARK_JOB="+e.Job)
	err := cmd.Run()
	return out.String(), err
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

func (h *Hook) post(ctx context.Context, body []byte) (string, error) {
	if err := CheckURL(h.Post); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.Post, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tidemark")
	if h.TokenFile != "" {
		token, err := os.ReadFile(h.TokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := client.Do(req)
	if err != nil {
		var u interface{ Unwrap() error } // *url.Error repeats the URL, and its query
		if errors.As(err, &u) && u.Unwrap() != nil {
			err = u.Unwrap()
		}
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("the answer is %s", res.Status)
	}
	return string(answer), err
}

// client follows no redirection, which could lead away from https, and keeps
// no connection open between events.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
	},
}

// Tell hands an event to every hook that wants it, one after the other, and
// logs what became of it. A hook that fails keeps no other from being told.
func Tell(ctx context.Context, hooks []Hook, e Event, log *slog.Logger) {
	for i := range hooks {
		h := &hooks[i]
		if !h.Wants(e.Kind) {
			continue
		}
		switch output, err := h.Fire(ctx, e); {
		case err != nil:
			log.Warn("a hook failed", "hook", h.String(), "event", e.Kind, "error", err, "output", output)
		case output != "":
			log.Info("a hook was told", "hook", h.String(), "event", e.Kind, "output", output)
		default:
			log.Debug("a hook was told", "hook", h.String(), "event", e.Kind)
		}
	}
}
