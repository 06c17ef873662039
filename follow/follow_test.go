package follow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/apply"
	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestFollowsARunningCapture reads from a standby while its source is written
// and captured.
func TestFollowsARunningCapture(t *testing.T) {
	w := newWorld(t, 1)
	w.capture()
	db := w.prepare(vfs.NewMem())
	defer closing(t, db)
	w.check(db)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c := capture.New(w.archive(w.bucket), w.db.Source(), capture.Options{FlushBytes: 600, FlushAge: time.Millisecond})
	captured := make(chan error, 1)
	go func() { captured <- c.Run(ctx) }()
	reached := make(chan follow.Status, 1000)
	f := w.follower(db, w.bucket, follow.Options{Poll: time.Millisecond, Progress: func(s follow.Status) {
		select {
		case reached <- s:
		default:
		}
	}})
	followed := make(chan error, 1)
	go func() { followed <- f.Run(ctx) }()
	for range 100 {
		w.commit()
	}
	end := w.db.Info().LSN
	for s := range reached {
		if s.LSN == end {
			break
		}
	}
	if got := w.check(db); got != end {
		t.Errorf("the standby shows LSN %d, want %d", got, end)
	}
	if s := f.Status(); !s.CaughtUp() || s.Behind != 0 || s.Txs != 100 || s.Segments == 0 || !s.Captured || s.Covered < s.Effective {
		t.Errorf("status %+v", s)
	}
	stop()
	if err := errors.Join(<-captured, <-followed); err != nil {
		t.Error(err)
	}
}

// TestPromoteForks promotes a standby and captures it: a timeline of its own
// begins where the standby was.
func TestPromoteForks(t *testing.T) {
	w := newWorld(t, 2)
	for range 20 {
		w.commit()
	}
	w.capture()
	fs := vfs.NewMem()
	db := w.prepare(fs)
	for range 20 {
		w.commit()
	}
	w.capture()
	f := w.follower(db, w.bucket, follow.Options{})
	at := catchUp(t, f)
	s, err := db.Standby()
	if err != nil {
		t.Fatal(err)
	}
	origin, err := s.Promote(t.Context())
	if err != nil || origin.LSN != at.LSN || origin.Effective != at.Effective || origin.Timeline != "main" {
		t.Fatalf("promoted from %+v, %v; followed to %+v", origin, err, at)
	}
	if _, err := f.CatchUp(t.Context()); !errors.Is(err, driver.ErrNotStandby) {
		t.Errorf("followed on after the promotion: %v", err)
	}
	// The archive knows the place: what the pin of a fork must say is there.
	a := w.archive(w.bucket)
	state, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hash, effective, err := a.LogAt(t.Context(), state, origin.LSN)
	if err != nil || hash != origin.LogHash || effective != origin.Effective {
		t.Errorf("the archive has %s and %s at LSN %d, %v; the standby %+v", hash, effective, origin.LSN, err, origin)
	}
	for i := range int64(5) {
		if err := db.Update(func(tx *embedded.Tx) error {
			return tx.Put("c", change.Row{change.IntValue(i), change.TextValue("own")})
		}); err != nil {
			t.Fatal(err)
		}
	}
	// Its capture finds the place by itself and begins a timeline there.
	c := capture.New(w.archive(w.bucket), db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		t.Fatalf("capture of the promoted standby: %v", err)
	}
	want, err := show(db)
	if err != nil {
		t.Fatal(err)
	}
	child, err := archive.Open(t.Context(), w.bucket, archive.OpenOptions{Timeline: "t2"})
	if err != nil {
		t.Fatal(err)
	}
	// A standby of that timeline holds what both wrote.
	other, err := follow.Prepare(t.Context(), child, "other", follow.PrepareOptions{Database: small(vfs.NewMem())})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := show(other); err != nil || got != want {
		t.Errorf("a standby of timeline %s shows, %v\n%swant\n%s", child.Timeline(), err, got, want)
	}
	closing(t, other)
	closing(t, db)
	// The promoted one follows no more.
	if _, err := follow.Prepare(t.Context(), w.archive(w.bucket), "standby", follow.PrepareOptions{Database: small(fs)}); !errors.Is(err, driver.ErrNotStandby) {
		t.Errorf("a promoted database with commits of its own: %v", err)
	}
}

