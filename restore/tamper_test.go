package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// A tampering is one thing done to the objects of an archive.
type tampering struct {
	name    string
	key     string            // of the object that a finding must name
	twin    string            // another that an error may name instead
	objects map[string][]byte // afterwards
	level   restore.Level     // that finds it; 0: none, as nothing that is needed was harmed
}

// kindOf tells objects that could take each other's place.
func kindOf(key string) string {
	if parts := strings.Split(key, "/"); len(parts) >= 3 { // manifests lie in directories of their own
		return parts[1]
	}
	return key
}

// tamperings generates everything that is tried with a world.
func tamperings(w, other *world) []tampering {
	var out []tampering
	keys := slices.Sorted(maps.Keys(w.objects))
	head := ""
	for _, key := range keys {
		if kindOf(key) == "manifest" {
			head = max(head, key)
		}
	}
	for _, key := range keys {
		raw := w.objects[key]
		add := func(level restore.Level, name string, changes map[string][]byte) {
			objects := maps.Clone(w.objects)
			for k, content := range changes {
				if content == nil {
					delete(objects, k)
				} else {
					objects[k] = content
				}
			}
			out = append(out, tampering{name: key + " " + name, key: key, objects: objects, level: level})
		}
		pick := func(name string, content []byte) {
			level := restore.LevelChain
			if k := kindOf(key); (k == "log" || k == "run") && len(content) == len(raw) {
				level = restore.LevelObjects
			}
			if !bytes.Equal(content, raw) {
				add(level, name, map[string][]byte{key: content})
			}
		}
		for i := range 9 {
			at := i * (len(raw) - 1) / 8
			bad := bytes.Clone(raw)
			bad[at] ^= 1 << (at % 8)
			pick(fmt.Sprintf("byte %d flipped", at), bad)
		}
		for _, n := range []int{len(raw) - 1, len(raw) / 2, 0} {
			pick(fmt.Sprintf("cut to %d bytes", n), append([]byte{}, raw[:n]...))
		}
		pick("with one byte more", append(bytes.Clone(raw), '\n'))
		pick("with 4096 bytes more", append(bytes.Clone(raw), make([]byte, 4096)...))
		for _, k := range keys {
			if k != key && kindOf(k) == kindOf(key) {
				pick("replaced by "+k, w.objects[k])
			}
		}
		for _, k := range slices.Sorted(maps.Keys(other.objects)) {
			if kindOf(k) == kindOf(key) && (k == key || kindOf(k) == "log" || kindOf(k) == "run") {
				pick("replaced by another archive's "+k, other.objects[k])
			}
		}
		gone := restore.LevelChain
		if key == head {
			gone = 0
		}
		add(gone, "deleted", map[string][]byte{key: nil})
		if twin := twinOf(key, head); twin != "" {
			level := restore.Level(0)
			if kindOf(key) == "manifest" {
				level = restore.LevelChain
			}
			add(level, "doubled as "+twin, map[string][]byte{twin: raw})
			out[len(out)-1].key = twin
			if key != head { // the head's twin would stand behind a hole of one
				add(restore.LevelChain, "renamed to "+twin, map[string][]byte{twin: raw, key: nil})
				out[len(out)-1].twin = twin
			}
		}
	}
	return out
}

// twinOf returns another key that is valid for the same kind of object, "" if
// there is none.
func twinOf(key, head string) string {
	switch kindOf(key) {
	case "manifest":
		t, seq, _ := chain.ParseManifestKey(head)
		return chain.ManifestKey(t, seq+1)
	case "log", "run":
		k, _ := chain.ParsePackKey(key)
		k.Nonce = strings.Repeat("0", 15) + "1"
		return k.String()
	case "checkpoint":
		t, first, last, _ := chain.ParseCheckpointKey(key)
		return chain.CheckpointKey(t, first, last+1)
	}
	return ""
}

