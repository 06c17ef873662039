package capture

import (
	"context"
	"errors"
	"io"
	"maps"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// world is a source, an archive and what may go wrong between them.
type world struct {
	t      testing.TB
	bucket storage.Bucket // the store as it is
	faulty *storagetest.Faulty
	src    *fakeSource
}

// newWorld returns a world whose source has collection 1. Whenever the source
// gets an acknowledgement, the archive must hold what it is about.
func newWorld(t testing.TB) *world { return newWorldOn(t, storage.NewMem()) }

func newWorldOn(t testing.TB, b storage.Bucket) *world {
	t.Helper()
	if _, err := archive.Init(t.Context(), b, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, bucket: b, faulty: storagetest.NewFaulty(b), src: newFakeSource()}
	w.src.create(1)
	w.src.onAck = func(m driver.Mark) {
		s := w.load()
		all := chaintest.Segments(s)
		switch {
		case s.Last < m.LSN:
			t.Errorf("LSN %d is acknowledged, the archive ends at %d", m.LSN, s.Last)
		case needsBase(s):
			t.Errorf("LSN %d is acknowledged, and can't be restored for want of a base", m.LSN)
		case m.LSN == s.Start && m.LogHash == s.StartLog, slices.ContainsFunc(s.Gaps, func(g chain.Announced[chain.Gap]) bool { return g.Body.Last == m.LSN && g.Body.LogHash == m.LogHash }):
			// The base after it is there.
		case len(all) == 0 || !slices.ContainsFunc(all, func(g chain.Announced[chain.Segment]) bool {
			return g.Body.Last == m.LSN && g.Body.LogHash == m.LogHash && g.Body.Position == m.Position
		}):
			t.Errorf("acknowledged is %+v, which no segment ends with", m)
		}
	}
	return w
}

// load reads the chain anew, past all faults.
func (w *world) load() *chain.State {
	w.t.Helper()
	a, err := archive.Open(context.Background(), w.bucket, archive.OpenOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := a.Load(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// running is a capturer at work.
type running struct {
	*Capturer
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
}

// capture starts a capturer on the bucket with faults.
func (w *world) capture(o Options) *running { return w.captureOn(w.faulty, o) }

func (w *world) captureOn(b storage.Bucket, o Options) *running {
	w.t.Helper()
	a, err := archive.Open(context.Background(), passing{w.bucket, b}, archive.OpenOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Capturer: New(a, w.src, o), t: w.t, cancel: cancel, ended: make(chan struct{})}
	go func() {
		r.err = r.Run(ctx)
		close(r.ended)
	}()
	return r
}

// passing reads the identity past the faults: they begin with the capture.
type passing struct {
	plain storage.Bucket
	storage.Bucket
}

func (p passing) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if key == "tidemark.json" {
		return p.plain.Read(ctx, key, offset, length)
	}
	return p.Bucket.Read(ctx, key, offset, length)
}

// stop ends the capture in good order, after it has read what there is.
func (r *running) stop() {
	r.t.Helper()
	synctest.Wait()
	if err := r.end(); err != nil {
		r.t.Fatal(err)
	}
}

// end ends the capture and returns its error.
func (r *running) end() error {
	r.cancel()
	<-r.ended
	return r.err
}

// wait waits until the capture ends by itself.
func (r *running) wait() error {
	<-r.ended
	r.cancel()
	return r.err
}

// sync waits until everything is archived.
func (r *running) sync() driver.Mark {
	r.t.Helper()
	m, err := r.Sync(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// check proves that the archive holds the source's history from its start to
// the end of the chain, each transaction once, and its bases what the source
// showed. It returns the chain.
func (w *world) check() *chain.State {
	w.t.Helper()
	s := w.load()
	want := w.src.txs
	for len(want) > 0 && want[0].First() <= s.Start {
		want = want[1:]
	}
	hash := s.StartLog
	for _, seg := range chaintest.Segments(s) {
		b := chain.NewSegmentBuilder(hash)
		for _, tx := range w.txs(seg.Body.Packs...) {
			if err := b.Add(tx); err != nil {
				w.t.Fatal(err)
			}
			got := *tx
			got.Effective = 0
			if len(want) == 0 || cmp.Diff(want[0], &got) != "" {
				w.t.Fatalf("LSN %d to %d of the archive are not the source's", tx.First(), tx.Last())
			}
			want = want[1:]
		}
		built := b.Segment()
		built.Packs, built.CoveredUntil = seg.Body.Packs, seg.Body.CoveredUntil
		if d := cmp.Diff(built, seg.Body); d != "" {
			w.t.Errorf("manifest %d says otherwise than its packs:\n%s", seg.Seq, d)
		}
		hash = seg.Body.LogHash
	}
	if m, ok := w.src.mark(s.Last); !ok || m.LogHash != s.LogHash {
		w.t.Errorf("log hash at LSN %d is %s, the source has %s", s.Last, s.LogHash, m.LogHash)
	}
	for _, snap := range s.Snapshots {
		w.checkBase(&snap.Body)
	}
	return s
}

// checkAll is check of a capture that is over: everything is archived and
// acknowledged.
func (w *world) checkAll() *chain.State {
	w.t.Helper()
	s := w.check()
	if s.Last != w.src.end() || w.src.acked() != s.Last {
		w.t.Errorf("the source ends at LSN %d, the archive at %d, acknowledged is %d", w.src.end(), s.Last, w.src.acked())
	}
	w.src.checkClosed(w.t)
	return s
}

func (w *world) checkBase(b *chain.Snapshot) {
	w.t.Helper()
	_, rows := w.src.state(b.LSN)
	for _, ref := range b.Runs {
		r, err := pack.Open(context.Background(), w.bucket, ref)
		if err != nil {
			w.t.Fatal(err)
		}
		for block, err := range r.Blocks(context.Background(), 0, len(r.Index().Blocks), 0) {
			if err != nil {
				w.t.Fatal(err)
			}
			for _, rec := range block.Records() {
				want, ok := rows[rec.Collection][string(rec.Key)]
				if !ok || cmp.Diff(want, rec) != "" {
					w.t.Fatalf("base at LSN %d has a row with key %x that the source has not, or otherwise", b.LSN, rec.Key)
				}
				delete(rows[rec.Collection], string(rec.Key))
			}
		}
	}
	for id, left := range maps.All(rows) {
		if len(left) > 0 {
			w.t.Errorf("base at LSN %d lacks %d rows of collection %d", b.LSN, len(left), id)
		}
	}
}

// txs reads the transactions of a segment's packs.
func (w *world) txs(packs ...pack.Ref) (out []*change.Tx) {
	w.t.Helper()
	pieces := func(yield func(*change.Tx, error) bool) {
		for _, ref := range packs {
			r, err := pack.Open(context.Background(), w.bucket, ref)
			if err != nil {
				yield(nil, err)
				return
			}
			for tx, err := range r.Txs(context.Background(), 0) {
				if !yield(tx, err) {
					return
				}
			}
		}
	}
	for tx, err := range change.Join(pieces) {
		if err != nil {
			w.t.Fatal(err)
		}
		c := *tx
		c.Records = slices.Clone(tx.Records)
		for i := range c.Records {
			r := &c.Records[i]
			r.Key, r.Image = slices.Clone(r.Key), slices.Clone(r.Image)
		}
		out = append(out, &c)
	}
	return out
}

// segments returns the LSN where each segment ends.
func segmentEnds(s *chain.State) (out []change.LSN) {
	for _, seg := range chaintest.Segments(s) {
		out = append(out, seg.Body.Last)
	}
	return out
}

// away makes the store refuse every operation.
func (w *world) away() {
	w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Before, Times: -1, Err: storage.ErrUnavailable})
}

// back ends all faults.
func (w *world) back() { w.faulty.SetRules() }

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

// seconds sleeps under synctest.
func seconds(n float64) { time.Sleep(time.Duration(n * float64(time.Second))) }

// bubble runs a test under synctest. Compressors that are left in pools can't
// be used outside the bubble that made them: two collections drop them.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer func() {
		runtime.GC()
		runtime.GC()
	}()
	synctest.Test(t, f)
}
