package salvage_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/salvage"
)

// TestManifests checks what is taken from checkpoints, and where the chain ends.
func TestManifests(t *testing.T) {
	w := tell(t)
	manifests := w.pick("manifest")
	var n tally
	t.Run("in a checkpoint", func(t *testing.T) {
		if w.check(t, w.after(harm{manifests[3], "deleted", nil}), salvage.Options{}, &n); n.refused != 1 {
			t.Errorf("an ordinary restore does with the checkpoint: %+v", n)
		}
		_, _, last, err := chain.ParseCheckpointKey(w.pick("checkpoint")[0])
		if err != nil {
			t.Fatal(err)
		}
		r := w.check(t, w.after(harm{manifests[3], "deleted", nil}, harm{manifests[last-1], "deleted", nil}), salvage.Options{}, &n)
		if !slices.Equal(r.Bundled, []chain.Seq{4, last}) || !r.Complete() || len(r.Damaged) != 2 {
			t.Errorf("bundled %v, damaged %v, collections %+v", r.Bundled, r.Damaged, r.Collections)
		}
	})
	t.Run("after the last checkpoint", func(t *testing.T) {
		at := len(manifests) - 3
		r := w.check(t, w.after(harm{manifests[at], "deleted", nil}), salvage.Options{}, &n)
		if int(r.Seq) != at || int(r.Listed) != len(manifests) || r.Complete() || r.Delivered() == 0 {
			t.Errorf("proved through %d of %d: %+v", r.Seq, r.Listed, r.Collections)
		}
	})
	t.Run("no archive is left", func(t *testing.T) {
		list := []harm{}
		for _, key := range append(w.pick("manifest")[:2], w.pick("checkpoint")...) {
			list = append(list, harm{key, "deleted", nil})
		}
		w.check(t, w.after(list...), salvage.Options{}, &n)
		if n.nothing != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// TestNeverTheDefault refuses where there is nothing to salvage, and targets
// that make no sense.
func TestNeverTheDefault(t *testing.T) {
	w := tell(t)
	run := func(objects map[string][]byte, target recovery.Target) error {
		a, _ := open(t, objects)
		dst, err := embedded.NewTarget("saved", embedded.Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = salvage.Run(t.Context(), a, dst, salvage.Options{Target: target})
		return err
	}
	if err := run(w.objects, recovery.Latest()); !errors.Is(err, salvage.ErrNotNeeded) {
		t.Errorf("a whole archive: %v", err)
	}
	broken := w.after(harm{w.pick("log")[0], "deleted", nil}, harm{w.pick("run")[0], "deleted", nil})
	if err := run(broken, recovery.AtLabel("there")); !errors.Is(err, recovery.ErrNoLabel) {
		t.Errorf("an unknown label: %v", err)
	}
	if err := run(broken, recovery.AtLSN(w.last+1)); !errors.Is(err, recovery.ErrOutside) {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestTellFails leaves nothing when the report can't be told.
func TestTellFails(t *testing.T) {
	w := tell(t)
	a, _ := open(t, w.after(harm{w.pick("log")[7], "deleted", nil}))
	fs := vfs.NewMem()
	dst, err := embedded.NewTarget("saved", embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if _, err := salvage.Run(t.Context(), a, dst, salvage.Options{Tell: func(*salvage.Report) error { return full }}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"saved", "saved.partial"} {
		if _, err := fs.Stat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}
