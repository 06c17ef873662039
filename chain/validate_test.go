package chain_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

func TestValidateRefuses(t *testing.T) {
	const (
		gClaim, gSegment, gTruncate, gSnapshot, gDigest, gCoverage, gLabel, gHold, gRelease, gCheckpoint, gGap, gClose, gAck, gDrill, gVerify, gPin = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	)
	raws := chaintest.EveryKind(t).Raws
	for _, test := range []struct {
		name  string
		base  int
		says  string
		spoil func(m *chain.Manifest)
	}{
		{"timeline", gLabel, "timeline", func(m *chain.Manifest) { m.Timeline = "Main" }},
		{"repo", gLabel, "repo", func(m *chain.Manifest) { m.Repo = "xyz" }},
		{"seq 0", gLabel, "seq", func(m *chain.Manifest) { m.Seq = 0 }},
		{"no prev", gLabel, "prev_hash", func(m *chain.Manifest) { m.Prev = change.Hash{} }},
		{"no epoch", gSegment, "epoch", func(m *chain.Manifest) { m.Epoch = 0 }},
		{"synthetic with epoch", gSnapshot, "epoch", func(m *chain.Manifest) { m.Snapshot.Origin = chain.OriginSynthetic }},
		{"two sections", gLabel, "section", func(m *chain.Manifest) { m.Close = &chain.Close{} }},

		{"source", gClaim, "source", func(m *chain.Manifest) { m.Claim.Source.System = "" }},
		{"over", gClaim, "over", func(m *chain.Manifest) { m.Claim.Over = "luck" }},
		{"holder not UTF-8", gClaim, "UTF-8", func(m *chain.Manifest) { m.Claim.Holder = "\xff" }},
		{"position too long", gClaim, "position", func(m *chain.Manifest) { m.Claim.Position = change.Position(strings.Repeat("x", chain.MaxText+1)) }},

		{"range", gSegment, "covers", func(m *chain.Manifest) { m.Segment.First = 9 }},
		{"range at the end of all", gSegment, "covers", func(m *chain.Manifest) { m.Segment.Last = change.MaxLSN }},
		{"range too large", gSegment, "covers", func(m *chain.Manifest) { m.Segment.Last = 1 << 62 }},
		{"effective back", gSegment, "effective", func(m *chain.Manifest) { m.Segment.Effective.To-- }},
		{"effective 0", gSegment, "effective", func(m *chain.Manifest) { m.Segment.Effective.From = 0 }},
		{"commit back", gSegment, "commit", func(m *chain.Manifest) { m.Segment.Commit.From++ }},
		{"covered below effective", gSegment, "covered_until", func(m *chain.Manifest) { m.Segment.CoveredUntil-- }},
		{"covered for ever", gSegment, "covered_until", func(m *chain.Manifest) { m.Segment.CoveredUntil = math.MaxInt64 }},
		{"no transactions", gSegment, "transactions", func(m *chain.Manifest) { m.Segment.Txs = 0 }},
		{"too many transactions", gSegment, "transactions", func(m *chain.Manifest) { m.Segment.Txs = 4 }},
		{"no log hash", gSegment, "log_hash", func(m *chain.Manifest) { m.Segment.LogHash = change.Hash{} }},
		{"counts", gSegment, "add up", func(m *chain.Manifest) { m.Segment.Counts[0].Inserts++ }},
		{"negative count", gSegment, "count", func(m *chain.Manifest) { m.Segment.Counts[0].Inserts = -1 }},
		{"huge count", gSegment, "count", func(m *chain.Manifest) { m.Segment.Counts[0].Inserts = math.MaxInt64 }},
		{"counts out of order", gSegment, "follows", func(m *chain.Manifest) { m.Segment.Counts = append(m.Segment.Counts, m.Segment.Counts[0]) }},
		{"empty count", gSegment, "no records", func(m *chain.Manifest) { m.Segment.Counts = append(m.Segment.Counts, chain.Count{Collection: 9}) }},
		{"no packs", gSegment, "packs", func(m *chain.Manifest) { m.Segment.Packs = nil }},
		{"pack twice", gSegment, "pack", func(m *chain.Manifest) { m.Segment.Packs = append(m.Segment.Packs, m.Segment.Packs[0]) }},
		{"pack elsewhere", gSegment, "main/log/", func(m *chain.Manifest) { m.Segment.Packs[0].Key = "x" + m.Segment.Packs[0].Key }},
		{"pack is a run", gSegment, "main/log/", func(m *chain.Manifest) {
			m.Segment.Packs[0].Key = strings.Replace(m.Segment.Packs[0].Key, "log", "run", 1)
		}},
		{"pack with a hole", gSegment, "records", func(m *chain.Manifest) { m.Segment.Packs[0].Records-- }},
		{"pack of nothing", gSegment, "bytes", func(m *chain.Manifest) { m.Segment.Packs[0].Size = 0 }},
		{"pack all tail and more", gSegment, "tail", func(m *chain.Manifest) { m.Segment.Packs[0].Tail = m.Segment.Packs[0].Size + 1 }},
		{"pack without hash", gSegment, "hash", func(m *chain.Manifest) { m.Segment.Packs[0].Hash = change.Hash{} }},
		{"pack key", gSegment, "does not name", func(m *chain.Manifest) { m.Segment.Packs[0].Key = "main/log/1-2-3" }},
		{"largest outside", gSegment, "largest", func(m *chain.Manifest) { m.Segment.Largest[0].Last++ }},
		{"largest miscounted", gSegment, "counts", func(m *chain.Manifest) { m.Segment.Largest[0].Counts = nil }},
		{"largest is not", gSegment, "fewer", func(m *chain.Manifest) { m.Segment.Smaller = 4 }},
		{"largest at another time", gSegment, "effective", func(m *chain.Manifest) { m.Segment.Largest[0].Effective++ }},
		{"largest committed at another time", gSegment, "commit", func(m *chain.Manifest) { m.Segment.Largest[0].Commit++ }},
		{"records of nobody", gSegment, "can't hold", func(m *chain.Manifest) { m.Segment.Largest = nil }},
		{"transactions without records", gSegment, "besides", func(m *chain.Manifest) { m.Segment.Txs, m.Segment.Smaller = 2, 1 }},
		{"schema uncounted", gSegment, "schema changes", func(m *chain.Manifest) { m.Segment.Schemas = nil }},
		{"schema outside", gSegment, "schema change", func(m *chain.Manifest) { m.Segment.Schemas[0].LSN = 4 }},
		{"schema null", gSegment, "null", func(m *chain.Manifest) { m.Segment.Schemas[0].Schema = nil }},
		{"schema invalid", gSegment, "schema", func(m *chain.Manifest) { m.Segment.Schemas[0].Schema.Columns = nil }},
		{"drop without tombstone", gSegment, "dropped", func(m *chain.Manifest) { m.Segment.Schemas[0].Schema.Dropped = true }},
		{"tombstone without drop", gTruncate, "dropped", func(m *chain.Manifest) { m.Segment.Tombstones[0].Dropped = true }},
		{"tombstone outside", gTruncate, "tombstone", func(m *chain.Manifest) { m.Segment.Tombstones[0].LSN = 3 }},
		{"tombstone uncounted", gTruncate, "truncates", func(m *chain.Manifest) { m.Segment.Tombstones = nil }},
		{"tombstone of another", gTruncate, "truncates", func(m *chain.Manifest) { m.Segment.Tombstones[0].Collection = 2 }},

		{"origin", gSnapshot, "origin", func(m *chain.Manifest) { m.Snapshot.Origin, m.Epoch = "", 0 }},
		{"schema dropped", gSnapshot, "dropped", func(m *chain.Manifest) { m.Snapshot.Schemas[0].Dropped = true }},
		{"schemas twice", gSnapshot, "follows", func(m *chain.Manifest) {
			m.Snapshot.Schemas = append(m.Snapshot.Schemas, m.Snapshot.Schemas[0])
			m.Snapshot.Digests = append(m.Snapshot.Digests, m.Snapshot.Digests[0])
		}},
		{"no digests", gSnapshot, "digests", func(m *chain.Manifest) { m.Snapshot.Digests = nil }},
		{"digest of another", gSnapshot, "digest", func(m *chain.Manifest) { m.Snapshot.Digests[0].Collection = 2 }},
		{"negative rows", gSnapshot, "rows", func(m *chain.Manifest) { m.Snapshot.Digests[0].Rows = -2 }},
		{"more records than rows", gSnapshot, "records", func(m *chain.Manifest) { m.Snapshot.Digests[0].Rows = 1 }},
		{"rows without runs", gSnapshot, "empty", func(m *chain.Manifest) { m.Snapshot.Runs = nil }},
		{"run twice", gSnapshot, "twice", func(m *chain.Manifest) { m.Snapshot.Runs = append(m.Snapshot.Runs, m.Snapshot.Runs[0]) }},
		{"run of another LSN", gSnapshot, "ends at", func(m *chain.Manifest) {
			m.Snapshot.Runs[0].Key = chain.PackKey{chain.MainTimeline, chain.RunPack, 0, 6, "0123456789abcdef"}.String()
		}},

		{"digest of nothing", gDigest, "no digests", func(m *chain.Manifest) { m.Digest.Digests = nil }},
		{"coverage of nothing", gCoverage, "covered_until", func(m *chain.Manifest) { m.Coverage.CoveredUntil = 0 }},
		{"label without a name", gLabel, "name", func(m *chain.Manifest) { m.Label.Name = "" }},
		{"label of one too many", gLabel, "name", func(m *chain.Manifest) { m.Label.Name = strings.Repeat("x", chain.MaxLabel+1) }},
		{"hold name", gHold, "name", func(m *chain.Manifest) { m.Hold.Name = "-x" }},
		{"release of an LSN", gRelease, "release", func(m *chain.Manifest) { m.Hold.LSN = 1 }},
		{"checkpoint of itself", gCheckpoint, "range", func(m *chain.Manifest) { m.Checkpoint.Last = m.Seq }},
		{"checkpoint key", gCheckpoint, "key", func(m *chain.Manifest) { m.Checkpoint.Key = "x" }},
		{"checkpoint of nothing", gCheckpoint, "size", func(m *chain.Manifest) { m.Checkpoint.Size = 0 }},
		{"checkpoint without hash", gCheckpoint, "hash", func(m *chain.Manifest) { m.Checkpoint.Hash = change.Hash{} }},
		{"gap at 0", gGap, "LSN", func(m *chain.Manifest) { m.Gap.First = 0 }},
		{"gap without a reason", gGap, "reason", func(m *chain.Manifest) { m.Gap.Reason = "" }},
		{"gap back in time", gGap, "ends", func(m *chain.Manifest) { m.Gap.To = m.Gap.From - 1 }},
		{"gap of collections in disorder", gGap, "follows", func(m *chain.Manifest) { m.Gap.Collections = []change.CollectionID{2, 1} }},
		{"gap back in LSNs", gGap, "covers", func(m *chain.Manifest) { m.Gap.First = m.Gap.Last + 1 }},
		{"acknowledged without a reason", gAck, "reason", func(m *chain.Manifest) { m.GapAck.Reason = "" }},
		{"drill from a later base", gDrill, "base_lsn", func(m *chain.Manifest) { m.Drill.Base = m.Drill.LSN + 1 }},
		{"drill that took less than no time", gDrill, "negative", func(m *chain.Manifest) { m.Drill.Elapsed = -1 }},
		{"drill that failed in silence", gDrill, "detail", func(m *chain.Manifest) { m.Drill.OK = false }},
		{"verification of another kind", gVerify, "level", func(m *chain.Manifest) { m.Verify.Level = "deep" }},
		{"verification of itself", gVerify, "through", func(m *chain.Manifest) { m.Verify.Through = m.Seq }},
		{"verification that finds nothing lost", gVerify, "findings", func(m *chain.Manifest) { m.Verify.Findings = 0 }},
		{"lost in disorder", gVerify, "follow", func(m *chain.Manifest) { m.Verify.Lost = append(m.Verify.Lost, m.Verify.Lost[0]) }},
		{"lost without a detail", gVerify, "detail", func(m *chain.Manifest) { m.Verify.Lost[0].Detail = "" }},
		{"bases in disorder", gVerify, "base", func(m *chain.Manifest) { m.Verify.Bases = append(m.Verify.Bases, m.Verify.Bases[0]) }},
		{"a base of no manifest", gVerify, "beyond", func(m *chain.Manifest) { m.Verify.Bases[0].Seq = 0 }},
		{"a base without a detail", gVerify, "detail", func(m *chain.Manifest) { m.Verify.Bases[0].Detail = "" }},
		{"lost times in disorder", gVerify, "lost", func(m *chain.Manifest) { m.Verify.Lost[0].Effective.From = 9e9 }},
		{"pin of itself", gPin, "child", func(m *chain.Manifest) { m.Pin.Child = m.Timeline }},
		{"pin of main", gPin, "nobody's", func(m *chain.Manifest) { m.Timeline, m.Pin.Child = "t9", chain.MainTimeline }},
		{"pin of fewer than no transactions", gPin, "transactions", func(m *chain.Manifest) { m.Pin.Txs = -1 }},
		{"pin without a name", gPin, "timeline", func(m *chain.Manifest) { m.Pin.Child = "" }},
		{"close without section", gClose, "section", func(m *chain.Manifest) { m.Close = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := chain.DecodeManifest(raws[test.base])
			if err != nil {
				t.Fatal(err)
			}
			test.spoil(m)
			if err := m.Validate(); !errors.Is(err, chain.ErrManifest) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want something about %q", err, test.says)
			}
			if _, err := m.Encode(); err == nil {
				t.Error("it can be written")
			}
		})
	}
}

