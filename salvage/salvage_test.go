package salvage_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/salvage"
)

// harm is one thing done to an object; nil deletes it.
type harm struct {
	key, what string
	raw       []byte
}

// harms lists what is done to each object of the world.
func (w *world) harms() []harm {
	var out []harm
	for _, key := range slices.Sorted(maps.Keys(w.objects)) {
		if key == archive.IdentityKey {
			continue
		}
		raw := w.objects[key]
		for _, at := range []int{20, len(raw) / 2, len(raw) - 3} {
			bad := bytes.Clone(raw)
			bad[min(at, len(raw)-1)] ^= 4
			out = append(out, harm{key, fmt.Sprintf("byte %d flipped", at), bad})
		}
		out = append(out, harm{key, "cut", bytes.Clone(raw[:len(raw)*2/3])}, harm{key, "deleted", nil})
	}
	return out
}

func (w *world) after(list ...harm) map[string][]byte {
	objects := maps.Clone(w.objects)
	for _, h := range list {
		if delete(objects, h.key); h.raw != nil {
			objects[h.key] = h.raw
		}
	}
	return objects
}

// tally counts what became of the cases.
type tally struct{ whole, partly, refused, nothing int }

// check salvages and holds the result and the report against the model.
func (w *world) check(t *testing.T, objects map[string][]byte, o salvage.Options, n *tally) *salvage.Report {
	t.Helper()
	a, bucket := open(t, objects)
	before := contents(t, bucket)
	fs := vfs.NewMem()
	dst, err := embedded.NewTarget("saved", embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var told *salvage.Report
	o.TempDir, o.Tell = t.TempDir(), func(r *salvage.Report) error { told = r; return nil }
	r, err := salvage.Run(t.Context(), a, dst, o)
	if after := contents(t, bucket); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Error("the archive was changed")
	}
	ordinary := w.ordinary(t, a, o.Target)
	switch {
	case errors.Is(err, salvage.ErrNotNeeded):
		n.refused++
		if ordinary != nil {
			t.Errorf("refused, but an ordinary restore fails: %v", ordinary)
		}
		return nil
	case errors.Is(err, salvage.ErrNothing):
		n.nothing++
		return r
	case err != nil:
		t.Fatalf("salvage: %v", err)
	}
	if ordinary == nil {
		t.Error("salvaged, although an ordinary restore succeeds")
	}
	if told != r {
		t.Error("the report was not told")
	}
	w.compare(t, fs, r)
	if r.Complete() {
		n.whole++
	} else {
		n.partly++
	}
	return r
}

// ordinary is an ordinary restore to the same target, which must be exact or fail.
func (w *world) ordinary(t *testing.T, a *archive.Archive, target recovery.Target) error {
	t.Helper()
	fs := vfs.NewMem()
	dst, err := embedded.NewTarget("out", embedded.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), a, target, dst, restore.Options{TempDir: t.TempDir()})
	if err != nil {
		if _, e := fs.Stat("out"); e == nil {
			t.Error("the ordinary restore failed and left something")
		}
		return err
	}
	_, got := read(t, fs, "out")
	if want := w.states[res.Reached.LSN]; len(got) != len(want) {
		t.Errorf("the ordinary restore yields %d collections, want %d", len(got), len(want))
	}
	return nil
}

