package archive

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// teller publishes a history at random: manifests of every kind, checkpoints,
// and forks.
type teller struct {
	t  *testing.T
	rt *rapid.T
	b  storage.Bucket
	a  *Archive
	n  int // names given
}

func (w *teller) publish(m chain.Manifest) {
	w.t.Helper()
	_, err := w.a.Publish(w.t.Context(), func(s *chain.State) (*chain.Manifest, error) {
		if m.Epochal() && m.Epoch == 0 {
			m.Epoch = s.Epoch
			if m.Kind == chain.KindClaim {
				m.Epoch++
			}
		}
		return &m, nil
	})
	if err != nil {
		w.rt.Fatalf("%s: %v", m.Kind, err)
	}
}

func (w *teller) name() string {
	w.n++
	return fmt.Sprintf("n%d", w.n)
}

// place draws an LSN where a transaction ends, from all of the log.
func (w *teller) place() (change.LSN, bool) {
	var ends []change.LSN
	for _, seg := range chaintest.Segments(w.a.State()) {
		ends = append(ends, seg.Body.Last)
	}
	if len(ends) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(ends).Draw(w.rt, "place"), true
}

// step publishes one thing.
func (w *teller) step() {
	s := w.a.State()
	if !s.EpochOpen {
		w.publish(chaintest.Claim(s))
		return
	}
	lsn, some := w.place()
	switch kind := rapid.IntRange(0, 15).Draw(w.rt, "kind"); {
	case kind <= 5 || !some:
		w.publish(chaintest.Segment(w.t, s, rapid.IntRange(1, 4).Draw(w.rt, "records")))
	case kind == 6:
		w.publish(chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: s.Last, CoveredUntil: s.CoveredUntil + 5}})
	case kind == 7:
		w.publish(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: w.name(), LSN: lsn, Note: "<ü>"}})
	case kind == 8:
		w.hold(lsn)
	case kind == 9 && s.SchemasKnown() && len(s.Gaps) == 0:
		w.n++
		w.publish(chaintest.Snapshot(s, lsn, fmt.Sprintf("%016x", w.n), chaintest.Schema(w.t, 1)))
	case kind == 10:
		at := max(s.Effective, s.CoveredUntil)
		w.publish(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: s.Last + 1, Last: s.Last + 3, Reason: "lost", From: at, To: at + 10, LogHash: change.Hash{byte(s.Seq)}}})
		w.n++
		w.publish(chaintest.Snapshot(w.a.State(), w.a.State().Last, fmt.Sprintf("%016x", w.n), chaintest.Schema(w.t, 1)))
	case kind == 11 && len(s.Gaps) > 0 && len(s.GapAcks) == 0:
		w.publish(chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: s.Gaps[0].Body.First, Reason: "known"}})
	case kind == 12:
		w.publish(chain.Manifest{Kind: chain.KindDrill, Drill: &chain.Drill{LSN: lsn, OK: true, Started: 1}})
		w.publish(chain.Manifest{Kind: chain.KindVerify, Verify: &chain.Verify{Level: chain.VerifyObjects, Through: s.Seq}})
	case kind == 13:
		w.publish(chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: s.Last}})
	case kind == 14:
		w.publish(chain.Manifest{Kind: chain.KindDigest, Digest: &chain.Digest{LSN: s.Last, Digests: []chain.CollectionDigest{{Collection: 1, Rows: 1}}}})
	default:
		w.fork(lsn)
	}
}

// hold holds a place, or lets one go.
func (w *teller) hold(lsn change.LSN) {
	for name := range w.a.State().Holds {
		w.publish(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: name, Release: true}})
		return
	}
	w.publish(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: w.name(), LSN: lsn, Until: 1e15}})
}

// fork goes on in a child of the timeline.
func (w *teller) fork(lsn change.LSN) {
	hash, _, err := w.a.State().LogHashAt(w.t.Context(), lsn)
	if err != nil {
		w.rt.Fatal(err)
	}
	child, err := w.a.Fork(w.t.Context(), ForkOptions{LSN: lsn, LogHash: hash})
	if err != nil {
		w.rt.Fatal(err)
	}
	w.a = child
}

// replayed is the state of a timeline without the help of checkpoints.
func replayed(t testing.TB, b storage.Bucket, timeline chain.TimelineID) *chain.State {
	t.Helper()
	bare := storage.NewMem()
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := chain.ParseCheckpointKey(info.Key); err != nil {
			replace(t, bare, info.Key, bytesOf(t, b, info.Key))
		}
	}
	s, err := openTimelineT(t, bare, timeline).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCheckpointsSayWhatManifestsSay compares the states that a reader gets
