package salvage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
)

// Report says what was salvaged and exactly what was not.
type Report struct {
	Repo     chain.RepoID     `json:"repo"`
	Timeline chain.TimelineID `json:"timeline"`
	Seq      chain.Seq        `json:"seq"` // the last manifest that is proved
	Head     change.Hash      `json:"head"`
	Listed   chain.Seq        `json:"listed"`            // the last one that there was, as far as can be told
	Bundled  []chain.Seq      `json:"bundled,omitempty"` // manifests that only a checkpoint still holds

	Asked     recovery.Target `json:"asked"`
	Target    change.LSN      `json:"target"`              // where it leads to
	Effective change.Time     `json:"effective,omitempty"` // of the transaction there, if known
	Coarse    string          `json:"coarse,omitempty"`    // why that may not be all that was asked for

	Damaged     []archive.Finding `json:"damaged"`        // every object that is not as it must be
	Lost        []Range           `json:"lost,omitempty"` // parts of the log, in LSN order
	Gaps        []Range           `json:"gaps,omitempty"` // that capture has declared
	Collections []Collection      `json:"collections"`    // in order of ID

	Rows    int64         `json:"rows"`  // delivered
	Bytes   int64         `json:"bytes"` // of keys and images
	Started change.Time   `json:"started"`
	Elapsed time.Duration `json:"elapsed_ns"`
}

// Range is a part of the log that can't be read.
type Range struct {
	First   change.LSN     `json:"lsn_start"`
	Last    change.LSN     `json:"lsn_end"`
	From    change.Time    `json:"from"` // effective times; of the whole segment where a part of it is lost
	To      change.Time    `json:"to"`
	Txs     int64          `json:"transactions"` // of the whole segment; 0 for a gap: nobody knows
	Known   []chain.TxSize `json:"known,omitempty"`
	Records []Records      `json:"records,omitempty"`
	Why     string         `json:"why"`
}

// Records counts lost records of one collection, as the manifest states them.
type Records struct {
	Collection change.CollectionID `json:"collection"`
	Records    int64               `json:"records"`
}

// Collection says what became of one collection. Without an LSN nothing of it
// can be proved, and it is not in the result.
type Collection struct {
	ID        change.CollectionID `json:"collection"`
	Name      string              `json:"name"`
	Delivered bool                `json:"delivered"`
	LSN       change.LSN          `json:"lsn,omitempty"`      // every row is as it was just after this one
	Whole     bool                `json:"whole"`              // every row of then is there
	Complete  bool                `json:"complete"`           // that, and then is the target
	Base      change.LSN          `json:"base_lsn,omitempty"` // where its rows were read; 0: from the log alone
	Rows      int64               `json:"rows"`
	Digest    change.Hash         `json:"digest"`
	Confirmed bool                `json:"confirmed,omitempty"`    // the live database showed the same at that LSN
	Differs   string              `json:"differs,omitempty"`      // it showed something else
	Records   int64               `json:"lost_records,omitempty"` // after LSN, up to the target's segment, as manifests count
	LostRows  int64               `json:"lost_rows,omitempty"`    // of the base
	LostKeys  []KeyRange          `json:"lost_keys,omitempty"`    // where those lay: no row there is delivered
}

// Delivered counts the collections that are in the result.
func (r *Report) Delivered() (n int) {
	for i := range r.Collections {
		if r.Collections[i].Delivered {
			n++
		}
	}
	return n
}

// Complete reports whether every collection was brought to the target whole.
func (r *Report) Complete() bool {
	return !slices.ContainsFunc(r.Collections, func(c Collection) bool { return !c.Complete }) && r.Listed == r.Seq && r.Coarse == ""
}

