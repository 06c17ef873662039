package draw

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/when"
)

var update = flag.Bool("update", false, "rewrite the pictures in testdata")

func at(t testing.TB, s string) change.Time {
	t.Helper()
	p, err := when.Reader{}.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return change.TimeOf(p)
}

// pictures are those kept in testdata.
func pictures(t testing.TB) map[string][]Lane {
	on := func(s string) change.Time { return at(t, "2026-11-"+s+"Z") }
	stretch := func(k recovery.StretchKind, from, to change.Time) recovery.Stretch {
		return recovery.Stretch{Kind: k, From: from, To: to}
	}
	const ok, gap = recovery.StretchRestorable, recovery.StretchGap
	week := Lane{Name: "main", Capturing: true, Stretches: []recovery.Stretch{
		stretch(recovery.StretchNoBase, 0, on("15 02:00:11")), stretch(ok, on("15 02:00:11"), on("19 11:02:09")),
		stretch(gap, on("19 11:02:09"), on("19 16:09:40")), stretch(ok, on("19 16:09:40"), on("22 17:41:58"))},
		Marks: []Mark{{Kind: Snapshot, Time: on("15 02:00:11")}, {Kind: Snapshot, Time: on("16 02:00")}, {Kind: Snapshot, Time: on("16 02:10")},
			{Kind: Snapshot, Time: on("19 16:09:40")}, {Kind: Label, Time: on("17 09:00"), Name: "before-release"},
			{Kind: Label, Time: on("17 09:30"), Name: "release-4.2"}, {Kind: Label, Time: on("22 17:00"), Name: "close-of-business"},
			{Kind: DrillOK, Time: on("18 04:00")}, {Kind: DrillFailed, Time: on("20 04:00")}, {Kind: DrillOK, Time: on("20 04:05")}}}
	fix := Lane{Name: "fix", Parent: "main", Fork: on("18 12:00"), Stretches: []recovery.Stretch{stretch(ok, on("18 12:00"), on("21 08:00"))},
		Marks: []Mark{{Kind: Snapshot, Time: on("18 13:00")}}}
	lost := Lane{Name: "main", Stretches: []recovery.Stretch{stretch(ok, on("15 02:00"), on("15 08:00")), stretch(recovery.StretchLost, on("15 08:00"), on("15 08:01")),
		stretch(ok, on("15 08:01"), on("15 12:00"))}}
	unread := Lane{Name: "next", Parent: "main", Fork: on("15 10:00"), Broken: "manifest 3 is missing"}
	second := Lane{Name: "second-try-with-a-long-name", Parent: "main", Fork: on("17 00:00"), Stretches: []recovery.Stretch{stretch(ok, on("17 00:00"), on("20 08:00"))}}
	again := Lane{Name: "fix-2", Parent: "fix", Fork: on("20 00:00"), Stretches: []recovery.Stretch{stretch(ok, on("20 00:00"), on("22 12:00"))}, Capturing: true}
	return map[string][]Lane{
		"week":   {week},
		"lost":   {lost, unread},
		"forks":  {week, second, fix, again},
		"moment": {{Name: "main", Stretches: []recovery.Stretch{stretch(ok, on("15 02:00:11"), on("15 02:00:11"))}}},
		"minute": {{Name: "main", Stretches: []recovery.Stretch{stretch(ok, on("15 02:00:11.25"), on("15 02:01:30.5"))}, Marks: []Mark{{Kind: Label, Time: on("15 02:01:00"), Name: "x"}}}},
		"autumn": {{Name: "main", Stretches: []recovery.Stretch{stretch(ok, at(t, "2026-10-24T20:00Z"), at(t, "2026-10-25T06:00Z"))}}},
		"years":  {{Name: "main", Stretches: []recovery.Stretch{stretch(ok, at(t, "2019-01-01T00:00Z"), at(t, "2026-10-25T06:00Z"))}}},
	}
}

