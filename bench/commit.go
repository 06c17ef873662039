package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
)

// CommitOptions size [Commit]. The zero value asks for the figures of RESULTS.md.
type CommitOptions struct {
	Dir     string        // directory on the disk to measure; what is made there is removed; default the system's temporary one
	Writers []int         // concurrent writers to measure; default 1, 8, 64
	Slice   time.Duration // how long one measurement lasts; default 50 ms
	Rounds  int           // measurements of each; default 81
	Rows    int           // rows of a commit; default 1
	Seed    uint64        // default 1
}

func (o *CommitOptions) setDefaults() {
	if len(o.Writers) == 0 {
		o.Writers = []int{1, 8, 64}
	}
	setDefault(&o.Slice, 50*time.Millisecond)
	setDefault(&o.Rounds, 81)
	setDefault(&o.Rows, 1)
	setDefault(&o.Seed, 1)
}

// CommitResult is what [Commit] saw.
type CommitResult struct {
	RowsPerCommit int             `json:"rows_per_commit"`
	RawPerSecond  Spread          `json:"raw_syncs_per_second"` // appends of 4 KiB, each followed by fdatasync
	RawMicrosP50  Spread          `json:"raw_p50_micros"`       // what one of them takes, median of a slice
	Writers       []CommitFigures `json:"writers"`
}

// CommitFigures are the figures for one number of writers.
type CommitFigures struct {
	Writers   int    `json:"writers"`
	PerSecond Spread `json:"commits_per_second"`
	OfRaw     Spread `json:"of_raw"`     // commits per raw sync, each pair measured one after the other
	OfOne     Spread `json:"of_one"`     // commits per commit of the first entry of Writers
	MicrosP50 Spread `json:"p50_micros"` // a writer's wait for its commit, median of a slice
	MicrosP99 Spread `json:"p99_micros"` // and its 99th percentile
	samples   []float64
	p50, p99  []float64
	cpu       []float64 // micros of processor time a commit
}

// WriteText writes the result for people.
func (r *CommitResult) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "append 4 KiB + fdatasync, preallocated: %s a second; wait p50 %s µs; %d runs of each\n", r.RawPerSecond.per(1, 0), r.RawMicrosP50.per(1, 0), r.RawPerSecond.Runs); err != nil {
		return err
	}
	for _, f := range r.Writers {
		if _, err := fmt.Fprintf(w, "commit, %d writers, %d rows each: %s a second; of raw syncs %s; of %d writers %s; wait p50 %s µs, p99 %s µs\n",
			f.Writers, r.RowsPerCommit, f.PerSecond.per(1, 0), f.OfRaw.per(1, 2), r.Writers[0].Writers, f.OfOne.per(1, 2),
			f.MicrosP50.per(1, 0), f.MicrosP99.per(1, 0)); err != nil {
			return err
		}
	}
	return nil
}

// Commit measures durable commits into one embedded database by several
// writers, in turns with raw appends and syncs on the same file system.
func Commit(ctx context.Context, o CommitOptions) (res *CommitResult, err error) {
	o.setDefaults()
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	raw, err := openRawSync(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer raw.close()
	c, err := openCommitters(filepath.Join(dir, "db"), o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.db.Close()) }()

	res = &CommitResult{RowsPerCommit: o.Rows}
	for _, n := range o.Writers {
		res.Writers = append(res.Writers, CommitFigures{Writers: n})
	}
	// One slice of each to warm up.
	if _, _, err := raw.run(o.Slice); err != nil {
		return nil, err
	}
	if err := c.slice(ctx, o.Slice, &CommitFigures{Writers: o.Writers[0]}); err != nil {
		return nil, err
	}
	var raws, rawWaits []float64
	for range o.Rounds {
		rate, p50, err := raw.run(o.Slice)
		if err != nil {
			return nil, err
		}
		raws, rawWaits = append(raws, rate), append(rawWaits, p50)
		for i := range res.Writers {
			if err := c.slice(ctx, o.Slice, &res.Writers[i]); err != nil {
				return nil, err
			}
		}
	}
	res.RawPerSecond, res.RawMicrosP50 = spread(raws), spread(rawWaits)
	for i := range res.Writers {
		f := &res.Writers[i]
		f.PerSecond, f.MicrosP50, f.MicrosP99 = spread(f.samples), spread(f.p50), spread(f.p99)
		f.OfRaw, f.OfOne = ratios(f.samples, raws), ratios(f.samples, res.Writers[0].samples)
	}
	return res, nil
}

// committers commit rows of the workload of restores.
type committers struct {
	db     *embedded.DB
	table  string
	rows   []change.Row
	perTx  int
	nextID atomic.Int64
}

// committerRows is how many different rows the committers take turns with.
const committerRows = 1024

func openCommitters(dir string, o CommitOptions) (*committers, error) {
	w, err := NewCustomers(o.Seed, committerRows)
	if err != nil {
		return nil, err
	}
	c := &committers{table: w.Schema.Name, perTx: o.Rows}
	for r, err := range w.Rows() {
		if err != nil {
			return nil, err
		}
		row, err := w.Schema.DecodeRow(nil, r.Key, r.Image)
		if err != nil {
			return nil, err
		}
		c.rows = append(c.rows, row)
	}
	if c.db, err = embedded.Open(dir, embedded.Options{}); err != nil {
		return nil, err
	}
	err = c.db.Update(func(tx *embedded.Tx) error {
		_, err := tx.CreateCollection(w.Schema.Name, []string{"id"}, w.Schema.Columns...)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, c.db.Close())
	}
	return c, nil
}

// slice lets the writers of f commit for about d.
func (c *committers) slice(ctx context.Context, d time.Duration, f *CommitFigures) error {
	waits := make([][]float64, f.Writers)
	errs := make([]error, f.Writers)
	var wg sync.WaitGroup
	start, cpu := time.Now(), cpuSeconds()
	for w := range f.Writers {
		wg.Go(func() {
			row := make(change.Row, len(c.rows[0]))
			for time.Since(start) < d && ctx.Err() == nil {
				began := time.Now()
				if errs[w] = c.commit(row); errs[w] != nil {
					return
				}
				waits[w] = append(waits[w], micros(time.Since(began)))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start).Seconds()
	if err := errors.Join(errors.Join(errs...), ctx.Err()); err != nil {
		return err
	}
	var all []float64
	for _, w := range waits {
		all = append(all, w...)
	}
	f.samples = append(f.samples, float64(len(all))/elapsed)
	f.cpu = append(f.cpu, (cpuSeconds()-cpu)*1e6/float64(len(all)))
	f.p50 = append(f.p50, percentile(all, 50))
	f.p99 = append(f.p99, percentile(all, 99))
	return nil
}

// commit puts the next rows, each under a new ID. row is scratch.
func (c *committers) commit(row change.Row) error {
	last := c.nextID.Add(int64(c.perTx))
	return c.db.Update(func(tx *embedded.Tx) error {
		for id := last - int64(c.perTx) + 1; id <= last; id++ {
			copy(row, c.rows[id%int64(len(c.rows))])
			row[0] = change.IntValue(id)
			if err := tx.Put(c.table, row); err != nil {
				return err
			}
		}
		return nil
	})
}
