package salvage_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/salvage"
	"github.com/tidemarkdb/tidemark/storage"
)

// noise is text that does not compress.
func noise(rnd *rand.Rand, size int) change.Value {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('!' + rnd.IntN(90))
	}
	return change.TextValue(string(b))
}

// TestBlocksBeforeTheDamage takes the transactions of a segment that lie whole
// before its first damaged block, and the rows of a base around one.
func TestBlocksBeforeTheDamage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	w := &world{states: make(map[change.LSN]state)}
	s := &teller{t: func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}, w: w, ctx: t.Context()}
	var err error
	if s.db, err = embedded.Open("db", embedded.Options{FS: vfs.NewMem()}); err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.create("busy", "calm")
	s.put("calm", 0, 5, 1)
	for n := range int64(30) {
		s.commit(func(tx *embedded.Tx) error {
			for id := range int64(3) {
				if err := tx.Put("busy", change.Row{change.IntValue(n*3 + id), noise(rnd, 60_000)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	c := capture.New(a, s.db.Source(), capture.Options{FlushAge: time.Hour, CoverageEvery: time.Hour})
	err = c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Snapshot(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.objects = contents(t, bucket)
	log, run := w.pick("log")[0], w.pick("run")[0]
	flipped := func(key string) harm {
		raw := bytes.Clone(w.objects[key])
		raw[len(raw)/2] ^= 1
		return harm{key, "flipped", raw}
	}
	var n tally
	r := w.check(t, w.after(flipped(log), harm{run, "deleted", nil}), salvage.Options{}, &n)
	if busy := find(t, r, "busy"); !busy.Whole || busy.Rows < 15 || busy.Rows > 60 || busy.Records == 0 || len(r.Lost) != 1 || r.Lost[0].First != busy.LSN+1 {
		t.Errorf("%+v, lost %+v", busy, r.Lost)
	}
	if calm := find(t, r, "calm"); !calm.Complete || calm.Rows != 5 {
		t.Errorf("%+v", calm)
	}
	r = w.check(t, w.after(flipped(run), harm{log, "deleted", nil}), salvage.Options{}, &n)
	if busy := find(t, r, "busy"); busy.Whole || busy.Rows == 0 || busy.Rows+busy.LostRows != 90 || len(busy.LostKeys) != 1 || busy.LSN != r.Target {
		t.Errorf("%+v", busy)
	}
	if calm := find(t, r, "calm"); !calm.Complete {
		t.Errorf("%+v", calm)
	}
	both := w.after(flipped(run), flipped(log))
	whole := w.check(t, both, salvage.Options{}, &n)
	newest := w.check(t, both, salvage.Options{Newest: true}, &n)
	if x, y := find(t, whole, "busy"), find(t, newest, "busy"); !x.Whole || y.Whole || x.LSN >= y.LSN {
		t.Errorf("whole %+v, newest %+v", x, y)
	}
}

// TestNewArchive captures a salvaged database into an archive of its own, and
// finds that it can't go on in the old one.
func TestNewArchive(t *testing.T) {
	w := tell(t)
	old, _ := open(t, w.after(harm{w.pick("log")[7], "deleted", nil}))
	options := embedded.Options{FS: vfs.NewMem()}
	dst, err := embedded.NewTarget("saved", options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := salvage.Run(t.Context(), old, dst, salvage.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := embedded.Open("saved", options)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func() {
		if err := db.Update(func(tx *embedded.Tx) error { return tx.Put("late", change.Row{change.IntValue(1), text(1, 5)}) }); err != nil {
			t.Fatal(err)
		}
	}
	put()
	sync := func(a *archive.Archive) error {
		c := capture.New(a, db.Source(), capture.Options{})
		return c.While(t.Context(), func(ctx context.Context) error {
			put()
			_, err := c.Sync(ctx)
			return err
		})
	}
	if err := sync(old); err == nil || strings.Contains(err.Error(), "EOF") {
		t.Errorf("the old archive takes it: %v", err)
	}
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	fresh, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
	if err == nil {
		err = sync(fresh)
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := embedded.NewTarget("again", options)
	if err == nil {
		_, err = restore.Run(t.Context(), fresh, recovery.Latest(), again, restore.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := stateOf(t.Context(), db.Source())
	if err != nil {
		t.Fatal(err)
	}
	info, got := read(t, options.FS, "again")
	if info.Salvaged {
		t.Error("a restore of the new archive is said to be salvaged")
	}
	for id, x := range want {
		if got[id] == nil || fmt.Sprint(got[id].rows) != fmt.Sprint(x.rows) {
			t.Errorf("collection %d differs", id)
		}
	}
}
