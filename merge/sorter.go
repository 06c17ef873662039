package merge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// Options says what a [Sorter] may use.
type Options struct {
	Memory  int64  // bytes, for everything; default 512 MiB
	TempDir string // where to spill what does not fit; default os.TempDir()
	Workers int    // how much to do at once; default GOMAXPROCS
	Ahead   int    // blocks of each run to read before they are needed, at once; default 4, less when memory is short
}

func (o Options) withDefaults() Options {
	if o.Memory <= 0 {
		o.Memory = 512 << 20
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Ahead <= 0 {
		o.Ahead = 4
	}
	return o
}

// Sorter turns a stretch of a log into row versions in order of (collection,
// key), one of each key, and merges them with older runs. What does not fit
// into memory it spills to temporary files, which Close removes.
//
// Add, Parts and Close are for one goroutine.
type Sorter struct {
	rules *Rules
	opt   Options
	last  change.LSN
	held  held
	bytes int64 // that held costs
	block int64 // bytes of the largest block added
	temp  *temp // nil before the first spill
	runs  []*Run
	parts []Source
}

// NewSorter returns an empty sorter. It reads rules but does not copy them.
func NewSorter(rules *Rules, opt Options) *Sorter {
	return &Sorter{rules: rules, opt: opt.withDefaults(), held: held{rules: rules}}
}

// Add takes records in LSN order, all after those of the last Add, and keeps
// them, with what their keys and images point to, until it calls release,
// which may be nil. memory is what they cost in bytes beside the records
// themselves. When too much is held, Add sorts it and writes it to a file.
func (s *Sorter) Add(ctx context.Context, recs []change.Record, memory int64, release func()) error {
	if len(recs) == 0 {
		if release != nil {
			release()
		}
		return nil
	}
	s.held.blocks = append(s.held.blocks, block{recs, release})
	if recs[0].LSN <= s.last {
		return fmt.Errorf("sort: LSN %d comes after LSN %d", recs[0].LSN, s.last)
	}
	s.last = recs[len(recs)-1].LSN
	s.bytes += memory + int64(len(recs))*(recordBytes+refBytes)
	s.block = max(s.block, memory)
	// Spilling needs memory too: each writer holds a block in several forms.
	if s.bytes+min(int64(s.opt.Workers)*writerBlocks*s.block, s.opt.Memory/2) < s.opt.Memory {
		return nil
	}
	return s.spill(ctx)
}

// writerBlocks is what writing a run costs, in times of its largest block: as
// columns, gathered, compressed, and put together.
const writerBlocks = 4

// spill writes what is held as one more run.
func (s *Sorter) spill(ctx context.Context) error {
	ranges := cutRanges(s.held.samples(), s.opt.Workers)
	run, err := s.write(ctx, s.held.sorted(ranges, s.opt.Workers))
	if err != nil {
		return err
	}
	s.runs = append(s.runs, run)
	s.held.release()
	s.bytes = 0
	return nil
}

// write stores sources, whose rows follow each other, as one run, and closes them.
func (s *Sorter) write(ctx context.Context, sources []Source) (*Run, error) {
	if s.temp == nil {
		t, err := newTemp(s.opt.TempDir)
		if err != nil {
			return nil, err
		}
		s.temp = t
	}
	names := s.temp.names(len(sources))
	refs := make([]pack.Ref, len(sources))
	err := inParallel(ctx, len(sources), s.opt.Workers, func(ctx context.Context, i int) (err error) {
		refs[i], err = writeRun(ctx, s.temp.path(names[i]), sources[i], s.blockSize())
		refs[i].Key = names[i]
		return errors.Join(err, sources[i].Close())
	})
	if err != nil {
		return nil, fmt.Errorf("write sorted rows to %s: %w", s.temp.dir, err)
	}
	refs = slices.DeleteFunc(refs, func(r pack.Ref) bool { return r.Records == 0 })
	return OpenRun(ctx, s.temp, refs, s.opt.Workers)
}

// blockSize is the size of spilled blocks in bytes: small where memory is, so
// that many runs can be merged at once.
func (s *Sorter) blockSize() int {
	const least, most = 16 << 10, 1 << 20
	return int(min(max(s.opt.Memory/128, least), most))
}

// Part is the rows of one range.
type Part struct {
	Range  Range
	Source Source
}

// PartOptions says how rows are divided.
type PartOptions struct {
	AtOnce int     // how many parts are to be read at the same time; default 1
	Bytes  int64   // of a part, about; default as large as AtOnce allows
	Done   []Range // not wanted any more; in order, without overlaps
}

// Parts ends the sorting and returns what it amounts to together with older
// runs, given oldest first: ranges in order that cover everything but what is
// done, with about as much data each, and how many of them may be read at the
// same time. Their number is a multiple of that where there is data for it, so
// that all readers end together. final is as for [Merge]. Who has read a part
// closes its Source; the sorter's Close closes those that are left.
func (s *Sorter) Parts(ctx context.Context, older []*Run, final bool, o PartOptions) (parts []Part, atOnce int, err error) {
	atOnce, ahead, err := s.fit(ctx, older, max(o.AtOnce, 1))
	if err != nil {
		return nil, 0, err
	}
	runs := slices.Concat(older, s.runs)
	samples := s.held.samples()
	for _, r := range runs {
		samples = append(samples, r.samples()...)
	}
	n := atOnce
	if o.Bytes > 0 {
		var total int64
		for _, sample := range samples {
			total += sample.weight
		}
		each := o.Bytes * int64(atOnce)
		n = int(min((total+each-1)/each, maxRounds)) * atOnce
	}
	ranges := cutRanges(samples, max(n, 1))
	wanted := without(ranges, o.Done)
	heldParts := s.held.sorted(wanted, s.opt.Workers)
	for i, rg := range wanted {
		if within(rg, o.Done) {
			continue
		}
		var sources []Source
		for _, r := range runs {
			sources = append(sources, r.Source(s.rules, rg, ahead))
		}
		p := Part{rg, Merge(s.rules, final, append(sources, heldParts[i])...)}
		parts = append(parts, p)
		s.parts = append(s.parts, p.Source)
	}
	return parts, atOnce, nil
}

// maxRounds bounds how often each reader takes another part.
const maxRounds = 256

// fit decides how many ranges can be read at once, how far ahead, within the
// memory that is left; where not even one can, it first spills what is held,
// then merges runs until few enough remain.
func (s *Sorter) fit(ctx context.Context, older []*Run, parts int) (n, ahead int, err error) {
	for {
		var each int64 // bytes of a block of every run
		for _, r := range slices.Concat(older, s.runs) {
			each += r.largest
		}
		left := s.opt.Memory - s.bytes
		for ahead := s.opt.Ahead; ahead >= 0; ahead-- {
			if need := int64(parts) * each * int64(ahead+1); need <= left {
				return parts, ahead, nil
			}
		}
		if each <= left {
			return int(left / max(each, 1)), 0, nil
		}
		switch {
		case len(s.held.blocks) > 0:
			err = s.spill(ctx)
		case len(s.runs) > 1:
			err = s.pass(ctx)
		default:
			return 1, 0, nil // as little as it can be
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// pass merges neighbouring runs, as many at once as fit.
func (s *Sorter) pass(ctx context.Context) error {
	var next []*Run
	for rest := s.runs; len(rest) > 0; {
		n, sum := 1, (1+writerBlocks)*rest[0].largest
		for n < len(rest) && (n < 2 || sum+rest[n].largest <= s.opt.Memory) {
			sum += rest[n].largest
			n++
		}
		if n == 1 {
			next, rest = append(next, rest[0]), nil
			break
		}
		var sources []Source
		for _, r := range rest[:n] {
			sources = append(sources, r.Source(s.rules, Range{}, 0))
		}
		run, err := s.write(ctx, []Source{Merge(s.rules, false, sources...)})
		if err != nil {
			return err
		}
		for _, r := range rest[:n] {
			for _, k := range r.keys {
				if err := s.temp.Delete(ctx, k); err != nil {
					return err
				}
			}
		}
		next, rest = append(next, run), rest[n:]
	}
	s.runs = next
	return nil
}

// Close closes all parts, gives back what is held and removes the temporary
// files. It may be called more than once.
func (s *Sorter) Close() error {
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.Close())
	}
	s.parts = nil
	s.held.release()
	s.bytes = 0
	if s.temp != nil {
		errs = append(errs, s.temp.remove())
		s.temp = nil
	}
	return errors.Join(errs...)
}

// writeRun writes all that a source yields as a run pack.
func writeRun(ctx context.Context, path string, src Source, blockSize int) (ref pack.Ref, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return ref, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := pack.NewRunWriter(f, pack.WriterOptions{BlockSize: blockSize, NoFilter: true})
	if err = appendAll(ctx, w, src); err != nil {
		w.Close() // gives back its memory
		return ref, err
	}
	ref, _, err = w.Close()
	return ref, err
}

func appendAll(ctx context.Context, w *pack.RunWriter, src Source) error {
	for {
		recs, err := src.Next(ctx)
		if err != nil || len(recs) == 0 {
			return err
		}
		for i := range recs {
			if err := w.Append(&recs[i]); err != nil {
				return err
			}
		}
	}
}

// inParallel calls f for 0 … n−1, up to parallel at once, and returns the first error.
func inParallel(ctx context.Context, n, parallel int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(parallel, 1))
	for i := range n {
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}
