package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/daemon"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/schedule"
	"github.com/tidemarkdb/tidemark/storage"
)

// world is a database, its archive, and a daemon that keeps it.
type world struct {
	t      *testing.T
	bucket *storage.Mem
	path   string
	state  string
	conf   *config.Database
	away   atomic.Bool  // the archive can't be reached
	shut   atomic.Int32 // so often the database can't be opened
	source bool         // captured from here
	opened atomic.Int32 // archives that are open

	mu     sync.Mutex
	events []hook.Event  // guarded by mu
	news   chan struct{} // a token when there is one more
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, bucket: storage.NewMem(), path: filepath.Join(t.TempDir(), "db"), state: t.TempDir(), source: true, news: make(chan struct{}, 1),
		conf: &config.Database{Name: "shop", Capture: config.Capture{FlushAge: 10 * time.Millisecond, CoverageEvery: 20 * time.Millisecond}}}
	if _, err := archive.Init(t.Context(), w.bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	w.commit()
	return w
}

// commit puts a row into the database, which nobody has open.
func (w *world) commit() {
	w.t.Helper()
	db, err := embedded.Open(w.path, embedded.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *embedded.Tx) error {
		if _, err := tx.CreateCollection("item", []string{"id"}, change.Column{Name: "id", Type: change.Int64}); err != nil {
			return err
		}
		return tx.Put("item", change.Row{change.IntValue(1)})
	})
	if err != nil && !errors.Is(err, embedded.ErrExists) {
		w.t.Fatal(err)
	}
}

func (w *world) open(ctx context.Context, timeline chain.TimelineID, _ bool) (*archive.Archive, func(), error) {
	if w.away.Load() {
		return nil, nil, storage.ErrUnavailable
	}
	a, err := archive.Open(ctx, awayable{w.bucket, &w.away}, archive.OpenOptions{Timeline: timeline})
	if err != nil {
		return nil, nil, err
	}
	w.opened.Add(1)
	return a, func() { w.opened.Add(-1) }, nil
}

// awayable is a bucket that can be away while it is open.
type awayable struct {
	storage.Bucket
	away *atomic.Bool
}

func (b awayable) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if b.away.Load() {
		return nil, storage.ErrUnavailable
	}
	return b.Bucket.Read(ctx, key, offset, length)
}

func (w *world) tell(e hook.Event) {
	w.mu.Lock()
	w.events = append(w.events, e)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// await waits for an event of a kind and returns it.
func (w *world) await(kind hook.Kind) hook.Event {
	w.t.Helper()
	give := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		i := slices.IndexFunc(w.events, func(e hook.Event) bool { return e.Kind == kind })
		if i >= 0 {
			e := w.events[i]
			w.events = slices.Delete(w.events, i, i+1)
			w.mu.Unlock()
			return e
		}
		seen := slices.Clone(w.events)
		w.mu.Unlock()
		select {
		case <-w.news:
		case <-give:
			w.t.Fatalf("no %s, but %+v", kind, seen)
		}
	}
}

// start runs the daemon; what it returns stops it and returns its error.
func (w *world) start() (stop func() error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	d := daemon.Database{Database: w.conf, OpenArchive: w.open}
	if w.source {
		d.OpenSource = func(context.Context) (daemon.Source, error) {
			if w.shut.Add(-1) >= 0 {
				return nil, embedded.ErrLocked
			}
			return embedded.Open(w.path, embedded.Options{MustExist: true})
		}
	}
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{Databases: []daemon.Database{d}, Ledger: job.Open(w.state), Tell: w.tell,
			RetryMin: 5 * time.Millisecond, RetryMax: 10 * time.Second, WatchMax: 20 * time.Millisecond})
	}()
	w.t.Cleanup(cancel)
	return func() error {
		cancel()
		err := <-ended
		if n := w.opened.Load(); n != 0 {
			w.t.Errorf("%d archives are still open", n)
		}
		return err
	}
}

// jobs returns the records as kind and state.
func (w *world) jobs() []string {
	jobs, err := job.Open(w.state).List("shop")
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, j := range jobs {
		out = append(out, string(j.Kind)+" "+string(j.State)+" "+j.By)
	}
	slices.Sort(out)
	return out
}

func hourly(t *testing.T) config.Schedule {
	r, err := schedule.Every(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return config.Schedule{Rule: r}
}

// TestKeep: a database is captured, and everything that was never done is done
// at once; a daemon that is started again knows that it was.
func TestKeep(t *testing.T) {
	w := newWorld(t)
	w.conf.Snapshot, w.conf.Drill = []config.Schedule{hourly(t)}, []config.Schedule{hourly(t)}
	for _, level := range []string{"chain", "records"} {
		s := hourly(t)
		s.Level = level
		w.conf.Verify = append(w.conf.Verify, s)
	}
	var posted sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e hook.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		posted.Store(e.Kind, e)
	}))
	defer server.Close()
	w.conf.Hooks = []hook.Hook{{Run: []string{filepath.Join(t.TempDir(), "absent")}}, {Post: server.URL}}

	stop := w.start()
	if e := w.await(hook.CaptureStarted); e.Database != "shop" || e.Message != "capturing: archived through LSN 2" {
		t.Errorf("%+v", e)
	}
	w.await(hook.SnapshotOK)
	w.await(hook.VerifyOK)
	w.await(hook.VerifyOK)
	e := w.await(hook.DrillOK)
	if e.Figures["independent"] != true || e.Job == "" || !strings.HasSuffix(e.Message, "as the database itself showed it") {
		t.Errorf("%+v", e)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.await(hook.CaptureStopped)
	for _, k := range []hook.Kind{hook.CaptureStarted, hook.SnapshotOK, hook.VerifyOK, hook.DrillOK, hook.CaptureStopped} {
		if _, ok := posted.Load(k); !ok {
			t.Errorf("the hook was not told of %s", k)
		}
	}
	want := []string{"drill ok schedule", "snapshot ok schedule", "verify ok schedule", "verify ok schedule"}
	if diff := cmp.Diff(want, w.jobs()); diff != "" {
		t.Error(diff)
	}
	a, _ := archive.Open(t.Context(), w.bucket, archive.OpenOptions{})
	s, err := a.Load(t.Context())
	if err != nil || s.EpochOpen || len(s.Verifies) != 2 || len(s.Drills) != 1 {
		t.Errorf("%+v, %v", s, err)
	}

	stop = w.start()
	w.await(hook.CaptureStarted)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, w.jobs()); diff != "" {
		t.Errorf("again: %s", diff)
	}
}