func read(t *testing.T, fs vfs.FS, dir string) (*embedded.Info, state) {
	t.Helper()
	db, err := embedded.Open(dir, embedded.Options{FS: fs, MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	info := db.Info()
	_, got, err := stateOf(t.Context(), db.Source())
	if err != nil {
		t.Fatal(err)
	}
	id, err := db.Source().Identity(t.Context())
	if err != nil || (id.Restored == nil) != info.Salvaged {
		t.Errorf("salvaged: %t, yet it goes on from %+v: %v", info.Salvaged, id.Restored, err)
	}
	return &info, got
}

// compare holds what was delivered against the model, and the report against
// both: nothing is delivered that was not so, nothing is missing unsaid.
func (w *world) compare(t *testing.T, fs vfs.FS, r *salvage.Report) {
	t.Helper()
	info, got := read(t, fs, "saved")
	if !info.Salvaged || !info.Restored {
		t.Errorf("the result does not say what it is: %+v", info)
	}
	listed := make(map[change.CollectionID]bool)
	var rows int64
	for i := range r.Collections {
		c := &r.Collections[i]
		listed[c.ID] = true
		if (got[c.ID] != nil) != c.Delivered {
			t.Errorf("collection %d: in the result: %t, in the report: %t", c.ID, got[c.ID] != nil, c.Delivered)
		}
		if !c.Delivered {
			continue
		}
		if c.LSN > r.Target || w.states[c.LSN] == nil || w.states[c.LSN][c.ID] == nil {
			t.Fatalf("collection %q is said to be as of LSN %d (target %d), where it is not", c.Name, c.LSN, r.Target)
		}
		rows += c.Rows
		w.table(t, c, got[c.ID], w.states[c.LSN][c.ID], r.Target)
	}
	if rows != r.Rows {
		t.Errorf("%d rows are reported, %d in all collections", r.Rows, rows)
	}
	for id := range got {
		if !listed[id] {
			t.Errorf("collection %d was delivered and not reported", id)
		}
	}
	for id, was := range w.states[r.Target] {
		if !listed[id] && r.Listed == r.Seq {
			t.Errorf("collection %q is missing and not reported", was.schema.Name)
		}
	}
}

// table compares one collection.
func (w *world) table(t *testing.T, c *salvage.Collection, got, want *table, target change.LSN) {
	t.Helper()
	if got.schema.Name != want.schema.Name || got.schema.Version != want.schema.Version {
		t.Errorf("collection %d has schema %q version %d, want %q version %d", c.ID, got.schema.Name, got.schema.Version, want.schema.Name, want.schema.Version)
	}
	lost := func(key string) bool {
		row := hex.EncodeToString([]byte(key))
		for _, k := range c.LostKeys {
			if (k.After == nil || row > k.After.Key) && (k.Before == nil || row < k.Before.Key) {
				return true
			}
		}
		return false
	}
	for key, row := range got.rows {
		if want.rows[key] != row {
			t.Errorf("collection %q at LSN %d: key %x is %s, want %q", c.Name, c.LSN, key, row, want.rows[key])
		}
		if lost(key) {
			t.Errorf("collection %q: key %x was delivered, but is reported lost", c.Name, key)
		}
	}
	for key := range want.rows {
		if got.rows[key] == "" && !lost(key) {
			t.Errorf("collection %q at LSN %d: key %x is missing and not reported", c.Name, c.LSN, key)
		}
	}
	if c.Whole && (len(c.LostKeys) > 0 || len(got.rows) != len(want.rows)) || c.Complete && (!c.Whole || c.LSN != target) {
		t.Errorf("collection %+v with %d rows, want %d", c, len(got.rows), len(want.rows))
	}
	if c.Differs != "" {
		t.Errorf("collection %q differs from what the database showed: %s", c.Name, c.Differs)
	}
}

// TestEveryHarm does each harm alone, and goes to several targets.
func TestEveryHarm(t *testing.T) {
	w := tell(t)
	var n tally
	for i, h := range w.harms() {
		if testing.Short() && i%5 != 0 {
			continue
		}
		t.Run(h.key+" "+h.what, func(t *testing.T) {
			w.check(t, w.after(h), salvage.Options{}, &n)
		})
	}
	t.Logf("%+v", n)
	if n.whole == 0 || n.partly == 0 || n.refused == 0 {
		t.Errorf("the cases are too much alike: %+v", n)
	}
}

// TestManyHarms does several at once.
func TestManyHarms(t *testing.T) {
	w := tell(t)
	harms := w.harms()
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	lsns := slices.Sorted(maps.Keys(w.states))
	var n tally
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var list []harm
			for range 1 + rnd.IntN(5) {
				list = append(list, harms[rnd.IntN(len(harms))])
			}
			o := salvage.Options{Newest: rnd.IntN(2) == 0}
			if rnd.IntN(2) == 0 {
				o.Target = recovery.AtLSN(lsns[rnd.IntN(len(lsns))])
			}
			r := w.check(t, w.after(list...), o, &n)
			if t.Failed() {
				for _, h := range list {
					t.Logf("%s %s", h.key, h.what)
				}
				t.Logf("target %s, newest %t: %+v", o.Target, o.Newest, r)
			}
		})
	}
	t.Logf("%+v", n)
}

