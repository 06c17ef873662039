package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// otherClaim is a claim of another database, which has that system ID.
func otherClaim(system string) ClaimOptions {
	o := claimOptions(system)
	o.Source.System = system
	return o
}

func openTimelineT(t testing.TB, b storage.Bucket, name chain.TimelineID) *Archive {
	t.Helper()
	o := testOptions()
	o.Timeline = name
	a, err := Open(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// segmentOf publishes a segment of transactions that put a row each, and
// returns the log hash after each of them.
func segmentOf(t testing.TB, c *Session, txs int) (hashes []change.Hash) {
	t.Helper()
	s := c.State()
	b := chain.NewSegmentBuilder(s.LogHash)
	ref, err := c.Archive().PutPack(t.Context(), chain.LogPack, s.Last+1, s.Last+change.LSN(txs), func(out io.Writer) (pack.Ref, error) {
		w := pack.NewLogWriter(out, pack.WriterOptions{})
		for i := range txs {
			lsn := s.Last + 1 + change.LSN(i)
			at := chain.EffectiveFloor(s.Effective, s.CoveredUntil) + change.Time(10*i)
			rec := change.Record{LSN: lsn, Op: change.Insert, Collection: 1, Key: fmt.Appendf(nil, "%08d", lsn), Image: change.Image{0}}
			if s.Schemas[1] == nil && i == 0 {
				var err error
				if rec, err = change.SchemaRecord(chaintest.Schema(t, 1)); err != nil {
					return pack.Ref{}, err
				}
				rec.LSN = lsn
			}
			tx := &change.Tx{ID: change.TxID(lsn), Commit: at, Effective: at, Records: []change.Record{rec}}
			if err := errors.Join(w.AppendTx(tx), b.Add(tx)); err != nil {
				return pack.Ref{}, err
			}
			hashes = append(hashes, b.LogHash())
		}
		ref, _, err := w.Close()
		return ref, err
	})
	if err != nil {
		t.Fatal(err)
	}
	seg := b.Segment()
	seg.Packs = []pack.Ref{ref}
	if err := c.Segment(t.Context(), seg); err != nil {
		t.Fatal(err)
	}
	return hashes
}

// TestFork forks inside a segment, at its end and at the start, goes on in
// each, forks the fork, and finds them all.
func TestFork(t *testing.T) {
	b := storage.NewMem()
	a := newArchive(t, b)
	c := claim(t, a, claimOptions("h"))
	first := segmentOf(t, c, 4)
	second := segmentOf(t, c, 5)
	fork := func(p *Archive, o ForkOptions) *Archive {
		t.Helper()
		child, err := p.Fork(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return child
	}
	t2 := fork(a, ForkOptions{LSN: 6, LogHash: second[1]})
	if again := fork(a, ForkOptions{LSN: 6, LogHash: second[1]}); again.Timeline() != "t2" {
		t.Errorf("a fork that nobody has claimed, again: %s", again.Timeline())
	}
	c2 := claim(t, t2, otherClaim("two"))
	segmentOf(t, c2, 3)
	segmentOf(t, c, 2)
	if s := t2.State(); t2.Timeline() != "t2" || s.Last != 9 || s.Parent.LSN != 6 || s.Segments.Len() != 3 {
		t.Errorf("timeline %s: %+v", t2.Timeline(), s.Summary())
	}
	t3 := fork(openTimelineT(t, b, "t2"), ForkOptions{LSN: 4, LogHash: first[3], Note: "inherited"})
	t4 := fork(a, ForkOptions{LSN: 0})
	if s := t3.State(); t3.Timeline() != "t3" || s.Parent.Parent != "t2" || s.Last != 4 || s.Segments.Len() != 1 {
		t.Errorf("timeline %s: %+v", t3.Timeline(), s.Summary())
	}
	if got := fork(a, ForkOptions{LSN: 6, LogHash: second[1], Child: "x"}).Timeline(); got != "x" || t4.Timeline() != "t4" {
		t.Errorf("forks are called %s and %s", got, t4.Timeline())
	}
	all, err := openTimelineT(t, b, "t3").Timelines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, br := range all {
		got += fmt.Sprint(br.Timeline, " ", br.State.Last, " ", len(br.Unfinished), br.Err, "; ")
		own, err := br.Archive.VerifyOwn(t.Context())
		whole, err2 := br.Archive.VerifyChain(t.Context())
		if err := errors.Join(err, err2, own.Err(), whole.Err()); err != nil {
			t.Error(err)
		}
		if br.State.Parent != nil && (whole.State.Head != br.State.Head || whole.Manifests <= own.Manifests || whole.Objects < own.Objects) {
			t.Errorf("%s: verified is %+v, of its own %+v", br.Timeline, whole, own)
		}
	}
	if want := "main 11 0 <nil>; t4 0 0 <nil>; t2 9 0 <nil>; t3 4 0 <nil>; x 6 0 <nil>; "; got != want {
		t.Errorf("timelines: %s\nwant       %s", got, want)
	}
}

// TestForkRefuses asks for forks that can't be.
func TestForkRefuses(t *testing.T) {
	b := storage.NewMem()
	a := newArchive(t, b)
	c := claim(t, a, claimOptions("h"))
	segmentOf(t, c, 2)
	hashes := segmentOf(t, c, 3)
	if _, err := a.Fork(t.Context(), ForkOptions{Child: "x", LSN: 3, LogHash: hashes[0]}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]struct {
		o  ForkOptions
		is error
	}{
		"another history":  {ForkOptions{LSN: 3, LogHash: hashes[1]}, driver.ErrDiverged},
		"at a segment end": {ForkOptions{LSN: 5, LogHash: hashes[1]}, driver.ErrDiverged},
		"beyond the end":   {ForkOptions{LSN: 6, LogHash: hashes[2]}, chain.ErrBroken},
		"a name in use":    {ForkOptions{Child: "x", LSN: 4, LogHash: hashes[1]}, ErrTimelineTaken},
		"main":             {ForkOptions{Child: "main", LSN: 4, LogHash: hashes[1]}, ErrTimelineTaken},
		"no name at all":   {ForkOptions{Child: "X/Y", LSN: 4, LogHash: hashes[1]}, chain.ErrManifest},
	} {
		if _, err := a.Fork(t.Context(), f.o); !errors.Is(err, f.is) {
			t.Errorf("%s: %v, want %v", name, err, f.is)
		}
	}
	if n := len(a.State().Pins); n != 1 {
		t.Errorf("%d pins", n)
	}
	if _, err := openTimelineT(t, b, "nobody").Load(t.Context()); !errors.Is(err, ErrNoTimeline) {
		t.Errorf("a timeline that there is not: %v", err)
	}
	if _, err := openTimelineT(t, b, "nobody").Claim(t.Context(), claimOptions("h")); !errors.Is(err, ErrNoTimeline) {
		t.Errorf("a claim of it: %v", err)
	}
}

// TestForkersAtOnce lets several fork from two timelines under one name, and
// under none: each that succeeds has a timeline of its own or shares the place.
func TestForkersAtOnce(t *testing.T) {
	b := storage.NewMem()
	c := claim(t, newArchive(t, b), claimOptions("h"))
	segmentOf(t, c, 2)
	hashes := segmentOf(t, c, 6)
	if _, err := c.Archive().Fork(t.Context(), ForkOptions{Child: "other", LSN: 8, LogHash: hashes[5]}); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			from := []chain.TimelineID{"main", "other"}[i%2]
			a := openTimelineT(t, b, from)
			o := ForkOptions{LSN: change.LSN(3 + i/2), LogHash: hashes[i/2]}
			if i >= 6 {
				o.Child = "x"
			}
			child, err := a.Fork(context.Background(), o)
			if o.Child != "" && errors.Is(err, ErrTimelineTaken) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("forker %d: %w", i, err)
			}
			if s := child.State(); s.Parent.Parent != from || s.Last != o.LSN {
				return fmt.Errorf("forker %d got %s, which goes on from %+v", i, child.Timeline(), s.Parent)
			}
			_, err = child.Claim(context.Background(), otherClaim(fmt.Sprint(i)))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all, err := openArchive(t, b).Timelines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owners := make(map[string]bool)
	for _, br := range all[1:] {
		if br.Err != nil || owners[br.State.EpochOwner] && br.Timeline != "other" {
			t.Errorf("timeline %s of %q: %v", br.Timeline, br.State.EpochOwner, br.Err)
		}
		owners[br.State.EpochOwner] = true
	}
	if len(all) != 9 { // main, other, x once, and one each for six
		t.Errorf("%d timelines", len(all))
	}
}

// TestForkOfACheckpointedParent opens a child whose parent has checkpoints
// before, around and after the pin, and one whose parent was tampered with.
func TestForkOfACheckpointedParent(t *testing.T) {
	for before := range 7 {
		b := storage.NewMem()
		c := claim(t, newArchive(t, b), claimOptions("h"))
		a := c.Archive()
		segmentOf(t, c, 2)
		for range before {
			publishSegment(t, c, 1)
		}
		child, err := a.Fork(t.Context(), ForkOptions{LSN: a.State().Last, LogHash: a.State().LogHash})
		if err != nil {
			t.Fatal(err)
		}
		c2 := claim(t, child, otherClaim("two"))
		for range 3 {
			publishSegment(t, c2, 1)
			publishSegment(t, c, 1)
			for _, a := range []*Archive{a, child} {
				if _, err := a.Checkpoint(t.Context(), 4); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := len(child.State().Checkpoints); n == 0 {
			t.Fatal("the child has no checkpoint")
		}
		o, warned := testOptions(), 0
		o.Timeline, o.Warn = "t2", func(err error) { t.Log(err); warned++ }
		fresh, err := Open(t.Context(), b, o)
		if err != nil {
			t.Fatal(err)
		}
		s, err := fresh.Load(t.Context())
		if err != nil || s.Head != child.State().Head || s.LogHash != child.State().LogHash || warned > 0 {
			t.Errorf("%d segments before: %v, %d warnings", before, err, warned)
		}
		pin := chain.ManifestKey(chain.MainTimeline, a.State().Pins["t2"].Seq)
		raw := bytesOf(t, b, pin)
		raw[len(raw)/2] ^= 1
		replace(t, b, pin, raw)
		// A checkpoint may hold the pin too; the fork's hash of it proves that.
		if s, err := openTimelineT(t, b, "t2").Load(t.Context()); !errors.Is(err, chain.ErrDamaged) && (err != nil || s.Head != child.State().Head) {
			t.Errorf("the parent's pin was changed: %v", err)
		}
		if r, err := openTimelineT(t, b, "t2").VerifyChain(t.Context()); err != nil || r.Err() == nil {
			t.Errorf("the parent's pin was changed: verify says %v, %v", r.Err(), err)
		}
	}
}

// TestTimelineThatCantBeRead is listed with the reason.
func TestTimelineThatCantBeRead(t *testing.T) {
	b := storage.NewMem()
	c := claim(t, newArchive(t, b), claimOptions("h"))
	hashes := segmentOf(t, c, 2)
	child, err := c.Archive().Fork(t.Context(), ForkOptions{LSN: 1, LogHash: hashes[0]})
	if err != nil {
		t.Fatal(err)
	}
	segmentOf(t, claim(t, child, otherClaim("two")), 2)
	key := chain.ManifestKey("t2", 2)
	raw := bytesOf(t, b, key)
	raw[len(raw)/2] ^= 1
	replace(t, b, key, raw)
	all, err := openArchive(t, b).Timelines(t.Context())
	if err != nil || len(all) != 2 || all[0].Err != nil || !errors.Is(all[1].Err, chain.ErrDamaged) {
		t.Errorf("%d timelines, %v", len(all), err)
	}
}
