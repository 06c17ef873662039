package bench

import (
	"os"
	"strings"
	"testing"
)

// TestRead keeps the benchmark working, and the sizes it reports within the promise.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	res, err := Read(t.Context(), ReadOptions{Dir: dir, Records: 60_000, SegmentBytes: 256 << 10, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	most := map[string]float64{"documents": 40, "pgbench": 15} // stored bytes a record
	for _, f := range res.Workloads {
		if f.Records < 60_000 || f.Segments < 2 || f.PerSecond.Runs != 2 || f.PerSecond.Min <= 0 {
			t.Errorf("%s: %+v", f.Name, f)
		}
		if f.StoredPerRecord > most[f.Name] {
			t.Errorf("%s: %.1f bytes a record, want at most %.0f", f.Name, f.StoredPerRecord, most[f.Name])
		}
	}
	var text strings.Builder
	if err := res.WriteText(&text); err != nil || strings.Count(text.String(), "\n") != len(most) {
		t.Errorf("printed %q, %v", text.String(), err)
	}
	t.Log(text.String())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkRead(b *testing.B) {
	res, err := Read(b.Context(), ReadOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range res.Workloads {
		b.ReportMetric(f.PerSecond.Median/million, f.Name+"_Mrecords/s")
		b.ReportMetric(f.StoredPerRecord, f.Name+"_B/record")
	}
}
