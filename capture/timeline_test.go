package capture_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// machine is one with one database on it, of a small world with an archive.
type machine struct {
	t      *testing.T
	bucket storage.Bucket
	fs     *vfs.MemFS
	db     *embedded.DB
	events []capture.Event // of captures
	o      embedded.Options
}

func newMachine(t *testing.T, bucket storage.Bucket, fs *vfs.MemFS) *machine {
	m := &machine{t: t, bucket: bucket, fs: fs, o: embedded.Options{FS: fs, LogFileBytes: 1 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20}}
	m.open()
	t.Cleanup(func() { _ = m.db.Close() })
	return m
}

// newArchived is a database with a few rows, and an empty archive for it.
func newArchived(t *testing.T) *machine {
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, bucket, vfs.NewCrashableMem())
	m.must(m.db.Update(createRows))
	m.put(1, 2, 3)
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) open() {
	m.t.Helper()
	db, err := embedded.Open("db", m.o)
	m.must(err)
	m.db = db
}

// put commits a transaction for each row.
func (m *machine) put(ids ...int64) {
	m.t.Helper()
	for _, id := range ids {
		m.must(m.db.Update(func(tx *embedded.Tx) error {
			return tx.Put("rows", change.Row{change.IntValue(id), change.TextValue(fmt.Sprint("row ", id, strings.Repeat(".", 100)))})
		}))
	}
}

// capture captures everything that is there.
func (m *machine) capture(o capture.Options) (*archive.Archive, error) {
	m.t.Helper()
	a, err := archive.Open(m.t.Context(), m.bucket, archive.OpenOptions{})
	m.must(err)
	o.Notify = func(e capture.Event) { m.events = append(m.events, e) }
	c := capture.New(a, m.db.Source(), o)
	err = c.While(m.t.Context(), func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	return c.Archive(), err
}

// captured captures into the timeline of that name, and checks that a restore
// of its end is what the database is.
func (m *machine) captured(want chain.TimelineID, o capture.Options) *archive.Archive {
	m.t.Helper()
	a, err := m.capture(o)
	m.must(err)
	if a.Timeline() != want {
		m.t.Fatalf("captured into timeline %s, want %s", a.Timeline(), want)
	}
	back := m.restored(want, recovery.Latest())
	if d := cmp.Diff(m.digests(), back.digests()); d != "" {
		m.t.Fatalf("the end of timeline %s is not what the database is:\n%s", want, d)
	}
	return a
}

// refused captures in vain, and checks that nothing was published.
func (m *machine) refused(want error, message string, o capture.Options) {
	m.t.Helper()
	before := m.heads()
	_, err := m.capture(o)
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), message) {
		m.t.Errorf("capture: %v; want %v and %q", err, want, message)
	}
	if d := cmp.Diff(before, m.heads()); d != "" {
		m.t.Errorf("a capture that was refused has published something:\n%s", d)
	}
}

// heads says how long every timeline is.
func (m *machine) heads() map[chain.TimelineID]chain.Seq {
	all, err := archive.Timelines(m.t.Context(), m.bucket, archive.OpenOptions{})
	m.must(err)
	out := make(map[chain.TimelineID]chain.Seq)
	for _, b := range all {
		m.must(b.Err)
		out[b.Timeline] = b.State.Seq
	}
	return out
}

func (m *machine) at(t chain.TimelineID) *archive.Archive {
	a, err := archive.Open(m.t.Context(), m.bucket, archive.OpenOptions{Timeline: t})
	m.must(err)
	_, err = a.Load(m.t.Context())
	m.must(err)
	return a
}

// restored is a new machine with the database as it was.
func (m *machine) restored(from chain.TimelineID, target recovery.Target) *machine {
	m.t.Helper()
	fs := vfs.NewCrashableMem()
	o := m.o
	o.FS = fs
	dst, err := embedded.NewTarget("db", o)
	m.must(err)
	_, err = restore.Run(m.t.Context(), m.at(from), target, dst, restore.Options{TempDir: m.t.TempDir()})
	m.must(err)
	return newMachine(m.t, m.bucket, fs)
}

// copied is a new machine with a copy of the database's files.
func (m *machine) copied() *machine {
	m.t.Helper()
	m.must(m.db.Close())
	fs := m.fs.CrashClone(vfs.CrashCloneCfg{})
	m.open()
	return newMachine(m.t, m.bucket, fs)
}

func (m *machine) digests() map[change.CollectionID]string {
	m.t.Helper()
	s, err := m.db.Source().Snapshot(m.t.Context())
	m.must(err)
	defer s.Close()
	all, err := driver.Digests(m.t.Context(), s)
	m.must(err)
	out := make(map[change.CollectionID]string)
	for id, d := range all {
		out[id] = fmt.Sprint(d.Rows, " ", d.Sum())
	}
	return out
}

