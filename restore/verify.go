package restore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
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

var levelNames = map[Level]string{LevelChain: "chain", LevelObjects: "objects", LevelRecords: "records"}

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
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// VerifyOptions tune a verification. The zero value is ready for use.
type VerifyOptions struct {
	Level    Level                 // default LevelObjects
	Parallel int                   // packs read at once; default 4
	Progress func(done, all int64) // packs; called from several goroutines
}

// Verify proves what the archive holds and reports everything that is wrong,
// not only the first thing. The error is for what kept it from looking.
func Verify(ctx context.Context, a *archive.Archive, o VerifyOptions) (*Report, error) {
	if o.Level == 0 {
		o.Level = LevelObjects
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	chain, err := a.VerifyChain(ctx)
	if err != nil {
		return nil, err
	}
	v := &verifier{a: a, o: o, report: Report{Level: o.Level.String(), Manifests: chain.Manifests, Objects: chain.Objects,
		Bytes: chain.Bytes, Findings: chain.Findings}}
	if o.Level == LevelChain || chain.State == nil {
		return &v.report, nil
	}
	return &v.report, v.packs(ctx, chain.State)
}

type verifier struct {
	a    *archive.Archive
	o    VerifyOptions
	done atomic.Int64
	all  int64

	mu     sync.Mutex
	report Report // guarded by mu while goroutines run
}

// packs checks segments and snapshots, several at once.
func (v *verifier) packs(ctx context.Context, s *archive.State) error {
	for _, seg := range s.Segments {
		v.all += int64(len(seg.Body.Packs))
	}
	for _, snap := range s.Snapshots {
		v.all += int64(len(snap.Body.Runs))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.o.Parallel)
	for i := range s.Segments {
		seq, seg := s.Segments[i].Seq, &s.Segments[i].Body
		before, _ := s.LogHashAt(seg.First - 1)
		g.Go(func() error {
			return v.note(ctx, seq, archive.ManifestKey(s.Timeline, seq), v.segment(ctx, seg, before))
		})
	}
	for i := range s.Snapshots {
		seq, snap := s.Snapshots[i].Seq, &s.Snapshots[i].Body
		g.Go(func() error {
			return v.note(ctx, seq, archive.ManifestKey(s.Timeline, seq), v.snapshot(ctx, snap))
		})
	}
	return g.Wait()
}

// note turns what is wrong with what a manifest announces into a finding; what
// kept us from looking stays an error.
func (v *verifier) note(ctx context.Context, seq archive.Seq, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, storage.ErrUnavailable):
		return err
	}
	var corrupt *pack.CorruptError
	if errors.As(err, &corrupt) {
		key = corrupt.Key
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings,
		archive.Finding{Key: key, Want: fmt.Sprintf("what manifest %d announces", seq), Found: err.Error()})
	return nil
}

// open opens a pack and proves all that it says of itself.
func (v *verifier) open(ctx context.Context, ref pack.Ref) (*pack.Reader, error) {
	r, err := pack.Open(ctx, v.a.Bucket(), ref)
	if err != nil {
		return nil, err
	}
	if v.o.Level >= LevelRecords {
		err = r.VerifyRecords(ctx)
	} else {
		err = r.Verify(ctx)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (v *verifier) finished(records int64) {
	v.mu.Lock()
	v.report.Records += records
	v.mu.Unlock()
	if n := v.done.Add(1); v.o.Progress != nil {
		v.o.Progress(n, v.all)
	}
}

// segment reads a segment as a restore does and works out its manifest again.
func (v *verifier) segment(ctx context.Context, want *archive.Segment, prev change.Hash) error {
	b := archive.NewSegmentBuilder(prev)
	for _, ref := range want.Packs {
		r, err := v.open(ctx, ref)
		if err != nil {
			return err
		}
		defer r.Close()
		if v.o.Level >= LevelRecords {
			for tx, err := range r.Txs(ctx, 0) {
				if err == nil {
					err = b.Add(tx)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", ref.Key, err)
				}
			}
		}
		v.finished(ref.Records)
	}
	if v.o.Level < LevelRecords {
		return nil
	}
	got := b.Segment()
	got.Packs, got.CoveredUntil = want.Packs, want.CoveredUntil
	if field := difference(got, *want); field != "" {
		return fmt.Errorf("segment of LSNs %d to %d: its records do not yield the %s that its manifest states: %w",
			want.First, want.Last, field, pack.ErrCorrupt)
	}
	return nil
}

// difference names the first field in which two segments differ, or returns "".
func difference(a, b archive.Segment) string {
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

// snapshot reads the runs of a base; at level records it works out the digests
// again.
func (v *verifier) snapshot(ctx context.Context, want *archive.Snapshot) error {
	schemas := make(map[change.CollectionID]*change.Schema)
	digests := make(map[change.CollectionID]*change.Digest)
	for _, s := range want.Schemas {
		schemas[s.Collection], digests[s.Collection] = s, new(change.Digest)
	}
	for _, ref := range want.Runs {
		r, err := v.open(ctx, ref)
		if err != nil {
			return err
		}
		defer r.Close()
		if v.o.Level >= LevelRecords {
			for rec, err := range r.Records(ctx, pack.RowKey{}) {
				if err != nil {
					return err
				}
				s := schemas[rec.Collection]
				if s == nil {
					return fmt.Errorf("%s holds rows of collection %d, which the snapshot does not list: %w", ref.Key, rec.Collection, pack.ErrCorrupt)
				}
				if err := digests[rec.Collection].Add(s, rec.Key, rec.Image, max(1, rec.Count)); err != nil {
					return fmt.Errorf("%s: %w", ref.Key, err)
				}
			}
		}
		v.finished(ref.Records)
	}
	if v.o.Level < LevelRecords {
		return nil
	}
	var errs []error
	for _, w := range want.Digests {
		d := digests[w.Collection]
		if d == nil || d.Rows != w.Rows || d.Sum() != w.Digest {
			errs = append(errs, fmt.Errorf("snapshot at LSN %d: the rows of collection %d do not yield the digest that its manifest states: %w",
				want.LSN, w.Collection, pack.ErrCorrupt))
		}
	}
	return errors.Join(errs...)
}
