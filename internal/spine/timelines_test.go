package spine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// forest is one archive and the databases that come from one another: restored
// from it, copied, rolled back; some lose their logs.
type forest struct {
	rt       *rapid.T
	bucket   *storage.Mem
	temp     string
	all      []*tree
	archived map[chain.TimelineID]map[change.LSN]string // what each LSN showed that was acknowledged
	did      map[string]int
}

// tree is one database.
type tree struct {
	fs    *vfs.MemFS
	db    *embedded.DB
	shown map[change.LSN]string // what it showed at the ends of transactions, archived or not
	last  change.LSN
	lag   embedded.LagPolicy
}

func (f *forest) must(err error) {
	if err != nil {
		f.rt.Fatalf("%v", err)
	}
}

func (f *forest) options(t *tree) embedded.Options {
	return embedded.Options{FS: t.fs, LogFileBytes: 1 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20, Lag: t.lag}
}

func (f *forest) open(t *tree) {
	db, err := embedded.Open("db", f.options(t))
	f.must(err)
	t.db = db
}

// note remembers what a database shows.
func (f *forest) note(t *tree) {
	view, err := t.db.Source().Snapshot(f.rt.Context())
	f.must(err)
	defer view.Close()
	all, err := driver.Digests(f.rt.Context(), view)
	f.must(err)
	t.last = view.Mark().LSN
	t.shown[t.last] = digestText(all)
}

func digestText(all map[change.CollectionID]*change.Digest) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%d: %d %s\n", id, all[id].Rows, all[id].Sum())
	}
	return b.String()
}

func (f *forest) n(most int, what string) int { return rapid.IntRange(0, most).Draw(f.rt, what) }

// commit changes something.
func (f *forest) commit(t *tree) {
	id := int64(f.n(9, "id"))
	f.must(t.db.Update(func(tx *embedded.Tx) error {
		if f.n(6, "op") == 0 {
			return tx.Truncate("account")
		}
		return errors.Join(put(tx, int(id), fmt.Sprint(len(f.all), " ", t.last)), put(tx, int(id)+20, "with it"))
	}))
	f.note(t)
}

// capture archives a database; one whose history went apart has to fork.
func (f *forest) capture(t *tree) {
	a, err := archive.Open(f.rt.Context(), f.bucket, archive.OpenOptions{})
	f.must(err)
	try := func(fork bool) (chain.TimelineID, error) {
		c := capture.New(a, t.db.Source(), capture.Options{Fork: fork, FlushBytes: 1 + int64(f.n(2000, "flush")), CheckpointEvery: 5 + f.n(20, "checkpoint")})
		err := c.While(f.rt.Context(), func(ctx context.Context) error {
			_, err := c.Sync(ctx)
			return err
		})
		return c.Archive().Timeline(), err
	}
	name, err := try(false)
	var apart *capture.ApartError
	if errors.As(err, &apart) {
		f.did["refused"]++
		name, err = try(true)
	}
	f.must(err)
	s := f.state(name)
	if s.Last != t.last {
		f.rt.Fatalf("timeline %s ends at LSN %d, the database at %d", name, s.Last, t.last)
	}
	// A copy that has not gone its own way yet can't be told from the original:
	// whoever goes on in the timeline first has it. But all that the timeline
	// held is its own history too, lost or not.
	if was := f.archived[name]; was != nil {
		for lsn, shown := range was {
			if t.shown[lsn] != shown {
				f.rt.Fatalf("timeline %s held %q at LSN %d, captured into it is a database that showed %q", name, shown, lsn, t.shown[lsn])
			}
		}
	}
	held := maps.Clone(t.shown)
	for i := range s.Gaps { // what was lost was never acknowledged
		g := &s.Gaps[i].Body
		for lsn := range f.archived[name] {
			if g.First <= lsn && lsn < g.Last {
				f.rt.Fatalf("timeline %s: LSN %d was acknowledged and is inside the gap of %d to %d", name, lsn, g.First, g.Last)
			}
		}
		maps.DeleteFunc(held, func(lsn change.LSN, _ string) bool { return g.First <= lsn && lsn < g.Last })
	}
	f.archived[name] = held
	f.did["captured"]++
}

func (f *forest) state(name chain.TimelineID) *chain.State {
	a, err := archive.Open(f.rt.Context(), f.bucket, archive.OpenOptions{Timeline: name})
	f.must(err)
	s, err := a.Load(f.rt.Context())
	f.must(err)
	return s
}

// restore brings a random acknowledged moment back as a database of its own.
func (f *forest) restore() {
	if len(f.archived) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(f.archived))
	name := names[f.n(len(names)-1, "timeline")]
	lsns := slices.Sorted(maps.Keys(f.archived[name]))
	lsn := lsns[f.n(len(lsns)-1, "lsn")]
	t := &tree{fs: vfs.NewCrashableMem(), shown: make(map[change.LSN]string), last: lsn}
	for n, shown := range f.archived[name] {
		if n <= lsn {
			t.shown[n] = shown
		}
	}
	a, err := archive.Open(f.rt.Context(), f.bucket, archive.OpenOptions{Timeline: name})
	f.must(err)
	dst, err := embedded.NewTarget("db", f.options(t))
	f.must(err)
	_, err = restore.Run(f.rt.Context(), a, recovery.AtLSN(lsn), dst, restore.Options{TempDir: f.temp})
	f.must(err)
	f.open(t)
	want := t.shown[lsn]
	if f.note(t); t.shown[lsn] != want || t.last != lsn {
		f.rt.Fatalf("restored from LSN %d of %s: %q, want %q", lsn, name, t.shown[t.last], want)
	}
	f.all = append(f.all, t)
	f.did["restored"]++
}

