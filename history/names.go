package history

import (
	"cmp"
	"errors"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// ErrNoCollection says that no collection of that name was ever archived.
var ErrNoCollection = errors.New("no such collection")

// Names returns every name that each collection of the archive has had, the
// latest last.
func Names(s *chain.State) map[change.CollectionID][]string {
	var all []chain.SchemaChange
	for _, snap := range s.Snapshots {
		for _, schema := range snap.Body.Schemas {
			all = append(all, chain.SchemaChange{LSN: snap.Body.LSN, Schema: schema})
		}
	}
	all = append(all, s.SchemaChanges()...)
	// A base may be published after changes that came later than it.
	slices.SortStableFunc(all, func(a, b chain.SchemaChange) int { return cmp.Compare(a.LSN, b.LSN) })
	names := make(map[change.CollectionID][]string)
	for _, c := range all {
		have, name := names[c.Schema.Collection], c.Schema.Name
		if i := slices.Index(have, name); i >= 0 {
			have = slices.Delete(have, i, i+1)
		}
		names[c.Schema.Collection] = append(have, name)
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
