package chain_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
)

// standardChain ends at LSN 9: two segments (1–4, 5–8) of collection 1, a base
// at 4, labels and holds, a checkpoint, and a gap of collection 1 at 9.
func standardChain(t testing.TB) *chaintest.Chain {
	c := chaintest.New(t).Claim().Segment(4)
	c.Add(chaintest.Snapshot(c.State, 4, "aaaaaaaaaaaaaaaa", chaintest.Schema(t, 1)))
	c.Segment(4)
	c.Add(chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "one", LSN: 4}})
	c.Add(chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "audit", LSN: 4}})
	c.Add(chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: chaintest.Checkpoint(1, 4)})
	return c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: 9, Last: 9, Reason: "r", From: 20000, To: 30000, LogHash: change.Hash{9}, Collections: []change.CollectionID{1}}})
}

type ruleTest struct {
	name string
	rule string
	is   error // beside ErrBroken
	make func(t *testing.T, c *chaintest.Chain) *chain.Manifest
}

// with seals the manifest that f makes.
func with(f func(t *testing.T, c *chaintest.Chain) chain.Manifest) func(*testing.T, *chaintest.Chain) *chain.Manifest {
	return func(t *testing.T, c *chaintest.Chain) *chain.Manifest { return c.Seal(f(t, c)) }
}

// changed seals a valid manifest and changes it afterwards.
func changed(make func(t *testing.T, c *chaintest.Chain) chain.Manifest, f func(m *chain.Manifest)) func(*testing.T, *chaintest.Chain) *chain.Manifest {
	return func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
		m := c.Seal(make(t, c))
		f(m)
		return m
	}
}

func aLabel(*testing.T, *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindLabel, Label: &chain.Label{Name: "two", LSN: 8}}
}
func aClaim(_ *testing.T, c *chaintest.Chain) chain.Manifest { return chaintest.Claim(c.State) }
func aSegment(t *testing.T, c *chaintest.Chain) chain.Manifest {
	return chaintest.Segment(t, c.State, 3)
}
func aSnapshot(t *testing.T, c *chaintest.Chain) chain.Manifest {
	return chaintest.Snapshot(c.State, 8, "bbbbbbbbbbbbbbbb", chaintest.Schema(t, 1))
}
func aHold(*testing.T, *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: "h", LSN: 4}}
}
func aCoverage(_ *testing.T, c *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: c.State.Last, CoveredUntil: 1e6}}
}
func aGap(_ *testing.T, c *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: c.State.Last + 1, Last: c.State.Last + 1, Reason: "r", From: 40000, To: 50000}}
}
func aDigest(_ *testing.T, c *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindDigest, Digest: &chain.Digest{LSN: 8, Digests: []chain.CollectionDigest{{1, 3, change.Hash{1}}}}}
}
func aClose(_ *testing.T, c *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: c.State.Last}}
}
func aCheckpoint(*testing.T, *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: chaintest.Checkpoint(5, 8)}
}

func anAck(*testing.T, *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindGapAck, GapAck: &chain.GapAck{First: 9, Reason: "known"}}
}
func aDrill(*testing.T, *chaintest.Chain) chain.Manifest {
	return chain.Manifest{Kind: chain.KindDrill, Drill: &chain.Drill{LSN: 8, Base: 4, OK: true}}
}
func aPin(_ *testing.T, c *chaintest.Chain) chain.Manifest {
	b := &chaintest.Segments(c.State)[0].Body
	return chain.Manifest{Kind: chain.KindPin, Pin: &chain.Pin{Child: "t2", LSN: 4, LogHash: b.LogHash, Effective: b.Effective.To}}
}