// TestForkDoesNotDisturb follows on while another timeline goes on elsewhere.
func TestForkDoesNotDisturb(t *testing.T) {
	w := newWorld(t, 3)
	w.commit()
	w.capture()
	db := w.prepare(vfs.NewMem())
	defer closing(t, db)
	a := w.archive(w.bucket)
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fork(t.Context(), archive.ForkOptions{Child: "side", LSN: s.Last, LogHash: s.LogHash}); err != nil {
		t.Fatal(err)
	}
	w.commit()
	w.capture()
	st := catchUp(t, w.follower(db, w.bucket, follow.Options{}))
	if w.check(db) != w.db.Info().LSN || !slices.Equal(st.Forks, []chain.TimelineID{"side"}) || st.Captured {
		t.Errorf("status %+v", st)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, 4)
	w.capture()
	older := copyBucket(t, w.bucket)
	w.commit()
	w.capture()
	fs := vfs.NewMem()
	db := w.prepare(fs)
	defer closing(t, db)

	if _, err := w.follower(db, older, follow.Options{}).CatchUp(t.Context()); !errors.Is(err, driver.ErrTruncated) || !strings.Contains(err.Error(), "the standby is at LSN") {
		t.Errorf("an archive that ends before the standby: %v", err)
	}
	other := newWorld(t, 5)
	other.capture()
	if err := other.follower(db, other.bucket, follow.Options{}).Run(t.Context()); !errors.Is(err, chain.ErrWrongRepo) {
		t.Errorf("another archive: %v", err)
	}
	if _, err := follow.Prepare(t.Context(), w.archive(w.bucket), "db", follow.PrepareOptions{Database: small(w.fs.CrashClone(vfs.CrashCloneCfg{}))}); !errors.Is(err, driver.ErrNotStandby) {
		t.Errorf("a database with a history of its own: %v", err)
	}
	empty := storage.NewMem()
	if _, err := archive.Init(t.Context(), empty, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := follow.Prepare(t.Context(), w.archive(empty), "none", follow.PrepareOptions{Database: small(fs)}); err == nil {
		t.Error("a standby of nothing")
	}
	if names, err := fs.List(""); err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "none") }) {
		t.Errorf("what was refused has left %v, %v", names, err)
	}
}

func copyBucket(t *testing.T, from storage.Bucket) storage.Bucket {
	t.Helper()
	to := storage.NewMem()
	for info, err := range from.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		put(t, to, info.Key, read(t, from, info.Key))
	}
	return to
}

