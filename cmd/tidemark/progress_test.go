package main

import (
	"strings"
	"testing"
	"time"
)

// TestProgressOffATerminal checks that a line comes every ten seconds, and not
// with --quiet.
func TestProgressOffATerminal(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(*console)
		want  string
	}{
		{"text", func(*console) {}, "restore: 1,000 rows of 4,000 (25%), 100/s, 30 s left\nrestore: 2,000 rows of 4,000 (50%), 100/s, 20 s left\n"},
		{"json", func(c *console) { c.json = true },
			`{"message_type":"progress","what":"restore","unit":"rows","done":1000,"all":4000,"per_second":100,"seconds_left":30}` + "\n" +
				`{"message_type":"progress","what":"restore","unit":"rows","done":2000,"all":4000,"per_second":100,"seconds_left":20}` + "\n"},
		{"quiet", func(c *console) { c.quiet = true }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			c := newConsole(nil, &out, &errs)
			now := time.Unix(0, 0)
			c.now = func() time.Time { return now }
			tt.setup(c)
			p := c.progress("restore", "rows")
			for done := range int64(21) {
				p.update(100*done, 4000)
				now = now.Add(time.Second)
			}
			p.close()
			if out.String() != "" || errs.String() != tt.want {
				t.Errorf("got on stderr\n%s\nwant\n%s\nand on stdout %q", errs.String(), tt.want, out.String())
			}
		})
	}
}

// TestProgressWithoutATotal says no more than it knows.
func TestProgressWithoutATotal(t *testing.T) {
	var errs strings.Builder
	c := newConsole(nil, nil, &errs)
	now := time.Unix(0, 0)
	c.now = func() time.Time { return now }
	p := c.progress("import", "rows")
	now = now.Add(10 * time.Second)
	p.update(5000, 0)
	if want := "import: 5,000 rows, 500/s\n"; errs.String() != want {
		t.Errorf("got %q, want %q", errs.String(), want)
	}
}
