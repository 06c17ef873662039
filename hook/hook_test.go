package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/hook"
)

// TestMain lets the test binary be the command of a hook: with TIDEMARK_TEST_HOOK
// it copies its input and the event's variables to its output.
func TestMain(m *testing.M) {
	switch os.Getenv("TIDEMARK_TEST_HOOK") {
	case "":
		os.Exit(m.Run())
	case "sleep":
		time.Sleep(time.Minute)
	case "fail":
		os.Stderr.WriteString("no such pager\n")
		os.Exit(7)
	case "much":
		os.Stdout.WriteString(strings.Repeat("x", 1<<20) + "end")
	default:
		io.Copy(os.Stdout, os.Stdin)
		for _, v := range []string{"EVENT", "DATABASE", "TIME", "MESSAGE", "ERROR", "JOB"} {
			os.Stdout.WriteString(v + "=" + os.Getenv("TIDEMARK_"+v) + "\n")
		}
		os.Stdout.WriteString(strings.Join(os.Args[1:], "|"))
	}
}

var event = hook.Event{Kind: hook.VerifyFailed, Database: "orders", Time: time.Date(2026, 11, 22, 3, 10, 0, 0, time.UTC),
	Message: "2 problems found", Error: "damaged", Job: "j1", Figures: map[string]any{"findings": 2.0}}

func command(t *testing.T, mode string, args ...string) *hook.Hook {
	t.Setenv("TIDEMARK_TEST_HOOK", mode)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &hook.Hook{Run: append([]string{exe}, args...)}
}

func TestRun(t *testing.T) {
	out, err := command(t, "echo", "a b", "$HOME;").Fire(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"event":"verify-failed","database":"orders","time":"2026-11-22T03:10:00Z","message":"2 problems found","error":"damaged","job":"j1","figures":{"findings":2}}
EVENT=verify-failed
DATABASE=orders
TIME=2026-11-22T03:10:00Z
MESSAGE=2 problems found
ERROR=damaged
JOB=j1
a b|$HOME;`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
}

func TestRunFails(t *testing.T) {
	out, err := command(t, "fail").Fire(t.Context(), event)
	if !errors.Is(err, hook.ErrFailed) || !strings.HasSuffix(err.Error(), "hook failed: exit status 7") || out != "no such pager" {
		t.Errorf("%q, %v", out, err)
	}
	h := hook.Hook{Run: []string{filepath.Join(t.TempDir(), "absent")}}
	if _, err := h.Fire(t.Context(), event); !errors.Is(err, hook.ErrFailed) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	out, err = command(t, "much").Fire(t.Context(), event)
	if err != nil || len(out) != 16<<10 || !strings.HasSuffix(out, "xend") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	h = *command(t, "sleep")
	h.Timeout = 50 * time.Millisecond
	began := time.Now()
	if _, err = h.Fire(t.Context(), event); err == nil || !strings.HasSuffix(err.Error(), "hook failed: no end after 50ms") {
		t.Error(err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("a hook that does not end took %s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = h.Fire(ctx, event); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPost(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got hook.Event
	var auth string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ok", func(w http.ResponseWriter, r *http.Request) {
		auth = r.Header.Get("Authorization")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "thanks\n")
	})
	mux.Handle("POST /away", http.RedirectHandler("/ok", http.StatusTemporaryRedirect))
	s := httptest.NewServer(mux)
	defer s.Close()
	h := hook.Hook{Post: s.URL + "/ok?key=hidden", TokenFile: token}
	out, err := h.Fire(t.Context(), event)
	if err != nil || out != "thanks" || auth != "Bearer s3cret" {
		t.Errorf("%q, %q, %v", out, auth, err)
	}
	if diff := cmp.Diff(event, got); diff != "" {
		t.Error(diff)
	}
	if s := h.String(); strings.Contains(s, "hidden") {
		t.Errorf("%q shows the query", s)
	}
	got = hook.Event{}
	for path, want := range map[string]string{"/nowhere": "the answer is 404 Not Found", "/away": "the answer is 307 Temporary Redirect"} {
		h := hook.Hook{Post: s.URL + path}
		if _, err := h.Fire(t.Context(), event); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if got.Kind != "" {
		t.Error("the redirection was followed")
	}
	h.TokenFile = token + "2"
	if _, err := h.Fire(t.Context(), event); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	s.Close()
	h = hook.Hook{Post: s.URL + "/ok?key=hidden"}
	if _, err := h.Fire(t.Context(), event); !errors.Is(err, hook.ErrFailed) || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://example.org/a":        "",
		"http://localhost:8080/a":      "",
		"http://127.0.0.9":             "",
		"http://[::1]:80/x":            "",
		"http://example.org/a":         "http is for this machine only (localhost, 127.0.0.1, ::1); use https: not a URL for a hook",
		"http://localhost.example.org": "http is for this machine only (localhost, 127.0.0.1, ::1); use https: not a URL for a hook",
		"ftp://example.org":            "want https, found ftp: not a URL for a hook",
		"example.org/hook":             "want one such as https://example.org/hook: not a URL for a hook",
		"https://a:b@example.org":      "it holds a name or password; put the secret into a token_file: not a URL for a hook",
	} {
		err := hook.CheckURL(url)
		if got := errText(err); got != want || err != nil && !errors.Is(err, hook.ErrURL) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestWants(t *testing.T) {
	all, some := hook.Hook{}, hook.Hook{On: []hook.Kind{hook.DrillOK}}
	for _, k := range hook.Kinds {
		if !all.Wants(k) || some.Wants(k) != (k == hook.DrillOK) {
			t.Errorf("%s: %t, %t", k, all.Wants(k), some.Wants(k))
		}
	}
}

// TestTell: only those that want an event are told, one that fails keeps no
// other from it, and what they print is logged.
func TestTell(t *testing.T) {
	echo := command(t, "echo")
	hooks := []hook.Hook{{Run: []string{filepath.Join(t.TempDir(), "absent")}}, {On: []hook.Kind{hook.DrillOK}, Run: []string{"not this"}}, *echo}
	var log strings.Builder
	hook.Tell(t.Context(), hooks, event, slog.New(slog.NewTextHandler(&log, nil)))
	for _, want := range []string{`level=WARN msg="a hook failed" hook="run `, `level=INFO msg="a hook was told"`, `EVENT=verify-failed`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "not this") {
		t.Errorf("told what it did not want:\n%s", log.String())
	}
}
