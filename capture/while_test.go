package capture_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// whileWorld is a database with one transaction and an empty archive for it.
func whileWorld(t *testing.T) (*archive.Archive, *embedded.DB) {
	t.Helper()
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, db
}

func TestWhileClosesTheEpoch(t *testing.T) {
	a, db := whileWorld(t)
	c := capture.New(a, db.Source(), capture.Options{})
	err := c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := a.State(); s.EpochOpen || s.Last != 1 {
		t.Errorf("epoch open: %t, archived through LSN %d; want it closed at 1", s.EpochOpen, s.Last)
	}
}

func TestWhileReturnsWhatWentWrong(t *testing.T) {
	a, db := whileWorld(t)
	boom := errors.New("boom")
	c := capture.New(a, db.Source(), capture.Options{})
	if err := c.While(t.Context(), func(context.Context) error { return boom }); err != boom {
		t.Errorf("got %v, want the function's error", err)
	}

	// The capture can't start: the function's context ends, and its error is
	// not the one that matters.
	other, err := archive.Open(t.Context(), a.Bucket(), archive.OpenOptions{}) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	holder := capture.New(a, db.Source(), capture.Options{})
	err = holder.While(t.Context(), func(ctx context.Context) error {
		if _, err := holder.Sync(ctx); err != nil {
			return err
		}
		second := capture.New(other, db.Source(), capture.Options{})
		return second.While(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
	})
	if !errors.Is(err, chain.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestWhileIsInterrupted(t *testing.T) {
	a, db := whileWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := capture.New(a, db.Source(), capture.Options{})
	err := c.While(ctx, func(ctx context.Context) error {
		if _, err := c.Sync(ctx); err != nil {
			return err
		}
		cancel()
		<-ctx.Done()
		return nil
	})
	if err != nil || a.State().EpochOpen {
		t.Errorf("%v, epoch open: %t; want nil and closed", err, a.State().EpochOpen)
	}
}