func TestPictures(t *testing.T) {
	zurich, err := when.LoadZone("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for name, lanes := range pictures(t) {
		for _, o := range []Options{{Width: 40}, {Width: 80}, {Width: 120}, {Width: 80, ASCII: true}, {Width: 80, Zone: zurich}} {
			file := fmt.Sprintf("%s-%d", name, o.Width)
			if o.ASCII {
				file += "-ascii"
			}
			if o.Zone != nil {
				file += "-zurich"
			}
			lines := Timelines(lanes, o)
			for _, l := range lines {
				if n := len([]rune(l)); n > o.Width {
					t.Errorf("%s: a line has %d columns: %s", file, n, l)
				}
			}
			got := strings.Join(lines, "\n") + "\n"
			path := filepath.Join("testdata", file+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); diff != "" {
				t.Errorf("%s:\n%s", file, diff)
			}
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	if got := Timelines(nil, Options{}); got != nil {
		t.Errorf("got %q", got)
	}
	if got := Timelines([]Lane{{Name: "main"}}, Options{}); got != nil {
		t.Errorf("got %q", got)
	}
}

// TestAnyLanes: whatever the lanes, nothing panics, no line is too long, every
// gap is seen, and ASCII is ASCII.
func TestAnyLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lanes []Lane
		some := func(what string) change.Time { return change.Time(rapid.Int64Range(1e9, 4e15).Draw(t, what)) }
		gaps := 0
		for n := range rapid.IntRange(1, 6).Draw(t, "lanes") {
			l := Lane{Name: chain.TimelineID(rapid.StringMatching("[a-z][a-z0-9-]{0,40}").Draw(t, "name")) + chain.TimelineID(fmt.Sprint(n))}
			if n > 0 {
				l.Parent, l.Fork = lanes[rapid.IntRange(0, n-1).Draw(t, "parent")].Name, some("fork")
			}
			ends := rapid.SliceOfN(rapid.Int64Range(1e9, 4e15), 0, 6).Draw(t, "ends")
			slices.Sort(ends)
			for i := 1; i < len(ends); i++ {
				k := rapid.SampledFrom([]recovery.StretchKind{recovery.StretchRestorable, recovery.StretchGap, recovery.StretchNoBase}).Draw(t, "kind")
				if k == recovery.StretchGap {
					gaps++
				}
				l.Stretches = append(l.Stretches, recovery.Stretch{Kind: k, From: change.Time(ends[i-1]), To: change.Time(ends[i])})
			}
			for range rapid.IntRange(0, 12).Draw(t, "marks") {
				l.Marks = append(l.Marks, Mark{Kind: MarkKind(rapid.IntRange(0, 3).Draw(t, "mark")), Time: some("mark"), Name: rapid.StringMatching("[a-z]{1,30}").Draw(t, "label")})
			}
			lanes = append(lanes, l)
		}
		o := Options{Width: rapid.IntRange(0, 200).Draw(t, "width"), ASCII: true}
		width := max(o.Width, MinWidth)
		if o.Width == 0 {
			width = 80
		}
		text := strings.Join(Timelines(lanes, o), "\n")
		for line := range strings.Lines(text) {
			if len(strings.TrimSuffix(line, "\n")) > width {
				t.Fatalf("%d columns, want %d at most:\n%s", len(line), width, text)
			}
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r > 126 }) {
			t.Fatalf("not ASCII:\n%s", text)
		}
		if gaps > 0 && !strings.Contains(text, "/ gap") {
			t.Fatalf("%d gaps, and none is drawn:\n%s", gaps, text)
		}
	})
}

// TestLaneOf: a fork's lane has only what is its own.
func TestLaneOf(t *testing.T) {
	c := chaintest.New(t).Claim().Segment(3).Gap(2000, 5000).Base(4, "a").Segment(2)
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "x", LSN: 6}})
	c.Add(chain.Manifest{Kind: chain.KindDrill, Drill: &chain.Drill{LSN: 6, Started: 8000, OK: true}})
	main, err := LaneOf(t.Context(), c.State)
	if err != nil {
		t.Fatal(err)
	}
	if main.Parent != "" || len(main.Stretches) != 3 || !main.Capturing {
		t.Errorf("main is %+v", main)
	}
	want := []Mark{{Kind: Snapshot, Time: c.State.Snapshots[0].Body.Taken}, {Kind: Label, Time: c.State.Effective, Name: "x"}, {Kind: DrillOK, Time: 8000}}
	if diff := cmp.Diff(want, main.Marks); diff != "" {
		t.Error(diff)
	}
	c.Fork("child", 6, c.State.LogHash, c.State.Effective)
	child := c.Child("child")
	l, err := LaneOf(t.Context(), child.State)
	if err != nil {
		t.Fatal(err)
	}
	if l.Parent != chain.MainTimeline || l.Fork != c.State.Effective || len(l.Marks) != 0 || len(l.Stretches) != 1 || l.Stretches[0].From != l.Fork {
		t.Errorf("the child is %+v", l)
	}
}

func BenchmarkTimelines(b *testing.B) {
	lanes := pictures(b)["forks"]
	for b.Loop() {
		Timelines(lanes, Options{Width: 120, Zone: time.UTC})
	}
}
