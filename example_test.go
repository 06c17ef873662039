package tidemark_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tidemarkdb/tidemark"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

type item struct {
	ID    int64  `tidemark:"id,key"`
	Name  string `tidemark:"name"`
	Price int64  `tidemark:"price"`
}

var items = embedded.Of[item]("item")

// A database is protected while it is in use, wrecked by a wrong loop, and
// brought back as it was just before.
func Example() {
	if err := story(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// before: 3 items
	// wrecked: 0 items
	// the newest transaction deleted 3 rows
	// restored: 3 items
}

func story(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	archive := filepath.Join(dir, "archive")

	db, err := embedded.Open(filepath.Join(dir, "shop.db"), embedded.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	backup, err := tidemark.Protect(ctx, db, archive, tidemark.Options{})
	if err != nil {
		return err
	}
	defer backup.Close()

	err = db.Update(func(tx *embedded.Tx) error {
		return items.Put(tx, item{1, "lamp", 1990}, item{2, "chair", 4900}, item{3, "table", 12000})
	})
	if err != nil {
		return err
	}
	if err := say(db, "before"); err != nil {
		return err
	}

	// The accident.
	err = db.Update(func(tx *embedded.Tx) error {
		for id := range 3 {
			if _, err := items.Delete(tx, int64(id)+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := say(db, "wrecked"); err != nil {
		return err
	}

	// What happened?
	if _, err := backup.Sync(ctx); err != nil {
		return err
	}
	target := recovery.Latest()
	for tx, err := range history.Find(ctx, backup.Archive(), backup.Archive().State(), history.Query{}) {
		if err != nil {
			return err
		}
		fmt.Println("the newest transaction deleted", tx.Rows, "rows")
		target = recovery.AtTx(tx.ID).JustBefore()
		break
	}

	// Bring it back, beside the one in use.
	if _, err := tidemark.Restore(ctx, archive, filepath.Join(dir, "restored.db"), target, restore.Options{}); err != nil {
		return err
	}
	back, err := embedded.Open(filepath.Join(dir, "restored.db"), embedded.Options{})
	if err != nil {
		return err
	}
	defer back.Close()
	return say(back, "restored")
}

func say(db *embedded.DB, when string) error {
	n := 0
	err := db.View(func(tx *embedded.Tx) error {
		for _, err := range items.All(tx) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	fmt.Printf("%s: %d items\n", when, n)
	return err
}
