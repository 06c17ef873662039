package recovery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// ErrNoPlan says that what the chain holds does not add up to the state at an
// LSN: the log between the base and it is not proved to be whole.
var ErrNoPlan = errors.New("no plan leads there")

// Plan is what a restore reads, and what it leads to. It is decided by the
// chain alone, before anything is read, and executed as printed.
type Plan struct {
	Repo     chain.RepoID     `json:"repo"`
	Timeline chain.TimelineID `json:"timeline"`
	Seq      chain.Seq        `json:"seq"`  // the manifest that the chain was read to
	Head     change.Hash      `json:"head"` // its hash
	Point    Point            `json:"point"`

	Base     *PlanBase     `json:"base,omitempty"` // nil: the log starts at the empty database
	Segments []PlanSegment `json:"segments"`       // those with records after the base and not after the point

	Schemas []*change.Schema      `json:"schemas"`           // at the point, in order of collection
	Cuts    []chain.Tombstone     `json:"cuts,omitempty"`    // the last truncate or drop of a collection after the base
	Dropped []change.CollectionID `json:"dropped,omitempty"` // collections that the log has and the point has not
	NextID  change.CollectionID   `json:"next_collection"`   // the first collection ID never used

	Discards Discards `json:"discards"`
	Estimate Estimate `json:"estimate"`
}

// PlanBase is the base of a plan.
type PlanBase struct {
	Timeline chain.TimelineID      `json:"timeline"` // whose manifest it is: this one or an ancestor
	Seq      chain.Seq             `json:"seq"`
	LSN      change.LSN            `json:"lsn"`
	LogHash  change.Hash           `json:"log_hash"`
	Origin   chain.Origin          `json:"origin"`
	Taken    change.Time           `json:"taken"`
	Runs     []pack.Ref            `json:"runs"`
	Schemas  []change.CollectionID `json:"collections"` // that it holds
}

// key is the manifest's key.
func (b *PlanBase) key() string { return chain.ManifestKey(b.Timeline, b.Seq) }

// PlanSegment is one segment of a plan.
type PlanSegment struct {
	Timeline chain.TimelineID `json:"timeline"` // whose manifest it is: this one or an ancestor
	Seq      chain.Seq        `json:"seq"`
	First    change.LSN       `json:"lsn_start"` // of the segment, also where the plan begins later
	Last     change.LSN       `json:"lsn_end"`
	Prev     change.Hash      `json:"prev_log_hash"` // before First, or after the base's LSN where that is later
	LogHash  change.Hash      `json:"log_hash"`      // after Last
	Txs      int64            `json:"transactions"`
	Packs    []pack.Ref       `json:"packs"`

	// PackLast is where the packs end, when a fork has cut the segment at Last:
	// what lies between belongs to the ancestor alone. Otherwise 0.
	PackLast change.LSN `json:"pack_lsn_end,omitempty"`
}

// key is the manifest's key.
func (s *PlanSegment) key() string { return chain.ManifestKey(s.Timeline, s.Seq) }

// packLast is the LSN of the last record that the packs hold.
func (s *PlanSegment) packLast() change.LSN { return max(s.Last, s.PackLast) }

// Discards is what the archive holds after the point.
type Discards struct {
	Records int64       `json:"records"`
	Txs     int64       `json:"transactions"`
	Times   *chain.Span `json:"effective,omitempty"` // from the point's transaction to the last one
}

// Estimate is what the plan costs and yields, as far as manifests tell.
type Estimate struct {
	Read    int64 `json:"read"`    // bytes
	Raw     int64 `json:"raw"`     // bytes of keys and images of that
	Records int64 `json:"records"` // row versions and changes to be read
	Rows    int64 `json:"rows"`    // of the result
	Bytes   int64 `json:"bytes"`   // of keys and images of the result
}

// MakePlan decides what to read for a point, which [Resolve] found. It proves
// that the log goes on without a hole from the base to the point, and refuses
// what a gap cuts off. Of several bases it takes the one that costs least to
// start from.
func MakePlan(ctx context.Context, s *chain.State, p Point) (*Plan, error) {
	return MakePlanWith(ctx, s, p, PlanOptions{})
}

// PlanOptions narrow what a plan may start from. The zero value allows all that
// can be read.
type PlanOptions struct {
	BaseBefore change.LSN // only bases below this LSN; 0: any
}

