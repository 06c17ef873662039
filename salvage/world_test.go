package salvage_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// A state is what a database held: by collection, its schema and rows.
type state map[change.CollectionID]*table

type table struct {
	schema *change.Schema
	rows   map[string]string // key → count and image
}

// A world is a database's story: the objects of its archive, and what the
// database held after every transaction.
type world struct {
	objects map[string][]byte // never changed
	states  map[change.LSN]state
	last    change.LSN
}

// stateOf reads a database.
func stateOf(ctx context.Context, src driver.Source) (lsn change.LSN, out state, err error) {
	view, err := src.Snapshot(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer view.Close()
	out = make(state)
	for _, s := range view.Schemas() {
		t := &table{s, make(map[string]string)}
		out[s.Collection] = t
		for rec, err := range view.Rows(ctx, s.Collection) {
			if err != nil {
				return 0, nil, err
			}
			image, err := s.Normalize(nil, rec.Image)
			if err != nil {
				return 0, nil, err
			}
			t.rows[string(rec.Key)] = fmt.Sprintf("%d×%x", rec.Count, image)
		}
	}
	return view.Mark().LSN, out, nil
}

// teller lives a story.
type teller struct {
	t   func(error)
	w   *world
	db  *embedded.DB
	ctx context.Context
}

func (s *teller) commit(fn func(tx *embedded.Tx) error) {
	s.t(s.db.Update(fn))
	lsn, st, err := stateOf(s.ctx, s.db.Source())
	s.t(err)
	s.w.states[lsn], s.w.last = st, lsn
}

func text(n int64, size int) change.Value {
	return change.TextValue(fmt.Sprintf("%0*d", size, n*n))
}

// put stores rows from … to of a keyed collection.
func (s *teller) put(collection string, from, to, n int64) {
	s.commit(func(tx *embedded.Tx) error {
		for id := from; id < to; id++ {
			if err := tx.Put(collection, change.Row{change.IntValue(id), text(id*n, 40)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *teller) add(n int64) {
	s.commit(func(tx *embedded.Tx) error {
		return tx.Add("bag", change.Row{text(n%5, 30)}, 1+n%3)
	})
}

func (s *teller) create(names ...string) {
	s.commit(func(tx *embedded.Tx) error {
		for _, name := range names {
			key := []string{"id"}
			columns := []change.Column{{Name: "id", Type: change.Int64}, {Name: "v", Type: change.Text}}
			if name == "bag" {
				key, columns = nil, columns[1:]
			}
			if _, err := tx.CreateCollection(name, key, columns...); err != nil {
				return err
			}
		}
		return nil
	})
}

// chapters is the story: after each the archive has a segment more, and after
// some a base.
var chapters = []struct {
	tell func(s *teller)
	base bool
}{
	{func(s *teller) {
		s.create("busy", "calm", "bag", "short")
		s.put("busy", 0, 30, 1)
		s.put("calm", 0, 40, 1)
	}, false},
	{func(s *teller) { s.put("busy", 20, 50, 2); s.add(1); s.put("short", 0, 5, 1) }, false},
	{func(s *teller) { s.put("busy", 10, 90, 3); s.add(2); s.add(3) }, true},
	{func(s *teller) {
		s.put("busy", 0, 10, 4)
		s.commit(func(tx *embedded.Tx) error { return tx.DropCollection("short") })
	}, false},
	{func(s *teller) {
		s.create("late")
		s.put("late", 0, 20, 1)
		s.commit(func(tx *embedded.Tx) error {
			_, err := tx.AddColumns("calm", change.Column{Name: "more", Type: change.Int64, Nullable: true})
			return err
		})
	}, false},
	{func(s *teller) {
		s.put("busy", 60, 120, 5)
		s.commit(func(tx *embedded.Tx) error {
			for id := range int64(8) {
				if _, err := tx.Delete("busy", change.IntValue(id*9)); err != nil {
					return err
				}
			}
			return tx.Remove("bag", change.Row{text(2, 30)})
		})
	}, true},
	{func(s *teller) {
		s.commit(func(tx *embedded.Tx) error { return tx.Truncate("late") })
		s.put("late", 50, 60, 2)
	}, false},
	{func(s *teller) { s.put("busy", 100, 130, 6); s.add(7) }, false},
}

// story lives all chapters once.
var story = sync.OnceValues(func() (w *world, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	s := &teller{t: must, w: &world{states: make(map[change.LSN]state)}, ctx: ctx}
	s.db, err = embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	must(err)
	defer s.db.Close()
	bucket := storage.NewMem()
	_, err = archive.Init(ctx, bucket, archive.InitOptions{})
	must(err)
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	must(err)
	c := capture.New(a, s.db.Source(), capture.Options{FlushAge: time.Hour, CoverageEvery: time.Hour, RunBytes: 600})
	must(c.While(ctx, func(ctx context.Context) error {
		for i, chapter := range chapters {
			chapter.tell(s)
			if _, err := c.Sync(ctx); err != nil {
				return err
			}
			if chapter.base {
				if _, err := c.Snapshot(ctx); err != nil {
					return err
				}
			}
			if i == 4 {
				if _, err := a.Checkpoint(ctx, 3); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	s.w.objects, err = list(ctx, bucket)
	must(err)
	return s.w, nil
})

func tell(t testing.TB) *world {
	t.Helper()
	w, err := story()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// open returns an archive of these objects.
func open(t testing.TB, objects map[string][]byte) (*archive.Archive, *storage.Mem) {
	t.Helper()
	b := storage.NewMem()
	for key, raw := range objects {
		if err := b.Create(t.Context(), key, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := archive.Open(t.Context(), b, archive.OpenOptions{Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func list(ctx context.Context, b storage.Bucket) (map[string][]byte, error) {
	out := make(map[string][]byte)
	for info, err := range b.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		r, err := b.Read(ctx, info.Key, 0, -1)
		if err != nil {
			return nil, err
		}
		if out[info.Key], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func contents(t testing.TB, b storage.Bucket) map[string][]byte {
	t.Helper()
	out, err := list(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
