package chain

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// Saved is a [State] without its log, as a checkpoint keeps it.
type Saved struct {
	Repo     RepoID      `json:"repo"`
	Timeline TimelineID  `json:"timeline"`
	Seq      Seq         `json:"seq"`
	Head     change.Hash `json:"head"`

	Epoch      Epoch       `json:"epoch"`
	EpochOpen  bool        `json:"epoch_open"`
	EpochOwner string      `json:"epoch_owner"`
	EpochNonce string      `json:"epoch_nonce"`
	EpochSeen  change.Time `json:"epoch_seen"`
	Source     Source      `json:"source"`

	Started  bool            `json:"started"`
	Start    change.LSN      `json:"lsn_start"`
	StartLog change.Hash     `json:"start_log_hash"`
	Last     change.LSN      `json:"lsn_end"`
	LogHash  change.Hash     `json:"log_hash"`
	Position change.Position `json:"position"`

	Effective    change.Time `json:"effective"`
	CoveredUntil change.Time `json:"covered_until"`
	Log          Totals      `json:"log"`

	Snapshots   []Announced[Snapshot]   `json:"snapshots"`
	Digests     []Announced[Digest]     `json:"digests"`
	Gaps        []Announced[Gap]        `json:"gaps"`
	Checkpoints []Announced[Checkpoint] `json:"checkpoints"`
	Labels      []Announced[Label]      `json:"labels"` // by name
	Holds       []Announced[Hold]       `json:"holds"`  // by name
	GapAcks     []Announced[GapAck]     `json:"gap_acks"`
	Drills      []Announced[Drill]      `json:"drills"`
	Verifies    []Announced[Verify]     `json:"verifies"`
	Parent      *Fork                   `json:"parent,omitempty"`
	Pins        []Announced[Pin]        `json:"pins"` // by name of the child

	Schemas        []*change.Schema    `json:"schemas"` // by collection
	NextCollection change.CollectionID `json:"next_collection"`
	SchemasFrom    change.LSN          `json:"schemas_from"`
	SchemasUnknown bool                `json:"schemas_unknown"`
	SchemasBase    []*change.Schema    `json:"schemas_base"`
	SchemaChanges  []SchemaChange      `json:"schema_changes"`

	Begins []Begin `json:"begins"`
	Places []Place `json:"places"`
}

// Save returns the state without its log. It shares memory with s.
func (s *State) Save() *Saved {
	return &Saved{
		Repo: s.Repo, Timeline: s.Timeline, Seq: s.Seq, Head: s.Head,
		Epoch: s.Epoch, EpochOpen: s.EpochOpen, EpochOwner: s.EpochOwner, EpochNonce: s.EpochNonce, EpochSeen: s.EpochSeen, Source: s.Source,
		Started: s.Started, Start: s.Start, StartLog: s.StartLog, Last: s.Last, LogHash: s.LogHash, Position: s.Position,
		Effective: s.Effective, CoveredUntil: s.CoveredUntil, Log: s.Segments.Totals(),
		Snapshots: s.Snapshots, Digests: s.Digests, Gaps: s.Gaps, Checkpoints: s.Checkpoints, Drills: s.Drills, Verifies: s.Verifies,
		Labels: inOrder(s.Labels), Holds: inOrder(s.Holds), GapAcks: inOrder(s.GapAcks), Pins: inOrder(s.Pins), Parent: s.Parent,
		Schemas: inOrder(s.Schemas), NextCollection: s.NextCollection, SchemasFrom: s.schemas.from, SchemasUnknown: s.schemas.unknown,
		SchemasBase: s.schemas.base, SchemaChanges: s.schemas.log, Begins: s.begins, Places: s.places,
	}
}

