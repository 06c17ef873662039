package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/storage"
)

// FollowOptions size [Follow]. The zero value asks for the figures of RESULTS.md.
type FollowOptions struct {
	Dir     string        // directory to work in; what is made there is removed; default the system's temporary one
	Rate    int           // changes a second that the writer is paced at; default 100,000
	For     time.Duration // how long it writes; default 30 s
	Rows    int           // of a transaction; default 100
	Keys    int           // different rows, chosen at random; default 1,000,000
	Writers int           // that commit at once, at the rate together; default 4
	Seed    uint64        // default 1
}

func (o *FollowOptions) setDefaults() {
	setDefault(&o.Rate, 100_000)
	setDefault(&o.For, 30*time.Second)
	setDefault(&o.Rows, 100)
	setDefault(&o.Keys, 1_000_000)
	setDefault(&o.Writers, 4)
	setDefault(&o.Seed, 1)
}

// FollowResult is what [Follow] saw.
type FollowResult struct {
	Asked     int     `json:"changes_per_second_asked"` // what the writer was paced at
	Rate      float64 `json:"changes_per_second"`       // that were committed
	Changes   int64   `json:"changes"`
	Seconds   float64 `json:"seconds"`                     // of writing
	Drain     float64 `json:"seconds_behind"`              // from the last commit until the standby showed it
	LagP50    float64 `json:"lag_seconds_p50"`             // from a commit until the standby showed it, median
	LagP99    float64 `json:"lag_seconds_p99"`             // the same, 99th percentile
	LagMax    float64 `json:"lag_seconds_max"`             // the same, of the slowest
	CPU       float64 `json:"processors"`                  // busy on average: writer, capture and follower together
	CPUTime   float64 `json:"processor_seconds"`           // the same, in all
	PerChange float64 `json:"processor_micros_per_change"` // of processor time
	PeakRSS   int64   `json:"peak_rss"`                    // bytes, of the process
}

// WriteText writes the result for people.
func (r *FollowResult) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%.0f changes a second committed (%d asked for), %d in %.1f s; from commit to standby: p50 %.2f s, p99 %.2f s, at most %.2f s; "+
		"%.2f processors busy with writers, capture and follower (%.1f s, %.1f µs a change); peak RSS %d MiB\n",
		r.Rate, r.Asked, r.Changes, r.Seconds, r.LagP50, r.LagP99, r.LagMax, r.CPU, r.CPUTime, r.PerChange, r.PeakRSS/mib)
	return err
}

// arrivals matches commits with the moments at which a standby showed them.
type arrivals struct {
	mu      sync.Mutex
	commits []arrival     // in order; guarded by mu
	lags    []float64     // guarded by mu; of those that have arrived
	moved   chan struct{} // gets a token when some have
}

type arrival struct {
	lsn change.LSN
	at  time.Time
}

// commit notes that a commit has just been acknowledged. end returns where the
// source is, which may be past it when others commit too: the commit then
// counts as having arrived with those.
func (a *arrivals) commit(end func() change.LSN) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commits = append(a.commits, arrival{end(), time.Now()})
}

// shown takes in that a standby shows an LSN, at the end of a segment: what the
// segment's earlier batches showed a little before counts as late as the rest.
func (a *arrivals) shown(lsn change.LSN) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	n := sort.Search(len(a.commits), func(i int) bool { return a.commits[i].lsn > lsn })
	for _, c := range a.commits[:n] {
		a.lags = append(a.lags, now.Sub(c.at).Seconds())
	}
	a.commits = a.commits[n:]
	select {
	case a.moved <- struct{}{}:
	default:
	}
}

// left returns how many have not arrived.
func (a *arrivals) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.commits)
}

