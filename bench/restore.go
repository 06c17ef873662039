package bench

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidemarkdb/tidemark/change"
)

// RestoreOptions size [Restore]. The zero value asks for the figures of RESULTS.md.
type RestoreOptions struct {
	Dir          string   // directory to work in; what is made there is removed; default the system's temporary one
	Rows         int      // of the base, about 200 bytes each; default 1,000,000
	Changes      int      // random changes after it; default as many as Rows
	SegmentBytes int64    // stored bytes at which a segment ends; default 8 MiB
	Rounds       int      // restores by each pipeline, in turns; default 5
	Seed         uint64   // default 1
	Memory       int64    // memory that the restore may use; default that of package restore
	BareBuffer   int      // bytes of a buffer for the bare pipeline's tables, as Tidemark has one of 256 KiB; default Pebble's own, of 4 KiB
	Child        []string // command line of a process that calls Child; default this process, whose peak of memory then says little
	Profile      string   // directory that gets a CPU profile of each restore; default none
}

// bareSegmentRecords is how many changes the bare pipeline has in a segment:
// those that take about 8 MiB raw.
const bareSegmentRecords = 40_000

func (o *RestoreOptions) setDefaults() {
	setDefault(&o.Rows, 1_000_000)
	setDefault(&o.Changes, o.Rows)
	setDefault(&o.SegmentBytes, 8<<20)
	setDefault(&o.Rounds, 5)
	setDefault(&o.Seed, 1)
}

// RestoreResult is what [Restore] saw.
type RestoreResult struct {
	Rows     int             `json:"rows"`          // of the base
	Changes  int             `json:"changes"`       //
	Restored int64           `json:"restored_rows"` //
	Tidemark PipelineFigures `json:"tidemark"`
	Bare     PipelineFigures `json:"bare"`
	Ratio    Spread          `json:"ratio"` // speed of Tidemark per speed of the bare pipeline, each pair measured one after the other
}

// PipelineFigures are the figures of one pipeline.
type PipelineFigures struct {
	StoredBytes int64  `json:"stored_bytes"`       // what it reads
	Seconds     Spread `json:"seconds"`            //
	PerSecond   Spread `json:"records_per_second"` // rows of the base and changes
	CPUSeconds  Spread `json:"cpu_seconds"`        // of all processors together; 0 when the system does not say
	PeakRSS     Spread `json:"peak_rss_bytes"`     // 0 when the system does not say
	samples     []outcome
}

// spread sums up one figure of all runs.
func (f *PipelineFigures) spread(figure func(outcome) float64) Spread {
	samples := make([]float64, len(f.samples))
	for i, got := range f.samples {
		samples[i] = figure(got)
	}
	return spread(samples)
}

// WriteText writes the result for people.
func (r *RestoreResult) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "restore %d rows + %d changes = %d rows, %d runs of each\n", r.Rows, r.Changes, r.Restored, r.Ratio.Runs); err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		f    *PipelineFigures
	}{{pipelineTidemark, &r.Tidemark}, {pipelineBare, &r.Bare}} {
		if _, err := fmt.Fprintf(w, "  %-8s %s M records/s, %s s, %s s of processors, peak %s MiB, reads %.1f MiB\n", p.name,
			p.f.PerSecond.per(million, 2), p.f.Seconds.per(1, 2), p.f.CPUSeconds.per(1, 2), p.f.PeakRSS.per(mib, 0), float64(p.f.StoredBytes)/mib); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "  ratio    %s of the bare pipeline's speed\n", r.Ratio.per(1, 2))
	return err
}

// Restore measures restoring an archive in a directory, of a snapshot and as
// many random changes, into a new embedded database, in turns with the bare
// pipeline over the same rows and changes. Both results are compared with
// what the workload says must be there; a difference is an error.
func Restore(ctx context.Context, o RestoreOptions) (*RestoreResult, error) {
	o.setDefaults()
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	want, err := prepareRestore(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	res := &RestoreResult{Rows: o.Rows, Changes: o.Changes, Restored: want.Rows}
	figures := map[string]*PipelineFigures{pipelineTidemark: &res.Tidemark, pipelineBare: &res.Bare}
	for round := range o.Rounds {
		for _, name := range []string{pipelineTidemark, pipelineBare} {
			j := job{Pipeline: name, From: filepath.Join(dir, name), Dest: filepath.Join(dir, "dest"), Memory: o.Memory, Buffer: o.BareBuffer}
			if o.Profile != "" {
				j.Profile = filepath.Join(o.Profile, fmt.Sprintf("%s-%d.pprof", name, round))
			}
			got, err := j.runIn(ctx, o.Child)
			if err != nil {
				return nil, err
			}
			if got.Rows != want.Rows || got.Digest != want.Sum() {
				return nil, fmt.Errorf("%s pipeline restored %d rows with digest %v, want %d with %v", name, got.Rows, got.Digest, want.Rows, want.Sum())
			}
			if err := os.RemoveAll(j.Dest); err != nil {
				return nil, err
			}
			figures[name].samples = append(figures[name].samples, got)
		}
	}
	for name, f := range figures {
		f.PerSecond = f.spread(func(got outcome) float64 { return float64(o.Rows+o.Changes) / got.Seconds })
		f.Seconds = f.spread(func(got outcome) float64 { return got.Seconds })
		f.CPUSeconds = f.spread(func(got outcome) float64 { return got.CPU })
		f.PeakRSS = f.spread(func(got outcome) float64 { return float64(got.PeakRSS) })
		if f.StoredBytes, err = bytesIn(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	pairs := make([]float64, o.Rounds)
	for i := range pairs {
		pairs[i] = res.Bare.samples[i].Seconds / res.Tidemark.samples[i].Seconds
	}
	res.Ratio = spread(pairs)
	return res, nil
}

// prepareRestore writes what both pipelines read, and returns the digest that
// both must arrive at.
func prepareRestore(ctx context.Context, dir string, o RestoreOptions) (change.Digest, error) {
	for _, name := range []string{pipelineTidemark, pipelineBare} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return change.Digest{}, err
		}
	}
	if err := writeArchive(ctx, filepath.Join(dir, pipelineTidemark), o); err != nil {
		return change.Digest{}, fmt.Errorf("prepare an archive: %w", err)
	}
	w, err := NewCustomers(o.Seed, o.Rows)
	if err != nil {
		return change.Digest{}, err
	}
	if err := writeBare(filepath.Join(dir, pipelineBare), w.Rows(), w.Changes(o.Changes), bareSegmentRecords); err != nil {
		return change.Digest{}, fmt.Errorf("prepare for the bare pipeline: %w", err)
	}
	return w.Digest()
}

// bytesIn returns the bytes of all files below a directory.
func bytesIn(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		sum += info.Size()
		return err
	})
	return sum, err
}
