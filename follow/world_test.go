package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/storage"
)

// tb is the part of testing.TB and rapid.T that the world needs.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// world is a database, its archive, and what the database showed at each LSN.
type world struct {
	t      tb
	rng    *rand.Rand
	bucket storage.Bucket
	fs     *vfs.MemFS
	db     *embedded.DB
	showed map[change.LSN]string
	hash   map[change.LSN]change.Hash
	n      int
}

func small(fs vfs.FS) embedded.Options {
	return embedded.Options{FS: fs, LogFileBytes: 4 << 10, MemTableBytes: 256 << 10, CacheBytes: 1 << 20}
}

func newWorld(t tb, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), bucket: storage.NewMem(), fs: vfs.NewCrashableMem(),
		showed: make(map[change.LSN]string), hash: make(map[change.LSN]change.Hash)}
	if _, err := archive.Init(context.Background(), w.bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("bag", nil, change.Column{Name: "v", Type: change.Text})
		_, err2 := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "v", Type: change.Text})
		return errors.Join(err, err2)
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	db, err := embedded.Open("db", small(w.fs))
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
}

// crash cuts the source's power and opens it again.
func (w *world) crash() {
	w.t.Helper()
	left := w.fs.CrashClone(vfs.CrashCloneCfg{})
	_ = w.db.Close()
	w.fs = left
	w.open()
}

// show returns what a database holds, in words.
func show(db *embedded.DB) (string, error) {
	var b strings.Builder
	err := db.View(func(tx *embedded.Tx) error {
		schemas, err := tx.Collections()
		for _, s := range schemas {
			fmt.Fprintf(&b, "%s v%d:", s.Name, s.Version)
			for row, err := range tx.Scan(s.Name, embedded.Range{}) {
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " %v", row)
			}
			b.WriteByte('\n')
		}
		return err
	})
	return b.String(), err
}

func (w *world) update(fn func(*embedded.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(fn); err != nil {
		w.t.Fatal(err)
	}
	s, err := show(w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	i := w.db.Info()
	w.showed[i.LSN], w.hash[i.LSN] = s, i.LogHash
}

// commit makes a random transaction.
func (w *world) commit() {
	w.t.Helper()
	w.update(func(tx *embedded.Tx) (err error) {
		for range 1 + w.rng.IntN(6) {
			w.n++
			id, v := change.IntValue(w.rng.Int64N(20)), change.TextValue(fmt.Sprint(w.n))
			switch k := w.rng.IntN(30); {
			case k < 18:
				err = tx.Put("c", change.Row{id, v})
			case k < 23:
				_, err = tx.Delete("c", id)
			case k < 27:
				err = tx.Add("bag", change.Row{change.TextValue(fmt.Sprint(w.rng.IntN(4)))}, 1)
			case k == 27:
				err = tx.Truncate("c")
			case k == 28:
				name := fmt.Sprint("t", w.n)
				_, err = tx.CreateCollection(name, nil, change.Column{Name: "v", Type: change.Text})
				if err == nil && w.rng.IntN(2) == 0 {
					err = tx.DropCollection(name)
				}
			default:
				err = tx.Remove("bag", change.Row{change.TextValue("0")})
				if errors.Is(err, embedded.ErrNotFound) {
					err = nil
				}
			}
			if err != nil {
				return err
			}
		}
		return tx.Put("c", change.Row{change.IntValue(-1), change.TextValue(fmt.Sprint("head ", w.n))})
	})
}

func (w *world) archive(b storage.Bucket) *archive.Archive {
	w.t.Helper()
	a, err := openArchive(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// openArchive opens an archive that does not wait before it tries again.
func openArchive(b storage.Bucket) (*archive.Archive, error) {
	return archive.Open(context.Background(), b, archive.OpenOptions{Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
}

// capture archives what the database has, in segments of a few transactions.
func (w *world) capture() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := capture.New(w.archive(w.bucket), w.db.Source(), capture.Options{FlushBytes: 600, Takeover: true})
	err := c.While(ctx, func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// gap makes commits that are never archived, declares a gap there, and archives
// a base.
func (w *world) gap() {
	w.t.Helper()
	ctx := context.Background()
	w.commit()
	w.commit()
	a := w.archive(w.bucket)
	id, err := w.db.Source().Identity(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := a.Claim(ctx, archive.ClaimOptions{Source: chain.Source{Kind: id.Kind, System: id.System}, Holder: "test",
		Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
			return driver.Mark{LSN: s.Last, LogHash: s.LogHash}, nil
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	i, st := w.db.Info(), s.State()
	g := chain.Gap{First: st.Last + 1, Last: i.LSN, LogHash: i.LogHash, Reason: "the log was lost", From: st.CoveredUntil + 1, To: max(i.Commit, st.CoveredUntil+1)}
	if err := errors.Join(s.Gap(ctx, g), s.Close(ctx)); err != nil {
		w.t.Fatal(err)
	}
	c := capture.New(w.archive(w.bucket), w.db.Source(), capture.Options{})
	err = c.While(ctx, func(ctx context.Context) error {
		_, err := c.Snapshot(ctx)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// flaky is a store whose reads fail as fail says.
type flaky struct {
	storage.Bucket
	fail func() bool
}

func (b *flaky) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if b.fail() {
		return nil, fmt.Errorf("read %s: %w", key, storage.ErrUnavailable)
	}
	return b.Bucket.Read(ctx, key, offset, length)
}

// prepare opens a standby.
func (w *world) prepare(fs vfs.FS) *embedded.DB {
	w.t.Helper()
	db, err := follow.Prepare(context.Background(), w.archive(w.bucket), "standby", follow.PrepareOptions{Database: small(fs)})
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

// follower returns a follower of a standby.
func (w *world) follower(db *embedded.DB, b storage.Bucket, o follow.Options) *follow.Follower {
	w.t.Helper()
	s, err := db.Standby()
	if err != nil {
		w.t.Fatal(err)
	}
	return follow.New(w.archive(b), s, o)
}

// check compares a standby with what the database showed at its LSN.
func (w *world) check(db *embedded.DB) change.LSN {
	w.t.Helper()
	i := db.Info()
	got, err := show(db)
	if err != nil {
		w.t.Fatal(err)
	}
	want, ok := w.showed[i.LSN]
	if !ok || got != want || i.LogHash != w.hash[i.LSN] {
		w.t.Fatalf("at LSN %d (a transaction's end: %t) the standby has log hash %s and shows\n%swant %s and\n%s", i.LSN, ok, i.LogHash, got, w.hash[i.LSN], want)
	}
	return i.LSN
}

func closing(t tb, db *embedded.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func catchUp(t tb, f *follow.Follower) follow.Status {
	t.Helper()
	s, err := f.CatchUp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
