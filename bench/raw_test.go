package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRawSync checks that the yardstick of commits really writes whole pages in order.
func TestRawSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw")
	r, err := openRawSync(path)
	if err != nil {
		t.Fatal(err)
	}
	rate, p50, err := r.run(20 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	written := r.off
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if rate <= 0 || p50 <= 0 || written == 0 || len(b) != rawFile {
		t.Fatalf("rate %v, median wait %v, %d bytes written, file of %d bytes, want one of %d", rate, p50, written, len(b), rawFile)
	}
	if n := int64(len(bytes.TrimRight(b, "\x00"))); n != written {
		t.Errorf("data ends at %d, want %d", n, written)
	}
}

func BenchmarkRawSync(b *testing.B) {
	r, err := openRawSync(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer r.close()
	rate, _, err := r.run(2 * time.Second)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(rate, "syncs/s")
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{4, 1, 3, 2}, Spread{1, 2.5, 4, 4}},
		{[]float64{5, 1, 2}, Spread{1, 2, 5, 3}},
	} {
		if got := spread(tt.in); got != tt.want {
			t.Errorf("spread(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
	if got := ratios([]float64{1, 4, 9}, []float64{2, 2, 3}); got != (Spread{0.5, 2, 3, 3}) {
		t.Errorf("ratios = %v", got)
	}
}
