package capture_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestClockSteps moves the clock by hours in both directions while a database
// is captured. Commit times follow it; effective times and coverage stay in
// order, and each transaction is found by its effective time.
func TestClockSteps(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_700_000_000_000_000)
	now := func() time.Time { return time.UnixMicro(clock.Add(1000)) }
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	commit := func(i int64) error {
		return db.Update(func(tx *embedded.Tx) error {
			if i == 0 {
				_, err := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64})
				return err
			}
			return tx.Put("c", change.Row{change.IntValue(i)})
		})
	}
	var moments []change.LSN
	covered := change.Time(0)
	c := capture.New(a, db.Source(), capture.Options{Now: func() change.Time { return change.TimeOf(now()) }})
	err = c.While(t.Context(), func(ctx context.Context) error {
		n := int64(0)
		for _, step := range []time.Duration{0, 5 * time.Hour, -11 * time.Hour, time.Minute, 30 * time.Hour, -29 * time.Hour} {
			clock.Add(step.Microseconds())
			for range 3 {
				if err := commit(n); err != nil {
					return err
				}
				n++
				m, err := c.Sync(ctx)
				if err != nil {
					return err
				}
				moments = append(moments, m.LSN)
				s := a.State()
				if s.CoveredUntil < covered || s.CoveredUntil < s.Effective {
					t.Errorf("after a step by %s: covered until %s, before %s, effective %s", step, s.CoveredUntil, covered, s.Effective)
				}
				covered = s.CoveredUntil
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := a.State()
	last := change.Time(0)
	for i, lsn := range moments {
		p, err := recovery.Resolve(t.Context(), bucket, s, recovery.AtLSN(lsn))
		if err != nil {
			t.Fatal(err)
		}
		if p.Effective <= last {
			t.Errorf("transaction %d at LSN %d has effective time %s, the one before %s", i, lsn, p.Effective, last)
		}
		last = p.Effective
		at, err := recovery.Resolve(t.Context(), bucket, s, recovery.AtTime(p.Effective))
		if err != nil || at.LSN != lsn {
			t.Errorf("the time %s leads to LSN %d, %v; want %d", p.Effective, at.LSN, err, lsn)
		}
	}
	if len(moments) != 18 {
		t.Errorf("%d moments", len(moments))
	}
}
