package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

func testOptions() OpenOptions {
	return OpenOptions{
		Now:   func() time.Time { return time.UnixMicro(1e15).UTC() },
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// newArchive returns an Archive on a new archive in the bucket.
func newArchive(t testing.TB, b storage.Bucket) *Archive {
	t.Helper()
	if _, err := Init(t.Context(), b, InitOptions{}); err != nil {
		t.Fatal(err)
	}
	return openArchive(t, b)
}

func openArchive(t testing.TB, b storage.Bucket) *Archive {
	t.Helper()
	a, err := Open(t.Context(), b, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func claimOptions(holder string) ClaimOptions {
	return ClaimOptions{Source: chaintest.Source, Holder: holder, Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
		return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
	}}
}

func claim(t testing.TB, a *Archive, opts ClaimOptions) *Session {
	t.Helper()
	c, err := a.Claim(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// upload puts a pack of made-up bytes for n records after s, and returns the
// segment that announces it.
func upload(t testing.TB, a *Archive, s *chain.State, n int) (chain.Segment, error) {
	seg := *chaintest.Segment(t, s, n).Segment
	ref, err := a.PutPack(t.Context(), chain.LogPack, seg.First, seg.Last, madeUpPack(int64(n)))
	seg.Packs = []pack.Ref{ref}
	return seg, err
}

func madeUpPack(records int64) func(w io.Writer) (pack.Ref, error) {
	return func(w io.Writer) (pack.Ref, error) {
		head, tail := make([]byte, 300), []byte("the tail")
		if _, err := w.Write(head); err != nil {
			return pack.Ref{}, err
		}
		_, err := w.Write(tail)
		return pack.Ref{Size: 308, Tail: 8, Hash: chain.HashManifest(tail), Records: records, Raw: 1, MaxBlock: 1}, err
	}
}

func publishSegment(t testing.TB, c *Session, n int) {
	t.Helper()
	seg, err := upload(t, c.Archive(), c.State(), n)
	if err == nil {
		err = c.Segment(t.Context(), seg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPublishAndLoad(t *testing.T) {
	b := storage.NewMem()
	a := newArchive(t, b)
	c := claim(t, a, claimOptions("host/1"))
	publishSegment(t, c, 3)
	publishSegment(t, c, 2)
	if err := a.Label(t.Context(), chain.Label{Name: "x", LSN: 5}); err != nil {
		t.Fatal(err)
	}
	if err := a.Label(t.Context(), chain.Label{Name: "x", LSN: 5}); err != nil {
		t.Errorf("the same label again: %v", err)
	}
	if err := a.Label(t.Context(), chain.Label{Name: "x", LSN: 3}); !errors.Is(err, chain.ErrLabelTaken) || !errors.Is(err, chain.ErrBroken) {
		t.Errorf("the label for another LSN: %v", err)
	}
	other := openArchive(t, b)
	s, err := other.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Seq != 4 || s.Last != 5 || s.Head != a.State().Head {
		t.Fatalf("another reader sees %d manifests to LSN %d", s.Seq, s.Last)
	}
	if err := c.Coverage(t.Context(), 1e6); err != nil {
		t.Fatal(err)
	}
	if s, err = other.Refresh(t.Context()); err != nil || s.CoveredUntil != 1e6 {
		t.Fatalf("after a refresh: covered until %v, %v", s.CoveredUntil, err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Coverage(t.Context(), 2e6); !errors.Is(err, chain.ErrFenced) {
		t.Errorf("coverage after close: %v", err)
	}
}

func TestClaim(t *testing.T) {
	b := storage.NewMem()
	first, second := newArchive(t, b), openArchive(t, b)
	c1 := claim(t, first, claimOptions("host/1"))
	publishSegment(t, c1, 3)

	var locked *LockedError
	opts := claimOptions("host/2")
	opts.Now = first.State().EpochSeen + 59e6
	if _, err := second.Claim(t.Context(), opts); !errors.As(err, &locked) || !errors.Is(err, chain.ErrLocked) {
		t.Fatalf("claim over a living capturer: %v", err)
	}
	if locked.Holder != "host/1" || locked.Age != 59e6 {
		t.Errorf("lock says holder %q, age %d µs", locked.Holder, locked.Age)
	}
	opts.Now += 1e6
	c2 := claim(t, second, opts)
	publishSegment(t, c2, 1)
	for i := range 2 {
		if err := c1.Coverage(t.Context(), 1e9); !errors.Is(err, chain.ErrFenced) {
			t.Fatalf("attempt %d of the fenced capturer: %v", i, err)
		}
	}
	opts = claimOptions("host/3")
	opts.Takeover = true
	opts.Mark = func(context.Context, *chain.State) (driver.Mark, error) {
		return driver.Mark{LSN: 4, LogHash: change.Hash{1}}, nil
	}
	var broken *chain.RuleError
	if _, err := second.Claim(t.Context(), opts); !errors.As(err, &broken) || broken.Rule != "claim.log_hash" {
		t.Errorf("claim by a source with another history: %v", err)
	}
}

func TestPublishersAtOnce(t *testing.T) {
	for _, kind := range []string{"mem", "dir"} {
		t.Run(kind, func(t *testing.T) {
			var b storage.Bucket = storage.NewMem()
			if kind == "dir" {
				dir, err := storage.CreateDir(t.TempDir(), storage.DirOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b = dir
			}
			publishSegment(t, claim(t, newArchive(t, b), claimOptions("h")), 1)
			const publishers, labels = 8, 5
			var g errgroup.Group
			for p := range publishers {
				a := openArchive(t, b)
				g.Go(func() error {
					for i := range labels {
						if err := a.Label(t.Context(), chain.Label{Name: fmt.Sprintf("p%d-%d", p, i), LSN: 1}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			s, err := openArchive(t, b).Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Labels) != publishers*labels || s.Seq != 2+publishers*labels {
				t.Errorf("%d labels in %d manifests, want %d in %d", len(s.Labels), s.Seq, publishers*labels, 2+publishers*labels)
			}
		})
	}
}

// TestPublishingSharesMemory shows that one more manifest does not copy what
// the state holds already, however long the chain is.
func TestPublishingSharesMemory(t *testing.T) {
	c := claim(t, newArchive(t, storage.NewMem()), claimOptions("h"))
	const segments = 400
	moved, last := 0, (*chain.Announced[chain.Segment])(nil)
	for range segments {
		if err := c.Segment(t.Context(), *chaintest.Segment(t, c.State(), 1).Segment); err != nil {
			t.Fatal(err)
		}
		first, err := c.State().Segments.Covering(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if first != last {
			moved, last = moved+1, first
		}
	}
	if moved > 20 {
		t.Errorf("the list of %d segments moved %d times", segments, moved)
	}
}