func (m *machine) end() change.LSN {
	s, err := m.db.Source().Snapshot(m.t.Context())
	m.must(err)
	defer s.Close()
	return s.Mark().LSN
}

// verified proves every timeline, each with all it needs.
func (m *machine) verified() {
	m.t.Helper()
	all, err := archive.Timelines(m.t.Context(), m.bucket, archive.OpenOptions{})
	m.must(err)
	for _, b := range all {
		r, err := restore.Verify(m.t.Context(), b.Archive, restore.VerifyOptions{Level: restore.LevelRecords})
		m.must(err)
		if !r.OK() {
			m.t.Errorf("timeline %s: %v", b.Timeline, r.Findings)
		}
	}
}

// TestRestoredForks captures a restore, a restore of that, and so on, while
// the first database goes on, and each again later.
func TestRestoredForks(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	one.put(4, 5)
	one.captured("main", capture.Options{})

	two := one.restored("main", recovery.AtLSN(4)) // inside the first segment
	two.captured("t2", capture.Options{})          // nothing has happened there yet
	two.put(20, 21)
	one.put(6)
	two.captured("t2", capture.Options{})
	one.captured("main", capture.Options{})

	three := one.restored("t2", recovery.AtLSN(5))
	three.put(30)
	three.captured("t3", capture.Options{})
	four := one.restored("t3", recovery.AtLSN(3)) // before the fork of its parent
	four.put(40)
	four.captured("t4", capture.Options{})
	for i, m := range []*machine{one, two, three, four} {
		m.must(m.db.Close())
		m.open()
		m.put(100)
		m.captured(chain.TimelineID([]string{"main", "t2", "t3", "t4"}[i]), capture.Options{})
	}
	again := one.restored("main", recovery.AtLSN(4)) // the same place once more
	again.captured("t5", capture.Options{})
	named := one.restored("t4", recovery.Latest())
	named.put(60)
	named.captured("exercise", capture.Options{Timeline: "exercise"})

	if e := two.events; len(e) != 1 || e[0].Kind != capture.EventForked || e[0].Timeline != "t2" || e[0].Parent != "main" || e[0].LSN != 4 {
		t.Errorf("events: %v", e)
	}
	parents := ""
	all, err := archive.Timelines(t.Context(), one.bucket, archive.OpenOptions{})
	one.must(err)
	for _, b := range all[1:] {
		parents += fmt.Sprint(b.Timeline, "<", b.State.Parent.Parent, "@", b.State.Parent.LSN, " ")
	}
	if want := "t2<main@4 t3<t2@5 t4<t3@3 exercise<t4@5 t5<main@4 "; parents != want {
		t.Errorf("timelines %s\nwant      %s", parents, want)
	}
	one.verified()
}

// TestCopies captures copies that went their own way, and databases that were
// rolled back: refused, unless they are to fork.
func TestCopies(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	one.put(4)
	copied, old := one.copied(), one.copied()
	one.put(5, 6)
	one.captured("main", capture.Options{})
	copied.put(50)
	copied.refused(driver.ErrDiverged, "timeline main holds the history of this database up to LSN 8, but the database does not go on from there", capture.Options{})
	old.refused(driver.ErrDiverged, "the archive is at LSN 8, the database ends at 6", capture.Options{})
	copied.refused(driver.ErrDiverged, "does not go on", capture.Options{Timeline: "main"})

	copied.captured("t2", capture.Options{Fork: true})
	old.captured("back", capture.Options{Fork: true, Timeline: "back"})
	for range 2 { // from now on each finds its own
		copied.put(51)
		old.put(71)
		one.put(7)
		one.captured("main", capture.Options{})
		copied.captured("t2", capture.Options{})
		old.captured("back", capture.Options{Fork: true})
	}
	third := copied.copied()
	third.put(80)
	copied.put(52)
	copied.captured("t2", capture.Options{})
	third.refused(driver.ErrDiverged, "timeline t2 holds", capture.Options{})
	third.captured("t3", capture.Options{Fork: true})
	one.refused(archive.ErrTimelineTaken, "", capture.Options{Fork: true, Timeline: "t2"})
	one.verified()
}

// TestStrangers captures other databases, and into timelines that can't be.
func TestStrangers(t *testing.T) {
	one := newArchived(t)
	one.refused(archive.ErrNoTimeline, "its first timeline is main", capture.Options{Timeline: "other"})
	one.captured("main", capture.Options{})
	other := newArchived(t)
	other.put(9)
	other.bucket = one.bucket
	for _, o := range []capture.Options{{}, {Fork: true}, {Timeline: "new"}, {Timeline: "new", Fork: true}} {
		other.refused(driver.ErrDiverged, "another database needs an archive of its own", o)
	}
	other.refused(driver.ErrDiverged, "timeline main holds the history of embedded database", capture.Options{Timeline: "main"})
	one.refused(driver.ErrDiverged, "this database is captured in timeline main", capture.Options{Timeline: "new"})
	one.captured("new", capture.Options{Timeline: "new", Fork: true})
	one.put(5)
	one.captured("new", capture.Options{}) // where it went on
}

