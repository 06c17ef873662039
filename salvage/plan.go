package salvage

import (
	"cmp"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// route is how one collection is brought as far as can be proved.
type route struct {
	id     change.CollectionID
	schema *change.Schema // at reach; of a collection that nothing leads to, the newest known
	found  bool           // something leads to it
	gone   bool           // it was dropped at or before the target

	start   change.LSN // where its rows are known: a base, or a place where it was empty
	base    int        // of the survey; −1 when it was empty at start
	partial bool       // the base has lost rows of it
	reach   change.LSN // through where the log after start is whole, as far as the collection is concerned
	cut     change.LSN // its last truncate after start; 0 for none
	lost    int64      // records after reach, up to the target, as manifests count them
}

// plan decides for every collection, in order of ID. It reads nothing.
func plan(s *survey, newest bool) []route {
	h := newHistory(s)
	var out []route
	for _, id := range h.ids {
		r := route{id: id, base: -1, schema: h.schemaAt(id, s.target)}
		if r.gone = h.gone(id); !r.gone {
			for _, start := range h.starts(id) {
				c := r
				c.found, c.start, c.base, c.partial = true, start.lsn, start.base, start.partial
				c.reach, c.lost = s.walk(id, start.lsn)
				if c.schema = h.schemaFrom(id, start, c.reach); c.schema == nil {
					continue
				}
				c.cut = h.cut(id, c.start, c.reach)
				if !r.found || c.better(&r, newest) {
					r = c
				}
			}
		}
		if !r.found {
			_, r.lost = s.walk(id, s.start)
		}
		out = append(out, r)
	}
	return out
}

// better reports whether a route beats another: whole before damaged, unless
// newest is asked for, then the one that reaches further, then the shorter one.
func (r *route) better(o *route, newest bool) bool {
	if r.partial != o.partial && (!newest || r.reach == o.reach) {
		return o.partial
	}
	return cmp.Or(cmp.Compare(r.reach, o.reach), cmp.Compare(r.start, o.start)) > 0
}

// walk follows the log of one collection from a place to the target, and
// returns how far it is whole and how many of its records come after that.
func (s *survey) walk(id change.CollectionID, from change.LSN) (reach change.LSN, lost int64) {
	reach, broken := from, false
	gaps := s.gaps
	gap := func(before change.LSN) { // those that come before a place in the log
		for len(gaps) > 0 && gaps[0].First < before {
			g := &gaps[0]
			gaps = gaps[1:]
			if g.Last <= from || broken {
				continue
			}
			if broken = len(g.Collections) == 0 || slices.Contains(g.Collections, id); !broken {
				reach = min(g.Last, s.target)
			}
		}
	}
	for i := range s.segments {
		seg := &s.segments[i]
		if seg.Body.Last <= from {
			continue
		}
		gap(seg.Body.First)
		switch {
		case broken:
			lost += seg.records(id)
		case seg.whole || !seg.touches(id) || seg.good >= min(seg.Body.Last, s.target) || seg.lost[id] == 0:
			reach = min(seg.Body.Last, s.target)
		case seg.good < from: // the base stands behind the damage
			broken = true
			lost += seg.lost[id]
		default:
			reach, broken = max(reach, min(seg.good, s.target)), true
			lost += seg.lost[id]
		}
	}
	gap(s.target + 1)
	return reach, lost
}

// records counts a segment's records of a collection.
func (s *segment) records(id change.CollectionID) (n int64) {
	for i := range s.Body.Counts {
		if c := &s.Body.Counts[i]; c.Collection == id {
			n += c.Inserts + c.Updates + c.Deletes + c.Truncates + c.Schemas
		}
	}
	return n
}

// start is a place where the rows of a collection are known.
type start struct {
	lsn     change.LSN
	base    int // −1: it was empty
	partial bool
}

// history is what manifests alone say of collections, up to the target.
type history struct {
	s       *survey
	ids     []change.CollectionID
	schemas map[change.CollectionID][]chain.SchemaChange // in LSN order
	cuts    map[change.CollectionID][]change.LSN         // truncates, in LSN order
}

func newHistory(s *survey) *history {
	h := &history{s: s, schemas: make(map[change.CollectionID][]chain.SchemaChange), cuts: make(map[change.CollectionID][]change.LSN)}
	for i := range s.segments {
		b := &s.segments[i].Body
		for _, c := range b.Schemas {
			if c.LSN <= s.target {
				h.schemas[c.Schema.Collection] = append(h.schemas[c.Schema.Collection], c)
			}
		}
		for _, t := range b.Tombstones {
			if t.LSN <= s.target && !t.Dropped {
				h.cuts[t.Collection] = append(h.cuts[t.Collection], t.LSN)
			}
		}
	}
	known := make(map[change.CollectionID]bool)
	for id := range h.schemas {
		known[id] = true
	}
	for i := range s.bases {
		for _, c := range s.bases[i].Body.Schemas {
			known[c.Collection] = true
		}
	}
	for id := range known {
		h.ids = append(h.ids, id)
	}
	slices.Sort(h.ids)
	return h
}

// gone reports whether manifests prove that a collection is not there at the
// target: its drop, or a later base without it. IDs are never used again.
func (h *history) gone(id change.CollectionID) bool {
	if l := h.schemas[id]; len(l) > 0 && l[len(l)-1].Schema.Dropped {
		return true
	}
	var seen, missing change.LSN
	for _, c := range h.schemas[id] {
		seen = max(seen, c.LSN)
	}
	for i := range h.s.bases {
		b := &h.s.bases[i].Body
		if schemaIn(b, id) != nil {
			seen = max(seen, b.LSN)
		} else {
			missing = max(missing, b.LSN)
		}
	}
	return missing > seen
}

func schemaIn(b *chain.Snapshot, id change.CollectionID) *change.Schema {
	for _, c := range b.Schemas {
		if c.Collection == id {
			return c
		}
	}
	return nil
}

// starts returns the places where the rows of a collection are known.
func (h *history) starts(id change.CollectionID) []start {
	var out []start
	for i := range h.s.bases {
		b := &h.s.bases[i]
		if schemaIn(&b.Body, id) == nil {
			continue
		}
		if b.whole[id] || b.rows[id] > 0 {
			out = append(out, start{b.Body.LSN, i, !b.whole[id]})
		}
	}
	for _, c := range h.schemas[id] {
		if c.Schema.Version == 1 && h.s.readable(c.LSN) {
			out = append(out, start{c.LSN, -1, false})
		}
	}
	for _, t := range h.cuts[id] {
		if h.s.readable(t) {
			out = append(out, start{t, -1, false})
		}
	}
	return out
}

// readable reports whether the transaction that holds an LSN can be read.
func (s *survey) readable(lsn change.LSN) bool {
	for i := range s.segments {
		if seg := &s.segments[i]; seg.Body.First <= lsn && lsn <= seg.Body.Last {
			return seg.whole || seg.good >= lsn
		}
	}
	return false
}

// schemaFrom returns a collection's schema at the end of a route, or nil when
// it is not known.
func (h *history) schemaFrom(id change.CollectionID, at start, reach change.LSN) *change.Schema {
	var schema *change.Schema
	from := at.lsn
	if at.base >= 0 {
		schema = schemaIn(&h.s.bases[at.base].Body, id)
	} else {
		schema, from = h.schemaAt(id, at.lsn), at.lsn
	}
	for _, c := range h.schemas[id] {
		if c.LSN > from && c.LSN <= reach {
			schema = c.Schema
		}
	}
	if schema != nil && schema.Dropped {
		return nil
	}
	return schema
}

// schemaAt returns what a collection's schema was at an LSN, as far as the log
// and bases since the last gap tell; nil when they don't.
func (h *history) schemaAt(id change.CollectionID, lsn change.LSN) *change.Schema {
	var floor, at change.LSN
	for i := range h.s.gaps {
		if g := &h.s.gaps[i]; g.First <= lsn {
			floor = g.Last
		}
	}
	var schema *change.Schema
	for i := range h.s.bases {
		b := &h.s.bases[i].Body
		if c := schemaIn(b, id); c != nil && b.LSN >= max(floor, at) && b.LSN <= lsn {
			schema, at = c, b.LSN
		}
	}
	for _, c := range h.schemas[id] {
		if c.LSN > max(floor, at) && c.LSN <= lsn {
			schema = c.Schema
		}
	}
	return schema
}

// cut returns the last truncate of a collection after one place, up to another.
func (h *history) cut(id change.CollectionID, after, through change.LSN) (cut change.LSN) {
	for _, t := range h.cuts[id] {
		if t > after && t <= through {
			cut = t
		}
	}
	return cut
}