// inChild spoils the first manifest of a fork.
func inChild(spoil func(m *chain.Manifest)) func(*testing.T, *chaintest.Chain) *chain.Manifest {
	return func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
		s, err := c.Add(aPin(t, c)).State.Fork("t2")
		if err != nil {
			t.Fatal(err)
		}
		*c = chaintest.Chain{T: t, State: s}
		f := *s.Parent
		m := c.Seal(chain.Manifest{Kind: chain.KindFork, Fork: &f})
		spoil(m)
		return m
	}
}

// segmentWith changes a valid segment, keeping it well-formed.
func segmentWith(f func(t *testing.T, c *chaintest.Chain, b *chain.Segment)) func(*testing.T, *chaintest.Chain) *chain.Manifest {
	return func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
		m := c.Seal(aSegment(t, c))
		f(t, c, m.Segment)
		return m
	}
}

// withSchema turns the first insert of a segment into a schema change.
func withSchema(b *chain.Segment, s *change.Schema) {
	if s.Collection == 1 {
		b.Counts[0].Inserts--
		b.Counts[0].Schemas++
	} else {
		b.Counts[0].Inserts--
		b.Counts = append(b.Counts, chain.Count{Collection: s.Collection, Schemas: 1})
	}
	b.Largest = nil
	b.Smaller = int64(b.Last-b.First) + 1
	b.Schemas = []chain.SchemaChange{{b.First, s}}
	if s.Dropped {
		b.Tombstones = []chain.Tombstone{{s.Collection, b.First, true}}
	}
}

