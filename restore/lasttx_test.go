package restore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestLastTx restores to a base whose segment is lost, where nothing says which
// transaction ends there: the database must not give out IDs again that its
// history holds.
func TestLastTx(t *testing.T) {
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, bucket)
	put := func(from, to int64) error {
		return db.Update(func(tx *embedded.Tx) error {
			for n := from; n <= to; n++ {
				if err := tx.Put("c", change.Row{change.IntValue(n), change.TextValue(fmt.Sprint(n))}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "text", Type: change.Text})
		return err
	})
	for n := int64(0); n <= 3*chain.LargestTxs && err == nil; n++ {
		err = put(n, n+2)
	}
	if err == nil {
		err = put(1, 1) // small: the manifest does not name it
	}
	if err != nil {
		t.Fatal(err)
	}
	before := db.Info()
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Snapshot(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for seg, err := range a.State().Segments.All(t.Context()) {
		if err == nil {
			err = bucket.Delete(t.Context(), seg.Body.Packs[0].Key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	(&world{}).verified(t, a, restore.LevelObjects)
	fs := vfs.NewMem()
	dst, err := embedded.NewTarget("db", embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), a, recovery.AtLSN(before.LSN), dst, restore.Options{TempDir: t.TempDir()})
	if err != nil || res.Reached.Tx != 0 {
		t.Fatalf("%+v, %v; nothing tells the transaction", res, err)
	}
	back, err := embedded.Open("db", embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if got := back.Info(); got.LSN != before.LSN || got.Tx < before.Tx {
		t.Errorf("restored at LSN %d, last transaction %d; the database was at LSN %d, transaction %d", got.LSN, got.Tx, before.LSN, before.Tx)
	}
}
