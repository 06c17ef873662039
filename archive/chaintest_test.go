package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// testRepo is the repository of every chain made here.
const testRepo RepoID = "00112233445566778899aabbccddeeff"

// testSource is the database that they archive.
var testSource = Source{Kind: "embedded", System: "s1"}

// chain builds a valid history manifest by manifest. What is not valid fails
// the test.
type chain struct {
	T     testing.TB
	State *State
	Raws  [][]byte
}

// newChain starts a chain.
func newChain(t testing.TB) *chain { return &chain{T: t, State: NewState(testRepo, MainTimeline)} }

// Seal completes m to follow the state.
func (c *chain) Seal(m Manifest) *Manifest {
	m.Format, m.Repo, m.Timeline = FormatVersion, c.State.Repo, c.State.Timeline
	m.Seq, m.Prev = c.State.Seq+1, c.State.Head
	m.Written = change.Time(m.Seq) * 1000
	m.Nonce = fmt.Sprintf("%032x", uint64(m.Seq))
	if m.Epochal() && m.Epoch == 0 {
		m.Epoch = c.State.Epoch
		if m.Kind == KindClaim {
			m.Epoch++
		}
	}
	return &m
}

// Add appends m, which must be valid.
func (c *chain) Add(m Manifest) *chain {
	c.T.Helper()
	sealed := c.Seal(m)
	raw, err := sealed.Encode()
	if err != nil {
		c.T.Fatal(err)
	}
	back, err := DecodeManifest(raw)
	if err != nil {
		c.T.Fatalf("%v\n%s", err, raw)
	}
	if err := c.State.Next(back, HashManifest(raw)); err != nil {
		c.T.Fatal(err)
	}
	c.Raws = append(c.Raws, raw)
	return c
}

// Claim starts an epoch, over one that is open if need be.
func (c *chain) Claim() *chain {
	return c.Add(mClaim(c.State))
}

// Segment adds n records of collection 1, which the first segment creates.
func (c *chain) Segment(n int) *chain {
	c.T.Helper()
	return c.Add(mSegment(c.T, c.State, n))
}

// Covered promises that nothing more gets a time up to t.
func (c *chain) Covered(t change.Time) *chain {
	return c.Add(Manifest{Kind: KindCoverage, Coverage: &Coverage{LSN: c.State.Last, CoveredUntil: t}})
}

// Base adds a base of the source at lsn, its run named by 16 times nonce.
func (c *chain) Base(lsn change.LSN, nonce string) *chain {
	return c.Add(mSnapshot(c.State, lsn, strings.Repeat(nonce, 16), testSchema(c.T, 1)))
}

// Gap loses the log from one time to another.
func (c *chain) Gap(from, to change.Time) *chain {
	return c.Add(Manifest{Kind: KindGap, Gap: &Gap{LSN: c.State.Last + 1, Reason: "log lost", From: from, To: to, LogHash: change.Hash{9}}})
}

// ClaimAt starts a timeline of a database that has a history.
func (c *chain) ClaimAt(lsn change.LSN) *chain {
	return c.Add(Manifest{Kind: KindClaim, Claim: &Claim{Source: testSource, LSN: lsn, LogHash: change.Hash{7}}})
}

// mClaim is a claim after s, over an epoch that is open if need be.
func mClaim(s *State) Manifest {
	cl := &Claim{Source: testSource, LSN: s.Last, LogHash: s.LogHash, Position: s.Position, Holder: "host/1"}
	if s.EpochOpen {
		cl.Over = OverTakeover
	}
	return Manifest{Kind: KindClaim, Claim: cl}
}

