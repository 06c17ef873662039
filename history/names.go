package history

import (
	"errors"
	"slices"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
)

// ErrNoCollection says that no collection of that name was ever archived.
var ErrNoCollection = errors.New("no such collection")

// Names returns every name that each collection of the archive has had, the
// latest last.
func Names(s *archive.State) map[change.CollectionID][]string {
	names := make(map[change.CollectionID][]string)
	add := func(schema *change.Schema) {
		have := names[schema.Collection]
		if !slices.Contains(have, schema.Name) {
			names[schema.Collection] = append(have, schema.Name)
		}
	}
	for _, snap := range s.Snapshots {
		for _, schema := range snap.Body.Schemas {
			add(schema)
		}
	}
	for _, seg := range s.Segments {
		for _, c := range seg.Body.Schemas {
			add(c.Schema)
		}
	}
	return names
}

// Name returns the latest name of a collection among names, or "" if there is none.
func Name(names map[change.CollectionID][]string, id change.CollectionID) string {
	if all := names[id]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
