package drill_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// world is a database and its archive.
type world struct {
	t      *testing.T
	db     *embedded.DB
	bucket *storage.Mem
	a      *archive.Archive
	n      int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, bucket: storage.NewMem()}
	if _, err := archive.Init(t.Context(), w.bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	var err error
	if w.db, err = embedded.Open("db", embedded.Options{FS: vfs.NewMem()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	err = w.db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("item", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "name", Type: change.Text})
		if err == nil {
			_, err = tx.CreateCollection("note", nil, change.Column{Name: "text", Type: change.Text})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) reopen() {
	w.t.Helper()
	var err error
	if w.a, err = archive.Open(w.t.Context(), w.bucket, archive.OpenOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// commit stores a few rows.
func (w *world) commit() {
	w.t.Helper()
	err := w.db.Update(func(tx *embedded.Tx) error {
		for range 3 {
			w.n++
			if err := tx.Put("item", change.Row{change.IntValue(w.n), change.TextValue(fmt.Sprint("item ", w.n))}); err != nil {
				return err
			}
		}
		return tx.Add("note", change.Row{change.TextValue("a")}, 2)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// capture archives what the database holds; do is done meanwhile.
func (w *world) capture(do func(context.Context, *capture.Capturer) error) {
	w.t.Helper()
	c := capture.New(w.a, w.db.Source(), capture.Options{})
	err := c.While(w.t.Context(), func(ctx context.Context) error {
		if _, err := c.Sync(ctx); err != nil || do == nil {
			return err
		}
		return do(ctx, c)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func digest(ctx context.Context, c *capture.Capturer) error {
	_, err := c.Digest(ctx)
	return err
}

func snapshot(ctx context.Context, c *capture.Capturer) error {
	_, err := c.Snapshot(ctx)
	return err
}

// flip changes a byte of an object.
func (w *world) flip(key string, at int) {
	w.t.Helper()
	r, err := w.bucket.Read(w.t.Context(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err = errors.Join(err, w.bucket.Delete(w.t.Context(), key)); err != nil {
		w.t.Fatal(err)
	}
	raw[at] ^= 1
	if err := w.bucket.Create(w.t.Context(), key, bytes.NewReader(raw)); err != nil {
		w.t.Fatal(err)
	}
}

// run drills and checks what must hold of every result that is returned.
func (w *world) run(o drill.Options) (*drill.Result, error) {
	w.t.Helper()
	o.Dir = w.t.TempDir()
	r, err := drill.Run(w.t.Context(), w.a, o)
	if left, e := os.ReadDir(o.Dir); e != nil || (len(left) > 0) != (r != nil && r.Scratch != "") {
		w.t.Errorf("left in the scratch directory: %v, %v", left, e)
	}
	if (r != nil) != (err == nil || errors.Is(err, drill.ErrFailed)) || r != nil && r.OK != (err == nil) {
		w.t.Fatalf("result %+v with error %v", r, err)
	}
	if r != nil && r.Recorded {
		s := w.a.State()
		if last := s.Drills[len(s.Drills)-1].Body; last != r.Drill {
			w.t.Errorf("recorded %+v, want %+v", last, r.Drill)
		}
	}
	return r, err
}

// TestEvidence checks what a drill compares with and whether that counts as
// independent.
func TestEvidence(t *testing.T) {
	for _, c := range []struct {
		name        string
		story       func(w *world)
		lsn, base   change.LSN // where it restores to, and from
		independent bool
		text        string // in the evidence, or why there is none
	}{
		{"nothing to compare with", func(w *world) { w.commit(); w.capture(nil) }, 7, 0, false, "neither"},
		{"a digest, from the log alone", func(w *world) { w.commit(); w.capture(digest); w.commit(); w.capture(nil) }, 7, 0, true, "digests that the database showed at LSN 7"},
		{"a snapshot that the restore did not start from", func(w *world) { w.commit(); w.capture(snapshot) }, 7, 0, true, "snapshot of the database at LSN 7"},
		{"a digest beyond a snapshot", func(w *world) { w.commit(); w.capture(snapshot); w.commit(); w.capture(digest) }, 12, 7, true, "digests"},
		{"a digest at the very place of the only snapshot", func(w *world) {
			w.later()
			w.capture(func(ctx context.Context, c *capture.Capturer) error {
				return errors.Join(snapshot(ctx, c), digest(ctx, c))
			})
		}, 7, 7, true, "digests"},
		{"the only snapshot alone", func(w *world) { w.later(); w.capture(nil) }, 7, 7, false, "older start"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.story(w)
			r, err := w.run(drill.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r.LSN != c.lsn || r.Base != c.base || r.Independent != c.independent || !strings.Contains(r.Evidence+r.Why, c.text) || (r.Why == "") != c.independent {
				t.Errorf("LSN %d from %d, independent %t, evidence %q, why %q", r.LSN, r.Base, r.Independent, r.Evidence, r.Why)
			}
			if r.Rows == 0 || r.Bytes == 0 || r.Elapsed <= 0 || !r.Recorded || len(r.Collections) != 2 {
				t.Errorf("result %+v", r)
			}
			for _, col := range r.Collections {
				if !col.OK || (col.Want != nil) != (r.Evidence != "") {
					t.Errorf("collection %+v", col)
				}
			}
			h := w.a.State().Health()
			if h.Drill == nil || (h.Agreed != nil) != c.independent || h.RTO != r.RTO() {
				t.Errorf("health %+v", h)
			}
		})
	}
}

// later gives the world a restored database and a new archive for it, whose
// log starts in the middle of a history, with a base.
func (w *world) later() {
	w.t.Helper()
	w.commit()
	w.capture(nil)
	options := embedded.Options{FS: vfs.NewMem()}
	dst, err := embedded.NewTarget("restored", options)
	if err == nil {
		_, err = restore.Run(w.t.Context(), w.a, recovery.Latest(), dst, restore.Options{})
	}
	if err == nil {
		err = w.db.Close()
	}
	if err == nil {
		w.db, err = embedded.Open("restored", options)
	}
	w.bucket = storage.NewMem()
	if err == nil {
		_, err = archive.Init(w.t.Context(), w.bucket, archive.InitOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.reopen()
}

// TestSource compares with the database itself.
func TestSource(t *testing.T) {
	w := newWorld(t)
	w.commit()
	w.capture(nil)
	r, err := w.run(drill.Options{Source: w.db.Source()})
	if err != nil || !r.Independent || r.Against != 0 || !strings.Contains(r.Evidence, "read at LSN 7") {
		t.Fatalf("%+v, %v", r, err)
	}
	w.commit()
	if _, err := w.run(drill.Options{Source: w.db.Source()}); !errors.Is(err, drill.ErrBehind) || !strings.Contains(err.Error(), "LSN 12") {
		t.Errorf("the archive is behind: %v", err)
	}
	w.capture(func(ctx context.Context, c *capture.Capturer) error { // the capture catches up meanwhile
		w.commit()
		r, err := drill.Run(ctx, w.a, drill.Options{Source: w.db.Source(), Wait: 20 * time.Second, Dir: t.TempDir()})
		if err == nil && (r.LSN != 17 || !r.Independent) {
			err = fmt.Errorf("result %+v", r)
		}
		return err
	})
	other := newWorld(t)
	for range 3 {
		other.commit()
	}
	if _, err := w.run(drill.Options{Source: other.db.Source()}); !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("another database: %v", err)
	}
}

// TestFailed checks what is said and recorded when the archive does not yield
// the database.
func TestFailed(t *testing.T) {
	t.Run("other rows", func(t *testing.T) {
		w := newWorld(t)
		w.commit()
		w.capture(nil)
		w.lie(func(d *chain.Digest) { d.Digests[0].Rows++ })
		r, err := w.run(drill.Options{})
		if !errors.Is(err, restore.ErrMismatch) || !strings.Contains(r.Detail, `collection "item" at LSN 7: the database had 4 rows, the restored database has 3`) {
			t.Errorf("%v; detail %q", err, r.Detail)
		}
		if !r.Recorded || r.Collections[0].OK || !r.Collections[1].OK {
			t.Errorf("result %+v", r)
		}
		if h := w.a.State().Health(); h.Drill.OK || h.Agreed != nil || h.RTO != 0 {
			t.Errorf("health %+v", h)
		}
	})
	t.Run("other content, kept", func(t *testing.T) {
		w := newWorld(t)
		w.commit()
		w.capture(nil)
		w.lie(func(d *chain.Digest) { d.Digests[1].Digest[0]++ })
		r, err := w.run(drill.Options{Keep: true})
		if !errors.Is(err, restore.ErrMismatch) || !strings.Contains(r.Detail, `collection "note" at LSN 7: the database had other content`) {
			t.Fatalf("%v; detail %q", err, r.Detail)
		}
		db, err := embedded.Open(r.Scratch, embedded.Options{MustExist: true})
		if err != nil {
			t.Fatal(err)
		}
		if at := db.Info().LSN; at != 7 {
			t.Errorf("the scratch place is at LSN %d", at)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a collection that is not there", func(t *testing.T) {
		w := newWorld(t)
		w.commit()
		w.capture(nil)
		w.lie(nil)
		if r, err := w.run(drill.Options{}); err != nil || r.Independent || !strings.Contains(r.Why, "every collection") {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestNotCarriedOut checks what is said when the archive can't be read, and
// when the drill can't be carried out.
func TestNotCarriedOut(t *testing.T) {
	t.Run("damage", func(t *testing.T) {
		w := newWorld(t)
		w.commit()
		w.capture(digest)
		for seg, err := range w.a.State().Segments.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			w.flip(seg.Body.Packs[0].Key, 70)
		}
		r, err := w.run(drill.Options{NoRecord: true})
		if !errors.Is(err, pack.ErrCorrupt) || r.Detail == "" || r.Recorded || r.LSN != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("nothing is there", func(t *testing.T) {
		w := newWorld(t)
		if r, err := w.run(drill.Options{}); err == nil || r != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("no place", func(t *testing.T) {
		w := newWorld(t)
		w.commit()
		w.capture(nil)
		if _, err := drill.Run(t.Context(), w.a, drill.Options{Dir: t.TempDir() + "/missing"}); !errors.Is(err, restore.ErrPreflight) {
			t.Errorf("got %v, want ErrPreflight", err)
		}
	})
}

// item fingerprints the collection of that name.
func (w *world) item() chain.CollectionDigest {
	w.t.Helper()
	view, err := w.db.Source().Snapshot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := driver.Digests(w.t.Context(), view)
	if err = errors.Join(err, view.Close()); err != nil {
		w.t.Fatal(err)
	}
	return chain.CollectionDigest{Collection: 1, Rows: all[1].Rows, Digest: all[1].Sum()}
}

// lie puts digests into the archive that the database never showed, or with nil
// those of one collection only.
func (w *world) lie(change func(*chain.Digest)) {
	w.t.Helper()
	w.capture(func(ctx context.Context, c *capture.Capturer) error {
		if change == nil {
			return nil
		}
		return digest(ctx, c)
	})
	s := w.a.State()
	d := chain.Digest{LSN: s.Last, Digests: []chain.CollectionDigest{w.item()}}
	if change != nil {
		d.Digests = slices.Clone(s.Digests[len(s.Digests)-1].Body.Digests)
		change(&d)
	}
	session, err := w.a.Claim(w.t.Context(), archive.ClaimOptions{Source: s.Source, Mark: func(context.Context, *chain.State) (driver.Mark, error) {
		return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
	}})
	if err == nil {
		err = session.Digest(w.t.Context(), d)
	}
	if err == nil {
		err = session.Close(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestBeside drills while the database is captured.
func TestBeside(t *testing.T) {
	w := newWorld(t)
	w.commit()
	w.capture(func(ctx context.Context, c *capture.Capturer) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		ok, err := 0, error(nil)
		e := drill.Beside(ctx, c, drill.Schedule{Drill: 20 * time.Millisecond, Digest: 5 * time.Millisecond}, drill.Options{Dir: t.TempDir()},
			func(r *drill.Result, failed error) {
				if failed != nil || !r.OK || !r.Independent {
					err = fmt.Errorf("%+v: %w", r, failed)
				}
				w.commit()
				if ok++; ok == 3 || err != nil {
					cancel()
				}
			})
		return errors.Join(err, e)
	})
	if s := w.a.State(); len(s.Drills) < 3 || len(s.Digests) < 3 {
		t.Errorf("%d drills, %d digests", len(s.Drills), len(s.Digests))
	}
}
