package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// browser does what a person does.
type browser struct {
	t    *testing.T
	base string
}

func (b *browser) read(resp *http.Response, err error) string {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
	return string(body)
}

func (b *browser) get(path string) string { return b.read(http.Get(b.base + path)) }

func (b *browser) post(path string, form url.Values) string {
	return b.read(http.PostForm(b.base+path, form))
}

var rewindTo = regexp.MustCompile(`name="to" value="(\d+)"`)

// undo rewinds the newest change.
func (b *browser) undo() string {
	b.t.Helper()
	m := rewindTo.FindStringSubmatch(b.get("/history"))
	if m == nil {
		b.t.Fatal("the history offers no way back")
	}
	return b.post("/rewind", url.Values{"to": {m[1]}})
}

func wants(t *testing.T, page string, words ...string) {
	t.Helper()
	for _, w := range words {
		if no := strings.TrimPrefix(w, "!"); strings.Contains(page, no) == (no != w) {
			t.Errorf("want %q in the page, got\n%s", w, page)
		}
	}
}

func TestRewind(t *testing.T) {
	data := t.TempDir()
	serve := func() (*browser, func()) {
		l, err := open(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(pages(l))
		return &browser{t, s.URL}, func() {
			s.Close()
			if err := l.close(); err != nil {
				t.Error(err)
			}
		}
	}
	b, stop := serve()
	wants(t, b.get("/"), "nothing on the list")
	wants(t, b.post("/add", url.Values{"text": {"milk, eggs"}}), "milk", "eggs")
	wants(t, b.post("/add", url.Values{"text": {"<bread>"}}), "&lt;bread&gt;")
	wants(t, b.post("/clear", nil), "nothing on the list", "!milk")
	wants(t, b.undo(), "milk", "eggs", "bread")
	wants(t, b.post("/add", url.Values{"text": {"honey"}}), "honey", "milk")
	wants(t, b.undo(), "!honey", "milk") // on the fork
	wants(t, b.undo(), "!bread", "milk") // before the fork
	stop()

	b, stop = serve()
	defer stop()
	wants(t, b.get("/"), "milk", "!bread")
	resp, err := http.PostForm(b.base+"/rewind", url.Values{"to": {"99999"}})
	if err != nil || resp.StatusCode == http.StatusOK {
		t.Errorf("rewind to nowhere: %v, %v", resp, err)
	}
	wants(t, b.get("/"), "milk", "!bread")
}
