package archive

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// faultPath is one thing to do with an archive while operations fail. attempt
// is called until it succeeds; done checks that a fresh reader sees it once.
type faultPath struct {
	name string
	make func(t *testing.T, a *Archive, c *Session) (attempt func() error, done func(s *chain.State) error)
}

func once(n int, what string) error {
	if n != 1 {
		return fmt.Errorf("%d times: %s", n, what)
	}
	return nil
}

func faultPaths() []faultPath {
	ctx := context.Background()
	return []faultPath{
		{"segment", func(t *testing.T, a *Archive, c *Session) (func() error, func(*chain.State) error) {
			var seg *chain.Segment
			return func() error {
					if seg == nil {
						b, err := upload(t, a, a.State(), 2)
						if err != nil {
							return err
						}
						seg = &b
					}
					return c.Segment(ctx, *seg)
				}, func(s *chain.State) error {
					if got, err := s.SegmentAt(ctx, 4); err != nil || s.Last != 4 || got == nil || got.Packs[0].Key != seg.Packs[0].Key {
						return fmt.Errorf("the log ends at %d", s.Last)
					}
					return nil
				}
		}},
		{"snapshot", func(t *testing.T, a *Archive, c *Session) (func() error, func(*chain.State) error) {
			b := chaintest.Snapshot(a.State(), 2, "aaaaaaaaaaaaaaaa", chaintest.Schema(t, 1)).Snapshot
			uploaded := false
			return func() error {
				if !uploaded {
					ref, err := a.PutPack(ctx, chain.RunPack, 0, 2, madeUpPack(2))
					if err != nil {
						return err
					}
					b.Runs, uploaded = []pack.Ref{ref}, true
				}
				return c.Snapshot(ctx, *b)
			}, func(s *chain.State) error { return once(len(s.Snapshots), "snapshot") }
		}},
		{"label", func(_ *testing.T, a *Archive, _ *Session) (func() error, func(*chain.State) error) {
			return func() error { return a.Label(ctx, chain.Label{Name: "x", LSN: 2}) },
				func(s *chain.State) error { return once(len(s.Labels), "label") }
		}},
		{"hold", func(_ *testing.T, a *Archive, _ *Session) (func() error, func(*chain.State) error) {
			return func() error { return a.Hold(ctx, chain.Hold{Name: "x", LSN: 2}) },
				func(s *chain.State) error { return once(len(s.Holds), "hold") }
		}},
		{"coverage", func(_ *testing.T, _ *Archive, c *Session) (func() error, func(*chain.State) error) {
			return func() error { return c.Coverage(ctx, 1e12) }, func(s *chain.State) error {
				if s.CoveredUntil != 1e12 {
					return fmt.Errorf("covered until %v", s.CoveredUntil)
				}
				return nil
			}
		}},
		{"gap", func(_ *testing.T, _ *Archive, c *Session) (func() error, func(*chain.State) error) {
			return func() error { return c.Gap(ctx, chain.Gap{First: 3, Last: 3, Reason: "r", From: 1e12, To: 2e12}) },
				func(s *chain.State) error { return once(len(s.Gaps), "gap") }
		}},
		{"close", func(_ *testing.T, _ *Archive, c *Session) (func() error, func(*chain.State) error) {
			closed := false
			return func() error {
					err := c.Close(ctx)
					closed = closed || err == nil
					return err
				}, func(s *chain.State) error {
					if s.EpochOpen || !closed {
						return errors.New("the epoch is open")
					}
					return nil
				}
		}},
		{"claim", func(t *testing.T, a *Archive, c *Session) (func() error, func(*chain.State) error) {
			if err := c.Close(ctx); err != nil {
				t.Fatal(err)
			}
			return func() error {
					_, err := a.Claim(ctx, claimOptions("again"))
					return err
				}, func(s *chain.State) error {
					if !s.EpochOpen || s.EpochOwner != "again" {
						return fmt.Errorf("epoch %d, open: %t", s.Epoch, s.EpochOpen)
					}
					return nil
				}
		}},
		{"checkpoint", func(_ *testing.T, a *Archive, _ *Session) (func() error, func(*chain.State) error) {
			return func() error {
					_, err := a.Checkpoint(ctx, 2)
					return err
				}, func(s *chain.State) error {
					if len(s.Checkpoints) == 0 {
						return errors.New("no checkpoint")
					}
					return nil
				}
		}},
		{"fork", func(t *testing.T, a *Archive, _ *Session) (func() error, func(*chain.State) error) {
			return func() error {
					_, err := a.Fork(ctx, ForkOptions{LSN: 2, LogHash: a.State().LogHash})
					return err
				}, func(s *chain.State) error {
					all, err := openArchive(t, a.Bucket()).Timelines(ctx)
					if err != nil || len(all) != 2 || all[1].Err != nil || all[1].Timeline != "t2" || all[1].State.Last != 2 {
						return fmt.Errorf("%d timelines: %v", len(all), err)
					}
					return once(len(s.Pins), "pin")
				}
		}},
		{"load", func(t *testing.T, a *Archive, _ *Session) (func() error, func(*chain.State) error) {
			fresh := openArchive(t, a.Bucket())
			return func() error {
				s, err := fresh.Load(ctx)
				if err == nil && s.Seq != 3 {
					err = fmt.Errorf("loaded %d manifests of 3", s.Seq)
				}
				return err
			}, func(*chain.State) error { return nil }
		}},
	}
}

