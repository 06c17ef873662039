package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestCommit keeps the benchmark working.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	res, err := Commit(t.Context(), CommitOptions{Dir: dir, Writers: []int{1, 4}, Slice: 20 * time.Millisecond, Rounds: 2, Rows: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Writers) != 2 || res.RawPerSecond.Runs != 2 || res.RowsPerCommit != 3 {
		t.Errorf("%+v", res)
	}
	for _, f := range res.Writers {
		if f.PerSecond.Min <= 0 || f.OfRaw.Min <= 0 || f.OfOne.Runs != 2 || f.MicrosP99.Min < f.MicrosP50.Min {
			t.Errorf("%+v", f)
		}
	}
	var text strings.Builder
	if err := res.WriteText(&text); err != nil || strings.Count(text.String(), "\n") != 3 {
		t.Errorf("printed %q, %v", text.String(), err)
	}
	t.Log(text.String())
	j, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	back := new(CommitResult)
	if err := json.Unmarshal(j, back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(res, back, cmpopts.IgnoreUnexported(CommitFigures{})); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkCommit(b *testing.B) {
	res, err := Commit(b.Context(), CommitOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(res.RawPerSecond.Median, "raw_syncs/s")
	for _, f := range res.Writers {
		b.ReportMetric(f.PerSecond.Median, fmt.Sprintf("commits/s_%d_writers", f.Writers))
	}
	var text strings.Builder
	if err := res.WriteText(&text); err != nil {
		b.Fatal(err)
	}
	b.Log("\n" + text.String())
}
