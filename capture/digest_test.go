package capture_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

// TestDigest checks that what the archive is told is what the source shows, at
// an LSN that the archive covers.
func TestDigest(t *testing.T) {
	a, db := whileWorld(t)
	put := func(n int64) {
		if err := db.Update(func(tx *embedded.Tx) error { return tx.Put("c", change.Row{change.IntValue(n)}) }); err != nil {
			t.Fatal(err)
		}
	}
	c := capture.New(a, db.Source(), capture.Options{})
	err := c.While(t.Context(), func(ctx context.Context) error {
		for n := range int64(3) {
			put(n)
			d, err := c.Digest(ctx)
			if err != nil {
				return err
			}
			if d.LSN != change.LSN(n+2) || len(d.Digests) != 1 || d.Digests[0].Rows != n+1 {
				t.Errorf("digest %+v after %d rows", d, n+1)
			}
			if s := a.State(); s.Last < d.LSN || len(s.Digests) != int(n+1) || s.Digests[n].Body.Digests[0] != d.Digests[0] {
				t.Errorf("the archive ends at LSN %d and has digests %+v", s.Last, s.Digests)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Digest(t.Context()); !errors.Is(err, capture.ErrStopped) {
		t.Errorf("after the capture has ended: %v", err)
	}
}

// TestDigestOfNothing publishes nothing for a source without collections.
func TestDigestOfNothing(t *testing.T) {
	a, _ := whileWorld(t)
	db, err := embedded.Open("empty", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		d, err := c.Digest(ctx)
		if err == nil && len(d.Digests) != 0 {
			t.Errorf("digest %+v of nothing", d)
		}
		return err
	})
	if err != nil || len(a.State().Digests) != 0 {
		t.Errorf("%v; digests %+v", err, a.State().Digests)
	}
}
