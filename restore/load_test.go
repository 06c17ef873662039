package restore_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// slow is a target that takes its time to make a part durable: the first one is
// not before another one's rows come.
type slow struct {
	driver.Target
	loads  atomic.Int64
	newest atomic.Int64 // of the loads that took a row
	mixed  atomic.Bool  // a load took a row after a newer one did
	next   chan struct{}
	once   sync.Once
}

func (s *slow) Load(ctx context.Context, p *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	n := s.loads.Add(1)
	err := s.Target.Load(ctx, p, func(yield func(*change.Record, error) bool) {
		for rec, err := range rows {
			if n > 1 {
				s.once.Do(func() { close(s.next) })
			}
			if newest := s.newest.Load(); newest > n {
				s.mixed.Store(true)
			} else {
				s.newest.Store(n)
			}
			if !yield(rec, err) {
				return
			}
		}
	})
	if err == nil && n == 1 {
		select {
		case <-s.next:
		case <-time.After(20 * time.Second):
			err = errors.New("no other part was read meanwhile")
		}
	}
	return err
}

// TestReadsWhileDurable checks that the rows of one part are read while another
// one is being made durable, and never those of two where only one may be.
func TestReadsWhileDurable(t *testing.T) {
	w := get(t, wideWorld)
	s := &slow{Target: counting(t, t.TempDir()+"/db", nil), next: make(chan struct{})}
	res, err := restore.Run(t.Context(), openArchive(t, bucketOf(t, w.objects)), recovery.Latest(), s, fine)
	if err != nil {
		t.Fatal(err)
	}
	if res.Parts < 4 {
		t.Errorf("only %d parts", res.Parts)
	}
	if s.mixed.Load() {
		t.Error("two parts were read at once")
	}
}