func newReport(a *archive.Archive, o Options, r *archive.Remains, s *survey, p recovery.Point, routes []route) *Report {
	st := r.State
	out := &Report{Repo: st.Repo, Timeline: a.Timeline(), Seq: st.Seq, Head: st.Head, Listed: max(r.Listed, st.Seq), Bundled: r.Bundled,
		Asked: o.Target, Target: p.LSN, Effective: p.Effective, Damaged: []archive.Finding{}, Started: change.TimeOf(time.Now())}
	for i := range s.segments {
		seg := &s.segments[i]
		if b := &seg.Body; !seg.whole && seg.good < b.Last {
			out.Lost = append(out.Lost, rangeOf(seg))
		}
	}
	for i := range s.gaps {
		g := &s.gaps[i]
		out.Gaps = append(out.Gaps, Range{First: g.First, Last: g.Last, From: g.From, To: g.To, Why: g.Reason})
	}
	for i := range routes {
		if x := &routes[i]; !x.gone {
			out.Collections = append(out.Collections, x.describe(s))
		}
	}
	return out
}

func rangeOf(seg *segment) Range {
	b := &seg.Body
	out := Range{First: seg.good + 1, Last: b.Last, From: b.Effective.From, To: b.Effective.To, Txs: b.Txs, Why: seg.Key() + " announces packs that are damaged or missing"}
	for _, t := range b.Largest {
		if t.Last > seg.good {
			out.Known = append(out.Known, t)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(seg.lost)) {
		out.Records = append(out.Records, Records{id, seg.lost[id]})
	}
	return out
}

// describe says what a route leads to, before anything is loaded.
func (x *route) describe(s *survey) Collection {
	c := Collection{ID: x.id, Records: x.lost}
	if x.schema != nil {
		c.Name = x.schema.Name
	}
	if !x.found {
		return c
	}
	c.Delivered, c.LSN, c.Whole, c.Digest = true, x.reach, !x.partial, new(change.Digest).Sum()
	c.Complete = c.Whole && x.reach == s.target
	if x.base >= 0 {
		b := &s.bases[x.base]
		c.Base = b.Body.LSN
		if x.partial {
			for _, d := range b.Body.Digests {
				if d.Collection == x.id {
					c.LostRows = d.Rows - b.rows[x.id]
				}
			}
			for _, h := range b.lost {
				if h.covers(x.id) {
					c.LostKeys = append(c.LostKeys, h.rangeIn(x.id, x.schema.Bag()))
				}
			}
		}
	}
	return c
}

// confirm compares what was delivered with what the database showed.
func (c *Collection) confirm(st *chain.State) {
	if !c.Delivered || !c.Whole {
		return
	}
	check := func(lsn change.LSN, digests []chain.CollectionDigest) {
		for _, d := range digests {
			switch {
			case lsn != c.LSN || d.Collection != c.ID:
			case d.Rows == c.Rows && d.Digest == c.Digest:
				c.Confirmed = true
			default:
				c.Differs = fmt.Sprintf("the database had %d rows with digest %s", d.Rows, d.Digest)
			}
		}
	}
	for i := range st.Digests {
		check(st.Digests[i].Body.LSN, st.Digests[i].Body.Digests)
	}
	for i := range st.Snapshots {
		if b := &st.Snapshots[i].Body; b.Origin == chain.OriginSource {
			check(b.LSN, b.Digests)
		}
	}
}

// wanted is what the target is told of the result.
func wanted(s *survey, st *chain.State, p recovery.Point, routes []route) driver.State {
	w := driver.State{Job: driver.Job{About: fmt.Sprintf("what can be salvaged of timeline %s through LSN %d", st.Timeline, p.LSN)},
		LSN: p.LSN, Commit: p.Commit, LastTx: p.Tx, Partial: true, NextID: st.NextCollection}
	if w.LastTx == 0 {
		w.LastTx = change.TxID(p.LSN) // no ID that counts transactions exceeds it
	}
	for i := range s.segments {
		b := &s.segments[i].Body
		for _, t := range b.Largest {
			w.LastTx = max(w.LastTx, t.ID)
		}
		w.Commit = max(w.Commit, min(b.Effective.To, cmp.Or(p.Effective, b.Effective.To)))
		for _, r := range b.Packs {
			w.Bytes += r.Raw
		}
	}
	for i := range routes {
		if x := &routes[i]; x.found {
			w.Schemas = append(w.Schemas, x.schema)
		}
	}
	for i := range s.bases {
		for _, r := range s.bases[i].Body.Runs {
			w.Bytes = max(w.Bytes, r.Raw)
		}
	}
	return w
}
