package bench

import (
	"strings"
	"testing"
	"time"
)

// TestFollow takes the measurement at a small size: every commit arrives.
func TestFollow(t *testing.T) {
	r, err := Follow(t.Context(), FollowOptions{Dir: t.TempDir(), Rate: 2000, For: 300 * time.Millisecond, Rows: 10, Keys: 100})
	if err != nil {
		t.Fatal(err)
	}
	if r.Changes == 0 || r.Changes%10 != 0 || r.Rate <= 0 || r.Rate > 2500 || r.LagP50 <= 0 || r.LagP50 > r.LagP99 || r.LagP99 > r.LagMax {
		t.Errorf("%+v", r)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "(2000 asked for)") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestCaptureCost takes the measurement at a small size.
func TestCaptureCost(t *testing.T) {
	r, err := CaptureCost(t.Context(), CaptureCostOptions{Dir: t.TempDir(), Rows: []int{1, 5}, Writers: 2, Rounds: 2, Slice: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Sizes) != 2 || r.Sizes[1].Rows != 5 || r.Sizes[0].With.Runs != 2 || r.Sizes[0].Without.Min <= 0 || r.Sizes[0].OfBare.Max <= 0 {
		t.Errorf("%+v", r)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%q, %v", b.String(), err)
	}
}