// copy takes a copy of a database's files.
func (f *forest) copy(t *tree) {
	f.must(t.db.Close())
	c := &tree{fs: t.fs.CrashClone(vfs.CrashCloneCfg{}), shown: maps.Clone(t.shown), last: t.last}
	f.open(t)
	f.open(c)
	f.all = append(f.all, c)
	f.did["copied"]++
}

// lose makes a database give up what is not archived of its log.
func (f *forest) lose(t *tree) {
	id, err := t.db.Source().Identity(f.rt.Context())
	f.must(err)
	if id.Acked == nil {
		return
	}
	f.must(t.db.Close())
	t.lag = embedded.LagPolicy{Action: embedded.LagDetach, Bytes: 8 << 10}
	f.open(t)
	for i := 0; ; i++ {
		c, err := t.db.Source().Changes(f.rt.Context(), id.Acked.Mark)
		if errors.Is(err, driver.ErrLogLost) {
			break
		}
		f.must(err)
		f.must(c.Close())
		f.must(t.db.Update(func(tx *embedded.Tx) error { return put(tx, i%5, fmt.Sprint(i, strings.Repeat("lost", 200))) }))
	}
	f.must(t.db.Close())
	t.lag = embedded.LagPolicy{}
	f.open(t)
	f.note(t)
	f.did["lost"]++
}

// check holds every timeline to what was acknowledged of it.
func (f *forest) check() {
	all, err := archive.Timelines(f.rt.Context(), f.bucket, archive.OpenOptions{})
	f.must(err)
	for _, b := range all {
		f.must(b.Err)
		for lsn, want := range f.archived[b.Timeline] {
			p, err := recovery.Resolve(f.rt.Context(), f.bucket, b.State, recovery.AtLSN(lsn))
			if err != nil {
				f.rt.Fatalf("timeline %s, LSN %d, which was acknowledged: %v", b.Timeline, lsn, err)
			}
			plan, err := recovery.MakePlan(f.rt.Context(), b.State, p)
			f.must(err)
			if got := f.at(plan); got != want {
				f.rt.Fatalf("timeline %s at LSN %d: %q, the database showed %q", b.Timeline, lsn, got, want)
			}
			f.did["compared"]++
		}
		r, err := restore.Verify(f.rt.Context(), b.Archive, restore.VerifyOptions{Level: restore.LevelRecords, TempDir: f.temp})
		f.must(err)
		if !r.OK() {
			f.rt.Fatalf("timeline %s: %v", b.Timeline, r.Findings)
		}
	}
	if len(all) != len(f.archived) {
		f.rt.Fatalf("%d timelines, %d were captured", len(all), len(f.archived))
	}
}

func (f *forest) at(plan *recovery.Plan) string {
	rows, err := recovery.At(f.rt.Context(), f.bucket, plan, recovery.AtOptions{TempDir: f.temp})
	f.must(err)
	defer rows.Close()
	got := make(map[change.CollectionID]*change.Digest)
	schemas := make(map[change.CollectionID]*change.Schema)
	for _, s := range rows.Schemas() {
		schemas[s.Collection], got[s.Collection] = s, new(change.Digest)
	}
	for r, err := range rows.All() {
		f.must(err)
		f.must(got[r.Collection].Add(schemas[r.Collection], r.Key, r.Image, max(1, r.Count)))
	}
	return digestText(got)
}

// TestForests lets random histories branch: databases are restored anywhere
// and go on there, are copied, and lose their logs. Everything acknowledged in
// every timeline can be restored exactly, and no timeline ever holds two
// histories.
func TestForests(t *testing.T) {
	did := make(map[string]int)
	temp := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		f := &forest{rt: rt, bucket: storage.NewMem(), temp: temp, archived: make(map[chain.TimelineID]map[change.LSN]string), did: did}
		_, err := archive.Init(rt.Context(), f.bucket, archive.InitOptions{})
		f.must(err)
		first := &tree{fs: vfs.NewCrashableMem(), shown: make(map[change.LSN]string)}
		f.open(first)
		f.all = append(f.all, first)
		defer func() {
			for _, t := range f.all {
				_ = t.db.Close()
			}
		}()
		f.must(first.db.Update(createAccount))
		f.note(first)
		f.capture(first)
		for range 10 + f.n(25, "steps") {
			t := f.all[f.n(len(f.all)-1, "database")]
			switch f.n(11, "step") {
			default:
				f.commit(t)
			case 5, 6, 7, 8:
				f.capture(t)
			case 9:
				f.restore()
			case 10:
				f.copy(t)
			case 11:
				f.lose(t)
			}
		}
		f.check()
	})
	t.Log(did)
	for _, what := range []string{"captured", "refused", "restored", "copied", "lost", "compared"} {
		if did[what] == 0 {
			t.Errorf("no history was %s", what)
		}
	}
}