// MakePlanWith is [MakePlan] with options. Where they leave no base, the error
// is an [*UnrestorableError].
func MakePlanWith(ctx context.Context, s *chain.State, p Point, o PlanOptions) (*Plan, error) {
	if !s.Started || p.LSN < s.Start || p.LSN > s.Last {
		return nil, fmt.Errorf("LSN %d: the archive holds LSN %d to %d: %w", p.LSN, s.Start, s.Last, ErrOutside)
	}
	before, err := logBefore(ctx, s, p.LSN)
	if err != nil {
		return nil, err
	}
	var best *Plan
	for _, base := range bases(s, p.LSN) {
		if best != nil && leastCost(s, base, before) >= best.cost() {
			continue // whatever the log between looks like
		}
		if o.BaseBefore > 0 && base != nil && base.Body.LSN >= o.BaseBefore {
			continue
		}
		plan := &Plan{Repo: s.Repo, Timeline: s.Timeline, Seq: s.Seq, Head: s.Head, Point: p, NextID: s.NextCollection}
		if err := plan.from(ctx, s, base); err != nil {
			return nil, err
		}
		if best == nil || plan.cost() < best.cost() {
			best = plan
		}
	}
	if best == nil {
		return nil, unrestorable(s, AtLSN(p.LSN), p.LSN)
	}
	return best, best.discard(ctx, s)
}

// bases returns the bases that can be read and from which neither a gap nor
// something lost lies before lsn, newest first; nil stands for the empty
// database at the start of the log. A gap of some collections counts like one
// of all.
func bases(s *chain.State, lsn change.LSN) []*chain.Announced[chain.Snapshot] {
	floor := s.Start
	for _, b := range breaks(s) {
		if b.first <= lsn {
			floor = b.last // beyond lsn: nothing leads there
		}
	}
	var out []*chain.Announced[chain.Snapshot]
	usable := readable(s)
	for i := range s.Snapshots {
		if b := &s.Snapshots[i]; b.Body.LSN >= floor && b.Body.LSN <= lsn && usable(b) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b *chain.Announced[chain.Snapshot]) int {
		return cmp.Or(cmp.Compare(b.Body.LSN, a.Body.LSN), cmp.Compare(b.Seq, a.Seq))
	})
	if floor == 0 {
		out = append(out, nil)
	}
	return out
}

// cost weighs what has to be read; the log also has to be sorted.
func (p *Plan) cost() int64 {
	var n int64
	if p.Base != nil {
		for _, r := range p.Base.Runs {
			n += r.Size
		}
	}
	return n + 2*(p.Estimate.Read-n)
}

// logBefore returns the bytes of the log before the segment that holds an LSN.
func logBefore(ctx context.Context, s *chain.State, lsn change.LSN) (int64, error) {
	seg, err := s.SegmentAt(ctx, lsn)
	if err == nil && seg != nil {
		lsn = seg.First - 1
	}
	if err != nil || lsn == 0 {
		return 0, err
	}
	t, err := s.Segments.Through(ctx, lsn)
	return t.Bytes, err
}

// leastCost is not above the cost of a plan from a base, given the bytes of the
// log before the point's segment.
func leastCost(s *chain.State, base *chain.Announced[chain.Snapshot], before int64) int64 {
	if base == nil {
		return 2 * before
	}
	n := 2 * max(0, before-s.PlaceOf(base.Body.LSN).Log.Bytes)
	for _, r := range base.Body.Runs {
		n += r.Size
	}
	return n
}

// from fills the plan in for one base.
func (p *Plan) from(ctx context.Context, s *chain.State, base *chain.Announced[chain.Snapshot]) error {
	schemas := make(map[change.CollectionID]*change.Schema)
	rows := make(map[change.CollectionID]int64)
	at, hash := change.LSN(0), change.Hash{}
	if base != nil {
		b := &base.Body
		at, hash = b.LSN, b.LogHash
		p.Base = &PlanBase{Timeline: base.Timeline, Seq: base.Seq, LSN: b.LSN, LogHash: b.LogHash, Origin: b.Origin, Taken: b.Taken, Runs: b.Runs}
		for _, c := range b.Schemas {
			schemas[c.Collection] = c
			p.Base.Schemas = append(p.Base.Schemas, c.Collection)
		}
		for _, d := range b.Digests {
			rows[d.Collection] = d.Rows
		}
		for _, r := range b.Runs {
			p.Estimate.add(r, 1)
		}
	}
	cuts := make(map[change.CollectionID]chain.Tombstone)
	for seg, err := range s.Segments.FromBrief(ctx, at+1) {
		if err != nil {
			return err
		}
		b := &seg.Body
		if b.First > p.Point.LSN || at == p.Point.LSN {
			break
		}
		p.Segments = append(p.Segments, PlanSegment{Timeline: seg.Timeline, Seq: seg.Seq, First: b.First, Last: b.Last, Prev: hash,
			LogHash: b.LogHash, Txs: b.Txs, Packs: b.Packs, PackLast: b.PackLast})
		p.follow(b, at, schemas, cuts, rows)
		if err := known(b, schemas, p.Dropped, at); err != nil {
			return err
		}
		hash = b.LogHash
	}
	if err := p.check(); err != nil {
		return err
	}
	p.Schemas = slices.SortedFunc(maps.Values(schemas), func(a, b *change.Schema) int { return cmp.Compare(a.Collection, b.Collection) })
	p.Cuts = slices.SortedFunc(maps.Values(cuts), func(a, b chain.Tombstone) int { return cmp.Compare(a.Collection, b.Collection) })
	p.total(schemas, rows)
	return nil
}