// TestFaults makes every operation of every path fail in every way, for once
// and from there on, and lets the caller try again when the store has healed.
func TestFaults(t *testing.T) {
	base := storage.NewMem()
	publishSegment(t, claim(t, newArchive(t, base), claimOptions("setup")), 2)
	prepare := func(t *testing.T, p faultPath) (*storagetest.Faulty, func() error, func(*chain.State) error) {
		f := storagetest.NewFaulty(copyBucket(t, base))
		a := openArchive(t, f)
		opts := claimOptions("h")
		opts.Takeover = true
		attempt, done := p.make(t, a, claim(t, a, opts))
		return f, attempt, done
	}
	faults := []storagetest.Fault{storagetest.Before, storagetest.After, storagetest.Late, storagetest.Flip, storagetest.Stale}
	for _, p := range faultPaths() {
		t.Run(p.name, func(t *testing.T) {
			f, attempt, _ := prepare(t, p)
			before := len(f.Trace())
			if err := attempt(); err != nil {
				t.Fatal(err)
			}
			trace := f.Trace()[before:]
			cases := 0
			for n, event := range trace {
				for _, fault := range faults {
					for _, times := range []int{1, -1} {
						f, attempt, done := prepare(t, p)
						f.SetRules(storagetest.Rule{Fault: fault, N: n + 1, Times: times, Newest: 2, At: 40})
						failure := attempt()
						if err := f.Land(t.Context()); err != nil && !errors.Is(err, storage.ErrExists) {
							t.Fatal(err)
						}
						f.SetRules()
						if failure != nil {
							if err := attempt(); err != nil {
								t.Fatalf("%s at %s %s (times %d): %v; the second attempt: %v", fault, event.Op, event.Key, times, failure, err)
							}
						}
						checkAfterFault(t, f, done, fmt.Sprintf("%s at %s %s (times %d, first attempt: %v)", fault, event.Op, event.Key, times, failure))
						cases++
					}
				}
			}
			t.Logf("%d operations, %d cases", len(trace), cases)
		})
	}
}

// checkAfterFault looks at an archive with fresh eyes.
func checkAfterFault(t *testing.T, b storage.Bucket, done func(*chain.State) error, what string) {
	t.Helper()
	fresh := openArchive(t, b)
	s, err := fresh.Load(t.Context())
	if err != nil {
		t.Fatalf("%s: load: %v", what, err)
	}
	if err := done(s); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if s.Last < 2 {
		t.Errorf("%s: the log ends at %d, 2 was acknowledged before", what, s.Last)
	}
	r, err := fresh.VerifyChain(t.Context())
	if err != nil || r.Err() != nil {
		t.Errorf("%s: verify: %v, %v", what, err, r.Findings)
	}
}

