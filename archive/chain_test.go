package archive

import (
	"fmt"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

const testRepo RepoID = "00112233445566778899aabbccddeeff"

var testSource = Source{Kind: "embedded", System: "s1"}

// chain builds a valid history manifest by manifest.
type chain struct {
	t    testing.TB
	s    *State
	raws [][]byte
}

func newChain(t testing.TB) *chain { return &chain{t: t, s: NewState(testRepo, MainTimeline)} }

// seal completes m to follow the state.
func (c *chain) seal(m Manifest) *Manifest {
	m.Format, m.Repo, m.Timeline = FormatVersion, c.s.Repo, c.s.Timeline
	m.Seq, m.Prev = c.s.Seq+1, c.s.Head
	m.Written = change.Time(m.Seq) * 1000
	m.Nonce = fmt.Sprintf("%032x", uint64(m.Seq))
	if m.epochal() && m.Epoch == 0 {
		m.Epoch = c.s.Epoch
		if m.Kind == KindClaim {
			m.Epoch++
		}
	}
	return &m
}

// add appends m, which must be valid.
func (c *chain) add(m Manifest) *chain {
	c.t.Helper()
	sealed := c.seal(m)
	raw, err := sealed.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	back := decodeStored(raw)
	if back.err != nil {
		c.t.Fatalf("%v\n%s", back.err, raw)
	}
	if err := c.s.Next(back.m, back.hash); err != nil {
		c.t.Fatal(err)
	}
	c.raws = append(c.raws, raw)
	return c
}

func (c *chain) claim() *chain {
	return c.add(mClaim(c.s))
}

// segment adds n records of collection 1, which the first segment creates.
func (c *chain) segment(n int) *chain {
	c.t.Helper()
	return c.add(mSegment(c.t, c.s, n))
}

func mClaim(s *State) Manifest {
	cl := &Claim{Source: testSource, LSN: s.Last, LogHash: s.LogHash, Position: s.Position, Holder: "host/1"}
	if s.EpochOpen {
		cl.Over = OverTakeover
	}
	return Manifest{Kind: KindClaim, Claim: cl}
}

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
	if s.Schemas[1] == nil && !s.schemas.unknown {
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

func TestChainOfEveryKind(t *testing.T) {
	c := newChain(t).claim().segment(3).segment(4)
	if c.s.Last != 7 || c.s.Epoch != 1 || !c.s.EpochOpen || c.s.Schemas[1] == nil || c.s.NextCollection != 2 {
		t.Fatalf("after two segments: %+v", c.s)
	}
	c.add(mSnapshot(c.s, 7, "aaaaaaaaaaaaaaaa", testSchema(t, 1)))
	c.add(Manifest{Kind: KindDigest, Digest: &Digest{LSN: 7, Digests: []CollectionDigest{{1, 5, change.Hash{2}}}}})
	c.add(Manifest{Kind: KindCoverage, Coverage: &Coverage{LSN: 7, CoveredUntil: 1e6}})
	c.add(Manifest{Kind: KindLabel, Label: &Label{Name: "before-migration", LSN: 3}})
	c.add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", LSN: 3, Reason: "legal"}})
	c.add(Manifest{Kind: KindCheckpoint, Checkpoint: &Checkpoint{First: 1, Last: 5, Key: CheckpointKey(MainTimeline, 1, 5), Size: 9, Hash: change.Hash{3}}})
	c.add(Manifest{Kind: KindHold, Hold: &Hold{Name: "audit", Release: true}})
	c.add(Manifest{Kind: KindGap, Gap: &Gap{LSN: 8, Reason: "log lost", From: 2e6, To: 3e6, LogHash: change.Hash{8}}})
	c.add(Manifest{Kind: KindClose, Close: &Close{LSN: 8}})
	c.claim()
	if c.s.Epoch != 2 || c.s.Last != 8 || c.s.Effective != 3e6 || c.s.CoveredUntil != 1e6 || len(c.s.Holds) != 0 || len(c.s.Labels) != 1 {
		t.Fatalf("at the end: %+v", c.s)
	}
	again := NewState(testRepo, MainTimeline)
	for _, raw := range c.raws {
		b := decodeStored(raw)
		if err := again.Next(b.m, b.hash); err != nil {
			t.Fatal(err)
		}
	}
	if again.Head != c.s.Head || again.LogHash != c.s.LogHash {
		t.Fatal("replaying the stored bytes ends elsewhere")
	}
}
