package spine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// The scenarios read as a person would write them: no faults, no chance.

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDB(t *testing.T, dir string, o embedded.Options) *embedded.DB {
	t.Helper()
	db, err := embedded.Open(dir, o)
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newArchive(t *testing.T, b storage.Bucket) *archive.Archive {
	t.Helper()
	_, err := archive.Init(t.Context(), b, archive.InitOptions{})
	check(t, err)
	a, err := archive.Open(t.Context(), b, archive.OpenOptions{})
	check(t, err)
	return a
}

// while captures db into a while fn runs, and archives all that fn committed.
func while(t *testing.T, a *archive.Archive, db *embedded.DB, fn func(c *capture.Capturer)) {
	t.Helper()
	c := capture.New(a, db.Source(), capture.Options{})
	check(t, c.While(t.Context(), func(ctx context.Context) error {
		fn(c)
		_, err := c.Sync(ctx)
		return err
	}))
}

func restoreTo(t *testing.T, a *archive.Archive, target recovery.Target, dir string, o embedded.Options, ro restore.Options) (*embedded.DB, *restore.Result) {
	t.Helper()
	dst, err := embedded.NewTarget(dir, o)
	check(t, err)
	res, err := restore.Run(t.Context(), a, target, dst, ro)
	check(t, err)
	o.MustExist = true
	return openDB(t, dir, o), res
}

// digests fingerprints what a database holds.
func digests(t *testing.T, db *embedded.DB) map[change.CollectionID]string {
	t.Helper()
	view, err := db.Source().Snapshot(t.Context())
	check(t, err)
	defer view.Close()
	all, err := driver.Digests(t.Context(), view)
	check(t, err)
	out := make(map[change.CollectionID]string)
	for id, d := range all {
		out[id] = fmt.Sprintf("%d rows, %s", d.Rows, d.Sum())
	}
	return out
}

func same(t *testing.T, what string, want, got map[change.CollectionID]string) {
	t.Helper()
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func createAccount(tx *embedded.Tx) error {
	_, err := tx.CreateCollection("account", []string{"id"},
		change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "owner", Type: change.Text})
	return err
}

func put(tx *embedded.Tx, id int, owner string) error {
	return tx.Put("account", change.Row{change.IntValue(int64(id)), change.TextValue(owner)})
}

// TestAccident is the main job: rows are committed and archived, somebody
// wrecks them, the transaction is found, and the database comes back as it was
// just before, in files as on any machine.
func TestAccident(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, filepath.Join(dir, "db"), embedded.Options{})
	bucket, err := storage.CreateDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	check(t, err)
	defer bucket.Close()
	a := newArchive(t, bucket)
	var before map[change.CollectionID]string
	while(t, a, db, func(*capture.Capturer) {
		check(t, db.Update(createAccount))
		for i := range 50 {
			check(t, db.Update(func(tx *embedded.Tx) error {
				for j := range 20 {
					if err := put(tx, 20*i+j, fmt.Sprint("owner ", j)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		before = digests(t, db)
		check(t, db.Update(func(tx *embedded.Tx) error { // the accident
			for i := range 1000 {
				if i%3 > 0 {
					if err := put(tx, i, "nobody"); err != nil {
						return err
					}
				} else if _, err := tx.Delete("account", change.IntValue(int64(i))); err != nil {
					return err
				}
			}
			return nil
		}))
		check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, 5000, "somebody new") }))
	})
	after := digests(t, db)

	state, err := a.Load(t.Context())
	check(t, err)
	var found []history.Transaction
	for tx, err := range history.Find(t.Context(), a, state, history.Query{Collection: "account", Op: change.Delete, MinRows: 100}) {
		check(t, err)
		found = append(found, tx)
	}
	if len(found) != 1 || found[0].Rows != 334 || found[0].ID != 52 {
		t.Fatalf("found %+v, want transaction 52 with 334 deleted rows", found)
	}
	back, res := restoreTo(t, a, recovery.AtTx(found[0].ID).JustBefore(), filepath.Join(dir, "back"), embedded.Options{}, restore.Options{})
	if res.Reached.LSN != found[0].JustBefore() || res.Rows != 1000 || res.Discards.Records != 1001 {
		t.Errorf("reached LSN %d with %d rows, discarding %d records; want LSN %d, 1000 rows, 1001 records",
			res.Reached.LSN, res.Rows, res.Discards.Records, found[0].JustBefore())
	}
	same(t, "restored to just before the accident", before, digests(t, back))
	same(t, "the wrecked database, which a restore does not touch", after, digests(t, db))
	report, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: restore.LevelRecords})
	if err != nil || !report.OK() {
		t.Errorf("verification: %v, %+v", err, report)
	}
}

