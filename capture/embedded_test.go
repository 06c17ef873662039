package capture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// TestEmbeddedUnderLoad captures a database while eight writers change it and
// the store fails now and then; capturers come and go, some by takeover, and
// ask for snapshots. In the end the archive proves itself and holds what the
// database holds.
func TestEmbeddedUnderLoad(t *testing.T) {
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(createRows); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(t.Context())
	var writers errgroup.Group
	for w := range 8 {
		writers.Go(func() error { return write(writing, db, int64(w)) })
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 6 {
		faulty := storagetest.NewFaulty(bucket)
		a, err := archive.Open(t.Context(), faulty, archive.OpenOptions{
			Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
		if err != nil {
			t.Fatal(err)
		}
		var rules []storagetest.Rule
		for op := 1; op < 200; op += 5 + rnd.IntN(25) {
			fault := []storagetest.Fault{storagetest.Before, storagetest.After}[rnd.IntN(2)]
			rules = append(rules, storagetest.Rule{Fault: fault, N: op})
		}
		faulty.SetRules(rules...)
		c := capture.New(a, db.Source(), capture.Options{FlushBytes: 8 << 10, FlushAge: 20 * time.Millisecond,
			RunBytes: 16 << 10, Takeover: true})
		err = c.While(t.Context(), func(ctx context.Context) error {
			if _, err := c.Sync(ctx); err != nil {
				return err
			}
			if i%2 == 0 {
				if _, err := c.Snapshot(ctx); err != nil {
					return err
				}
			}
			_, err := c.Sync(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	prove(t, a, db)
}

func createRows(tx *embedded.Tx) error {
	_, err := tx.CreateCollection("rows", []string{"id"}, change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "v", Type: change.Text})
	if err != nil {
		return err
	}
	_, err = tx.CreateCollection("bag", nil, change.Column{Name: "v", Type: change.Text})
	return err
}

// write changes rows of its own until ctx ends.
func write(ctx context.Context, db *embedded.DB, w int64) error {
	for i := int64(0); ctx.Err() == nil; i++ {
		err := db.Update(func(tx *embedded.Tx) error {
			id := change.IntValue(w*1000 + i%50)
			if i%7 == 6 {
				_, err := tx.Delete("rows", id)
				return err
			}
			v := change.TextValue(fmt.Sprintf("%d %s", i, strings.Repeat("x", int(i%90))))
			if err := tx.Put("rows", change.Row{id, v}); err != nil || i%5 > 0 {
				return err
			}
			return tx.Add("bag", change.Row{change.TextValue(fmt.Sprint(i % 3))}, 1)
		})
		if err != nil {
			return err
		}
		if i%4 == 0 {
			time.Sleep(time.Millisecond) // leave the other side some time
		}
	}
	return nil
}

// prove checks every record of the archive, and its end against the database.
func prove(t *testing.T, a *archive.Archive, db *embedded.DB) {
	t.Helper()
	ctx := t.Context()
	report, err := restore.Verify(ctx, a, restore.VerifyOptions{Level: restore.LevelRecords})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("findings: %v", report.Findings)
	}
	s, err := a.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	view, err := db.Source().Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	want, err := driver.Digests(ctx, view)
	if err != nil {
		t.Fatal(err)
	}
	if m := view.Mark(); m.LSN != s.Last || m.LogHash != s.LogHash || len(s.Snapshots) != 3 {
		t.Errorf("the archive ends at LSN %d with %d bases, the database at %d", s.Last, len(s.Snapshots), m.LSN)
	}
	point, err := recovery.Resolve(ctx, a.Bucket(), s, recovery.Latest())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := recovery.MakePlan(t.Context(), s, point)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := recovery.At(ctx, a.Bucket(), plan, recovery.AtOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := make(map[change.CollectionID]*change.Digest)
	schemas := make(map[change.CollectionID]*change.Schema)
	for _, s := range rows.Schemas() {
		schemas[s.Collection], got[s.Collection] = s, new(change.Digest)
	}
	for r, err := range rows.All() {
		if err == nil {
			err = got[r.Collection].Add(schemas[r.Collection], r.Key, r.Image, max(1, r.Count))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, d := range want {
		if got[id] == nil || got[id].Sum() != d.Sum() || got[id].Rows != d.Rows {
			t.Errorf("collection %d: the archive's state differs from the database's", id)
		}
	}
}
