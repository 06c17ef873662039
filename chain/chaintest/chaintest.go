// Package chaintest makes valid histories for the tests of what reads and
// writes chains.
package chaintest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// Repo is the repository of every chain made here.
const Repo chain.RepoID = "00112233445566778899aabbccddeeff"

// Source is the database that they archive.
var Source = chain.Source{Kind: "embedded", System: "s1"}

// Chain builds a valid history manifest by manifest. What is not valid fails
// the test.
type Chain struct {
	T     testing.TB
	State *chain.State
	Raws  [][]byte
}

// New starts a chain.
func New(t testing.TB) *Chain { return &Chain{T: t, State: chain.NewState(Repo, chain.MainTimeline)} }

// Seal completes m to follow the state.
func (c *Chain) Seal(m chain.Manifest) *chain.Manifest {
	m.Format, m.Repo, m.Timeline = chain.FormatVersion, c.State.Repo, c.State.Timeline
	m.Seq, m.Prev = c.State.Seq+1, c.State.Head
	m.Written = change.Time(m.Seq) * 1000
	m.Nonce = fmt.Sprintf("%032x", uint64(m.Seq))
	if m.Epochal() && m.Epoch == 0 {
		m.Epoch = c.State.Epoch
		if m.Kind == chain.KindClaim {
			m.Epoch++
		}
	}
	return &m
}

// Add appends m, which must be valid.
func (c *Chain) Add(m chain.Manifest) *Chain {
	c.T.Helper()
	sealed := c.Seal(m)
	raw, err := sealed.Encode()
	if err != nil {
		c.T.Fatal(err)
	}
	back, err := chain.DecodeManifest(raw)
	if err != nil {
		c.T.Fatalf("%v\n%s", err, raw)
	}
	if err := c.State.Next(back, chain.HashManifest(raw)); err != nil {
		c.T.Fatal(err)
	}
	c.Raws = append(c.Raws, raw)
	return c
}

// Claim starts an epoch, over one that is open if need be.
func (c *Chain) Claim() *Chain {
	return c.Add(Claim(c.State))
}

// Segment adds n records of collection 1, which the first segment creates.
func (c *Chain) Segment(n int) *Chain {
	c.T.Helper()
	return c.Add(Segment(c.T, c.State, n))
}

// Covered promises that nothing more gets a time up to t.
func (c *Chain) Covered(t change.Time) *Chain {
	return c.Add(chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: c.State.Last, CoveredUntil: t}})
}

// Base adds a base of the source at lsn, its run named by 16 times nonce.
func (c *Chain) Base(lsn change.LSN, nonce string) *Chain {
	return c.Add(Snapshot(c.State, lsn, strings.Repeat(nonce, 16), Schema(c.T, 1)))
}

// Gap loses the log from one time to another.
func (c *Chain) Gap(from, to change.Time) *Chain {
	return c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: c.State.Last + 1, Last: c.State.Last + 1, Reason: "log lost", From: from, To: to, LogHash: change.Hash{9}}})
}

// ClaimAt starts a timeline of a database that has a history.
func (c *Chain) ClaimAt(lsn change.LSN) *Chain {
	return c.Add(chain.Manifest{Kind: chain.KindClaim, Claim: &chain.Claim{Source: Source, LSN: lsn, LogHash: change.Hash{7}}})
}

// Claim is a claim after s, over an epoch that is open if need be.
func Claim(s *chain.State) chain.Manifest {
	cl := &chain.Claim{Source: Source, LSN: s.Last, LogHash: s.LogHash, Position: s.Position, Holder: "host/1"}
	if s.EpochOpen {
		cl.Over = chain.OverTakeover
	}
	return chain.Manifest{Kind: chain.KindClaim, Claim: cl}
}

