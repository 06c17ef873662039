package plan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/job"
	"github.com/tidemarkdb/tidemark/plan"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// captured returns an archive of a few transactions with a base among them.
func captured(t *testing.T) (*storage.Mem, *archive.Archive) {
	t.Helper()
	ctx := t.Context()
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	bucket := storage.NewMem()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int64) error {
		return db.Update(func(tx *embedded.Tx) error {
			return tx.Put("item", change.Row{change.IntValue(n), change.TextValue("thing")})
		})
	}
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(ctx, func(ctx context.Context) error {
		err := db.Update(func(tx *embedded.Tx) error {
			_, err := tx.CreateCollection("item", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "name", Type: change.Text})
			return err
		})
		err = errors.Join(err, put(1))
		_, err2 := c.Snapshot(ctx)
		err = errors.Join(err, err2, put(2), put(3))
		_, err2 = c.Sync(ctx)
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket, a
}

func made(t *testing.T, a *archive.Archive, o plan.Options) (*plan.Document, *chain.State) {
	t.Helper()
	d, s, err := plan.Make(t.Context(), a, recovery.Latest(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

// TestEveryByteCounts changes a stored plan byte by byte, and cuts it short:
// none of that is taken for a plan.
func TestEveryByteCounts(t *testing.T) {
	_, a := captured(t)
	d, _ := made(t, a, plan.Options{Archive: "shop", Now: 77})
	b, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(d, back, cmpopts.IgnoreUnexported(plan.Check{}, change.Schema{})); diff != "" {
		t.Errorf("it reads back as another (-want +got):\n%s", diff)
	}
	for i := range len(b) - 1 { // the last is the end of the line
		for _, x := range []byte{1, 32, 128} {
			bad := append([]byte(nil), b...)
			bad[i] ^= x
			if d, err := plan.Decode(bad); !errors.Is(err, plan.ErrChanged) {
				t.Fatalf("byte %d is %q, not %q: %v, %v", i, bad[i], b[i], d, err)
			}
		}
		if _, err := plan.Decode(b[:i]); !errors.Is(err, plan.ErrChanged) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	if _, err := plan.Decode(append(b, b...)); !errors.Is(err, plan.ErrChanged) {
		t.Errorf("twice: %v", err)
	}
}

// TestShelf stores plans and gets them back by the first digits of their IDs.
func TestShelf(t *testing.T) {
	_, a := captured(t)
	d, _ := made(t, a, plan.Options{Now: change.TimeOf(time.Now())})
	dir := t.TempDir()
	s := plan.OpenShelf(dir)
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("an empty shelf lists %v, %v", all, err)
	}
	if err := errors.Join(s.Put(d), s.Put(d)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{d.ID.String(), d.ID.Short(), strings.ToUpper(d.ID.String()[:4])} {
		if got, err := s.Get(id); err != nil || got.ID != d.ID {
			t.Errorf("get %s: %v", id, err)
		}
	}
	for _, id := range []string{"", d.ID.String()[:3], "zzzz", d.ID.String() + "0"} {
		if _, err := s.Get(id); !errors.Is(err, plan.ErrUnknown) {
			t.Errorf("get %q: %v", id, err)
		}
	}
	// One under another's name.
	other := change.Hash{1, 2, 3}
	b, err := d.Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "plans", other.String()+".plan"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(other.Short()); !errors.Is(err, plan.ErrChanged) {
		t.Errorf("a plan under another's name: %v", err)
	}
	if all, err := s.List(); err != nil || len(all) != 2 || !errors.Is(all[0].Err, plan.ErrChanged) || all[1].Document.ID != d.ID {
		t.Errorf("the shelf lists %+v, %v", all, err)
	}
	if gone, err := s.RemoveBefore(time.Now().Add(-time.Hour)); err != nil || len(gone) != 0 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if gone, err := s.RemoveBefore(time.Now().Add(time.Hour)); err != nil || len(gone) != 2 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if _, err := s.Get(d.ID.Short()); !errors.Is(err, plan.ErrUnknown) {
		t.Errorf("after it was removed: %v", err)
	}
}

// TestFits checks which archives a plan is for.
func TestFits(t *testing.T) {
	bucket, a := captured(t)
	d, s := made(t, a, plan.Options{})
	if err := d.Fits(t.Context(), a, s); err != nil {
		t.Error(err)
	}
	if err := a.Label(t.Context(), chain.Label{Name: "later", LSN: s.Last}); err != nil {
		t.Fatal(err)
	}
	grown, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Fits(t.Context(), a, grown); err != nil {
		t.Errorf("an archive that has grown: %v", err)
	}
	_, strange := captured(t)
	_, theirs := made(t, strange, plan.Options{})
	if err := d.Fits(t.Context(), strange, theirs); !errors.Is(err, plan.ErrNotHere) || errors.Is(err, chain.ErrDamaged) {
		t.Errorf("another archive: %v", err)
	}
	later, _ := made(t, a, plan.Options{})
	if err := bucket.Delete(t.Context(), chain.ManifestKey(chain.MainTimeline, grown.Seq)); err != nil {
		t.Fatal(err)
	}
	if err := later.Fits(t.Context(), a, s); !errors.Is(err, plan.ErrNotHere) || !errors.Is(err, chain.ErrDamaged) {
		t.Errorf("an archive that was cut: %v", err)
	}
	later.Plan.Seq = s.Seq
	if err := later.Fits(t.Context(), a, s); !errors.Is(err, plan.ErrNotHere) || !errors.Is(err, chain.ErrDamaged) {
		t.Errorf("an archive that was rewritten: %v", err)
	}
}

// TestForecast checks by what a time is judged, and that it scales.
func TestForecast(t *testing.T) {
	_, a := captured(t)
	d, _ := made(t, a, plan.Options{})
	work := d.Forecast.Work
	if work < 3 || d.Forecast.Likely != 0 || d.Forecast.Restores != 0 {
		t.Errorf("with nothing measured: %+v", d.Forecast)
	}
	jobs := []job.Job{
		{Kind: job.Restore, State: job.OK, Figures: map[string]any{"work": float64(2 * work), "seconds": 8.0}},
		{Kind: job.Restore, State: job.OK, Figures: map[string]any{"work": float64(work), "seconds": 1.0}},
		{Kind: job.Restore, State: job.OK, Figures: map[string]any{"work": float64(work), "seconds": 2.0}},
		{Kind: job.Restore, State: job.Failed, Figures: map[string]any{"work": float64(work), "seconds": 99.0}},
		{Kind: job.Verify, State: job.OK, Figures: map[string]any{"work": float64(work), "seconds": 99.0}},
		{Kind: job.Restore, State: job.OK, Figures: map[string]any{"work": float64(1000 * work), "seconds": 1.0}}, // of quite another size
		{Kind: job.Restore, State: job.OK, Figures: map[string]any{"seconds": 1.0}},
	}
	d, _ = made(t, a, plan.Options{Measured: plan.MeasuredBy(jobs)})
	if want := (plan.Forecast{Work: work, Low: time.Second, Likely: 2 * time.Second, High: 4 * time.Second, Restores: 3}); d.Forecast != want {
		t.Errorf("got %+v, want %+v", d.Forecast, want)
	}
	d, _ = made(t, a, plan.Options{Measured: plan.MeasuredBy(jobs[5:])})
	if d.Forecast.Restores != 1 || d.Forecast.Likely != time.Millisecond {
		t.Errorf("by one of another size: %+v", d.Forecast)
	}
	if err := a.RecordDrill(t.Context(), chain.Drill{LSN: 4, Rows: work - 4, OK: true, Elapsed: 3_000_000, Started: 1}); err != nil {
		t.Fatal(err)
	}
	d, _ = made(t, a, plan.Options{})
	if d.Forecast.Drills != 1 || d.Forecast.Likely != 3*time.Second {
		t.Errorf("by a drill: %+v", d.Forecast)
	}
}

// room is a target with so much room, and an error.
type room struct {
	driver.Target
	room driver.Room
	err  error
}

func (r *room) Preflight(context.Context, driver.State) (driver.Room, error) { return r.room, r.err }

// TestChecks checks what is found before a restore, and what each error is.
func TestChecks(t *testing.T) {
	bucket, a := captured(t)
	clean, _ := made(t, a, plan.Options{})
	key := clean.Plan.Segments[0].Packs[0].Key
	status := func(d *plan.Document, name string) plan.Status {
		for _, c := range d.Checks {
			if c.Name == name {
				return c.Status
			}
		}
		return ""
	}
	free := driver.Room{Place: "/x", Need: 10, Free: 100}
	for _, c := range []struct {
		name   string
		o      plan.Options
		rule   *storagetest.Rule
		check  string
		status plan.Status
		err    error
	}{
		{name: "no destination", check: "destination", status: plan.Unknown},
		{name: "a good one", o: plan.Options{Target: &room{room: free}}, check: "space", status: plan.OK},
		{name: "a mute one", o: plan.Options{Target: &room{room: driver.Room{Need: 10, Free: -1}}}, check: "space", status: plan.Unknown},
		{name: "a taken one", o: plan.Options{Target: &room{err: driver.ErrNotEmpty}}, check: "destination", status: plan.Failed, err: driver.ErrNotEmpty},
		{name: "a full one", o: plan.Options{Target: &room{room: free, err: driver.ErrNoSpace}}, check: "space", status: plan.Failed, err: driver.ErrNoSpace},
		{name: "little memory", o: plan.Options{Restore: restore.Options{Memory: 1, TempDir: t.TempDir()}}, check: "memory", status: plan.Unknown},
		{name: "an object is missing", rule: &storagetest.Rule{Fault: storagetest.Before, Err: storage.ErrNotFound}, check: "objects", status: plan.Failed, err: chain.ErrDamaged},
		{name: "the store is away", rule: &storagetest.Rule{Fault: storagetest.Before, Err: storage.ErrUnavailable}, check: "objects", status: plan.Failed, err: storage.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rules []storagetest.Rule
			if c.rule != nil {
				r := *c.rule
				r.Op, r.Times, r.Key = storagetest.OpSize, -1, func(k string) bool { return k == key }
				rules = append(rules, r)
			}
			b, err := archive.Open(t.Context(), storagetest.NewFaulty(bucket, rules...), archive.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.o.Objects = -1
			d, _ := made(t, b, c.o)
			if got := status(d, c.check); got != c.status {
				t.Errorf("%s is %q, want %q: %+v", c.check, got, c.status, d.Checks)
			}
			if err := d.Err(); !errors.Is(err, c.err) || errors.Is(err, restore.ErrPreflight) != (c.err != nil) {
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}