// testSchema is version 1 of a collection's schema.
func testSchema(t testing.TB, id change.CollectionID) *change.Schema {
	s, err := change.Define(id, fmt.Sprintf("c%d", id), []string{"id"}, change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "v", Type: change.Text, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mSegment is a segment of n records in one transaction after s: inserts into
// collection 1, and first of all its schema if there is none.
func mSegment(t testing.TB, s *State, n int) Manifest {
	first, last := s.Last+1, s.Last+change.LSN(n)
	eff := EffectiveFloor(s.Effective, s.CoveredUntil) + 1000
	b := &Segment{First: first, Last: last, Effective: Span{eff, eff}, Commit: Span{eff, eff}, CoveredUntil: eff,
		LogHash: change.LogHash(s.LogHash, fmt.Appendf(nil, "%d-%d", first, last)), Txs: 1}
	inserts := int64(n)
	count := Count{Collection: 1}
	if s.Schemas[1] == nil && s.SchemasKnown() {
		b.Schemas = []SchemaChange{{first, testSchema(t, 1)}}
		count.Schemas = 1
		inserts--
	}
	count.Inserts = inserts
	b.Counts = []Count{count}
	b.Packs = []pack.Ref{mRef(PackKey{s.Timeline, LogPack, first, last, "0123456789abcdef"}, int64(n))}
	b.Largest = []TxSize{{First: first, Last: last, ID: 7, Commit: eff, Effective: eff, Counts: []Count{count}}}
	return Manifest{Kind: KindSegment, Segment: b}
}

// mRef refers to a pack that nobody wrote.
func mRef(k PackKey, records int64) pack.Ref {
	return pack.Ref{Key: k.String(), Size: 500, Tail: 100, Hash: HashManifest([]byte(k.String())), Records: records, Raw: 1000, MaxBlock: 1000}
}

// mSnapshot is a base of the source at lsn.
func mSnapshot(s *State, lsn change.LSN, nonce string, schemas ...*change.Schema) Manifest {
	b := &Snapshot{LSN: lsn, Origin: OriginSource, Taken: 5, Schemas: schemas}
	b.LogHash, _ = s.LogHashAt(lsn)
	for _, sc := range schemas {
		b.Digests = append(b.Digests, CollectionDigest{Collection: sc.Collection, Rows: 2, Digest: change.Hash{1}})
	}
	if len(schemas) > 0 {
		b.Runs = []pack.Ref{mRef(PackKey{s.Timeline, RunPack, 0, lsn, nonce}, 2)}
	}
	return Manifest{Kind: KindSnapshot, Snapshot: b}
}

// mCheckpoint announces a bundle that nobody wrote.
func mCheckpoint(first, last Seq) *Checkpoint {
	return &Checkpoint{First: first, Last: last, Key: CheckpointKey(MainTimeline, first, last), Size: 9, Hash: change.Hash{3}}
}

// goldenChain is a history with every kind of manifest.
func goldenChain(t testing.TB) *chain {
	c := newChain(t).Claim().Segment(3)
	seg := mSegment(t, c.State, 4)
	seg.Segment.Position = "0/16B3748"
	seg.Segment.Counts[0] = Count{Collection: 1, Inserts: 1, Updates: 1, Deletes: 1, Truncates: 1}
	seg.Segment.Tombstones = []Tombstone{{Collection: 1, LSN: 6}}
	seg.Segment.Largest[0].Counts = seg.Segment.Counts
	c.Add(seg)
	c.Add(mSnapshot(c.State, 7, "aaaaaaaaaaaaaaaa", testSchema(t, 1)))
	c.Add(Manifest{Kind: KindDigest, Digest: &Digest{LSN: 7, Digests: []CollectionDigest{{1, 5, change.Hash{2}}}}})
	c.Add(Manifest{Kind: KindCoverage, Coverage: &Coverage{LSN: 7, CoveredUntil: 1e6}})
	c.Add(Manifest{Kind: KindLabel, Label: &Label{Name: "before-migration", LSN: 3, Note: "<the \"big\" one> ü"}})
	c.Add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", LSN: 3, Until: 1e15, Reason: "legal"}})
	c.Add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", Release: true}})
	c.Add(Manifest{Kind: KindCheckpoint, Checkpoint: mCheckpoint(1, 5)})
	c.Add(Manifest{Kind: KindGap, Gap: &Gap{LSN: 8, Reason: "log lost", From: 2e6, To: 3e6, LogHash: change.Hash{8}, Collections: []change.CollectionID{1}}})
	return c.Add(Manifest{Kind: KindClose, Close: &Close{LSN: 8}})
}

// golden compares data with a file of testdata, or with update writes the file.
func golden(t testing.TB, name string, data []byte, update bool) {
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