// Follow commits at a steady pace into an embedded database that is captured
// into a directory, which a standby follows, all in this process, and measures
// how long a commit takes to the standby. Capture and follower have their
// default options.
func Follow(ctx context.Context, o FollowOptions) (res *FollowResult, err error) {
	o.setDefaults()
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c, err := openCommitters(filepath.Join(dir, "db"), CommitOptions{Seed: o.Seed, Rows: o.Rows})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.db.Close()) }()
	bucket, err := storage.CreateDir(filepath.Join(dir, "archive"), storage.DirOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return nil, err
	}
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	cp := capture.New(a, c.db.Source(), capture.Options{})
	err = cp.While(ctx, func(ctx context.Context) error {
		if _, err := cp.Sync(ctx); err != nil {
			return err
		}
		res, err = c.followed(ctx, filepath.Join(dir, "standby"), bucket, o)
		return err
	})
	return res, err
}

// followed runs the measurement while the capture runs.
func (c *committers) followed(ctx context.Context, dir string, bucket storage.Bucket, o FollowOptions) (res *FollowResult, err error) {
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	db, err := follow.Prepare(ctx, a, dir, follow.PrepareOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	standby, err := db.Standby()
	if err != nil {
		return nil, err
	}
	seen := &arrivals{moved: make(chan struct{}, 1)}
	f := follow.New(a, standby, follow.Options{Progress: func(s follow.Status) { seen.shown(s.LSN) }})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()

	began, cpu := time.Now(), cpuSeconds()
	changes, err := c.paced(ctx, o, seen)
	if err != nil {
		return nil, err
	}
	wrote := time.Now()
	for seen.left() > 0 {
		select {
		case <-seen.moved:
		case err := <-ended:
			ended <- nil
			return nil, errors.Join(errors.New("the follower ended before the writer"), err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	total, used := time.Since(began).Seconds(), cpuSeconds()-cpu
	lags := slices.Sorted(slices.Values(seen.lags))
	return &FollowResult{Asked: o.Rate, Rate: float64(changes) / wrote.Sub(began).Seconds(), Changes: changes,
		Seconds: wrote.Sub(began).Seconds(), Drain: time.Since(wrote).Seconds(),
		LagP50: percentile(lags, 50), LagP99: percentile(lags, 99), LagMax: lags[len(lags)-1],
		CPU: used / total, CPUTime: used, PerChange: used * 1e6 / float64(changes), PeakRSS: peakRSS()}, nil
}

// pace gives out moments, each some time after the one before.
type pace struct {
	every time.Duration

	mu   sync.Mutex
	next time.Time // guarded by mu
}

// wait waits for the next moment. Who is late by more than a tenth of a second
// does not try to make up for it.
func (p *pace) wait(ctx context.Context) error {
	const slack = 100 * time.Millisecond
	p.mu.Lock()
	if late := time.Since(p.next); late > slack {
		p.next = p.next.Add(late - slack)
	}
	early := time.Until(p.next)
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	if early <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(early):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// paced commits at the rate that was asked for, or as fast as it can.
func (c *committers) paced(ctx context.Context, o FollowOptions, seen *arrivals) (changes int64, err error) {
	began := time.Now()
	p := &pace{every: time.Duration(float64(time.Second) * float64(o.Rows) / float64(o.Rate)), next: began}
	var commits atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for w := range o.Writers {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(o.Seed, uint64(7+w)))
			row := make(change.Row, len(c.rows[0]))
			for time.Since(began) < o.For {
				if err := p.wait(ctx); err != nil {
					return err
				}
				if err := c.put(rng, row, o); err != nil {
					return err
				}
				commits.Add(1)
				seen.commit(func() change.LSN { return c.db.Info().LSN })
			}
			return nil
		})
	}
	err = g.Wait()
	return commits.Load() * int64(o.Rows), err
}

// put commits rows under random keys. row is scratch.
func (c *committers) put(rng *rand.Rand, row change.Row, o FollowOptions) error {
	return c.db.Update(func(tx *embedded.Tx) error {
		for range o.Rows {
			id := rng.Int64N(int64(o.Keys))
			copy(row, c.rows[id%int64(len(c.rows))])
			row[0], row[6] = change.IntValue(id), change.IntValue(rng.Int64N(1<<40))
			if err := tx.Put(c.table, row); err != nil {
				return err
			}
		}
		return nil
	})
}
