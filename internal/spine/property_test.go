package spine

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// defaultCases is how many histories are tried when nobody says otherwise.
const defaultCases = "200"

func TestMain(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "rapid.checks" })
	if !said {
		if err := flag.Set("rapid.checks", defaultCases); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestEveryPoint is the property that the whole rests on: for any history of
// commits, crashes, restarts, faults of the store, takeovers, bases and
// labels, the archive holds every transaction once, and every target leads to
// exactly the state that the model remembers, whether it is read or restored.
// A restored database then lives on, with an archive of its own.
func TestEveryPoint(t *testing.T) {
	spill := t.TempDir()
	seen := new(tally)
	rapid.Check(t, func(rt *rapid.T) {
		l := newLife(t, rt, spill, seen)
		l.db = l.openDB()
		l.history = []boundary{{state: newState()}}
		for more := true; more; {
			l.live()
			v := l.settle(spill)
			if more = l.n(3, "restored database lives on") == 2; more {
				next := v.restored(l.n(1<<10, "restored point"))
				if more = next != nil; more {
					l.must(l.db.Close())
					*l = *next
				}
			}
		}
	})
	t.Logf("%+v", *seen)
	if n := seen; n.lives >= 200 && min(n.spills, n.spooled, n.restores, n.powerCuts, n.restarts, n.deaths, n.takeovers, n.bases, n.labels, n.checkpoints) == 0 {
		t.Errorf("some things never happened in %d lives: %+v", n.lives, *n)
	}
	if left, err := filepath.Glob(filepath.Join(spill, "tidemark*")); err != nil || len(left) > 0 {
		t.Errorf("left in the directory for spilling: %v %v", left, err)
	}
}

// newLife draws how a life is captured. Only few are archived in a directory.
func newLife(t testing.TB, rt *rapid.T, dir string, seen *tally) *life {
	l := &life{t: t, rt: rt, seen: seen, fs: vfs.NewCrashableMem(), clock: newClock(), labels: make(map[string]change.LSN)}
	l.options = capture.Options{
		FlushBytes:      rapid.SampledFrom([]int64{1, 400, 3000, 1 << 20}).Draw(rt, "flush bytes"),
		FlushAge:        rapid.SampledFrom([]time.Duration{time.Hour, time.Millisecond}).Draw(rt, "flush age"),
		CheckpointEvery: rapid.SampledFrom([]int{0, 0, 2, 7}).Draw(rt, "checkpoint every"),
		RunBytes:        rapid.SampledFrom([]int64{0, 1}).Draw(rt, "run bytes"),
		CoverageEvery:   rapid.SampledFrom([]time.Duration{time.Hour, time.Hour, 5 * time.Millisecond}).Draw(rt, "coverage"),
	}
	l.piece = rapid.SampledFrom([]int64{0, 0, 1, 150}).Draw(rt, "piece")
	l.bucket = storage.NewMem()
	if l.n(25, "directory") == 24 {
		name, err := os.MkdirTemp(dir, "archive-*")
		l.must(err)
		d, err := storage.OpenDir(name, storage.DirOptions{})
		l.must(err)
		rt.Cleanup(func() { _ = errors.Join(d.Close(), os.RemoveAll(name)) })
		l.bucket = d
	}
	_, err := archive.Init(rt.Context(), l.bucket, archive.InitOptions{Now: l.clock.std})
	l.must(err)
	l.reader = l.openArchive(l.bucket)
	return l
}

// live draws a history. Before the capture starts there may be a past.
func (l *life) live() {
	for range l.n(7, "transactions before the capture") {
		l.tick()
		l.add(txGen.Draw(l.rt, "tx"))
	}
	for range 1 + l.n(25, "steps") {
		l.step()
	}
}

// tick moves the clock, or does not: forward, or back.
func (l *life) tick() {
	l.clock.move(rapid.SampledFrom([]int64{0, 0, 1, 2, 700, 5_000_000, -1, -300, -4_000_000}).Draw(l.rt, "clock"))
}

func (l *life) txs(most int) []txPlan { return rapid.SliceOfN(txGen, 0, most).Draw(l.rt, "txs") }

// step does one thing that can happen.
func (l *life) step() {
	switch k := l.n(40, "step"); {
	case k < 20:
		l.running()
		l.tick()
		for _, t := range l.txs(4) {
			l.add(t)
			l.tick()
		}
	case k < 25:
		l.sync()
	case k < 28:
		l.snapshot(l.txs(3))
	case k < 30:
		l.label(l.n(1000, "which"))
	case k < 33:
		l.running()
		l.arm(1+l.n(12, "operation"), rapid.SampledFrom([]storagetest.Fault{storagetest.Before, storagetest.After,
			storagetest.Late, storagetest.Stale}).Draw(l.rt, "fault"), l.n(2, "dies") == 1)
	case k < 34:
		l.land()
	case k < 35:
		l.rival()
	case k < 36:
		l.stop()
	case k < 37:
		l.restartDB(l.n(2, "capture first") == 1)
	case k < 38:
		l.cutPower(100 * l.n(2, "unsynced"))
	default:
		l.running()
		l.burst(l.txs(6), l.n(4, "after"), 100*l.n(2, "unsynced"))
	}
}

// settle ends the capture, perhaps with everything archived, and checks the
// archive in every way.
func (l *life) settle(spill string) *archived {
	if l.n(4, "all archived") > 0 {
		for !l.sync() {
		}
		if l.n(2, "last base") == 1 {
			l.snapshot(nil)
		}
	}
	l.stop()
	l.land()
	l.compareDB(l.db, l.end())
	v := l.inspect(spill)
	if v.state.Last > l.end().lsn {
		l.fatalf("the archive ends at LSN %d, the database at %d", v.state.Last, l.end().lsn)
	}
	report, err := restore.Verify(l.rt.Context(), v.archive, restore.VerifyOptions{Level: restore.LevelRecords})
	l.must(err)
	if !report.OK() {
		l.fatalf("verification finds %v", report.Findings)
	}
	if !v.state.Started {
		return v
	}
	tiny := l.n(20, "tiny memory at") // in some places little memory must do
	v.promises()
	v.targets()
	v.states(func(lsn change.LSN) int64 {
		if lsn%20 == change.LSN(tiny) {
			v.seen.spills++
			return 1
		}
		return 0
	})
	for range 1 + l.n(2, "restores") {
		if n := v.restored(l.n(1<<10, "restore to")); n != nil {
			l.must(n.db.Close())
		}
	}
	return v
}

// restored restores to a transaction, checks the database that this yields,
// and returns it as a life of its own; nil when nothing can be restored.
func (v *archived) restored(which int) *life {
	var can []*logged
	for i := range v.log {
		if v.log[i].last >= v.base {
			can = append(can, &v.log[i])
		}
	}
	if len(can) == 0 {
		return nil
	}
	x := can[which%len(can)]
	b := v.at(x.last)
	n := newLife(v.t, v.rt, v.spill, v.seen)
	n.clock = v.clock
	target, err := embedded.NewTarget("db", n.dbOptions())
	v.must(err)
	o := restore.Options{TempDir: v.spill, Parts: 1 + which%3, Memory: int64(which % 2)}
	res, err := restore.Run(v.rt.Context(), v.archive, recovery.AtLSN(x.last), target, o)
	if err != nil {
		v.fatalf("restore to LSN %d: %v", x.last, err)
	}
	if res.Rows != b.state.rows() || res.Reached.LSN != x.last || res.Reached.LogHash != x.hash {
		v.fatalf("restore says %+v, want %d rows at %+v", res, b.state.rows(), *x)
	}
	for i := range v.state.Snapshots {
		if s := &v.state.Snapshots[i].Body; s.LSN == x.last && len(s.Schemas) > 0 && !res.Confirmed {
			v.fatalf("restore to LSN %d was not compared with the base that was taken there", x.last)
		}
	}
	n.db = n.openDB()
	n.history = []boundary{{lsn: b.lsn, tx: b.tx, commit: b.commit, state: b.state.normal(v.state.NextCollection)}}
	n.compareDB(n.db, n.end())
	if m := n.mark(n.db); m.LSN != x.last || m.LogHash != x.hash {
		v.fatalf("the restored database stands at %+v, want LSN %d, hash %s", m, x.last, x.hash)
	}
	v.refusesCopy(n.db)
	v.seen.restores++
	return n
}

// refusesCopy checks that the timeline takes no restored database for its own.
func (v *archived) refusesCopy(db *embedded.DB) {
	before := v.state.Seq
	c := capture.New(v.openArchive(v.bucket), db.Source(), capture.Options{Timeline: chain.MainTimeline, Takeover: true, GiveUpAfter: time.Nanosecond, Now: v.clock.time})
	ctx, cancel := context.WithTimeout(v.rt.Context(), patience)
	defer cancel()
	if err := c.Run(ctx); !errors.Is(err, driver.ErrDiverged) {
		v.fatalf("the archive takes a restored database for its own: %v", err)
	}
	s, err := v.archive.Load(ctx)
	v.must(err)
	if s.Seq != before {
		v.fatalf("a refused capture left manifest %d", s.Seq)
	}
}
