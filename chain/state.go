package chain

import (
	"github.com/tidemarkdb/tidemark/change"
)

// State is what a timeline's chain says after its manifest Seq: the result of
// [State.Next] over every manifest from the first on. Readers, writers and
// verification derive it with the same function and take nothing else as true.
type State struct {
	Repo     RepoID
	Timeline TimelineID
	Seq      Seq         // of the last manifest; 0 before the first
	Head     change.Hash // SHA-256 of its stored bytes

	// The epoch.
	Epoch      Epoch       // the last one claimed; 0 for none
	EpochOpen  bool        // it was not closed
	EpochOwner string      // Claim.Holder of it
	EpochNonce string      // Manifest.Nonce of its claim: which capturer is it?
	EpochSeen  change.Time // Written of its last manifest
	Source     Source      // the captured database; zero before the first claim

	// The log.
	Started  bool            // a claim has set Start
	Start    change.LSN      // the log holds Start+1 …
	StartLog change.Hash     // the log hash at Start
	Last     change.LSN      // … to Last
	LogHash  change.Hash     // over the transactions through Last
	Position change.Position // of the source just after Last

	// Times.
	Effective    change.Time // of the last transaction; 0 for none
	CoveredUntil change.Time // no later transaction has an effective time at or before it; 0 for never

	// What is there to restore from, each in chain order.
	Segments    Segments
	Snapshots   []Announced[Snapshot]
	Digests     []Announced[Digest]
	Gaps        []Announced[Gap]
	Checkpoints []Announced[Checkpoint]
	Labels      map[string]Announced[Label]
	Holds       map[string]Announced[Hold]       // those in force
	GapAcks     map[change.LSN]Announced[GapAck] // by the gap's First

	// Where it comes from and what came from it.
	Parent *Fork                         // nil unless this timeline is a fork
	Pins   map[TimelineID]Announced[Pin] // the timelines that go on from this one

	// What is known of its health, in chain order, of this timeline alone.
	Drills   []Announced[Drill]
	Verifies []Announced[Verify]

	// Schemas holds the schema of every collection that lives at Last, as far as
	// the chain tells: see [State.SchemasKnown].
	Schemas map[change.CollectionID]*change.Schema
	// NextCollection is above every collection ID that was ever used.
	NextCollection change.CollectionID

	begins  []Begin // where the log begins, and goes on after gaps
	places  []Place // of bases
	schemas schemaHistory
	tails   tails
}

// Summary is the state in a few figures. A checkpoint keeps it for people and
// tools that need no more; a reader derives the state and compares.
type Summary struct {
	Repo         RepoID      `json:"repo"`
	Timeline     TimelineID  `json:"timeline"`
	Seq          Seq         `json:"seq"`
	Head         change.Hash `json:"head"`
	Epoch        Epoch       `json:"epoch"`
	EpochOpen    bool        `json:"epoch_open"`
	Start        change.LSN  `json:"lsn_start"`
	Last         change.LSN  `json:"lsn_end"`
	LogHash      change.Hash `json:"log_hash"`
	Effective    change.Time `json:"effective"`
	CoveredUntil change.Time `json:"covered_until"`
	Segments     int         `json:"segments"`
	Snapshots    int         `json:"snapshots"`
	Labels       int         `json:"labels"`
}

// Summary returns the figures of the state.
func (s *State) Summary() Summary {
	return Summary{Repo: s.Repo, Timeline: s.Timeline, Seq: s.Seq, Head: s.Head, Epoch: s.Epoch, EpochOpen: s.EpochOpen,
		Start: s.Start, Last: s.Last, LogHash: s.LogHash, Effective: s.Effective, CoveredUntil: s.CoveredUntil,
		Segments: s.Segments.Len(), Snapshots: len(s.Snapshots), Labels: len(s.Labels)}
}

// Announced is a section of a manifest with the place where a chain holds it:
// this timeline's or, for what a fork has inherited, an ancestor's.
type Announced[T any] struct {
	Timeline TimelineID `json:"timeline"`
	Seq      Seq        `json:"seq"`
	Body     T          `json:"body"`
}

// Key is the manifest's key.
func (a *Announced[T]) Key() string { return ManifestKey(a.Timeline, a.Seq) }