// from checkpoints, that the writer has, and that follow from every manifest,
// over random histories.
func TestCheckpointsSayWhatManifestsSay(t *testing.T) {
	folded, inherited := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		b := storage.NewMem()
		w := &teller{t: t, rt: rt, b: b, a: newArchive(t, b)}
		opts := testOptions()
		opts.Chunk = rapid.IntRange(1, 5).Draw(rt, "chunk")
		w.a.opts.Chunk = opts.Chunk
		for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 15).Draw(rt, "steps") {
				w.step()
			}
			if _, err := w.a.Checkpoint(t.Context(), rapid.IntRange(2, 12).Draw(rt, "every")); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "reopen") {
				w.a = openTimelineT(t, b, w.a.timeline)
				w.a.opts.Chunk = opts.Chunk
				if _, err := w.a.Load(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
		}
		want := replayed(t, b, w.a.timeline)
		opts.Timeline, opts.Warn = w.a.timeline, func(err error) { rt.Errorf("warned: %v", err) }
		fresh, err := Open(t.Context(), b, opts)
		if err == nil {
			_, err = fresh.Load(t.Context())
		}
		if err != nil {
			rt.Fatal(err)
		}
		if d := chaintest.Diff(want, fresh.State()); d != "" {
			rt.Fatalf("from checkpoints:\n%s", d)
		}
		if d := chaintest.Diff(want, w.a.State()); d != "" {
			rt.Fatalf("the writer's:\n%s", d)
		}
		r, err := fresh.VerifyOwn(t.Context())
		for _, f := range r.Findings {
			if strings.Contains(f.Key, "/checkpoint/") || strings.Contains(f.Key, "/manifest/") {
				rt.Errorf("verify: %v", f) // there are no packs
			}
		}
		if err != nil {
			rt.Fatal(err)
		}
		if d := chaintest.Diff(want, r.State); d != "" {
			rt.Fatalf("after verification:\n%s", d)
		}
		for _, c := range fresh.State().Segments.Chunks() {
			if folded++; !strings.HasPrefix(c.Key, string(fresh.timeline)+"/") {
				inherited++
			}
		}
	})
	if folded == 0 || inherited == 0 {
		t.Errorf("%d chunks, %d of them of a parent: the test should reach both", folded, inherited)
	}
}

// TestDamagedCheckpoints spoils each part of each checkpoint of an archive. What
// is opened and read then is right all the same, and a warning says what was wrong.
func TestDamagedCheckpoints(t *testing.T) {
	mem := storage.NewMem()
	a := newArchive(t, mem)
	a.opts.Chunk = 4
	c := claim(t, a, claimOptions("h"))
	for range 40 {
		publishSegment(t, c, 2)
		if _, err := a.Checkpoint(t.Context(), 12); err != nil {
			t.Fatal(err)
		}
	}
	want := replayed(t, mem, chain.MainTimeline)
	if n := len(want.Checkpoints); n < 3 {
		t.Fatalf("%d checkpoints", n)
	}
	opening, reading := 0, 0
	for i := range want.Checkpoints {
		key := want.Checkpoints[i].Body.Key
		whole := bytesOf(t, mem, key)
		for at := 0; at < len(whole); at += 1 + len(whole)/40 {
			raw := bytes.Clone(whole)
			raw[at] ^= 0x10
			b := copyBucket(t, mem)
			replace(t, b, key, raw)
			var warnings []string
			opts := testOptions()
			opts.Warn = func(err error) { warnings = append(warnings, err.Error()) }
			fresh, err := Open(t.Context(), b, opts)
			if err != nil {
				t.Fatal(err)
			}
			s, err := fresh.Load(t.Context())
			if err != nil {
				t.Fatalf("byte %d of %s: %v", at, key, err)
			}
			opened := len(warnings)
			opening += opened
			var got []chain.Announced[chain.Segment]
			for seg, e := range s.Segments.All(t.Context()) {
				if err = e; err == nil {
					got = append(got, *seg)
				}
			}
			if err != nil {
				t.Fatalf("byte %d of %s: the log: %v", at, key, err)
			}
			s.Segments = chain.SegmentsOf(got...)
			if d := chaintest.Diff(want, s); d != "" {
				t.Fatalf("byte %d of %s:\n%s", at, key, d)
			}
			for _, w := range warnings {
				if !strings.Contains(w, key) {
					t.Errorf("byte %d of %s: warning %q", at, key, w)
				}
			}
			reading += len(warnings) - opened
			r, err := openArchive(t, b).VerifyChain(t.Context())
			if err != nil || len(r.Findings) != 1 || r.Findings[0].Key != key {
				t.Fatalf("byte %d of %s: verify: %v, %v", at, key, err, r.Findings)
			}
		}
	}
	if opening == 0 || reading == 0 {
		t.Errorf("%d warnings of opening, %d of reading: the test should reach both", opening, reading)
	}
}
