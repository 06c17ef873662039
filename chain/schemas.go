package chain

import (
	"fmt"
	"maps"

	"github.com/tidemarkdb/tidemark/change"
)

// schemaHistory is what the chain knows of schemas over time. A log that does
// not start at an empty database, or that goes on after a gap, says nothing of
// the collections that were there already: until a base of the source tells,
// schema changes are taken as they come.
type schemaHistory struct {
	unknown bool             // no base since from
	from    change.LSN       // nothing is known of schemas before it
	base    []*change.Schema // at from, unless unknown
	log     []SchemaChange   // every schema change of the chain
}

// SchemasKnown reports whether s.Schemas is all there is: not while no base of
// the source tells what the log does not.
func (s *State) SchemasKnown() bool { return !s.schemas.unknown }

// SchemaChanges returns every schema change of the log, in LSN order. It is not
// to be modified.
func (s *State) SchemaChanges() []SchemaChange { return s.schemas.log }

// at returns the schemas of the collections that live at an LSN ≤ Last.
func (h *schemaHistory) at(lsn change.LSN) (m map[change.CollectionID]*change.Schema, known bool) {
	if h.unknown || lsn < h.from {
		return nil, false
	}
	m = make(map[change.CollectionID]*change.Schema, len(h.base))
	for _, s := range h.base {
		m[s.Collection] = s
	}
	for _, c := range h.log {
		if c.LSN > h.from && c.LSN <= lsn {
			setSchema(m, c.Schema)
		}
	}
	return m, true
}

func setSchema(m map[change.CollectionID]*change.Schema, s *change.Schema) {
	if s.Dropped {
		delete(m, s.Collection)
		return
	}
	m[s.Collection] = s
}

// followSchemas applies schema changes to m, which it modifies, and returns the
// new bound of collection IDs. With lenient, a change may appear without its
// predecessor.
func followSchemas(m map[change.CollectionID]*change.Schema, next change.CollectionID, changes []SchemaChange, lenient bool) (change.CollectionID, error) {
	seen := make(map[change.CollectionID]bool)
	for _, c := range changes {
		id := c.Schema.Collection
		prev := m[id]
		switch {
		case lenient && !seen[id]:
		case prev != nil:
			if err := c.Schema.Follows(prev); err != nil {
				return 0, fmt.Errorf("at LSN %d: %w", c.LSN, err)
			}
		case id < next:
			return 0, fmt.Errorf("at LSN %d collection %d is not there (dropped, or its ID was passed over); new ones start at %d", c.LSN, id, next)
		case c.Schema.Version != 1 || c.Schema.Dropped:
			return 0, fmt.Errorf("at LSN %d collection %d starts with version %d (dropped: %t), want 1", c.LSN, id, c.Schema.Version, c.Schema.Dropped)
		}
		seen[id] = true
		setSchema(m, c.Schema)
		next = max(next, id+1)
	}
	return next, nil
}

// adopts reports whether a snapshot tells the schemas that are not known yet.
func (s *State) adopts(b *Snapshot) bool {
	if b.Origin != OriginSource || b.LSN < s.schemas.from {
		return false
	}
	return s.schemas.unknown || s.Last == 0 && len(s.Snapshots) == 0
}

// schemasWith returns the schemas at Last, given those of a base that is
// adopted, and the bound of collection IDs.
func (s *State) schemasWith(b *Snapshot) (map[change.CollectionID]*change.Schema, change.CollectionID, error) {
	m := make(map[change.CollectionID]*change.Schema)
	next := change.CollectionID(1)
	for _, c := range b.Schemas {
		m[c.Collection] = c
		next = c.Collection + 1
	}
	var later []SchemaChange
	for _, c := range s.schemas.log {
		if c.LSN > b.LSN {
			later = append(later, c)
		}
	}
	next, err := followSchemas(m, next, later, false)
	return m, max(next, s.NextCollection), err
}

// checkSchemas reports how a snapshot's schemas differ from the chain's.
func (s *State) checkSchemas(b *Snapshot) error {
	if s.adopts(b) {
		_, _, err := s.schemasWith(b)
		return err
	}
	want, known := s.schemas.at(b.LSN)
	if !known {
		if b.Origin == OriginSynthetic && b.LSN >= s.schemas.from {
			return fmt.Errorf("no base of the source tells the schemas since LSN %d", s.schemas.from)
		}
		return nil
	}
	for _, c := range b.Schemas {
		w := want[c.Collection]
		switch {
		case w == nil:
			return fmt.Errorf("collection %d (%q) is not there at LSN %d", c.Collection, c.Name, b.LSN)
		case !w.Equal(c):
			return fmt.Errorf("collection %d (%q) has version %d at LSN %d, the snapshot shows version %d or other columns", c.Collection, w.Name, w.Version, b.LSN, c.Version)
		}
		delete(want, c.Collection)
	}
	for id := range maps.Keys(want) {
		return fmt.Errorf("collection %d (%q) is missing", id, want[id].Name)
	}
	return nil
}