// follow takes in what a segment says between the base and the point.
func (p *Plan) follow(b *chain.Segment, base change.LSN, schemas map[change.CollectionID]*change.Schema, cuts map[change.CollectionID]chain.Tombstone, rows map[change.CollectionID]int64) {
	in := func(lsn change.LSN) bool { return lsn > base && lsn <= p.Point.LSN }
	for _, c := range b.Schemas {
		switch {
		case !in(c.LSN):
		case c.Schema.Dropped:
			delete(schemas, c.Schema.Collection)
			p.Dropped = append(p.Dropped, c.Schema.Collection)
		default:
			schemas[c.Schema.Collection] = c.Schema
		}
	}
	for _, t := range b.Tombstones {
		if in(t.LSN) {
			cuts[t.Collection] = t
			rows[t.Collection] = 0
		}
	}
	// Of a segment that is used in part only that part is counted.
	from, to := max(b.First, base+1), min(b.Last, p.Point.LSN)
	part := float64(to-from+1) / float64(max(b.Last, b.PackLast)-b.First+1)
	for i := range b.Counts {
		c := &b.Counts[i]
		rows[c.Collection] += int64(part * float64(c.Inserts-c.Deletes))
	}
	for _, r := range b.Packs {
		p.Estimate.add(r, part)
	}
}

// known checks that every collection a segment has records of is one that the
// plan knows: else rows would be left out in silence. Of a segment that a fork
// has cut, the records of a collection may all lie beyond.
func known(b *chain.Segment, schemas map[change.CollectionID]*change.Schema, dropped []change.CollectionID, base change.LSN) error {
	var newest change.CollectionID
	for id := range schemas {
		newest = max(newest, id)
	}
	for i := range b.Counts {
		id := b.Counts[i].Collection
		if b.PackLast > 0 && id > newest {
			continue
		}
		in := func(c chain.SchemaChange) bool { return c.Schema.Collection == id }
		if schemas[id] == nil && !slices.Contains(dropped, id) && !slices.ContainsFunc(b.Schemas, in) {
			return fmt.Errorf("the segment of LSN %d to %d has records of collection %d, which has no schema after LSN %d: %w", b.First, b.Last, id, base, ErrNoPlan)
		}
	}
	return nil
}

func (e *Estimate) add(r pack.Ref, part float64) {
	e.Read += r.Tail + int64(part*float64(r.Size-r.Tail))
	e.Raw += int64(part * float64(r.Raw))
	e.Records += int64(part * float64(r.Records))
}

// total adds up the rows, and guesses their size from that of what is read.
func (p *Plan) total(schemas map[change.CollectionID]*change.Schema, rows map[change.CollectionID]int64) {
	for id, n := range rows {
		if schemas[id] != nil {
			p.Estimate.Rows += max(n, 0)
		}
	}
	if p.Estimate.Records > 0 {
		p.Estimate.Bytes = int64(float64(p.Estimate.Raw) / float64(p.Estimate.Records) * float64(p.Estimate.Rows))
	}
}

