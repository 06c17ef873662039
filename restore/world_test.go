package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// A moment is what the database was after one transaction.
type moment struct {
	at      change.LSN
	tx      change.TxID
	commit  change.Time
	rows    int64
	digests []chain.CollectionDigest
}

// A world is a database that was captured, and the objects of its archive.
type world struct {
	db      *embedded.DB
	objects map[string][]byte // never changed
	moments []moment          // of every transaction, in order
	covered change.Time       // a time without transactions that the archive covers
	label   change.LSN        // of the label "calm"
}

// The worlds of the test binary, each made once: one with a checkpoint, one
// without, and a stranger with the same story and other rows.
var (
	wholeWorld  = sync.OnceValues(func() (*world, error) { return newWorld(0, true) })
	plainWorld  = sync.OnceValues(func() (*world, error) { return newWorld(0, false) })
	otherWorld  = sync.OnceValues(func() (*world, error) { return newWorld(7, true) })
	errTimedOut = errors.New("the condition did not come about")
)

func get(t testing.TB, make func() (*world, error)) *world {
	t.Helper()
	w, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// author commits transactions and takes down what each led to.
type author struct {
	w    *world
	now  atomic.Int64 // microseconds
	seed int64
	err  error
}

func (a *author) commit(fn func(tx *embedded.Tx) error) {
	if a.err != nil {
		return
	}
	a.now.Add(1_000_000)
	if a.err = a.w.db.Update(fn); a.err != nil {
		return
	}
	var m moment
	m, a.err = lookAt(a.w.db)
	a.w.moments = append(a.w.moments, m)
}

// lookAt takes down what a database is now.
func lookAt(db *embedded.DB) (m moment, err error) {
	ctx := context.Background()
	view, err := db.Source().Snapshot(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	all, err := driver.Digests(ctx, view)
	if err != nil {
		return m, err
	}
	info := db.Info()
	m = moment{at: view.Mark().LSN, tx: info.Tx, commit: info.Commit}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		m.rows += all[id].Rows
		m.digests = append(m.digests, chain.CollectionDigest{Collection: id, Rows: all[id].Rows, Digest: all[id].Sum()})
	}
	return m, nil
}

func city(id, n int64) change.Row {
	return change.Row{change.IntValue(id), change.TextValue(fmt.Sprintf("city %d of %d", id, n)), change.FloatValue(float64(n) / 8)}
}

func newWorld(seed int64, checkpoint bool) (*world, error) {
	ctx := context.Background()
	w := &world{}
	a := &author{w: w, seed: seed}
	a.now.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	var err error
	w.db, err = embedded.Open("db", embedded.Options{FS: vfs.NewMem(), LogFileBytes: 64 << 10,
		Now: func() time.Time { return time.UnixMicro(a.now.Load()) }})
	if err != nil {
		return nil, err
	}
	bucket := storage.NewMem()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return nil, err
	}
	arch, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	if err := a.tell(ctx, arch); err != nil {
		return nil, err
	}
	if checkpoint {
		if _, err := arch.Checkpoint(ctx, 3); err != nil {
			return nil, err
		}
	}
	w.objects, err = contents(ctx, bucket)
	return w, err
}