// Schema is version 1 of a collection's schema.
func Schema(t testing.TB, id change.CollectionID) *change.Schema {
	s, err := change.Define(id, fmt.Sprintf("c%d", id), []string{"id"}, change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "v", Type: change.Text, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Segment is a segment of n records in one transaction after s: inserts into
// collection 1, and first of all its schema if there is none.
func Segment(t testing.TB, s *chain.State, n int) chain.Manifest {
	first, last := s.Last+1, s.Last+change.LSN(n)
	eff := chain.EffectiveFloor(s.Effective, s.CoveredUntil) + 1000
	b := &chain.Segment{First: first, Last: last, Effective: chain.Span{From: eff, To: eff}, Commit: chain.Span{From: eff, To: eff}, CoveredUntil: eff,
		LogHash: change.LogHash(s.LogHash, fmt.Appendf(nil, "%d-%d", first, last)), Txs: 1}
	inserts := int64(n)
	count := chain.Count{Collection: 1}
	if s.Schemas[1] == nil && s.SchemasKnown() {
		b.Schemas = []chain.SchemaChange{{LSN: first, Schema: Schema(t, 1)}}
		count.Schemas = 1
		inserts--
	}
	count.Inserts = inserts
	b.Counts = []chain.Count{count}
	b.Packs = []pack.Ref{Ref(chain.PackKey{Timeline: s.Timeline, Kind: chain.LogPack, First: first, Last: last, Nonce: "0123456789abcdef"}, int64(n))}
	b.Largest = []chain.TxSize{{First: first, Last: last, ID: 7, Commit: eff, Effective: eff, Counts: []chain.Count{count}}}
	return chain.Manifest{Kind: chain.KindSegment, Segment: b}
}

// Ref refers to a pack that nobody wrote.
func Ref(k chain.PackKey, records int64) pack.Ref {
	return pack.Ref{Key: k.String(), Size: 500, Tail: 100, Hash: chain.HashManifest([]byte(k.String())), Records: records, Raw: 1000, MaxBlock: 1000}
}

// Snapshot is a base of the source at lsn.
func Snapshot(s *chain.State, lsn change.LSN, nonce string, schemas ...*change.Schema) chain.Manifest {
	b := &chain.Snapshot{LSN: lsn, Origin: chain.OriginSource, Taken: 5, Schemas: schemas}
	b.LogHash, _, _ = s.LogHashAt(context.Background(), lsn)
	for _, sc := range schemas {
		b.Digests = append(b.Digests, chain.CollectionDigest{Collection: sc.Collection, Rows: 2, Digest: change.Hash{1}})
	}
	if len(schemas) > 0 {
		b.Runs = []pack.Ref{Ref(chain.PackKey{Timeline: s.Timeline, Kind: chain.RunPack, First: 0, Last: lsn, Nonce: nonce}, 2)}
	}
	return chain.Manifest{Kind: chain.KindSnapshot, Snapshot: b}
}

// Checkpoint is the section that announces a bundle that nobody wrote.
func Checkpoint(first, last chain.Seq) *chain.Checkpoint {
	return &chain.Checkpoint{First: first, Last: last, Key: chain.CheckpointKey(chain.MainTimeline, first, last), Size: 9, Hash: change.Hash{3}, Index: change.Hash{4}}
}

// EveryKind is a history with every kind of manifest.
func EveryKind(t testing.TB) *Chain {
	c := New(t).Claim().Segment(3)
	seg := Segment(t, c.State, 4)
	seg.Segment.Position = "0/16B3748"
	seg.Segment.Counts[0] = chain.Count{Collection: 1, Inserts: 1, Updates: 1, Deletes: 1, Truncates: 1}
	seg.Segment.Tombstones = []chain.Tombstone{{Collection: 1, LSN: 6}}
	seg.Segment.Largest[0].Counts = seg.Segment.Counts
	c.Add(seg)
	c.Add(Snapshot(c.State, 7, "aaaaaaaaaaaaaaaa", Schema(t, 1)))
	c.Add(chain.Manifest{Kind: chain.KindDigest, Digest: &chain.Digest{LSN: 7, Digests: []chain.CollectionDigest{{Collection: 1, Rows: 5, Digest: change.Hash{2}}}}})
	c.Add(chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: 7, CoveredUntil: 1e6}})
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "before-migration", LSN: 3, Note: "<the \"big\" one> ü"}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "audit", LSN: 3, Until: 1e15, Reason: "legal"}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "audit", Release: true}})
	c.Add(chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: Checkpoint(1, 5)})
	c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: 8, Last: 8, Reason: "log lost", From: 2e6, To: 3e6, LogHash: change.Hash{8}, Collections: []change.CollectionID{1}}})
	c.Add(chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: 8}})
	c.Add(chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: 8, Reason: "disk replaced", By: "ops"}})
	c.Add(chain.Manifest{Kind: chain.KindDrill, Drill: &chain.Drill{LSN: 7, OK: true, Independent: true, Against: 4, Started: 4e6, Elapsed: 12_000, Rows: 2, Bytes: 60}})
	c.Add(chain.Manifest{Kind: chain.KindVerify, Verify: &chain.Verify{Level: "objects", Through: 13, Started: 5e6, Elapsed: 9_000, Objects: 3, Bytes: 1500, Findings: 2,
		Lost:  []chain.Lost{{First: 1, Last: 3, Effective: chain.Span{From: 1000, To: 3000}, Detail: "main/log/0000000000000001-0000000000000003-0123456789abcdef is missing"}},
		Bases: []chain.LostBase{{Timeline: chain.MainTimeline, Seq: 4, LSN: 3, Detail: "its digests differ"}}}})
	first := &Segments(c.State)[0].Body
	return c.Add(chain.Manifest{Kind: chain.KindPin, Pin: &chain.Pin{Child: "t2", LSN: 3, LogHash: first.LogHash, Effective: first.Effective.To, Note: "after the accident"}})
}