func read(t *testing.T, b storage.Bucket, key string) []byte {
	t.Helper()
	r, err := b.Read(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func put(t *testing.T, b storage.Bucket, key string, raw []byte) {
	t.Helper()
	if err := b.Create(t.Context(), key, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
}

// TestDivergence rewrites the archive's history below the standby, and what the
// standby shows.
func TestDivergence(t *testing.T) {
	w := newWorld(t, 6)
	w.capture()
	db := w.prepare(vfs.NewMem())
	defer closing(t, db)
	s, err := db.Standby()
	if err != nil {
		t.Fatal(err)
	}
	// A transaction that the archive never had.
	r := change.Record{LSN: db.Info().LSN + 1, Op: change.Insert, Collection: 2, Key: mustKey(t, db, 77)}
	r.Image = change.Image{0}
	tx := &change.Tx{ID: 99, Commit: 1, Effective: 1, Records: []change.Record{r}}
	if _, err := s.Apply(t.Context(), func(yield func(*change.Tx, error) bool) { yield(tx, nil) }); err != nil {
		t.Fatal(err)
	}
	w.commit()
	w.capture()
	err = w.follower(db, w.bucket, follow.Options{}).Run(t.Context())
	if !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("a standby with a transaction of its own: %v", err)
	}
}

func mustKey(t *testing.T, db *embedded.DB, id int64) (k change.Key) {
	t.Helper()
	err := db.View(func(tx *embedded.Tx) error {
		s, err := tx.Schema("c")
		if err != nil {
			return err
		}
		k, err = s.EncodeKey(nil, change.IntValue(id))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestDamage flips a bit in each object of a segment: nothing of the segment is
// applied.
func TestDamage(t *testing.T) {
	w := newWorld(t, 7)
	w.capture()
	db := w.prepare(vfs.NewMem())
	defer closing(t, db)
	before := w.check(db)
	had := copyBucket(t, w.bucket)
	for range 10 {
		w.commit()
	}
	w.capture()
	seen := 0
	for info, err := range w.bucket.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := had.Size(t.Context(), info.Key); err == nil || strings.HasSuffix(info.Key, ".json") {
			continue
		}
		raw := read(t, w.bucket, info.Key)
		bad := copyBucket(t, w.bucket).(*storage.Mem)
		raw[len(raw)/2] ^= 4
		if err := bad.Delete(t.Context(), info.Key); err != nil {
			t.Fatal(err)
		}
		put(t, bad, info.Key, raw)
		_, err = w.follower(db, bad, follow.Options{}).CatchUp(t.Context())
		seen++
		if err == nil || !strings.Contains(err.Error(), info.Key) {
			t.Errorf("%s is damaged: %v", info.Key, err)
		}
		w.check(db)
	}
	if seen == 0 || w.check(db) < before {
		t.Errorf("%d damaged packs were noticed", seen)
	}
}

// TestGapNeedsANewBase has the source give up its log.
func TestGapNeedsANewBase(t *testing.T) {
	w := newWorld(t, 8)
	w.capture()
	fs := vfs.NewMem()
	db := w.prepare(fs)
	before := w.check(db)
	w.gap()
	w.commit()
	w.capture()
	err := w.follower(db, w.bucket, follow.Options{}).Run(t.Context())
	if !errors.Is(err, follow.ErrGap) || !errors.Is(err, apply.ErrGap) || !strings.Contains(err.Error(), "a new base is needed") {
		t.Fatalf("over a gap: %v", err)
	}
	if w.check(db) != before {
		t.Error("the standby has moved")
	}
	closing(t, db)
	o := follow.PrepareOptions{Database: small(fs)}
	if err := follow.Rebase(t.Context(), w.archive(w.bucket), "standby", o); err != nil {
		t.Fatal(err)
	}
	db = w.prepare(fs)
	if got := w.check(db); got != w.db.Info().LSN {
		t.Errorf("after the rebase the standby is at LSN %d, want %d", got, w.db.Info().LSN)
	}
	w.commit()
	w.capture()
	catchUp(t, w.follower(db, w.bucket, follow.Options{}))
	if got := w.check(db); got != w.db.Info().LSN {
		t.Errorf("it did not go on: LSN %d", got)
	}
	if names, err := fs.List(""); err != nil || len(names) != 1 {
		t.Errorf("there are %v, %v", names, err)
	}
	// What was promoted is never replaced.
	s, err := db.Standby()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	closing(t, db)
	if err := follow.Rebase(t.Context(), w.archive(w.bucket), "standby", o); !errors.Is(err, driver.ErrNotStandby) {
		t.Errorf("rebase of a promoted database: %v", err)
	}
}

// TestStoreAway follows through failures of the store.
func TestStoreAway(t *testing.T) {
	w := newWorld(t, 9)
	w.capture()
	db := w.prepare(vfs.NewMem())
	defer closing(t, db)
	for range 5 {
		w.commit()
	}
	w.capture()
	away := &flaky{Bucket: w.bucket, fail: func() bool { return false }}
	ctx, stop := context.WithCancel(t.Context())
	var tried atomic.Int64
	f := w.follower(db, away, follow.Options{Poll: time.Millisecond, RetryMax: 2 * time.Millisecond, Progress: func(s follow.Status) {
		if s.CaughtUp() {
			stop()
		}
	}})
	away.fail = func() bool { n := tried.Add(1); return n < 5 || n == 12 || n == 17 }
	if err := f.Run(ctx); err != nil || tried.Load() < 13 {
		t.Errorf("%v after %d reads", err, tried.Load())
	}
	if w.check(db) != w.db.Info().LSN {
		t.Error("it is not current")
	}
	away.fail = func() bool { return false }
	f = w.follower(db, away, follow.Options{Poll: time.Millisecond, GiveUpAfter: 20 * time.Millisecond})
	away.fail = func() bool { return true }
	if err := f.Run(t.Context()); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "given up after") {
		t.Errorf("a store that stays away: %v", err)
	}
}
