package chain

import (
	"maps"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/change"
)

// NewState returns the state before the first manifest of a timeline.
func NewState(repo RepoID, timeline TimelineID) *State {
	return &State{
		Repo: repo, Timeline: timeline, NextCollection: 1,
		Labels:  make(map[string]Announced[Label]),
		Holds:   make(map[string]Announced[Hold]),
		GapAcks: make(map[change.LSN]Announced[GapAck]),
		Pins:    make(map[TimelineID]Announced[Pin]),
		Schemas: make(map[change.CollectionID]*change.Schema),
	}
}

// Clone returns a state that goes on apart from s. What the chain only ever
// adds to is shared, so that a clone costs little however long the chain is.
func (s *State) Clone() *State {
	c := *s
	c.Labels, c.Holds, c.Schemas = maps.Clone(s.Labels), maps.Clone(s.Holds), maps.Clone(s.Schemas)
	c.GapAcks, c.Pins = maps.Clone(s.GapAcks), maps.Clone(s.Pins)
	return &c
}

// tails says, for each list of a State, how much of the memory behind it is in
// use by any clone. Who appends claims the next place; when another clone was
// first, or there is none left, the list moves to memory of its own.
type tails struct {
	snapshots, digests, gaps, checkpoints, schemas, drills, verifies, begins, places *atomic.Int64
}

func grow[T any](list *[]T, used **atomic.Int64, v T) {
	n := len(*list)
	if n < cap(*list) && *used != nil && (*used).CompareAndSwap(int64(n), int64(n+1)) {
		*list = (*list)[:n+1]
		(*list)[n] = v
		return
	}
	fresh := make([]T, n+1, max(8, n+n/2))
	copy(fresh, *list)
	fresh[n] = v
	*list, *used = fresh, new(atomic.Int64)
	(*used).Store(int64(n + 1))
}
