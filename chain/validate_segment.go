package chain

import (
	"math"

	"github.com/tidemarkdb/tidemark/change"
)

// maxRecords is above every count of records or rows, with room to add a few.
const maxRecords = math.MaxInt64 / 16

// add adds counts without wrapping.
func add(a, b int64) int64 { return min(a+min(b, maxRecords), 2*maxRecords) }

func (f *form) segment(s *Segment) {
	f.want(s.First >= 1 && s.First <= s.Last && s.Last < change.MaxLSN, "covers LSN %d to %d", s.First, s.Last)
	if f.err != nil || uint64(s.Last-s.First) >= maxRecords {
		f.want(false, "covers LSN %d to %d", s.First, s.Last)
		return
	}
	n := int64(s.Last-s.First) + 1
	f.span("effective", s.Effective)
	f.span("commit", s.Commit)
	f.want(s.Effective.From >= 1, "effective.from is %d µs, the least is 1", s.Effective.From)
	f.want(s.CoveredUntil <= maxCovered, "covered_until is %v", s.CoveredUntil)
	f.want(s.CoveredUntil >= s.Effective.To, "covered_until is %v, before the last effective time %v", s.CoveredUntil, s.Effective.To)
	f.text("position", string(s.Position))
	f.want(s.Txs >= 1 && s.Txs <= n, "%d transactions in %d records", s.Txs, n)
	f.want(!s.LogHash.IsZero(), "log_hash is missing")
	sum := f.counts("counts", s.Counts)
	f.want(sum == n, "the counts add up to %d records, LSN %d to %d are %d", sum, s.First, s.Last, n)
	f.packs(s)
	f.largest(s, n)
	f.tombstones(s)
}

// counts checks a list of counts and returns how many records it has.
func (f *form) counts(name string, l []Count) (sum int64) {
	var last change.CollectionID
	for i := range l {
		c := &l[i]
		f.want(c.Collection > last, "%s: collection %d follows %d", name, c.Collection, last)
		last = c.Collection
		for _, n := range []int64{c.Inserts, c.Updates, c.Deletes, c.Truncates, c.Schemas} {
			f.want(n >= 0 && n <= maxRecords, "%s: collection %d has a count of %d", name, c.Collection, n)
			sum = add(sum, max(n, 0))
		}
		f.want(c.Records() > 0, "%s: collection %d has no records", name, c.Collection)
	}
	return sum
}

// packs checks that a segment's packs abut and hold one record per LSN.
func (f *form) packs(s *Segment) {
	f.want(len(s.Packs) > 0, "no packs")
	next := s.First
	for i := range s.Packs {
		r := &s.Packs[i]
		k := f.ref(r, LogPack)
		f.want(k.First == next && k.Last <= s.Last, "pack %s: want it to start at LSN %d and to end at %d at the latest", r.Key, next, s.Last)
		f.want(r.Records > 0 && uint64(k.Last-k.First) == uint64(r.Records-1), "pack %s: %d records for LSN %d to %d", r.Key, r.Records, k.First, k.Last)
		next = k.Last + 1
	}
	f.want(next == s.Last+1, "the packs end at LSN %d, want %d", next-1, s.Last)
}

// largest checks the list of largest transactions against the segment's n records.
func (f *form) largest(s *Segment, n int64) {
	var last change.LSN
	rest, effective := n, s.Effective.From
	for i := range s.Largest {
		t := &s.Largest[i]
		f.want(t.First >= s.First && t.First > last && t.First <= t.Last && t.Last <= s.Last,
			"largest transaction %d covers LSN %d to %d, want it within %d to %d, in order", i, t.First, t.Last, s.First, s.Last)
		if f.err != nil {
			return
		}
		size := int64(t.Last-t.First) + 1
		sum := f.counts("a largest transaction's counts", t.Counts)
		f.want(sum == size, "the transaction at LSN %d to %d counts %d records", t.First, t.Last, sum)
		f.want(size >= s.Smaller, "the transaction at LSN %d to %d has fewer than the %d records of smaller ones", t.First, t.Last, s.Smaller)
		f.want(t.Effective >= effective && t.Effective <= s.Effective.To, "the transaction at LSN %d has effective time %v", t.First, t.Effective)
		f.want(t.Commit >= s.Commit.From && t.Commit <= s.Commit.To, "the transaction at LSN %d has commit time %v", t.First, t.Commit)
		last, effective, rest = t.Last, t.Effective, rest-size
	}
	others := s.Txs - int64(len(s.Largest))
	f.want(s.Smaller >= 0 && s.Smaller <= n, "smaller is %d", s.Smaller)
	f.want(others >= 0 && rest >= others, "%d transactions besides the largest, for %d records", others, rest)
	if others == 0 || s.Smaller == 0 {
		f.want(rest == 0 && others == 0, "%d transactions of at most %d records can't hold %d", others, s.Smaller, rest)
		return
	}
	f.want((rest-1)/s.Smaller < others, "%d transactions of at most %d records can't hold %d", others, s.Smaller, rest)
}

// tombstones checks schema changes and tombstones: in order, within the
// segment, counted, and a drop in both lists.
func (f *form) tombstones(s *Segment) {
	type tally struct{ truncates, schemas int64 }
	counted := make(map[change.CollectionID]tally)
	drops := make(map[change.LSN]change.CollectionID)
	schemaAt := make(map[change.LSN]bool)
	var last change.LSN
	for _, c := range s.Schemas {
		f.schema(c.Schema)
		f.want(c.LSN > last && c.LSN >= s.First && c.LSN <= s.Last, "schema change at LSN %d, want it within %d to %d, in order", c.LSN, s.First, s.Last)
		if f.err != nil {
			return
		}
		last = c.LSN
		t := counted[c.Schema.Collection]
		t.schemas++
		counted[c.Schema.Collection] = t
		schemaAt[c.LSN] = true
		if c.Schema.Dropped {
			drops[c.LSN] = c.Schema.Collection
		}
	}
	last = 0
	for _, t := range s.Tombstones {
		f.want(t.Collection > 0 && t.LSN > last && t.LSN >= s.First && t.LSN <= s.Last,
			"tombstone of collection %d at LSN %d, want it within %d to %d, in order", t.Collection, t.LSN, s.First, s.Last)
		last = t.LSN
		if t.Dropped {
			f.want(drops[t.LSN] == t.Collection, "collection %d is dropped at LSN %d without a schema change that says so", t.Collection, t.LSN)
			delete(drops, t.LSN)
			continue
		}
		f.want(!schemaAt[t.LSN], "LSN %d is a truncate and a schema change", t.LSN)
		n := counted[t.Collection]
		n.truncates++
		counted[t.Collection] = n
	}
	for lsn, c := range drops {
		f.want(false, "collection %d is dropped at LSN %d without a tombstone", c, lsn)
	}
	for i := range s.Counts {
		c := &s.Counts[i]
		have := counted[c.Collection]
		f.want(c.Truncates == have.truncates && c.Schemas == have.schemas,
			"collection %d counts %d truncates and %d schema changes, listed are %d and %d", c.Collection, c.Truncates, c.Schemas, have.truncates, have.schemas)
		delete(counted, c.Collection)
	}
	for c := range counted {
		f.want(false, "collection %d has tombstones or schema changes but no counts", c)
	}
}