// Fork pins a child timeline at an LSN where the chain knows log hash and
// time, or with those given, and returns the child's chain with its first
// manifest.
func (c *Chain) Fork(child chain.TimelineID, lsn change.LSN, hash change.Hash, effective change.Time) *Chain {
	c.T.Helper()
	var txs int64 // where a segment is cut, as many as fit
	if seg, err := c.State.SegmentAt(context.Background(), lsn); err != nil {
		c.T.Fatal(err)
	} else if seg != nil && lsn < seg.Last {
		txs = min(seg.Txs-1, int64(lsn-seg.First)+1)
	}
	c.Add(chain.Manifest{Kind: chain.KindPin, Pin: &chain.Pin{Child: child, LSN: lsn, LogHash: hash, Effective: effective, Txs: txs}})
	return c.Child(child)
}

// Child starts the chain of the timeline that the last manifest has pinned.
func (c *Chain) Child(child chain.TimelineID) *Chain {
	c.T.Helper()
	s, err := c.State.Fork(child)
	if err != nil {
		c.T.Fatal(err)
	}
	f := &Chain{T: c.T, State: s}
	return f.Add(chain.Manifest{Kind: chain.KindFork, Fork: s.Parent})
}

// Segments returns the log of s, segment by segment. It panics where it can't be read.
func Segments(s *chain.State) []chain.Announced[chain.Segment] {
	var out []chain.Announced[chain.Segment]
	for seg, err := range s.Segments.All(context.Background()) {
		if err != nil {
			panic(err)
		}
		out = append(out, *seg)
	}
	return out
}

// Diff says how two states differ, their whole logs included.
func Diff(a, b *chain.State) string {
	return cmp.Diff(a, b, cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.Transformer("Log", func(l chain.Segments) []chain.Announced[chain.Segment] { return Segments(&chain.State{Segments: l}) }),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".tails" }, cmp.Ignore()),
		cmpopts.EquateEmpty())
}

// Golden compares data with a file of testdata, or with update writes the file.
func Golden(t testing.TB, name string, data []byte, update bool) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(data)); d != "" {
		t.Errorf("%s differs from what is written now:\n%s", path, d)
	}
}
