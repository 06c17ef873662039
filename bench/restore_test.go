package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// childArg makes the test binary a child process of a benchmark.
const childArg = "bench-child"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		if err := Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestRestore keeps the benchmark working, in this process and in children.
// Restore itself compares what both pipelines restored with the workload.
func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    RestoreOptions
	}{
		{"in this process", RestoreOptions{Rows: 3000, Changes: 5000, SegmentBytes: 64 << 10, Rounds: 1}},
		{"in children", RestoreOptions{Rows: 20_000, Rounds: 2, Child: []string{os.Args[0], childArg}}},
		{"with little memory", RestoreOptions{Rows: 20_000, Rounds: 1, Memory: 8 << 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.Dir, o.Profile = t.TempDir(), t.TempDir()
			res, err := Restore(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			o.setDefaults()
			if res.Rows != o.Rows || res.Changes != o.Changes || res.Restored == 0 || res.Ratio.Runs != o.Rounds || res.Ratio.Min <= 0 {
				t.Errorf("%+v", res)
			}
			for _, f := range []PipelineFigures{res.Tidemark, res.Bare} {
				if f.PerSecond.Min <= 0 || f.StoredBytes < int64(50*o.Rows) {
					t.Errorf("%+v", f)
				}
			}
			var text strings.Builder
			if err := res.WriteText(&text); err != nil || strings.Count(text.String(), "\n") != 4 {
				t.Errorf("printed %q, %v", text.String(), err)
			}
			j, err := json.Marshal(res)
			if err != nil {
				t.Fatal(err)
			}
			back := new(RestoreResult)
			if err := json.Unmarshal(j, back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(res, back, cmpopts.IgnoreUnexported(PipelineFigures{})); diff != "" {
				t.Errorf("through JSON (-want +got):\n%s", diff)
			}
			if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if p, err := filepath.Glob(filepath.Join(o.Profile, "*.pprof")); err != nil || len(p) != 2*o.Rounds {
				t.Errorf("profiles %v, %v, want %d", p, err, 2*o.Rounds)
			}
		})
	}
}

// TestChildFails sees to it that the fault of a child process is reported.
func TestChildFails(t *testing.T) {
	j := job{Pipeline: pipelineTidemark, From: t.TempDir(), Dest: filepath.Join(t.TempDir(), "dest")}
	for _, child := range [][]string{nil, {os.Args[0], childArg}} {
		if _, err := j.runIn(t.Context(), child); err == nil || !strings.Contains(err.Error(), "not a tidemark archive") {
			t.Errorf("restore from an empty directory: %v", err)
		}
	}
}

func BenchmarkRestore(b *testing.B) {
	res, err := Restore(b.Context(), RestoreOptions{Dir: b.TempDir(), Child: []string{os.Args[0], childArg}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(res.Tidemark.PerSecond.Median/million, "Mrecords/s")
	b.ReportMetric(res.Bare.PerSecond.Median/million, "bare_Mrecords/s")
	b.ReportMetric(res.Ratio.Median, "ratio")
	var text strings.Builder
	if err := res.WriteText(&text); err != nil {
		b.Fatal(err)
	}
	b.Log("\n" + text.String())
}