func TestUnresolvedSaysSo(t *testing.T) {
	f := storagetest.NewFaulty(storage.NewMem())
	a := newArchive(t, f)
	c := claim(t, a, claimOptions("h"))
	f.SetRules(storagetest.Rule{Fault: storagetest.Late, Op: storagetest.OpCreate, Times: -1})
	if err := c.Coverage(t.Context(), 5); !errors.Is(err, ErrUnresolved) || !errors.Is(err, storagetest.ErrInjected) {
		t.Errorf("creates that never answer: %v", err)
	}
	f.SetRules(storagetest.Rule{Fault: storagetest.Before, Times: -1})
	if err := c.Coverage(t.Context(), 5); !errors.Is(err, ErrUnresolved) {
		t.Errorf("a store that is away: %v", err)
	}
	f.SetRules()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Coverage(ctx, 5); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnresolved) {
		t.Errorf("cancelled before it began: %v", err)
	}
}

// TestLatePutOfAPausedCapturer lets a capturer's segment linger in the network
// while another takes over, and lets it land before or after that.
func TestLatePutOfAPausedCapturer(t *testing.T) {
	for _, landsFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("lands before the takeover: %t", landsFirst), func(t *testing.T) {
			f := storagetest.NewFaulty(storage.NewMem())
			paused, other := newArchive(t, f), openArchive(t, f)
			c1 := claim(t, paused, claimOptions("paused"))
			publishSegment(t, c1, 2)
			late, err := upload(t, paused, paused.State(), 3)
			if err != nil {
				t.Fatal(err)
			}
			f.SetRules(storagetest.Rule{Fault: storagetest.Late, Op: storagetest.OpCreate, Times: -1})
			if err := c1.Segment(t.Context(), late); !errors.Is(err, ErrUnresolved) {
				t.Fatalf("a segment that does not arrive: %v", err)
			}
			f.SetRules()
			land := func() {
				if err := f.Land(t.Context()); err != nil && !errors.Is(err, storage.ErrExists) {
					t.Fatal(err)
				}
			}
			if landsFirst {
				land()
			}
			opts := claimOptions("other")
			opts.Takeover = true
			c2 := claim(t, other, opts)
			land()
			publishSegment(t, c2, 1)
			want := change.LSN(3)
			if landsFirst {
				want = 6
			}
			if err := c1.Segment(t.Context(), late); !errors.Is(err, chain.ErrFenced) {
				t.Errorf("the paused capturer's segment again: %v", err)
			}
			checkAfterFault(t, f, func(s *chain.State) error {
				if s.Last != want || s.EpochOwner != "other" {
					return fmt.Errorf("the log of %s ends at %d, want %d", s.EpochOwner, s.Last, want)
				}
				return nil
			}, "at the end")
		})
	}
}

// TestClaimAfterALostReply claims again at once after a claim whose answer was
// lost: nobody has to wait for it to become stale.
func TestClaimAfterALostReply(t *testing.T) {
	f := storagetest.NewFaulty(storage.NewMem())
	a := newArchive(t, f)
	f.SetRules(storagetest.Rule{Fault: storagetest.Late, Op: storagetest.OpCreate, Times: -1})
	if _, err := a.Claim(t.Context(), claimOptions("h")); !errors.Is(err, ErrUnresolved) {
		t.Fatalf("a claim that does not arrive: %v", err)
	}
	f.SetRules()
	if err := f.Land(t.Context()); err != nil && !errors.Is(err, storage.ErrExists) {
		t.Fatal(err)
	}
	if _, err := openArchive(t, f).Claim(t.Context(), claimOptions("other")); !errors.Is(err, chain.ErrLocked) {
		t.Errorf("another's claim over it: %v", err)
	}
	if c := claim(t, a, claimOptions("h")); c.Epoch() != 2 {
		t.Errorf("epoch %d, want 2", c.Epoch())
	}
}
