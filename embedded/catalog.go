package embedded

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// catalog is the live collections at one moment. It is never modified.
type catalog struct {
	byID   map[change.CollectionID]*change.Schema
	byName map[string]*change.Schema
	nextID change.CollectionID // the first ID never used
}

func newCatalog() *catalog {
	return &catalog{
		byID:   make(map[change.CollectionID]*change.Schema),
		byName: make(map[string]*change.Schema),
		nextID: 1,
	}
}

// with returns the catalog after a schema record.
func (c *catalog) with(s *change.Schema) *catalog {
	next := &catalog{maps.Clone(c.byID), maps.Clone(c.byName), max(c.nextID, s.Collection+1)}
	if prev := next.byID[s.Collection]; prev != nil {
		delete(next.byName, prev.Name)
	}
	if s.Dropped {
		delete(next.byID, s.Collection)
		return next
	}
	next.byID[s.Collection] = s
	next.byName[s.Name] = s
	return next
}

// maxNamed is how many collections an error lists.
const maxNamed = 20

// find returns the schema of a collection by name, or an error that says which there are.
func (c *catalog) find(name string) (*change.Schema, error) {
	if s := c.byName[name]; s != nil {
		return s, nil
	}
	if len(c.byName) == 0 {
		return nil, fmt.Errorf("%w %q; the database holds no collections yet", ErrNoCollection, name)
	}
	names := slices.Sorted(maps.Keys(c.byName))
	more := ""
	if len(names) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(names)-maxNamed)
		names = names[:maxNamed]
	}
	return nil, fmt.Errorf("%w %q; there are: %s%s", ErrNoCollection, name, strings.Join(names, ", "), more)
}

// schemas returns every schema in order of collection ID.
func (c *catalog) schemas() []*change.Schema {
	ids := slices.Sorted(maps.Keys(c.byID))
	out := make([]*change.Schema, len(ids))
	for i, id := range ids {
		out[i] = c.byID[id]
	}
	return out
}