func ruleTests() []ruleTest {
	return []ruleTest{
		{"another repository", "link.repo", chain.ErrWrongRepo, changed(aLabel, func(m *chain.Manifest) { m.Repo = "ffffffffffffffffffffffffffffffff" })},
		{"another timeline", "link.timeline", nil, changed(aLabel, func(m *chain.Manifest) { m.Timeline = "fork" })},
		{"number skipped", "link.seq", nil, changed(aLabel, func(m *chain.Manifest) { m.Seq++ })},
		{"number repeated", "link.seq", nil, changed(aLabel, func(m *chain.Manifest) { m.Seq-- })},
		{"another predecessor", "link.prev", nil, changed(aLabel, func(m *chain.Manifest) { m.Prev[0]++ })},

		{"epoch skipped", "epoch.claim", nil, changed(aClaim, func(m *chain.Manifest) { m.Epoch++ })},
		{"epoch claimed again", "epoch.claim", nil, changed(aClaim, func(m *chain.Manifest) { m.Epoch-- })},
		{"claim over an open epoch", "epoch.over", chain.ErrLocked, changed(aClaim, func(m *chain.Manifest) { m.Claim.Over = chain.OverNothing })},
		{"takeover of nobody", "epoch.over", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(aClose(t, c))
			return changed(aClaim, func(m *chain.Manifest) { m.Claim.Over = chain.OverTakeover })(t, c)
		}},
		{"fenced by a later claim", "epoch.fenced", chain.ErrFenced, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Claim()
			return changed(aSegment, func(m *chain.Manifest) { m.Epoch-- })(t, c)
		}},
		{"coverage after close", "epoch.fenced", chain.ErrFenced, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(aClose(t, c))
			return c.Seal(aCoverage(t, c))
		}},
		{"epoch of nobody", "epoch.unclaimed", nil, changed(aSegment, func(m *chain.Manifest) { m.Epoch++ })},
		{"label before the first claim", "epoch.first", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			*c = *chaintest.New(t)
			return changed(aLabel, func(m *chain.Manifest) { m.Label.LSN = 0 })(t, c)
		}},

		{"another source", "claim.source", nil, changed(aClaim, func(m *chain.Manifest) { m.Claim.Source.System = "s2" })},
		{"source behind the archive", "claim.lsn", nil, changed(aClaim, func(m *chain.Manifest) { m.Claim.LSN-- })},
		{"source with another history", "claim.log_hash", nil, changed(aClaim, func(m *chain.Manifest) { m.Claim.LogHash[0]++ })},
		{"source at another position", "claim.position", nil, changed(aClaim, func(m *chain.Manifest) { m.Claim.Position = "0/1" })},
		{"first claim at 0 with a log", "claim.start", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			*c = *chaintest.New(t)
			return changed(aClaim, func(m *chain.Manifest) { m.Claim.LogHash = change.Hash{1} })(t, c)
		}},
		{"close elsewhere", "close.lsn", nil, changed(aClose, func(m *chain.Manifest) { m.Close.LSN-- })},

		{"LSN skipped", "segment.lsn", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			s := c.State.Clone()
			s.Last++
			return c.Seal(chaintest.Segment(t, s, 2))
		}},
		{"LSN repeated", "segment.lsn", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			s := c.State.Clone()
			s.Last--
			return c.Seal(chaintest.Segment(t, s, 2))
		}},
		{"effective time back", "segment.effective", nil, segmentWith(func(_ *testing.T, c *chaintest.Chain, b *chain.Segment) {
			b.Effective, b.Largest, b.Smaller = chain.Span{c.State.Effective - 1, c.State.Effective}, nil, 3
		})},
		{"effective time within coverage", "segment.effective", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(aCoverage(t, c))
			return segmentWith(func(_ *testing.T, c *chaintest.Chain, b *chain.Segment) {
				b.Effective, b.Largest, b.Smaller = chain.Span{1e6, 2e6}, nil, 3
				b.CoveredUntil = 2e6
			})(t, c)
		}},
		{"schema without a predecessor", "segment.schema", nil, segmentWith(func(t *testing.T, _ *chaintest.Chain, b *chain.Segment) {
			s := chaintest.Schema(t, 2)
			s.Version = 2
			withSchema(b, s)
		})},
		{"schema version skipped", "segment.schema", nil, segmentWith(func(t *testing.T, _ *chaintest.Chain, b *chain.Segment) {
			s := chaintest.Schema(t, 1)
			s.Version = 3
			withSchema(b, s)
		})},
		{"a dropped collection comes back", "segment.schema", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			m := aSegment(t, c)
			s := chaintest.Schema(t, 1)
			s.Version, s.Dropped = 2, true
			withSchema(m.Segment, s)
			m.Segment.Counts[0] = chain.Count{Collection: 1, Schemas: 1, Inserts: 2}
			c.Add(m)
			return c.Seal(chain.Manifest{Kind: chain.KindSegment, Segment: func() *chain.Segment {
				b := chaintest.Segment(t, c.State, 3).Segment // brings collection 1 as version 1
				return b
			}()})
		}},
		{"records without a schema", "segment.collection", nil, segmentWith(func(_ *testing.T, _ *chaintest.Chain, b *chain.Segment) {
			b.Counts[0].Collection = 5
			b.Largest, b.Smaller = nil, 3
		})},

		{"base above the log", "snapshot.lsn", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			return chaintest.Snapshot(c.State, 10, "bbbbbbbbbbbbbbbb", chaintest.Schema(t, 1))
		})},
		{"base inside a transaction", "snapshot.boundary", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			return chaintest.Snapshot(c.State, 6, "bbbbbbbbbbbbbbbb", chaintest.Schema(t, 1))
		})},
		{"base of another history", "snapshot.log_hash", nil, changed(aSnapshot, func(m *chain.Manifest) { m.Snapshot.LogHash[0]++ })},
		{"base of another history at the start", "snapshot.log_hash", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			m := chaintest.Snapshot(c.State, 0, "bbbbbbbbbbbbbbbb")
			m.Snapshot.LogHash = change.Hash{1}
			return m
		})},
		{"base misses a collection", "snapshot.schemas", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			return chaintest.Snapshot(c.State, 8, "bbbbbbbbbbbbbbbb")
		})},
		{"base with a collection too many", "snapshot.schemas", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			return chaintest.Snapshot(c.State, 8, "bbbbbbbbbbbbbbbb", chaintest.Schema(t, 1), chaintest.Schema(t, 2))
		})},
		{"base with another schema", "snapshot.schemas", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			s := chaintest.Schema(t, 1)
			s.Columns[1].Name = "w"
			return chaintest.Snapshot(c.State, 8, "bbbbbbbbbbbbbbbb", s)
		})},
		{"base with a run of another", "snapshot.run", nil, with(func(t *testing.T, c *chaintest.Chain) chain.Manifest {
			return chaintest.Snapshot(c.State, 4, "aaaaaaaaaaaaaaaa", chaintest.Schema(t, 1))
		})},
		{"base of a closed epoch", "epoch.fenced", chain.ErrFenced, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(aClose(t, c))
			return c.Seal(aSnapshot(t, c))
		}},

		{"digest above the log", "digest.lsn", nil, changed(aDigest, func(m *chain.Manifest) { m.Digest.LSN = 10 })},
		{"digest inside a transaction", "digest.boundary", nil, changed(aDigest, func(m *chain.Manifest) { m.Digest.LSN = 7 })},
		{"digest of nothing", "digest.collection", nil, changed(aDigest, func(m *chain.Manifest) { m.Digest.Digests[0].Collection = 2 })},
		{"coverage below the end", "coverage.lsn", nil, changed(aCoverage, func(m *chain.Manifest) { m.Coverage.LSN-- })},
		{"coverage taken back", "coverage.time", nil, changed(aCoverage, func(m *chain.Manifest) { m.Coverage.CoveredUntil = 1 })},

		{"label taken", "label.name", chain.ErrLabelTaken, changed(aLabel, func(m *chain.Manifest) { m.Label.Name = "one" })},
		{"label above the log", "label.lsn", nil, changed(aLabel, func(m *chain.Manifest) { m.Label.LSN = 10 })},
		{"label inside a transaction", "label.boundary", nil, changed(aLabel, func(m *chain.Manifest) { m.Label.LSN = 5 })},
		{"hold in force", "hold.name", nil, changed(aHold, func(m *chain.Manifest) { m.Hold.Name = "audit" })},
		{"hold above the log", "hold.lsn", nil, changed(aHold, func(m *chain.Manifest) { m.Hold.LSN = 10 })},
		{"hold inside a transaction", "hold.boundary", nil, changed(aHold, func(m *chain.Manifest) { m.Hold.LSN = 1 })},
		{"release of nothing", "hold.name", nil, changed(aHold, func(m *chain.Manifest) { *m.Hold = chain.Hold{Name: "h", Release: true} })},
		{"checkpoint leaves a hole", "checkpoint.range", nil, changed(aCheckpoint, func(m *chain.Manifest) { m.Checkpoint = chaintest.Checkpoint(6, 8) })},
		{"checkpoint overlaps", "checkpoint.range", nil, changed(aCheckpoint, func(m *chain.Manifest) { m.Checkpoint = chaintest.Checkpoint(1, 8) })},
		{"gap elsewhere", "gap.lsn", nil, changed(aGap, func(m *chain.Manifest) { m.Gap.First++; m.Gap.Last++ })},
		{"gap in the past", "gap.time", nil, changed(aGap, func(m *chain.Manifest) { m.Gap.From, m.Gap.To = 1, 2 })},
		{"acknowledged twice", "gap-ack.once", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(anAck(t, c))
			return c.Seal(anAck(t, c))
		}},
		{"no such gap", "gap-ack.lsn", nil, changed(anAck, func(m *chain.Manifest) { m.GapAck.First = 4 })},
		{"label inside a gap", "label.gap", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			g := aGap(t, c)
			g.Gap.Last += 5
			c.Add(g)
			return changed(aLabel, func(m *chain.Manifest) { m.Label.LSN = c.State.Last - 1 })(t, c)
		}},
		{"drill above the log", "drill.lsn", nil, changed(aDrill, func(m *chain.Manifest) { m.Drill.LSN = 10 })},
		{"drill inside a transaction", "drill.boundary", nil, changed(aDrill, func(m *chain.Manifest) { m.Drill.LSN, m.Drill.Base = 2, 0 })},
		{"child taken", "pin.child", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			c.Add(aPin(t, c))
			return c.Seal(aPin(t, c))
		}},
		{"pin above the log", "pin.lsn", nil, changed(aPin, func(m *chain.Manifest) { m.Pin.LSN = 10 })},
		{"pin inside a transaction", "pin.boundary", nil, changed(aPin, func(m *chain.Manifest) { m.Pin.LSN = 5 })},
		{"pin of another history", "pin.log_hash", nil, changed(aPin, func(m *chain.Manifest) { m.Pin.LogHash[0]++ })},
		{"pin that cuts nothing", "pin.transactions", nil, changed(aPin, func(m *chain.Manifest) { m.Pin.Txs = 1 })},
		{"pin at another time", "pin.effective", nil, changed(aPin, func(m *chain.Manifest) { m.Pin.Effective-- })},
		{"fork out of nothing", "fork.parent", nil, func(t *testing.T, c *chaintest.Chain) *chain.Manifest {
			f := c.Add(aPin(t, c)).Child("t2").State.Parent
			*c = *chaintest.New(t)
			c.State.Timeline = "t2"
			return c.Seal(chain.Manifest{Kind: chain.KindFork, Fork: f})
		}},
		{"fork elsewhere", "fork.pin", nil, inChild(func(m *chain.Manifest) { m.Fork.LSN-- })},
		{"fork of another history", "fork.pin", nil, inChild(func(m *chain.Manifest) { m.Fork.LogHash[0]++ })},
		{"fork that is none", "fork.first", nil, inChild(func(m *chain.Manifest) {
			m.Kind, m.Fork, m.Label = chain.KindLabel, nil, &chain.Label{Name: "x", LSN: 4}
		})},
		{"malformed", "form", chain.ErrManifest, changed(aGap, func(m *chain.Manifest) { m.Gap.Reason = "" })},
		{"newer", "form", chain.ErrVersion, changed(aGap, func(m *chain.Manifest) { m.Format = 2 })},
	}
}

