package follow_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/storage"
)

// life is a standby whose power is cut now and then.
type life struct {
	*world
	disk *vfs.MemFS
	db   *embedded.DB // nil while it is down
	at   change.LSN   // shown last; it never goes back but by a rebase
}

// up opens the standby.
func (l *life) up() {
	l.t.Helper()
	l.db = l.prepare(l.disk)
}

// TestStandbyIsTheModel lets source, store and standby fail at random. Whatever
// the standby shows is what the source showed at that LSN, with its log hash.
func TestStandbyIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{world: newWorld(t, rapid.Uint64().Draw(t, "seed")), disk: vfs.NewCrashableMem()}
		defer func() { _ = l.world.db.Close() }()
		l.capture()
		l.up()
		for range rapid.IntRange(3, 25).Draw(t, "steps") {
			l.step(t)
		}
		l.capture()
		if l.db == nil {
			l.up()
		}
		if gap := l.follow(l.bucket); gap {
			l.rebase()
		}
		if got := l.check(l.db); got != l.world.db.Info().LSN {
			t.Fatalf("in the end the standby is at LSN %d, the source at %d", got, l.world.db.Info().LSN)
		}
		closing(t, l.db)
	})
}

func (l *life) step(t *rapid.T) {
	switch rapid.IntRange(0, 11).Draw(t, "step") {
	case 0, 1, 2, 3:
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			l.commit()
		}
	case 4, 5:
		l.capture()
	case 6: // the source's power is cut
		l.crash()
	case 7: // the standby's power is cut
		if l.db != nil {
			left := l.disk.CrashClone(vfs.CrashCloneCfg{})
			_ = l.db.Close()
			l.disk, l.db = left, nil
		}
	case 8: // the store fails at some read
		if l.db != nil {
			n := rapid.IntRange(0, 12).Draw(t, "reads")
			l.follow(&flaky{Bucket: l.bucket, fail: func() bool { n--; return n < 0 }})
		}
	case 9:
		if rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
			l.capture()
			l.gap()
		}
	default:
		if l.db == nil {
			l.up()
		}
		if gap := l.follow(l.bucket); gap {
			l.rebase()
		}
	}
	if l.db != nil {
		at := l.check(l.db)
		if at < l.at {
			l.t.Fatalf("the standby went back from LSN %d to %d", l.at, at)
		}
		l.at = at
	}
}

// follow catches up and reports whether that ended at a gap.
func (l *life) follow(b storage.Bucket) (gap bool) {
	l.t.Helper()
	s, err := l.db.Standby()
	if err != nil {
		l.t.Fatal(err)
	}
	a, err := openArchive(b)
	if err == nil {
		_, err = follow.New(a, s, follow.Options{}).CatchUp(context.Background())
	}
	if err != nil && !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, follow.ErrGap) {
		l.t.Fatal(err)
	}
	return errors.Is(err, follow.ErrGap)
}

func (l *life) rebase() {
	l.t.Helper()
	closing(l.t, l.db)
	o := follow.PrepareOptions{Database: small(l.disk)}
	if err := follow.Rebase(context.Background(), l.archive(l.bucket), "standby", o); err != nil {
		l.t.Fatal(err)
	}
	l.up()
}

// TestRebaseCrashes cuts the power at each operation of a rebase: the old
// standby is there, or the new one.
func TestRebaseCrashes(t *testing.T) {
	w := newWorld(t, 10)
	w.capture()
	disk := vfs.NewCrashableMem()
	db := w.prepare(disk)
	old := w.check(db)
	closing(t, db)
	w.gap()
	var left []*vfs.MemFS
	n := 0
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			if n++; n%3 == 0 || op.Kind == errorfs.OpRename || op.Kind == errorfs.OpRemoveAll {
				left = append(left, disk.CrashClone(vfs.CrashCloneCfg{}))
			}
		}
		return nil
	}))
	if err := follow.Rebase(t.Context(), w.archive(w.bucket), "standby", follow.PrepareOptions{Database: small(fs)}); err != nil {
		t.Fatal(err)
	}
	left = append(left, disk.CrashClone(vfs.CrashCloneCfg{}))
	olds, news := 0, 0
	for i, disk := range left {
		db := w.prepare(disk)
		switch at := w.check(db); at {
		case old:
			olds++
		case w.db.Info().LSN:
			news++
		default:
			t.Errorf("crash %d leaves a standby at LSN %d", i, at)
		}
		closing(t, db)
		if err := follow.Rebase(t.Context(), w.archive(w.bucket), "standby", follow.PrepareOptions{Database: small(disk)}); err != nil {
			t.Errorf("rebase after crash %d: %v", i, err)
		}
	}
	if olds < 10 || news < 2 {
		t.Errorf("the old standby was left %d times, the new one %d times", olds, news)
	}
}