// TestAttachedLater archives a database that has long released the beginning
// of its log: the archive starts with a base, and knows nothing from before.
func TestAttachedLater(t *testing.T) {
	o := embedded.Options{FS: vfs.NewMem(), LogFileBytes: 4 << 10, MemTableBytes: 64 << 10, CacheBytes: 1 << 20}
	db := openDB(t, "db", o)
	check(t, db.Update(createAccount))
	for n := 0; db.Info().LogFrom == 1; n++ {
		if n == 100_000 {
			t.Fatal("the log is never released")
		}
		check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, n, strings.Repeat("x", 200)) }))
	}
	start := db.Info().LSN
	base := digests(t, db)
	a := newArchive(t, storage.NewMem())
	var middle map[change.CollectionID]string
	var marked change.LSN
	while(t, a, db, func(c *capture.Capturer) {
		check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, 0, "first after the base") }))
		middle, marked = digests(t, db), db.Info().LSN
		_, err := c.Snapshot(t.Context())
		check(t, err)
		check(t, db.Update(func(tx *embedded.Tx) error { return tx.Truncate("account") }))
	})
	state, err := a.Load(t.Context())
	check(t, err)
	if state.Start == 0 || len(state.Snapshots) != 2 {
		t.Fatalf("the archive starts at LSN %d with %d bases, want the middle of the log and 2", state.Start, len(state.Snapshots))
	}
	for n := state.Snapshots[0].Body.LSN; n <= state.Last; n++ {
		got, res := restoreTo(t, a, recovery.AtLSN(n), fmt.Sprint("at-", n), o, restore.Options{})
		want := map[change.LSN]map[change.CollectionID]string{start: base, marked: middle, state.Last: digests(t, db)}[n]
		same(t, fmt.Sprint("LSN ", n), want, digests(t, got))
		if wasBase := n != state.Last; res.Confirmed != wasBase {
			t.Errorf("LSN %d: compared with what the source showed: %t, want %t", n, res.Confirmed, wasBase)
		}
	}
	if _, err := recovery.Resolve(t.Context(), a.Bucket(), state, recovery.AtLSN(1)); !errors.Is(err, recovery.ErrOutside) {
		t.Errorf("LSN 1 of an archive that starts at %d: %v", state.Start, err)
	}
}

// TestRestoreOfARestore goes on with a restored database, twice, each time in
// an archive of its own. No timeline takes another database.
func TestRestoreOfARestore(t *testing.T) {
	o := embedded.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
	db := openDB(t, "db-0", o)
	check(t, db.Update(createAccount))
	var archives []*archive.Archive
	var states []map[change.CollectionID]string // at each archive's end
	for i := range 3 {
		a := newArchive(t, storage.NewMem())
		for j, other := range archives {
			err := capture.New(other, db.Source(), capture.Options{Timeline: chain.MainTimeline}).Run(t.Context())
			if !errors.Is(err, driver.ErrDiverged) {
				t.Errorf("database %d into archive %d: %v, want ErrDiverged", i, j, err)
			}
		}
		lsn := db.Info().LSN
		while(t, a, db, func(*capture.Capturer) {
			check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, i, fmt.Sprint("life ", i)) }))
		})
		if got := db.Info().LSN; got != lsn+1 {
			t.Errorf("life %d ends at LSN %d, want %d", i, got, lsn+1)
		}
		archives, states = append(archives, a), append(states, digests(t, db))
		var res *restore.Result
		db, res = restoreTo(t, a, recovery.Latest(), fmt.Sprint("db-", i+1), o, restore.Options{})
		if info := db.Info(); !info.Restored || info.RestoreAt != res.Reached.LSN || info.LogHash != res.Reached.LogHash {
			t.Errorf("restored database %d says %+v", i+1, info)
		}
		same(t, fmt.Sprint("restored database ", i+1), states[i], digests(t, db))
	}
}

// TestLargestRow takes a row of the largest size all the way, and refuses one
// byte more as a whole.
func TestLargestRow(t *testing.T) {
	if testing.Short() {
		t.Skip("moves some 100 MB")
	}
	o := embedded.Options{FS: vfs.NewMem()}
	db := openDB(t, "db", o)
	a := newArchive(t, storage.NewMem())
	const around = 1 + 1 + 4 // bytes of an image with one text: flags, column, length
	largest := strings.Repeat("tidemark", change.MaxImage/8)[:change.MaxImage-around]
	while(t, a, db, func(*capture.Capturer) {
		check(t, db.Update(createAccount))
		check(t, db.Update(func(tx *embedded.Tx) error {
			return errors.Join(put(tx, 1, "small"), put(tx, 2, largest), put(tx, 3, "beside it"))
		}))
		kept := digests(t, db)
		err := db.Update(func(tx *embedded.Tx) error {
			return errors.Join(put(tx, 4, "in the same transaction"), put(tx, 5, largest+"+"))
		})
		if !errors.Is(err, change.ErrSchema) {
			t.Errorf("a row of one byte too many: %v, want ErrSchema", err)
		}
		same(t, "after a row was refused", kept, digests(t, db))
	})
	got, res := restoreTo(t, a, recovery.Latest(), "back", o, restore.Options{TempDir: t.TempDir()})
	if res.Rows != 3 {
		t.Errorf("%d rows restored, want 3", res.Rows)
	}
	check(t, got.View(func(tx *embedded.Tx) error {
		row, ok, err := tx.Get("account", change.IntValue(2))
		if err == nil && (!ok || row[1].Str() != largest) {
			t.Error("the largest row did not come back as it was")
		}
		return err
	}))
}

