package archive

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

func keysOf(t *testing.T, b storage.Bucket) (keys []string) {
	t.Helper()
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func TestInit(t *testing.T) {
	b := storage.NewMem()
	id, err := Init(t.Context(), b, InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, b); len(got) != 1 || got[0] != IdentityKey {
		t.Errorf("init left %q", got)
	}
	again, err := Init(t.Context(), b, InitOptions{})
	if !errors.Is(err, ErrAlreadyInitialized) || again != id || !strings.Contains(err.Error(), string(id.Repo)) {
		t.Errorf("a second init: %+v, %v", again, err)
	}
	if a, err := Open(t.Context(), b, OpenOptions{PinRepo: id.Repo}); err != nil || a.Identity() != id {
		t.Errorf("open: %v", err)
	}
	if _, err := Open(t.Context(), b, OpenOptions{PinRepo: chaintest.Repo}); !errors.Is(err, chain.ErrWrongRepo) {
		t.Errorf("open as another repository: %v", err)
	}
	if _, err := Open(t.Context(), b, OpenOptions{Timeline: "Main/x"}); err == nil {
		t.Error("a timeline with a bad name was opened")
	}
}

func TestOpenWhatIsNoArchive(t *testing.T) {
	b := storage.NewMem()
	if _, err := Open(t.Context(), b, OpenOptions{}); !errors.Is(err, ErrNotArchive) || !strings.Contains(err.Error(), "init") {
		t.Errorf("an empty bucket: %v", err)
	}
	for text, want := range map[string]error{
		`{"format":2,"colour":"red"}`: chain.ErrVersion,
		`{"format":1}`:                chain.ErrDamaged,
		``:                            chain.ErrDamaged,
		`hello`:                       chain.ErrDamaged,
	} {
		replace(t, b, IdentityKey, []byte(text))
		if _, err := Open(t.Context(), b, OpenOptions{}); !errors.Is(err, want) {
			t.Errorf("identity %q: %v, want %v", text, err, want)
		}
		if _, err := Init(t.Context(), b, InitOptions{}); !errors.Is(err, want) {
			t.Errorf("init over identity %q: %v, want %v", text, err, want)
		}
	}
	replace(t, b, IdentityKey, nil)
	replace(t, b, chain.ManifestKey(chain.MainTimeline, 1), []byte("x"))
	if _, err := Init(t.Context(), b, InitOptions{}); !errors.Is(err, chain.ErrDamaged) {
		t.Errorf("init of a bucket that lost its identity: %v", err)
	}
}

// TestInitInterrupted makes each operation fail, and repeats.
func TestInitInterrupted(t *testing.T) {
	f := storagetest.NewFaulty(storage.NewMem())
	if _, err := Init(t.Context(), f, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := range len(f.Trace()) {
		for _, fault := range []storagetest.Fault{storagetest.Before, storagetest.After, storagetest.Late} {
			f := storagetest.NewFaulty(storage.NewMem(), storagetest.Rule{Fault: fault, N: n + 1})
			_, first := Init(t.Context(), f, InitOptions{})
			if err := f.Land(t.Context()); err != nil && !errors.Is(err, storage.ErrExists) {
				t.Fatal(err)
			}
			f.SetRules()
			if _, err := Init(t.Context(), f, InitOptions{}); err != nil && !errors.Is(err, ErrAlreadyInitialized) {
				t.Errorf("%s at operation %d: %v; then %v", fault, n+1, first, err)
			}
			if _, err := Open(t.Context(), f, OpenOptions{}); err != nil {
				t.Errorf("%s at operation %d: open: %v", fault, n+1, err)
			}
		}
	}
}

// careless breaks the contract of Create in one way.
type careless struct {
	storage.Bucket
	overwrite, deny bool
}

func (c careless) Create(ctx context.Context, key string, body io.Reader) error {
	err := c.Bucket.Create(ctx, key, body)
	if errors.Is(err, storage.ErrExists) && c.overwrite {
		return nil
	}
	if err == nil && c.deny {
		return storage.ErrExists
	}
	return err
}

func TestInitRefusesCarelessStores(t *testing.T) {
	for _, b := range []careless{{overwrite: true}, {deny: true}} {
		b.Bucket = storage.NewMem()
		if _, err := Init(t.Context(), b, InitOptions{}); !errors.Is(err, ErrUnsuitable) {
			t.Errorf("%+v: %v", b, err)
		}
		if got := keysOf(t, b); len(got) != 0 {
			t.Errorf("a refused init left %q", got)
		}
	}
}

func TestInitRace(t *testing.T) {
	b := storage.NewMem()
	ids, errs := make([]Identity, 8), make([]error, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i], errs[i] = Init(t.Context(), b, InitOptions{}) })
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
		} else if !errors.Is(err, ErrAlreadyInitialized) {
			t.Errorf("init %d: %v", i, err)
		}
		if ids[i] != ids[0] {
			t.Errorf("init %d returned repository %s, init 0 %s", i, ids[i].Repo, ids[0].Repo)
		}
	}
	if winners != 1 {
		t.Errorf("%d of 8 concurrent inits made the archive", winners)
	}
}
