package capture_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// loseLog makes the database give up its log from a mark on.
func (m *machine) loseLog(after driver.Mark) {
	m.t.Helper()
	m.must(m.db.Close())
	m.o.Lag = embedded.LagPolicy{Action: embedded.LagDetach, Bytes: 16 << 10}
	m.open()
	for id := int64(1000); ; id++ {
		c, err := m.db.Source().Changes(m.t.Context(), after)
		if errors.Is(err, driver.ErrLogLost) {
			break
		}
		if err == nil {
			err = c.Close()
		} else if errors.Is(err, driver.ErrDiverged) { // its log still says so
			err = nil
		}
		m.must(err)
		m.put(id)
	}
	m.must(m.db.Close())
	m.o.Lag = embedded.LagPolicy{}
	m.open()
}

func (m *machine) identity() driver.Identity {
	m.t.Helper()
	id, err := m.db.Source().Identity(m.t.Context())
	m.must(err)
	return id
}

// TestForkWithoutLog forks a copy whose log no longer shows where it went
// apart: at its last receipt, since what the archive holds after that may be
// the other's.
func TestForkWithoutLog(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	copied := one.copied()
	one.put(4, 5)
	one.captured("main", capture.Options{})
	theirs := one.end()
	acked := copied.identity().Acked
	copied.loseLog(acked.Mark)
	copied.refused(driver.ErrDiverged, "it may be a copy", capture.Options{})
	copied.refused(driver.ErrDiverged, "it may be a copy", capture.Options{Timeline: "main"})
	s := copied.captured("t2", capture.Options{Fork: true}).State()
	if s.Parent.LSN != acked.LSN || len(s.Gaps) != 1 || s.Gaps[0].Body.First != acked.LSN+1 {
		t.Errorf("forked at LSN %d with gaps %+v, want LSN %d, the last receipt", s.Parent.LSN, s.Gaps, acked.LSN)
	}
	if _, err := recovery.Resolve(t.Context(), one.bucket, s, recovery.AtLSN(theirs)); !errors.Is(err, recovery.ErrInGap) {
		t.Errorf("LSN %d of t2 is the original's history: %v, want ErrInGap", theirs, err)
	}
	one.verified()
}

// TestCopiedBeforeCapture captures a copy that was made before anything was
// archived, and has no log of what was: it has nothing to show for being what
// the archive holds.
func TestCopiedBeforeCapture(t *testing.T) {
	for _, late := range []bool{false, true} {
		bucket := storage.NewMem()
		if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
			t.Fatal(err)
		}
		one := newMachine(t, bucket, vfs.NewCrashableMem())
		one.must(one.db.Update(createRows))
		if late { // so that the history that is archived does not begin with the first transaction
			one.loseLog(driver.Mark{})
		}
		copied := one.copied()
		one.put(1, 2)
		s := one.captured("main", capture.Options{}).State()
		if late != (s.Start > 0) {
			t.Fatalf("the archive starts at LSN %d", s.Start)
		}
		copied.loseLog(driver.Mark{LSN: s.Last, LogHash: s.LogHash})
		copied.refused(driver.ErrDiverged, "it may be a copy", capture.Options{})
		if late {
			copied.refused(driver.ErrDiverged, "it needs an archive of its own", capture.Options{Fork: true})
			continue
		}
		s = copied.captured("t2", capture.Options{Fork: true}).State()
		if s.Parent.LSN != 0 || len(s.Gaps) != 1 {
			t.Errorf("forked at LSN %d with gaps %+v, want LSN 0", s.Parent.LSN, s.Gaps)
		}
		one.verified()
	}
}

// TestGapAfterGap loses the log twice, without a commit that is archived as a
// segment between: the base after the first gap is acknowledged too.
func TestGapAfterGap(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	for n := 1; n <= 3; n++ {
		one.loseLog(one.identity().Acked.Mark)
		s := one.captured("main", capture.Options{}).State()
		if acked := one.identity().Acked; len(s.Gaps) != n || acked == nil || acked.LSN != s.Last {
			t.Errorf("%d gaps, the archive ends at LSN %d, acknowledged %+v", len(s.Gaps), s.Last, acked)
		}
	}
	one.verified()
}