func TestNextRefuses(t *testing.T) {
	for _, test := range ruleTests() {
		t.Run(test.name, func(t *testing.T) {
			c := standardChain(t)
			m := test.make(t, c)
			before := c.State.Clone()
			err := c.State.Next(m, change.Hash{42})
			var broken *chain.RuleError
			if !errors.As(err, &broken) || !errors.Is(err, chain.ErrBroken) {
				t.Fatalf("got %v, want a RuleError", err)
			}
			if broken.Rule != test.rule || broken.Seq != m.Seq || broken.Kind != m.Kind {
				t.Errorf("broke the rule %s, want %s: %v", broken.Rule, test.rule, err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v does not wrap %v", err, test.is)
			}
			if d := chaintest.Diff(before, c.State); d != "" {
				t.Errorf("a refused manifest changed the state:\n%s", d)
			}
		})
	}
}

// TestNextAccepts shows that the manifests which the table spoils are good.
func TestNextAccepts(t *testing.T) {
	for name, f := range map[string]func(*testing.T, *chaintest.Chain) chain.Manifest{"label": aLabel, "claim": aClaim, "segment": aSegment,
		"snapshot": aSnapshot, "hold": aHold, "coverage": aCoverage, "gap": aGap, "digest": aDigest, "close": aClose, "checkpoint": aCheckpoint,
		"gap-ack": anAck, "drill": aDrill, "pin": aPin} {
		t.Run(name, func(t *testing.T) {
			c := standardChain(t)
			c.Add(f(t, c))
		})
	}
}

// TestSchemasOfAStartInTheMiddle follows an archive of a database that had
// collections before, and one whose log was lost.
func TestSchemasOfAStartInTheMiddle(t *testing.T) {
	c := chaintest.New(t)
	m := chaintest.Claim(c.State)
	m.Claim.LSN, m.Claim.LogHash = 100, change.Hash{1}
	c.Add(m).Segment(2) // of collection 1, whose schema nobody knows yet
	v1 := chaintest.Schema(t, 1)
	v2, err := v1.AddColumns(change.Column{Name: "w", Type: change.Text, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	seg := chaintest.Segment(t, c.State, 3)
	withSchema(seg.Segment, v2)
	c.Add(seg)
	c.Add(chaintest.Snapshot(c.State, 100, "aaaaaaaaaaaaaaaa", v1, chaintest.Schema(t, 7)))
	if len(c.State.Schemas) != 2 || !c.State.Schemas[1].Equal(v2) || c.State.NextCollection != 8 || !c.State.SchemasKnown() {
		t.Fatalf("after the base: %v, next %d", c.State.Schemas, c.State.NextCollection)
	}
	if err := c.State.Next(c.Seal(chaintest.Snapshot(c.State, c.State.Last, "bbbbbbbbbbbbbbbb", v1, chaintest.Schema(t, 7))), change.Hash{}); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a base with the old schema: %v", err)
	}
	c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: c.State.Last + 1, Last: c.State.Last + 1, Reason: "log lost", From: 1e6, To: 2e6, LogHash: change.Hash{5}}})
	c.Segment(1)
	synthetic := chaintest.Snapshot(c.State, c.State.Last, "cccccccccccccccc", v2, chaintest.Schema(t, 7))
	synthetic.Snapshot.Origin = chain.OriginSynthetic
	if err := c.State.Next(c.Seal(synthetic), change.Hash{}); !errors.Is(err, chain.ErrBroken) {
		t.Errorf("a synthetic base after a gap: %v", err)
	}
	c.Add(chaintest.Snapshot(c.State, c.State.Last, "dddddddddddddddd", chaintest.Schema(t, 9)))
	if len(c.State.Schemas) != 1 || c.State.NextCollection != 10 {
		t.Errorf("after the gap's base: %v, next %d", c.State.Schemas, c.State.NextCollection)
	}
}

