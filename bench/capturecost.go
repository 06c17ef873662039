package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/storage"
)

// CaptureCostOptions size [CaptureCost]. The zero value asks for the figures of
// RESULTS.md.
type CaptureCostOptions struct {
	Dir     string        // directory on the disk to measure; what is made there is removed; default the system's temporary one
	Rows    []int         // rows of a commit, to be measured one after the other; default 1 and 1,000
	Writers int           // at once; default 4
	Slice   time.Duration // how long one measurement lasts; default 4 s
	Rounds  int           // pairs of measurements; default 9
	Seed    uint64        // default 1
}

func (o *CaptureCostOptions) setDefaults() {
	if len(o.Rows) == 0 {
		o.Rows = []int{1, 1000}
	}
	setDefault(&o.Writers, 4)
	setDefault(&o.Slice, 4*time.Second)
	setDefault(&o.Rounds, 9)
	setDefault(&o.Seed, 1)
}

// CaptureCostResult is what [CaptureCost] saw.
type CaptureCostResult struct {
	Writers int               `json:"writers"`
	Sizes   []CaptureCostSize `json:"sizes"` // one for each size of commits
}

// CaptureCostSize are the figures for one size of commits.
type CaptureCostSize struct {
	Rows    int    `json:"rows_per_commit"`
	Without Spread `json:"commits_per_second_without"` // of a database that no archive was ever attached to
	With    Spread `json:"commits_per_second_with"`    // of one that is captured meanwhile
	OfBare  Spread `json:"with_of_without"`            // pair by pair

	CPUWithout Spread `json:"processor_micros_per_commit_without"` // of the whole process
	CPUWith    Spread `json:"processor_micros_per_commit_with"`    // the same, with what the capture does
}

// WriteText writes the result for people.
func (r *CaptureCostResult) WriteText(w io.Writer) error {
	for _, s := range r.Sizes {
		if _, err := fmt.Fprintf(w, "%d writers, %d rows a commit: %s commits a second without capture, %s with; with of without %s; "+
			"processor time of a commit %s µs without, %s with; %d runs of each\n",
			r.Writers, s.Rows, s.Without.per(1, 0), s.With.per(1, 0), s.OfBare.per(1, 3), s.CPUWithout.per(1, 1), s.CPUWith.per(1, 1), s.With.Runs); err != nil {
			return err
		}
	}
	return nil
}

// CaptureCost measures commits into two databases in turns, one of which is
// captured into a directory on the same disk, with default options, while it is
// measured.
func CaptureCost(ctx context.Context, o CaptureCostOptions) (*CaptureCostResult, error) {
	o.setDefaults()
	res := &CaptureCostResult{Writers: o.Writers}
	for _, rows := range o.Rows {
		s, err := captureCost(ctx, o, rows)
		if err != nil {
			return nil, err
		}
		res.Sizes = append(res.Sizes, s)
	}
	return res, nil
}

func captureCost(ctx context.Context, o CaptureCostOptions, rows int) (res CaptureCostSize, err error) {
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	var dbs [2]*committers
	for i, name := range []string{"bare", "captured"} {
		if dbs[i], err = openCommitters(filepath.Join(dir, name), CommitOptions{Seed: o.Seed, Rows: rows}); err != nil {
			return res, err
		}
		defer func() { err = errors.Join(err, dbs[i].db.Close()) }()
	}
	bucket, err := storage.CreateDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return res, err
	}
	var bare, captured CommitFigures
	bare.Writers, captured.Writers = o.Writers, o.Writers
	for round := range o.Rounds + 1 { // the first one warms up
		if err := dbs[0].slice(ctx, o.Slice, &bare); err != nil {
			return res, err
		}
		if err := dbs[1].captured(ctx, bucket, o.Slice, &captured); err != nil {
			return res, err
		}
		if round == 0 {
			bare.samples, captured.samples, bare.cpu, captured.cpu = nil, nil, nil, nil
		}
	}
	return CaptureCostSize{Rows: rows, Without: spread(bare.samples), With: spread(captured.samples), OfBare: ratios(captured.samples, bare.samples),
		CPUWithout: spread(bare.cpu), CPUWith: spread(captured.cpu)}, nil
}

// captured is slice under a capture that has nothing left to read at its start.
func (c *committers) captured(ctx context.Context, bucket storage.Bucket, d time.Duration, f *CommitFigures) error {
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return err
	}
	cp := capture.New(a, c.db.Source(), capture.Options{CloseTimeout: time.Minute})
	return cp.While(ctx, func(ctx context.Context) error {
		if _, err := cp.Sync(ctx); err != nil {
			return err
		}
		return c.slice(ctx, d, f)
	})
}