// tell lives the story that the archive holds: several segments, two bases of
// several runs, and a time after the last transaction that is covered.
func (a *author) tell(ctx context.Context, arch *archive.Archive) error {
	clock := func() change.Time { return change.Time(a.now.Load()) }
	quiet := capture.Options{FlushAge: time.Hour, CoverageEvery: time.Hour, RunBytes: 2 << 10, Now: clock}
	c := capture.New(arch, a.w.db.Source(), quiet)
	err := c.While(ctx, func(ctx context.Context) error {
		for n, chapter := range []func(){a.open, a.grow, a.change, a.wreck, a.settle} {
			if chapter(); a.err != nil {
				return fmt.Errorf("chapter %d: %w", n, a.err)
			}
			if _, err := c.Sync(ctx); err != nil {
				return err
			}
			switch n {
			case 1, 3:
				if _, err := c.Snapshot(ctx); err != nil {
					return err
				}
			case 2:
				a.w.label = a.w.moments[len(a.w.moments)-1].at
				if err := arch.Label(ctx, chain.Label{Name: "calm", LSN: a.w.label}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.now.Add(60_000_000)
	a.w.covered = clock() - 1_000_000
	busy := quiet
	busy.CoverageEvery = time.Millisecond
	c = capture.New(arch, a.w.db.Source(), busy)
	return c.While(ctx, func(ctx context.Context) error {
		return until(ctx, func() bool { return arch.State().CoveredUntil >= a.w.covered })
	})
}

// until waits for a condition.
func until(ctx context.Context, ok func() bool) error {
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errTimedOut
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (a *author) open() {
	a.commit(func(tx *embedded.Tx) error {
		id := change.Column{Name: "id", Type: change.Int64}
		_, err := tx.CreateCollection("city", []string{"id"}, id,
			change.Column{Name: "name", Type: change.Text}, change.Column{Name: "size", Type: change.Float64, Nullable: true})
		if err == nil {
			_, err = tx.CreateCollection("event", nil, change.Column{Name: "text", Type: change.Text})
		}
		if err == nil {
			_, err = tx.CreateCollection("pair", []string{"a", "b"}, change.Column{Name: "a", Type: change.Text}, change.Column{Name: "b", Type: change.Int64})
		}
		return err
	})
	a.put(1, 60, 1)
}

// put stores cities, and events and pairs beside them.
func (a *author) put(from, to, n int64) {
	a.commit(func(tx *embedded.Tx) error {
		for id := from; id < to; id++ {
			if err := tx.Put("city", city(id, n+a.seed)); err != nil {
				return err
			}
			if err := tx.Put("pair", change.Row{change.TextValue(fmt.Sprint("p", id%7)), change.IntValue(id + a.seed)}); err != nil {
				return err
			}
			if err := tx.Add("event", change.Row{change.TextValue(fmt.Sprint("put ", id%5))}, 1+id%3); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *author) grow() {
	for i := range int64(5) {
		a.put(50+20*i, 90+20*i, 2+i)
	}
}

func (a *author) change() {
	a.commit(func(tx *embedded.Tx) error {
		_, err := tx.AddColumns("city", change.Column{Name: "mayor", Type: change.Text, Nullable: true})
		return err
	})
	a.commit(func(tx *embedded.Tx) error {
		for id := int64(3); id < 80; id += 3 {
			row := change.Row{change.IntValue(id), change.Unchanged(), change.Null(), change.TextValue("somebody")}
			if err := tx.Patch("city", row); err != nil {
				return err
			}
		}
		return tx.Remove("event", change.Row{change.TextValue("put 1")})
	})
}

// wreck is the accident: one large transaction, then a truncate.
func (a *author) wreck() {
	a.commit(func(tx *embedded.Tx) error {
		for id := int64(20); id < 120; id++ {
			if _, err := tx.Delete("city", change.IntValue(id)); err != nil {
				return err
			}
		}
		return nil
	})
	a.commit(func(tx *embedded.Tx) error { return tx.Truncate("pair") })
}

func (a *author) settle() {
	for i := range int64(4) {
		a.commit(func(tx *embedded.Tx) error {
			row := append(city(15+i, 99+a.seed), change.TextValue("else"))
			if err := tx.Put("city", row); err != nil {
				return err
			}
			return tx.Put("pair", change.Row{change.TextValue("new"), change.IntValue(i)})
		})
	}
}

// contents reads every object.
func contents(ctx context.Context, b storage.Bucket) (map[string][]byte, error) {
	out := make(map[string][]byte)
	for info, err := range b.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		r, err := b.Read(ctx, info.Key, 0, -1)
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		out[info.Key] = raw
	}
	return out, nil
}

// bucketOf returns a new bucket with these objects.
func bucketOf(t testing.TB, objects map[string][]byte) *storage.Mem {
	t.Helper()
	b := storage.NewMem()
	for key, raw := range objects {
		if err := b.Create(t.Context(), key, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func openArchive(t testing.TB, b storage.Bucket) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// last returns the last moment of the world.
func (w *world) last() moment { return w.moments[len(w.moments)-1] }

// moment returns the moment at an LSN.
func (w *world) moment(t testing.TB, at change.LSN) moment {
	t.Helper()
	i := slices.IndexFunc(w.moments, func(m moment) bool { return m.at == at })
	if i < 0 {
		t.Fatalf("no transaction ended at LSN %d", at)
	}
	return w.moments[i]
}