// TestClonesGoApart lets two clones grow from one state.
func TestClonesGoApart(t *testing.T) {
	base := chaintest.New(t).Claim()
	for range 20 {
		base.Segment(1)
	}
	grown := func(n int) *chaintest.Chain {
		c := &chaintest.Chain{T: t, State: base.State.Clone()}
		for range 5 {
			c.Segment(n)
		}
		return c
	}
	two, three := grown(2), grown(3)
	if two.State.Last != 30 || three.State.Last != 35 || base.State.Last != 20 || base.State.Segments.Len() != 20 {
		t.Fatalf("ends: %d, %d, %d", two.State.Last, three.State.Last, base.State.Last)
	}
	for i, want := range []change.LSN{22, 23} {
		if got := chaintest.Segments([]*chain.State{two.State, three.State}[i])[20].Body.Last; got != want {
			t.Errorf("clone %d: segment 20 ends at %d, want %d", i, got, want)
		}
	}
}

func TestEffective(t *testing.T) {
	for _, test := range []struct{ prev, covered, commit, now, want change.Time }{
		{0, 0, 50, 60, 50},   // as committed
		{0, 0, 70, 60, 60},   // a commit time in the future counts as now
		{80, 0, 50, 90, 80},  // the clock stepped back
		{80, 95, 50, 90, 96}, // behind a promise
		{0, 0, -5, 10, 1},    // never 0
		{80, 80, 81, 90, 81},
	} {
		if got := chain.Effective(test.prev, test.covered, test.commit, test.now); got != test.want {
			t.Errorf("Effective(%d, %d, %d, %d) = %d, want %d", test.prev, test.covered, test.commit, test.now, got, test.want)
		}
	}
}
