package chain

import (
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// FormatVersion is the version of identity and manifests that this tidemark
// writes, and the newest it reads.
const FormatVersion = 1

// RepoID is the random identity of an archive, 32 hexadecimal digits.
type RepoID string

// TimelineID names a history line: "main", or what a fork chose. It is a key
// segment of [a-z0-9-].
type TimelineID string

// MainTimeline is the timeline that a new archive starts with.
const MainTimeline TimelineID = "main"

// Seq numbers the manifests of a timeline: 1, 2, 3 …
type Seq uint64

// Epoch numbers the reigns of capturers over a timeline: 1, 2, 3 …
type Epoch uint64

// Kind says what a manifest announces.
type Kind string

// The kinds of manifest.
const (
	KindClaim      Kind = "claim"      // a capturer starts an epoch
	KindClose      Kind = "close"      // a capturer ends its epoch in good order
	KindSegment    Kind = "segment"    // transactions join the log
	KindSnapshot   Kind = "snapshot"   // a base: the whole state at an LSN
	KindDigest     Kind = "digest"     // fingerprints of collections at an LSN, read from the source
	KindCoverage   Kind = "coverage"   // nothing more will get a time at or before this one
	KindLabel      Kind = "label"      // a name for a restore point
	KindHold       Kind = "hold"       // keep what a restore to this LSN needs, or let it go again
	KindCheckpoint Kind = "checkpoint" // a bundle of earlier manifests, for cheap opening
	KindGap        Kind = "gap"        // the log is not provable here
	KindGapAck     Kind = "gap-ack"    // somebody has taken note of a gap
	KindPin        Kind = "pin"        // a child timeline begins here
	KindFork       Kind = "fork"       // the first manifest of a child timeline: where it comes from
	KindDrill      Kind = "drill"      // how a rehearsal of a restore went
	KindVerify     Kind = "verify"     // what a verification found
)

// Manifest is the announcement of one thing; exactly the section that Kind
// names is set. It is stored as JSON; FORMAT.md describes it. Unknown fields,
// kinds and format versions are refused.
type Manifest struct {
	Format   int         `json:"format"`
	Repo     RepoID      `json:"repo"`
	Timeline TimelineID  `json:"timeline"`
	Seq      Seq         `json:"seq"`
	Prev     change.Hash `json:"prev_hash"` // SHA-256 of the stored bytes of manifest Seq−1; zeros for Seq 1
	Kind     Kind        `json:"kind"`
	Epoch    Epoch       `json:"epoch,omitempty"` // the epoch that claim, close, segment, coverage, gap, digest and a source snapshot belong to
	Written  change.Time `json:"written"`         // by the writer's clock; never decides anything
	Nonce    string      `json:"nonce"`           // 32 random hexadecimal digits: whose bytes are these?

	Claim      *Claim      `json:"claim,omitempty"`
	Close      *Close      `json:"close,omitempty"`
	Segment    *Segment    `json:"segment,omitempty"`
	Snapshot   *Snapshot   `json:"snapshot,omitempty"`
	Digest     *Digest     `json:"digest,omitempty"`
	Coverage   *Coverage   `json:"coverage,omitempty"`
	Label      *Label      `json:"label,omitempty"`
	Hold       *Hold       `json:"hold,omitempty"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Gap        *Gap        `json:"gap,omitempty"`
	GapAck     *GapAck     `json:"gap_ack,omitempty"`
	Pin        *Pin        `json:"pin,omitempty"`
	Fork       *Fork       `json:"fork,omitempty"`
	Drill      *Drill      `json:"drill,omitempty"`
	Verify     *Verify     `json:"verify,omitempty"`
}

// Over says over what a claim starts its epoch.
type Over string

// What a claim may follow.
const (
	OverNothing  Over = ""         // no epoch, or a closed one
	OverStale    Over = "stale"    // an open one whose capturer has been silent for too long
	OverTakeover Over = "takeover" // an open one, on a person's word
)

// Source is the identity of the captured database as the archive keeps it.
type Source struct {
	Kind   string `json:"kind"`
	System string `json:"system"`
}

// Claim starts epoch Manifest.Epoch, one more than the last. Its mark must be
// the end of the archive's log, as the source itself sees it; the first claim
// of a timeline sets whose history it is and, unless the timeline is a fork,
// where the log starts.
type Claim struct {
	Source   Source          `json:"source"`
	LSN      change.LSN      `json:"lsn"`
	LogHash  change.Hash     `json:"log_hash"`
	Position change.Position `json:"position,omitempty"`
	Over     Over            `json:"over,omitempty"`
	Holder   string          `json:"holder,omitempty"` // host and process, for people
}

// Close ends an epoch: a later claim needs no takeover.
type Close struct {
	LSN change.LSN `json:"lsn"`
}

// Segment adds whole transactions to the log.
type Segment struct {
	First        change.LSN      `json:"lsn_start"`
	Last         change.LSN      `json:"lsn_end"`
	Effective    Span            `json:"effective"` // effective times of the first and the last transaction
	Commit       Span            `json:"commit"`    // least and greatest commit time by the source's clock
	CoveredUntil change.Time     `json:"covered_until"`
	Position     change.Position `json:"position,omitempty"`
	LogHash      change.Hash     `json:"log_hash"`
	Txs          int64           `json:"transactions"`
	Packs        []pack.Ref      `json:"packs"`
	Counts       []Count         `json:"counts"`               // by collection, in order of ID
	Largest      []TxSize        `json:"largest,omitempty"`    // the transactions with most records, in log order
	Smaller      int64           `json:"smaller"`              // no transaction outside Largest has more records than this
	Tombstones   []Tombstone     `json:"tombstones,omitempty"` // truncates and drops, in LSN order
	Schemas      []SchemaChange  `json:"schemas,omitempty"`    // in LSN order

	// PackLast is 0, except for a segment that a fork has cut: the packs then
	// hold records up to this LSN, and those after Last belong to the parent
	// timeline alone. Counts are those of the whole segment, and Smaller too.
	// It is worked out by [State.Fork]; no manifest holds it.
	PackLast change.LSN `json:"-"`
}

// Span is a range of times, both ends included.
type Span struct {
	From change.Time `json:"from"`
	To   change.Time `json:"to"`
}

// Count says how many records of each operation a collection has.
type Count struct {
	Collection change.CollectionID `json:"collection"`
	Inserts    int64               `json:"inserts,omitempty"`
	Updates    int64               `json:"updates,omitempty"`
	Deletes    int64               `json:"deletes,omitempty"`
	Truncates  int64               `json:"truncates,omitempty"`
	Schemas    int64               `json:"schemas,omitempty"`
}

// TxSize describes one transaction without opening its pack.
type TxSize struct {
	First     change.LSN  `json:"lsn_start"`
	Last      change.LSN  `json:"lsn_end"`
	ID        change.TxID `json:"id"`
	Commit    change.Time `json:"commit"`
	Effective change.Time `json:"effective"`
	Counts    []Count     `json:"counts"`
}

// Tombstone says that every version of a collection's rows before LSN is gone.
type Tombstone struct {
	Collection change.CollectionID `json:"collection"`
	LSN        change.LSN          `json:"lsn"`
	Dropped    bool                `json:"dropped,omitempty"`
}

// SchemaChange says that a collection has this schema from LSN on.
type SchemaChange struct {
	LSN    change.LSN     `json:"lsn"`
	Schema *change.Schema `json:"schema"`
}

// Origin says where a snapshot's rows were read.
type Origin string

// The origins of a snapshot.
const (
	OriginSource    Origin = "source"    // from the database itself
	OriginSynthetic Origin = "synthetic" // from the archive
)

// Snapshot is a base: runs that hold the whole state just after LSN.
type Snapshot struct {
	LSN     change.LSN         `json:"base_lsn"`
	LogHash change.Hash        `json:"log_hash"`
	Origin  Origin             `json:"origin"`
	Taken   change.Time        `json:"taken"` // by the source's clock
	Schemas []*change.Schema   `json:"schemas"`
	Runs    []pack.Ref         `json:"runs"` // disjoint, in order of (collection, key)
	Digests []CollectionDigest `json:"digests"`
}

// CollectionDigest is the fingerprint of one collection.
type CollectionDigest struct {
	Collection change.CollectionID `json:"collection"`
	Rows       int64               `json:"rows"`
	Digest     change.Hash         `json:"digest"`
}

// Digest holds fingerprints that the source itself computed.
type Digest struct {
	LSN     change.LSN         `json:"lsn"`
	Digests []CollectionDigest `json:"digests"`
}

// Coverage promises that no transaction after LSN gets an effective time at or
// before CoveredUntil.
type Coverage struct {
	LSN          change.LSN  `json:"lsn"`
	CoveredUntil change.Time `json:"covered_until"`
}

// Label names a restore point for good.
type Label struct {
	Name string     `json:"name"`
	LSN  change.LSN `json:"lsn"`
	Note string     `json:"note,omitempty"`
}

// Hold keeps everything that restores to LSN… need, until it is released.
type Hold struct {
	Name    string      `json:"name"`
	LSN     change.LSN  `json:"lsn,omitempty"`
	Until   change.Time `json:"until,omitempty"` // 0: until released
	Reason  string      `json:"reason,omitempty"`
	Release bool        `json:"release,omitempty"`
}

// Checkpoint announces a bundle of the manifests First … Last.
type Checkpoint struct {
	First Seq         `json:"first"`
	Last  Seq         `json:"last"`
	Key   string      `json:"key"`
	Size  int64       `json:"size"`
	Hash  change.Hash `json:"hash"`  // SHA-256 of the whole object
	Index change.Hash `json:"index"` // SHA-256 of its header, which proves each of its parts
}

// Gap says that the log can't be proved from First to Last: the source has
// given out these LSNs, or at least one, for changes that nobody archived. Only
// a base at or after Last is restorable from there on.
type Gap struct {
	First       change.LSN            `json:"lsn_start"`
	Last        change.LSN            `json:"lsn_end"`
	Collections []change.CollectionID `json:"collections,omitempty"` // empty: all
	Reason      string                `json:"reason"`
	From        change.Time           `json:"from"` // effective times between which changes may be missing
	To          change.Time           `json:"to"`
	LogHash     change.Hash           `json:"log_hash"` // of the source after the gap; the log hash goes on from here
	Position    change.Position       `json:"position,omitempty"`
}

// GapAck says that somebody knows of a gap, so that monitoring need not go on
// about it. The gap stays what it is.
type GapAck struct {
	First  change.LSN `json:"lsn_start"` // of the gap
	Reason string     `json:"reason"`
	By     string     `json:"by,omitempty"`
}

// Pin announces in the parent's chain that another timeline goes on from LSN:
// what that needs of this one is to be kept.
type Pin struct {
	Child     TimelineID  `json:"child"`
	LSN       change.LSN  `json:"lsn"`
	LogHash   change.Hash `json:"log_hash"`               // at LSN, as the database that forks has it
	Effective change.Time `json:"effective"`              // of the transaction that ends at LSN
	Txs       int64       `json:"transactions,omitempty"` // of the segment that LSN is inside of, up to LSN; 0 where none is cut
	Note      string      `json:"note,omitempty"`
}

// Fork is the first manifest of a child timeline. It repeats what the pin says
// and binds the child to the parent's history up to the pin.
type Fork struct {
	Parent     TimelineID  `json:"parent"`
	ParentSeq  Seq         `json:"parent_seq"`  // of the pin
	ParentHash change.Hash `json:"parent_hash"` // of the pin's stored bytes
	LSN        change.LSN  `json:"lsn"`
	LogHash    change.Hash `json:"log_hash"`
	Effective  change.Time `json:"effective"`
}

// Drill is how a rehearsal went: a restore to LSN in a scratch place, whose
// rows were compared with what the database itself showed there.
type Drill struct {
	LSN         change.LSN  `json:"lsn"`
	Base        change.LSN  `json:"base_lsn"` // where the restore started from
	OK          bool        `json:"ok"`
	Independent bool        `json:"independent"`       // compared with a read of the database that the restore did not start from
	Against     Seq         `json:"against,omitempty"` // the manifest compared with; 0: a read of the database just then, or nothing
	Started     change.Time `json:"started"`
	Elapsed     int64       `json:"elapsed_us"` // of the restore: the measured RTO
	Rows        int64       `json:"rows"`
	Bytes       int64       `json:"bytes"`            // of keys and images
	Detail      string      `json:"detail,omitempty"` // what went wrong
}

// Verify is what a verification of the timeline found.
type Verify struct {
	Level    string      `json:"level"`   // chain, objects or records
	Through  Seq         `json:"through"` // the last manifest looked at
	Started  change.Time `json:"started"`
	Elapsed  int64       `json:"elapsed_us"`
	Objects  int64       `json:"objects"`
	Bytes    int64       `json:"bytes"`
	Records  int64       `json:"records"`
	Findings int64       `json:"findings"`        // 0: everything was as announced
	Lost     []Lost      `json:"lost,omitempty"`  // ranges of the log that can't be read, in LSN order
	Bases    []LostBase  `json:"bases,omitempty"` // snapshots that can't be read, in order of LSN, timeline and manifest
}

// Lost is a range of the log that can't be read any more: whole segments, of
// which none but the last ends where a base stands.
type Lost struct {
	First     change.LSN `json:"lsn_start"`
	Last      change.LSN `json:"lsn_end"`
	Effective Span       `json:"effective"` // of the first and the last transaction
	Detail    string     `json:"detail"`    // the object and what is wrong with it
}

// LostBase is a snapshot that can't be read any more.
type LostBase struct {
	Timeline TimelineID `json:"timeline"` // whose manifest announced it: this timeline or an ancestor
	Seq      Seq        `json:"seq"`
	LSN      change.LSN `json:"base_lsn"`
	Detail   string     `json:"detail"`
}