// TestRestarts: a database that can't be opened is tried again, and told once.
func TestRestarts(t *testing.T) {
	w := newWorld(t)
	w.shut.Store(3)
	stop := w.start()
	if e := w.await(hook.CaptureFailed); !strings.Contains(e.Error, embedded.ErrLocked.Error()) {
		t.Errorf("%+v", e)
	}
	w.await(hook.CaptureStarted)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.events {
		if e.Kind == hook.CaptureFailed {
			t.Errorf("told again: %+v", e)
		}
	}
}

// TestAway: a store that is away when the daemon starts is waited for.
func TestAway(t *testing.T) {
	w := newWorld(t)
	w.away.Store(true)
	stop := w.start()
	if e := w.await(hook.CaptureFailed); !strings.Contains(e.Error, storage.ErrUnavailable.Error()) {
		t.Errorf("%+v", e)
	}
	w.away.Store(false)
	w.await(hook.CaptureStarted)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestFenced: who was fenced stays away; with nothing else to do the daemon
// ends and says so.
func TestFenced(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	w.await(hook.CaptureStarted)
	a, err := archive.Open(t.Context(), w.bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	takeOver(t, a)
	w.await(hook.CaptureFenced)
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	if err := <-ended; !errors.Is(err, chain.ErrFenced) || !strings.HasPrefix(err.Error(), "shop: ") {
		t.Error(err)
	}
}

// TestWatch: an archive that falls behind its goal, and catches up.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.conf.RPOGoal = 400 * time.Millisecond
	stop := w.start()
	w.await(hook.CaptureStarted)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.source = false // nobody captures
	stop = w.start()
	e := w.await(hook.RPOExceeded)
	if behind, _ := e.Figures["rpo_seconds"].(float64); behind < 0.4 || e.Figures["goal_seconds"] != 0.4 {
		t.Errorf("%+v", e)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.source = true
	w.away.Store(true)
	stop = w.start()
	if e := w.await(hook.RPOExceeded); e.Error == "" {
		t.Errorf("%+v", e)
	}
	w.away.Store(false)
	w.await(hook.RPOOK)
	w.away.Store(true)
	w.await(hook.RPOExceeded)
	w.away.Store(false)
	w.await(hook.RPOOK)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestGap: a gap that was there before is no news.
func TestGap(t *testing.T) {
	w := newWorld(t)
	w.source = false
	a, err := archive.Open(t.Context(), w.bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	session := takeOver(t, a)
	gap := func(lsn change.LSN) {
		t.Helper()
		g := chain.Gap{First: lsn, Last: lsn + 1, Reason: "the log was lost", From: change.Time(lsn), To: change.Time(lsn + 1), LogHash: change.Hash{1}}
		if err := session.Gap(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	gap(1)
	w.conf.RPOGoal = time.Millisecond // so that the first look is told
	stop := w.start()
	w.await(hook.RPOExceeded)
	gap(3)
	e := w.await(hook.GapDeclared)
	if e.Message != "changes of LSN 3 to 4 are not in the archive: the log was lost" {
		t.Errorf("%+v", e)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.events {
		if e.Kind == hook.GapDeclared {
			t.Errorf("told too: %+v", e)
		}
	}
}

// TestVerifyFails: damage is told, and recorded.
func TestVerifyFails(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	w.await(hook.CaptureStarted)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	a, _ := archive.Open(t.Context(), w.bucket, archive.OpenOptions{})
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bucket.Delete(t.Context(), s.Segments.Last().Body.Packs[0].Key); err != nil {
		t.Fatal(err)
	}
	v := hourly(t)
	v.Level = "objects"
	w.conf.Verify, w.conf.Drill, w.source = []config.Schedule{v}, []config.Schedule{hourly(t)}, false
	stop = w.start()
	if e := w.await(hook.VerifyFailed); e.Figures["findings"] != 1 || !strings.Contains(e.Error, "damaged") {
		t.Errorf("%+v", e)
	}
	w.await(hook.DrillFailed)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"drill failed schedule", "verify failed schedule"}, w.jobs()); diff != "" {
		t.Error(diff)
	}
}

// takeOver claims the archive over whoever holds it.
func takeOver(t *testing.T, a *archive.Archive) *archive.Session {
	t.Helper()
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	source := s.Source
	if source.Kind == "" {
		source = chain.Source{Kind: "test", System: "x"}
	}
	session, err := a.Claim(t.Context(), archive.ClaimOptions{Source: source, Holder: "another", Takeover: true,
		Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
			return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return session
}