// check proves that base and segments follow each other without a hole up to
// the point. [At] checks again: a plan may have been stored or edited.
func (p *Plan) check() error {
	at, hash := change.LSN(0), change.Hash{}
	if p.Base != nil {
		at, hash = p.Base.LSN, p.Base.LogHash
	}
	next := at + 1
	for i := range p.Segments {
		s := &p.Segments[i]
		switch {
		case len(s.Packs) == 0 || s.First > s.Last || s.Last < next || s.First > p.Point.LSN || s.PackLast > 0 && s.PackLast <= s.Last:
			return fmt.Errorf("the plan lists LSN %d to %d of %s, for LSN %d to %d: %w", s.First, s.Last, s.key(), next, p.Point.LSN, ErrNoPlan)
		case s.First > next || i > 0 && s.First != next:
			return fmt.Errorf("the plan goes on with LSN %d of %s, but LSN %d must follow: %w", s.First, s.key(), next, ErrNoPlan)
		case s.Prev != hash:
			return fmt.Errorf("the plan has log hash %s before %s, but %s must be there: %w", s.Prev, s.key(), hash, ErrNoPlan)
		}
		next, hash = s.Last+1, s.LogHash
	}
	if next <= p.Point.LSN || p.Point.LSN < at {
		return fmt.Errorf("the plan ends at LSN %d, for LSN %d: %w", next-1, p.Point.LSN, ErrNoPlan)
	}
	return nil
}

// discard says what the archive holds after the point.
func (p *Plan) discard(ctx context.Context, s *chain.State) error {
	d := &p.Discards
	through, err := s.Segments.Through(ctx, p.Point.LSN)
	if err != nil {
		return err
	}
	seg, err := s.SegmentAt(ctx, p.Point.LSN)
	if err != nil {
		return err
	}
	after := s.Segments.Totals().Minus(through)
	d.Records, d.Txs = after.Records, after.Txs
	if seg != nil && seg.Last > p.Point.LSN {
		d.Records += int64(seg.Last - p.Point.LSN)
		d.Txs += p.Point.Rest
	}
	if d.Records > 0 {
		d.Times = &chain.Span{From: p.Point.Effective, To: s.Segments.Last().Body.Effective.To}
	}
	return nil
}

// Hash identifies the plan: equal plans have equal hashes.
func (p *Plan) Hash() (change.Hash, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return change.Hash{}, fmt.Errorf("plan: %w", err)
	}
	return sha256.Sum256(append([]byte("tidemark plan v1\x00"), b...)), nil
}

// Work identifies what the plan does: the rows it leads to and the way there.
// Plans for the same place of an archive that has grown since have the same
// work, unless a better way was found, and another hash.
func (p *Plan) Work() (change.Hash, error) {
	w := *p
	w.Seq, w.Head, w.Point.Rest, w.NextID, w.Discards, w.Estimate = 0, change.Hash{}, 0, 0, Discards{}, Estimate{}
	h, err := w.Hash()
	if err != nil {
		return h, err
	}
	return sha256.Sum256(fmt.Appendf(nil, "tidemark plan work v1\x00%s", h)), nil
}

// manifest names one of this timeline, or of an ancestor, for people.
func (p *Plan) manifest(t chain.TimelineID, seq chain.Seq) string {
	if t == p.Timeline {
		return fmt.Sprintf("manifest %d", seq)
	}
	return fmt.Sprintf("manifest %d of %s", seq, t)
}

// String describes the plan for people, in a few lines.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "restore   timeline %s to LSN %d, included", p.Timeline, p.Point.LSN)
	if p.Point.Tx != 0 || p.Point.Commit != 0 {
		fmt.Fprintf(&b, ": transaction %d, committed %s, effective %s", p.Point.Tx, p.Point.Commit, p.Point.Effective)
	}
	if p.Base == nil {
		b.WriteString("\nbase      none: the log starts at the empty database")
	} else {
		fmt.Fprintf(&b, "\nbase      %s: LSN %d, %s, taken %s, %d runs", p.manifest(p.Base.Timeline, p.Base.Seq), p.Base.LSN, p.Base.Origin, p.Base.Taken, len(p.Base.Runs))
	}
	if n := len(p.Segments); n == 0 {
		b.WriteString("\nsegments  none")
	} else {
		fmt.Fprintf(&b, "\nsegments  %d: %s to %s, LSN %d to %d", n, p.manifest(p.Segments[0].Timeline, p.Segments[0].Seq), p.manifest(p.Segments[n-1].Timeline, p.Segments[n-1].Seq), p.Segments[0].First, p.Segments[n-1].Last)
	}
	fmt.Fprintf(&b, "\nreads     %d bytes, %d records", p.Estimate.Read, p.Estimate.Records)
	fmt.Fprintf(&b, "\nyields    about %d rows in %d collections", p.Estimate.Rows, len(p.Schemas))
	if d := p.Discards; d.Records == 0 {
		b.WriteString("\ndiscards  nothing: this is the end of the archive")
	} else {
		fmt.Fprintf(&b, "\ndiscards  %d transactions, %d records, up to %s", d.Txs, d.Records, d.Times.To)
	}
	return b.String()
}