// TestTamper tries every tampering: verification finds it at the level that it
// belongs to and names the object, and no restore ends with wrong rows or
// leaves anything half-done.
func TestTamper(t *testing.T) {
	w, other := get(t, wholeWorld), get(t, otherWorld)
	cases := tamperings(w, other)
	var refused, exact atomic.Int64
	t.Run("all", func(t *testing.T) {
		for i, c := range cases {
			if testing.Short() && i%4 != 0 {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				a, err := archive.Open(t.Context(), bucketOf(t, c.objects), archive.OpenOptions{Sleep: noSleep})
				if c.key == archive.IdentityKey {
					identityTampered(t, c, err)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				whole := c.verify(t, a)
				for _, m := range []moment{w.moments[0], w.moments[4], w.moment(t, w.label), w.last()} {
					if c.restore(t, a, m, whole) {
						exact.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
		}
	})
	t.Logf("%d tamperings; %d restores refused, %d exact", len(cases), refused.Load(), exact.Load())
	if refused.Load() == 0 || exact.Load() == 0 {
		t.Error("the cases are too much alike")
	}
}

// noSleep is the pause between attempts.
func noSleep(context.Context, time.Duration) error { return nil }

// identityTampered checks what became of opening an archive whose tidemark.json
// is not what it was. Another archive's can be opened, and no manifest fits it.
func identityTampered(t *testing.T, c tampering, err error) {
	if err == nil && strings.Contains(c.name, "another archive's") {
		a := openArchive(t, bucketOf(t, c.objects))
		if _, err := a.Load(t.Context()); !errors.Is(err, chain.ErrWrongRepo) {
			t.Errorf("got %v, want ErrWrongRepo", err)
		}
		return
	}
	if !(errors.Is(err, chain.ErrDamaged) || errors.Is(err, archive.ErrNotArchive)) || !strings.Contains(err.Error(), archive.IdentityKey) {
		t.Errorf("got %v, want ErrDamaged or ErrNotArchive that names %s", err, archive.IdentityKey)
	}
}

// verify checks what each level finds, and reports whether it is nothing.
func (c *tampering) verify(t *testing.T, a *archive.Archive) (whole bool) {
	t.Helper()
	for _, level := range []restore.Level{restore.LevelChain, restore.LevelObjects, restore.LevelRecords} {
		rep, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: level})
		if err != nil {
			t.Fatalf("level %s: %v", level, err)
		}
		want := c.level != 0 && level >= c.level
		n := 0
		for _, f := range rep.Findings {
			if f.Key == c.key {
				n++
			}
		}
		if want != (n > 0) || n > 1 || !want && !rep.OK() {
			t.Errorf("level %s: findings %v, want one of %s: %t", level, rep.Findings, c.key, want)
		}
	}
	return c.level == 0
}

// restore restores to a moment and reports whether that went well.
func (c *tampering) restore(t *testing.T, a *archive.Archive, m moment, whole bool) bool {
	t.Helper()
	p := new(place)
	res, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{TempDir: t.TempDir()})
	if err == nil {
		if err := p.holds(m); err != nil {
			t.Fatalf("LSN %d: restored, and %v", m.at, err)
		}
		if !slices.Equal(res.Digests, m.digests) {
			t.Errorf("LSN %d: result %+v", m.at, res)
		}
		return true
	}
	if whole {
		t.Errorf("LSN %d: refused, although nothing was found: %v", m.at, err)
	}
	if err := p.untouched(); err != nil {
		t.Errorf("LSN %d: %v", m.at, err)
	}
	named, typed := strings.Contains(err.Error(), c.key) || c.twin != "" && strings.Contains(err.Error(), c.twin), false
	for _, want := range []error{chain.ErrDamaged, chain.ErrBroken, chain.ErrManifest, chain.ErrWrongRepo, pack.ErrCorrupt, storage.ErrNotFound} {
		typed = typed || errors.Is(err, want)
	}
	if !named || !typed {
		t.Errorf("LSN %d: the error does not say what is damaged (named: %t, typed: %t): %v", m.at, named, typed, err)
	}
	return false
}