// TestSegmentBuilderMakesValidSegments holds the two ends to each other.
func TestSegmentBuilderMakesValidSegments(t *testing.T) {
	c := chaintest.New(t).Claim()
	b := chain.NewSegmentBuilder(c.State.LogHash)
	lsn := change.LSN(0)
	schema, err := change.SchemaRecord(chaintest.Schema(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	tx := func(records ...change.Record) {
		t.Helper()
		for i := range records {
			lsn++
			records[i].LSN, records[i].Collection = lsn, 1
		}
		if err := b.Add(&change.Tx{ID: change.TxID(lsn), Commit: 5, Effective: change.Time(lsn), Records: records}); err != nil {
			t.Fatal(err)
		}
	}
	insert := change.Record{Op: change.Insert, Key: change.Key("k")}
	tx(schema)
	for n := range 2 * chain.LargestTxs {
		records := []change.Record{insert}
		for range n % 5 {
			records = append(records, insert)
		}
		tx(records...)
	}
	tx(change.Record{Op: change.Truncate}, insert)
	dropped := chaintest.Schema(t, 1)
	dropped.Version, dropped.Dropped = 2, true
	drop, err := change.SchemaRecord(dropped)
	if err != nil {
		t.Fatal(err)
	}
	tx(drop)
	seg := b.Segment()
	seg.Packs = []pack.Ref{chaintest.Ref(chain.PackKey{chain.MainTimeline, chain.LogPack, 1, lsn, "0123456789abcdef"}, int64(lsn))}
	c.Add(chain.Manifest{Kind: chain.KindSegment, Segment: &seg})
	if len(c.State.Schemas) != 0 || c.State.NextCollection != 2 {
		t.Errorf("after the drop: %v, next %d", c.State.Schemas, c.State.NextCollection)
	}
}