// pick returns the keys of a kind, in order.
func (w *world) pick(kind string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(w.objects)) {
		if strings.Contains(key, "/"+kind+"/") {
			out = append(out, key)
		}
	}
	return out
}

func find(t *testing.T, r *salvage.Report, name string) *salvage.Collection {
	t.Helper()
	for i := range r.Collections {
		if r.Collections[i].Name == name {
			return &r.Collections[i]
		}
	}
	t.Fatalf("collection %q is not in the report", name)
	return nil
}

// TestHowFar checks that each collection is brought as far as can be proved.
func TestHowFar(t *testing.T) {
	w := tell(t)
	logs, runs := w.pick("log"), w.pick("run")
	gone := func(keys ...string) (out []harm) {
		for _, k := range keys {
			out = append(out, harm{k, "deleted", nil})
		}
		return out
	}
	var n tally
	t.Run("a segment that not every collection has records in", func(t *testing.T) {
		r := w.check(t, w.after(gone(logs[7])...), salvage.Options{}, &n)
		for _, name := range []string{"calm", "late"} {
			if c := find(t, r, name); !c.Complete {
				t.Errorf("%+v", c)
			}
		}
		for _, name := range []string{"busy", "bag"} {
			if c := find(t, r, name); !c.Whole || c.Complete || c.Records == 0 {
				t.Errorf("%+v", c)
			}
		}
		if len(r.Lost) != 1 || r.Lost[0].Txs != 2 || len(r.Lost[0].Records) != 2 || len(r.Damaged) != 1 {
			t.Errorf("lost %+v, damaged %v", r.Lost, r.Damaged)
		}
	})
	t.Run("a truncate makes what was before it immaterial", func(t *testing.T) {
		r := w.check(t, w.after(gone(append(slices.Clone(runs), logs[4], logs[5])...)...), salvage.Options{}, &n)
		if c := find(t, r, "late"); !c.Complete || c.Base != 0 {
			t.Errorf("%+v", c)
		}
		if c := find(t, r, "calm"); !c.Whole || c.Complete {
			t.Errorf("%+v", c)
		}
	})
	t.Run("a base in pieces, and no way around it", func(t *testing.T) {
		whole, _ := open(t, w.objects)
		state, err := whole.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list := gone(logs[:6]...)
		for _, run := range state.Snapshots[0].Body.Runs {
			list = append(list, gone(run.Key)...)
		}
		list = append(list, gone(state.Snapshots[1].Body.Runs[1].Key)...) // rows of "busy"
		r := w.check(t, w.after(list...), salvage.Options{}, &n)
		partly := 0
		for i := range r.Collections {
			if c := &r.Collections[i]; c.Delivered && !c.Whole {
				partly++
				if c.LostRows == 0 || len(c.LostKeys) != 1 {
					t.Errorf("%+v", c)
				}
			}
		}
		if partly == 0 {
			t.Errorf("no collection was delivered in part: %+v", r.Collections)
		}
	})
	t.Run("everything", func(t *testing.T) {
		r := w.check(t, w.after(gone(append(slices.Clone(runs), logs...)...)...), salvage.Options{}, &n)
		if n.nothing != 1 || r == nil || r.Delivered() != 0 || len(r.Damaged) != len(runs)+len(logs) {
			t.Errorf("%+v", r)
		}
	})
}