// TestRestoredElsewhere captures a restored database into an archive that it
// was not restored from.
func TestRestoredElsewhere(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	two := one.restored("main", recovery.Latest())
	fresh := newArchived(t)
	two.bucket = fresh.bucket
	two.put(9)
	two.captured("main", capture.Options{})
	two.bucket = one.bucket // and then into that one all the same
	two.put(10)
	two.captured("t2", capture.Options{})
}

// deleteManifests removes the tail of a timeline.
func (m *machine) deleteManifests(t chain.TimelineID, after chain.Seq) {
	m.t.Helper()
	last := m.at(t).State().Seq
	for seq := after + 1; seq <= last; seq++ {
		m.must(m.bucket.Delete(m.t.Context(), chain.ManifestKey(t, seq)))
	}
}

// TestTruncated removes the archive's tail: put back while the database's log
// reaches so far, refused when it does not.
func TestTruncated(t *testing.T) {
	one := newArchived(t)
	a := one.captured("main", capture.Options{})
	keep := a.State().Seq
	one.put(4)
	one.captured("main", capture.Options{})
	end := one.end()
	one.deleteManifests("main", keep)
	one.captured("main", capture.Options{})
	if e := one.events; len(e) != 1 || e[0].Kind != capture.EventPutBack || e[0].LSN != end-1 || !e[0].Warning {
		t.Errorf("events: %v", e)
	}
	two := one.restored("main", recovery.Latest())
	keepParent := one.at("main").State().Seq
	two.captured("t2", capture.Options{})

	keep = one.at("main").State().Seq
	for i := range 400 { // until the log is released
		one.put(int64(i))
	}
	one.captured("main", capture.Options{})
	for i := range 400 {
		one.put(int64(i))
	}
	one.captured("main", capture.Options{})
	one.must(one.db.Close())
	one.open()
	one.deleteManifests("main", keep)
	if _, err := one.db.Source().Changes(t.Context(), driver.Mark{LSN: end, LogHash: one.at("main").State().LogHash}); !errors.Is(err, driver.ErrLogLost) {
		t.Fatalf("the log was not released: %v", err)
	}
	one.refused(driver.ErrTruncated, fmt.Sprintf("timeline main ends at LSN %d, but everything through LSN %d was archived", end, one.end()), capture.Options{})

	one.deleteManifests("main", keepParent)
	two.must(two.db.Close())
	two.open()
	two.refused(driver.ErrTruncated, "the archive has no timeline t2", capture.Options{})
	one.deleteManifests("main", 0)
	one.refused(driver.ErrTruncated, "the archive is empty", capture.Options{})
}

// TestGap loses the database's log: a gap, a new base, and everything from
// there on.
func TestGap(t *testing.T) {
	one := newArchived(t)
	one.captured("main", capture.Options{})
	end, hash := one.end(), one.at("main").State().LogHash
	one.must(one.db.Close())
	one.o.Lag = embedded.LagPolicy{Action: embedded.LagDetach, Bytes: 16 << 10}
	one.open()
	id := int64(0)
	for { // until the log of what is archived last is gone
		c, err := one.db.Source().Changes(t.Context(), driver.Mark{LSN: end, LogHash: hash})
		if errors.Is(err, driver.ErrLogLost) {
			break
		}
		one.must(err)
		one.must(c.Close())
		id++
		one.put(id)
	}
	one.put(-1)
	one.refused(driver.ErrLogLost, "gave up its log", capture.Options{NoGap: true})
	one.put(-2)
	a := one.captured("main", capture.Options{})
	s := a.State()
	if len(s.Gaps) != 1 || s.Gaps[0].Body.First != end+1 || s.Gaps[0].Body.Last != one.end() || !strings.Contains(s.Gaps[0].Body.Reason, "gave up its log") || len(s.Snapshots) != 1 {
		t.Errorf("gaps %+v, %d bases", s.Gaps, len(s.Snapshots))
	}
	if e := one.events; len(e) != 1 || e[0].Kind != capture.EventGap || e[0].Gap.Last != one.end() || !e[0].Warning {
		t.Errorf("events: %v", e)
	}
	one.put(-3)
	one.captured("main", capture.Options{})
	if w := recovery.Windows(s); len(w) != 2 {
		t.Errorf("windows: %+v", w)
	}
	two := one.restored("main", recovery.AtLSN(end)) // before the gap
	two.put(7)
	if s := two.captured("t2", capture.Options{}).State(); len(s.Gaps) != 0 {
		t.Errorf("a fork before the gap has gaps %+v", s.Gaps)
	}
	one.verified()
}