// inOrder returns the values of a map in the order of its keys.
func inOrder[K cmp.Ordered, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// State returns the state that was saved, with its log. Errors wrap
// [ErrManifest]: something in it is not well-formed by itself.
func (v *Saved) State(log Segments) (*State, error) {
	if err := v.check(&log); err != nil {
		return nil, fmt.Errorf("the state after manifest %d of timeline %s: %w", v.Seq, v.Timeline, err)
	}
	s := NewState(v.Repo, v.Timeline)
	s.Seq, s.Head = v.Seq, v.Head
	s.Epoch, s.EpochOpen, s.EpochOwner, s.EpochNonce, s.EpochSeen, s.Source = v.Epoch, v.EpochOpen, v.EpochOwner, v.EpochNonce, v.EpochSeen, v.Source
	s.Started, s.Start, s.StartLog, s.Last, s.LogHash, s.Position = v.Started, v.Start, v.StartLog, v.Last, v.LogHash, v.Position
	s.Effective, s.CoveredUntil, s.Segments = v.Effective, v.CoveredUntil, log
	s.Snapshots, s.Digests, s.Gaps, s.Checkpoints, s.Drills, s.Verifies = v.Snapshots, v.Digests, v.Gaps, v.Checkpoints, v.Drills, v.Verifies
	s.Parent = v.Parent
	for _, l := range v.Labels {
		s.Labels[l.Body.Name] = l
	}
	for _, h := range v.Holds {
		s.Holds[h.Body.Name] = h
	}
	for _, a := range v.GapAcks {
		s.GapAcks[a.Body.First] = a
	}
	for _, p := range v.Pins {
		s.Pins[p.Body.Child] = p
	}
	for _, c := range v.Schemas {
		s.Schemas[c.Collection] = c
	}
	s.NextCollection = v.NextCollection
	s.schemas = schemaHistory{unknown: v.SchemasUnknown, from: v.SchemasFrom, base: v.SchemasBase, log: v.SchemaChanges}
	s.begins, s.places = v.Begins, v.Places
	return s, nil
}

// check reports what is not well-formed by itself: what manifests must be, so
// must be what was kept of them.
func (v *Saved) check(log *Segments) error {
	if err := errors.Join(CheckRepo(v.Repo), CheckTimeline(v.Timeline)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrManifest)
	}
	f := &form{m: &Manifest{Timeline: v.Timeline, Seq: v.Seq}}
	f.want(v.Seq >= 1 && !v.Head.IsZero(), "seq is %d, head %s", v.Seq, v.Head)
	f.want(v.Start <= v.Last && v.Last < change.MaxLSN, "the log goes from LSN %d to %d", v.Start, v.Last)
	f.want(v.Log == log.Totals(), "it counts %+v in the log, there are %+v", v.Log, log.Totals())
	if last := log.Last(); last != nil {
		f.want(last.Body.Last <= v.Last, "the log ends at LSN %d, its last segment at %d", v.Last, last.Body.Last)
	}
	entries(f, v.Snapshots, func(m *Manifest, b *Snapshot) { m.Kind, m.Snapshot = KindSnapshot, b })
	entries(f, v.Digests, func(m *Manifest, b *Digest) { m.Kind, m.Digest = KindDigest, b })
	entries(f, v.Gaps, func(m *Manifest, b *Gap) { m.Kind, m.Gap = KindGap, b })
	entries(f, v.Checkpoints, func(m *Manifest, b *Checkpoint) { m.Kind, m.Checkpoint = KindCheckpoint, b })
	entries(f, v.Drills, func(m *Manifest, b *Drill) { m.Kind, m.Drill = KindDrill, b })
	entries(f, v.Verifies, func(m *Manifest, b *Verify) { m.Kind, m.Verify = KindVerify, b })
	entries(f, v.Labels, func(m *Manifest, b *Label) { m.Kind, m.Label = KindLabel, b })
	entries(f, v.Holds, func(m *Manifest, b *Hold) { m.Kind, m.Hold = KindHold, b })
	entries(f, v.GapAcks, func(m *Manifest, b *GapAck) { m.Kind, m.GapAck = KindGapAck, b })
	entries(f, v.Pins, func(m *Manifest, b *Pin) { m.Kind, m.Pin = KindPin, b })
	for _, list := range [][]*change.Schema{v.Schemas, v.SchemasBase} {
		for _, s := range list {
			f.schema(s)
		}
	}
	for _, c := range v.SchemaChanges {
		f.schema(c.Schema)
	}
	return f.err
}

// entries checks each entry like the manifest that announced it.
func entries[T any](f *form, list []Announced[T], set func(*Manifest, *T)) {
	for i := range list {
		if f.err != nil {
			return
		}
		one := &form{m: &Manifest{Timeline: list[i].Timeline, Seq: list[i].Seq}}
		one.noError(CheckTimeline(list[i].Timeline))
		one.want(list[i].Seq >= 1, "seq is 0")
		set(one.m, &list[i].Body)
		one.body()
		f.err = one.err
	}
}
