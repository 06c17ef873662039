package restore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// Level says how much a verification proves. Each includes those before it.
type Level int

// The levels of verification.
const (
	LevelChain   Level = 1 + iota // every manifest and link; every object there with the right size
	LevelObjects                  // every block of every pack has its hash
	LevelRecords                  // every record decodes; LSNs, transactions, counts, order, log hash and digests are as announced
)

var levelNames = map[Level]string{LevelChain: chain.VerifyChain, LevelObjects: chain.VerifyObjects, LevelRecords: chain.VerifyRecords}

func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level's name.
func ParseLevel(s string) (Level, error) {
	for l, n := range levelNames {
		if n == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown verification level %q (want chain, objects or records)", s)
}

// Report is the outcome of a verification.
type Report struct {
	Level     string            `json:"level"`
	Manifests int64             `json:"manifests"`
	Objects   int64             `json:"objects"`
	Bytes     int64             `json:"bytes"`   // of packs: stored size
	Records   int64             `json:"records"` // decoded, at level records
	Findings  []archive.Finding `json:"findings"`
	Lost      []chain.Lost      `json:"lost,omitempty"`  // what of the log they make unreadable
	Bases     []chain.LostBase  `json:"bases,omitempty"` // and which snapshots
	Through   chain.Seq         `json:"through"`         // the last manifest that was proved
	Started   change.Time       `json:"started"`
	Elapsed   time.Duration     `json:"elapsed_ns"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// VerifyOptions tune a verification. The zero value is ready for use.
type VerifyOptions struct {
	Level    Level                 // default LevelObjects
	Parallel int                   // packs read at once; default 4
	Own      bool                  // leave out what a fork inherits: its parent's verification covers that
	Progress func(done, all int64) // packs; called from several goroutines
	Memory   int64                 // bytes for working out states at level records; default 384 MiB
	TempDir  string                // where that spills; default the system's
}

// Verify proves what the archive holds and reports everything that is wrong,
// not only the first thing; each object is reported once. The error is for what
// kept it from looking, such as a store that is away: the report then holds
// what was found elsewhere, and may be nil.
func Verify(ctx context.Context, a *archive.Archive, o VerifyOptions) (*Report, error) {
	if o.Level == 0 {
		o.Level = LevelObjects
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	began := time.Now()
	verifyChain := a.VerifyChain
	if o.Own {
		verifyChain = a.VerifyOwn
	}
	links, err := verifyChain(ctx)
	if err != nil {
		return nil, err
	}
	v := &verifier{a: a, o: o, known: make(map[string]bool), report: Report{Level: o.Level.String(),
		Manifests: links.Manifests, Objects: links.Objects, Bytes: links.Bytes, Findings: links.Findings, Started: change.TimeOf(began)}}
	for _, f := range links.Findings {
		v.known[f.Key] = true
	}
	if links.State != nil {
		v.report.Through = links.State.Seq
		err = v.state(ctx, links.State)
	}
	slices.SortStableFunc(v.report.Findings, func(a, b archive.Finding) int { return strings.Compare(a.Key, b.Key) })
	v.report.Elapsed = time.Since(began)
	return &v.report, err
}

// VerifyState is [Verify] of the objects that a state announces, without its
// chain: at level objects or records.
func VerifyState(ctx context.Context, a *archive.Archive, s *chain.State, o VerifyOptions) (*Report, error) {
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	v := &verifier{a: a, o: o, known: make(map[string]bool), report: Report{Level: o.Level.String()}}
	err := v.packs(ctx, s)
	slices.SortStableFunc(v.report.Findings, func(a, b archive.Finding) int { return strings.Compare(a.Key, b.Key) })
	return &v.report, err
}

// Damaged reports whether an error tells of damage in the archive: that of a
// restore which an ordinary one can't get over.
func Damaged(err error) bool {
	return damage(err) || errors.Is(err, chain.ErrBroken) || errors.Is(err, chain.ErrManifest) || errors.Is(err, recovery.ErrLost) ||
		errors.Is(err, recovery.ErrNoPlan) || errors.Is(err, merge.ErrDivergence) || errors.Is(err, ErrMismatch)
}

// state checks what a chain announces, and says what is lost of it.
func (v *verifier) state(ctx context.Context, s *chain.State) error {
	if v.o.Level > LevelChain {
		if err := v.packs(ctx, s); err != nil {
			return err
		}
	}
	if err := v.losses(ctx, s); err != nil {
		return err
	}
	if v.o.Level >= LevelRecords {
		return v.digests(ctx, s)
	}
	return nil
}

type verifier struct {
	a     *archive.Archive
	o     VerifyOptions
	known map[string]bool // objects that are missing or of the wrong size
	done  atomic.Int64
	all   int64

	mu     sync.Mutex
	report Report  // guarded by mu while goroutines run
	unread []error // guarded by mu; what kept us from looking at single objects
}

// packs checks segments and snapshots, several packs at once.
func (v *verifier) packs(ctx context.Context, s *chain.State) error {
	for seg, err := range s.Segments.All(ctx) {
		if err != nil {
			return err
		}
		if v.covers(s, seg.Timeline) {
			v.all += int64(len(seg.Body.Packs))
		}
	}
	for i := range s.Snapshots {
		if v.covers(s, s.Snapshots[i].Timeline) {
			v.all += int64(len(s.Snapshots[i].Body.Runs))
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.o.Parallel)
	var last change.LSN // of the segment before, whose log hash is before
	var before change.Hash
	for at, err := range s.Segments.All(ctx) {
		if err == nil && (last == 0 || at.Body.First != last+1) {
			before, _, err = s.LogHashAt(ctx, at.Body.First-1)
		}
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		seg, prev := &segmentCheck{v: v, seq: at.Seq, key: at.Key(), want: &at.Body}, before
		last, before = at.Body.Last, at.Body.LogHash
		if !v.covers(s, at.Timeline) {
			continue
		}
		g.Go(func() error { return seg.run(ctx, prev) })
	}
	for i := range s.Snapshots {
		if !v.covers(s, s.Snapshots[i].Timeline) {
			continue
		}
		base := newBaseCheck(v, s.Snapshots[i].Seq, s.Snapshots[i].Key(), &s.Snapshots[i].Body)
		for n := range base.want.Runs {
			g.Go(func() error { return base.run(ctx, n) })
		}
		if len(base.want.Runs) == 0 {
			g.Go(func() error { return base.end(ctx) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return errors.Join(v.unread...)
}

// covers reports whether what a timeline has announced is to be looked at.
func (v *verifier) covers(s *chain.State, t chain.TimelineID) bool {
	return !v.o.Own || t == s.Timeline
}

// note turns what is wrong with an object into a finding. What kept us from
// looking at it is put down, and ends the verification when it concerns the
// whole store.
func (v *verifier) note(ctx context.Context, key string, seq chain.Seq, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, storage.ErrUnavailable):
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if damage(err) {
		v.report.Findings = append(v.report.Findings, archive.Finding{Key: key, Want: fmt.Sprintf("what manifest %d announces", seq), Found: err.Error()})
	} else {
		v.unread = append(v.unread, err)
	}
	return nil
}

// damage tells what an object is from what kept us from looking at it.
func damage(err error) bool {
	for _, e := range []error{pack.ErrCorrupt, pack.ErrVersion, pack.ErrLimit, chain.ErrDamaged, merge.ErrDivergence, storage.ErrNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func damaged(key string, err error) error { return fmt.Errorf("%s: %w: %w", key, err, pack.ErrCorrupt) }

// pack proves one pack, with read at level records and as it lies below, then
// looks at its index, and reports whether it is good.
func (v *verifier) pack(ctx context.Context, seq chain.Seq, ref pack.Ref, read func(*pack.Reader) error, look func(*pack.Index) error) (bool, error) {
	defer func() {
		if n := v.done.Add(1); v.o.Progress != nil {
			v.o.Progress(n, v.all)
		}
	}()
	if v.known[ref.Key] {
		return false, nil
	}
	r, err := pack.Open(ctx, v.a.Bucket(), ref)
	if err == nil {
		if v.o.Level < LevelRecords {
			err = r.Verify(ctx)
		} else if err = read(r); err == nil {
			v.mu.Lock()
			v.report.Records += ref.Records
			v.mu.Unlock()
		}
		if err == nil {
			err = look(r.Index())
		}
		r.Close()
	}
	return err == nil, v.note(ctx, ref.Key, seq, err)
}

// segmentCheck reads a segment as a restore does and works out its manifest again.
type segmentCheck struct {
	v    *verifier
	seq  chain.Seq
	key  string // of the manifest
	want *chain.Segment
}

func (c *segmentCheck) run(ctx context.Context, before change.Hash) error {
	b := chain.NewSegmentBuilder(before)
	good := true    // so far: what follows something damaged is looked at by itself
	inside := false // the pack before ends inside a transaction
	for _, ref := range c.want.Packs {
		ok, err := c.v.pack(ctx, c.seq, ref, func(r *pack.Reader) error {
			for tx, err := range r.VerifyTxs(ctx) {
				if err != nil {
					return err
				}
				if !good || tx.Records[0].LSN > c.want.Last { // beyond a fork's cut
					continue
				}
				if err := b.Add(tx); err != nil {
					return damaged(ref.Key, err)
				}
			}
			return nil
		}, func(ix *pack.Index) error {
			if good && (ix.Before > 0) != inside {
				return damaged(ref.Key, fmt.Errorf("it begins inside a transaction: %t; the pack before it ends inside one: %t", ix.Before > 0, inside))
			}
			inside = ix.After > 0
			return nil
		})
		if err != nil {
			return err
		}
		good = good && ok
	}
	if good && inside {
		return c.v.note(ctx, c.key, c.seq, fmt.Errorf("segment of LSNs %d to %d ends inside a transaction: %w", c.want.First, c.want.Last, pack.ErrCorrupt))
	}
	if !good || c.v.o.Level < LevelRecords {
		return nil
	}
	got := b.Segment()
	got.Packs, got.CoveredUntil = c.want.Packs, c.want.CoveredUntil
	if c.want.PackLast > 0 { // these are still of the whole segment
		got.PackLast, got.Position, got.Commit = c.want.PackLast, c.want.Position, c.want.Commit
		got.Counts, got.Largest, got.Smaller = c.want.Counts, c.want.Largest, c.want.Smaller
	}
	if field := difference(got, *c.want); field != "" {
		return c.v.note(ctx, c.key, c.seq, fmt.Errorf("segment of LSNs %d to %d: the records of its packs, from %s on, do not yield the %s that the manifest states: %w",
			c.want.First, c.want.Last, c.want.Packs[0].Key, field, pack.ErrCorrupt))
	}
	return nil
}

// difference names the first field in which two segments differ, or returns "".
func difference(a, b chain.Segment) string {
	av, bv := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range av.NumField() {
		x, y := av.Field(i), bv.Field(i)
		if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			return av.Type().Field(i).Name
		}
	}
	return ""
}

// baseCheck reads the runs of a base, several at once, and works out its
// digests again.
type baseCheck struct {
	v       *verifier
	seq     chain.Seq
	key     string // of the manifest
	want    *chain.Snapshot
	schemas map[change.CollectionID]*change.Schema

	mu      sync.Mutex
	left    int                                    // guarded by mu; runs not read yet
	bad     bool                                   // guarded by mu; a run is not good
	rows    [][2]pack.RowKey                       // guarded by mu; first and last row of each run
	digests map[change.CollectionID]*change.Digest // guarded by mu
}

func newBaseCheck(v *verifier, seq chain.Seq, key string, want *chain.Snapshot) *baseCheck {
	c := &baseCheck{v: v, seq: seq, key: key, want: want, left: len(want.Runs), rows: make([][2]pack.RowKey, len(want.Runs)),
		schemas: make(map[change.CollectionID]*change.Schema), digests: make(map[change.CollectionID]*change.Digest)}
	for _, s := range want.Schemas {
		c.schemas[s.Collection], c.digests[s.Collection] = s, new(change.Digest)
	}
	return c
}

// run reads run n; the last one to be read compares.
func (c *baseCheck) run(ctx context.Context, n int) error {
	own := make(map[change.CollectionID]*change.Digest)
	var span [2]pack.RowKey
	ok, err := c.v.pack(ctx, c.seq, c.want.Runs[n], func(r *pack.Reader) error {
		if blocks := r.Index().Blocks; len(blocks) > 0 {
			span = [2]pack.RowKey{blocks[0].FirstRow, blocks[len(blocks)-1].LastRow}
		}
		for rec, err := range r.VerifyRows(ctx) {
			if err != nil {
				return err
			}
			if err := c.row(own, rec); err != nil {
				return damaged(c.want.Runs[n].Key, err)
			}
		}
		return nil
	}, func(*pack.Index) error { return nil })
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.rows[n], c.bad = span, c.bad || !ok
	for id, d := range own {
		if c.digests[id] != nil {
			c.digests[id].Merge(d)
		}
	}
	c.left--
	last := c.left == 0
	c.mu.Unlock()
	if last {
		return c.end(ctx)
	}
	return nil
}

// row checks one row of a base and fingerprints it.
func (c *baseCheck) row(own map[change.CollectionID]*change.Digest, rec *change.Record) error {
	s, d := c.schemas[rec.Collection], own[rec.Collection]
	switch {
	case s == nil:
		return fmt.Errorf("a row of collection %d, for which the base has no schema", rec.Collection)
	case rec.LSN > c.want.LSN:
		return fmt.Errorf("a row of LSN %d, after the base's LSN %d", rec.LSN, c.want.LSN)
	case rec.Op != change.Insert || rec.Image.Partial() || s.Bag() != (rec.Count > 0):
		return fmt.Errorf("collection %d, key %x: %s with count %d (partial: %t) is no row of a base", rec.Collection, rec.Key, rec.Op, rec.Count, rec.Image.Partial())
	case d == nil:
		d = new(change.Digest)
		own[rec.Collection] = d
	}
	return d.Add(s, rec.Key, rec.Image, max(1, rec.Count))
}

// end compares the whole base with its manifest.
func (c *baseCheck) end(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad || c.v.o.Level < LevelRecords {
		return nil
	}
	for i := 1; i < len(c.rows); i++ {
		if before, row := c.rows[i-1][1], c.rows[i][0]; row.Compare(before) <= 0 {
			return c.v.note(ctx, c.want.Runs[i].Key, c.seq, fmt.Errorf("it starts at row %s, after row %s of %s: %w", row, before, c.want.Runs[i-1].Key, pack.ErrCorrupt))
		}
	}
	var wrong []error
	for _, w := range c.want.Digests {
		if d := c.digests[w.Collection]; d == nil || d.Rows != w.Rows || d.Sum() != w.Digest {
			wrong = append(wrong, fmt.Errorf("base at LSN %d: the rows of collection %d do not yield the digest that the manifest states: %w",
				c.want.LSN, w.Collection, pack.ErrCorrupt))
		}
	}
	return c.v.note(ctx, c.key, c.seq, errors.Join(wrong...))
}