// TestLargeTransaction takes a transaction of 200,000 records all the way: it
// spans blocks and log files, and is never split. Little memory must do to
// restore it, to the same rows.
func TestLargeTransaction(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 400,000 records")
	}
	const rows = 200_000
	o := embedded.Options{FS: vfs.NewMem(), LogFileBytes: 1 << 20}
	db := openDB(t, "db", o)
	a := newArchive(t, storage.NewMem())
	var small map[change.CollectionID]string
	while(t, a, db, func(*capture.Capturer) {
		check(t, db.Update(createAccount))
		check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, -1, "alone") }))
		small = digests(t, db)
		for _, word := range []string{"made", "changed"} { // all inserted at once, then most changed at once
			check(t, db.Update(func(tx *embedded.Tx) error {
				for i := range rows {
					if i%10 == 9 && word == "changed" {
						continue
					}
					if err := put(tx, i*7919%rows, fmt.Sprint(word, " ", i)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	})
	want := digests(t, db)
	temp := t.TempDir()
	for _, memory := range []int64{0, 4 << 20, 1} {
		got, res := restoreTo(t, a, recovery.Latest(), fmt.Sprint("memory-", memory), o, restore.Options{Memory: memory, TempDir: temp})
		if res.Rows != rows+1 {
			t.Errorf("memory %d: %d rows, want %d", memory, res.Rows, rows+1)
		}
		same(t, fmt.Sprint("memory ", memory), want, digests(t, got))
		check(t, got.Close())
	}
	state, err := a.Load(t.Context())
	check(t, err)
	for _, lsn := range []change.LSN{3, 100_000, rows + 1} {
		_, err := recovery.Resolve(t.Context(), a.Bucket(), state, recovery.AtLSN(lsn))
		var inside *recovery.InsideTxError
		if !errors.As(err, &inside) || inside.Before != 2 || inside.Last != rows+2 {
			t.Errorf("LSN %d, inside the large transaction: %v", lsn, err)
		}
	}
	got, _ := restoreTo(t, a, recovery.AtLSN(100_000).JustBefore(), "before", o, restore.Options{})
	same(t, "just before the large transaction", small, digests(t, got))
}

// TestRefusals shows what a person gets who asks for what can't be had.
func TestRefusals(t *testing.T) {
	o := embedded.Options{FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
	db := openDB(t, "db", o)
	bucket := storage.NewMem()
	if _, err := archive.Open(t.Context(), bucket, archive.OpenOptions{}); !errors.Is(err, archive.ErrNotArchive) {
		t.Errorf("an empty bucket: %v", err)
	}
	a := newArchive(t, bucket)
	while(t, a, db, func(c *capture.Capturer) {
		check(t, db.Update(createAccount))
		check(t, db.Update(func(tx *embedded.Tx) error { return put(tx, 1, "one") }))
		other, err := archive.Open(t.Context(), bucket, archive.OpenOptions{})
		check(t, err)
		_, err = c.Sync(t.Context())
		check(t, err)
		var locked *archive.LockedError
		err = capture.New(other, db.Source(), capture.Options{Timeline: chain.MainTimeline}).Run(t.Context())
		if !errors.Is(err, chain.ErrLocked) || !errors.As(err, &locked) || locked.Holder == "" {
			t.Errorf("a second capture: %v, want ErrLocked with the holder", err)
		}
	})
	full, err := embedded.NewTarget("db", o)
	check(t, err)
	if _, err := restore.Run(t.Context(), a, recovery.Latest(), full, restore.Options{}); !errors.Is(err, driver.ErrNotEmpty) || !errors.Is(err, restore.ErrPreflight) {
		t.Errorf("a restore over a database: %v, want ErrNotEmpty at preflight", err)
	}
	same(t, "the database in the way", digests(t, db), digests(t, db))

	// A flipped byte in the log: refused, and nothing is left at the destination.
	state, err := a.Load(t.Context())
	check(t, err)
	key := chaintest.Segments(state)[0].Body.Packs[0].Key
	flip(t, bucket, key)
	dst, err := embedded.NewTarget("damaged", o)
	check(t, err)
	if _, err := restore.Run(t.Context(), a, recovery.Latest(), dst, restore.Options{}); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a damaged pack: %v, want its name", err)
	}
	for _, name := range []string{"damaged", "damaged.partial"} {
		if _, err := o.FS.Stat(name); err == nil {
			t.Errorf("%s was left by a restore that failed", name)
		}
	}
}

// flip changes one bit in the middle of an object.
func flip(t *testing.T, b *storage.Mem, key string) {
	t.Helper()
	size, err := b.Size(t.Context(), key)
	check(t, err)
	r, err := b.Read(t.Context(), key, 0, size)
	check(t, err)
	var data bytes.Buffer
	_, err = data.ReadFrom(r)
	check(t, errors.Join(err, r.Close(), b.Delete(t.Context(), key)))
	data.Bytes()[size/3] ^= 0x10
	check(t, b.Create(t.Context(), key, &data))
}
