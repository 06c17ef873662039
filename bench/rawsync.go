package bench

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// rawSync appends 4 KiB at a time to a preallocated file, syncing the data
// each time: what a machine can do at best for one committer.
type rawSync struct {
	f    vfs.File
	off  int64
	page []byte

	waits []float64
}

const (
	rawPage = 4 << 10
	rawFile = 64 << 20
)

// openRawSync creates the file, writes it full of zeros and syncs it.
func openRawSync(path string) (*rawSync, error) {
	f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < rawFile; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, off); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	page := make([]byte, rawPage)
	for i := range page {
		page[i] = byte(i*7) | 1
	}
	return &rawSync{f: f, page: page}, nil
}

// run appends for about d and returns the appends per second and the median
// wait in microseconds. At the end of the file it starts again at the front.
func (r *rawSync) run(d time.Duration) (perSecond, p50 float64, err error) {
	r.waits = r.waits[:0]
	start := time.Now()
	for time.Since(start) < d {
		if r.off == rawFile {
			r.off = 0
		}
		began := time.Now()
		r.page[0]++
		if _, err := r.f.WriteAt(r.page, r.off); err != nil {
			return 0, 0, err
		}
		if err := r.f.SyncData(); err != nil {
			return 0, 0, err
		}
		r.off += rawPage
		r.waits = append(r.waits, micros(time.Since(began)))
	}
	return float64(len(r.waits)) / time.Since(start).Seconds(), percentile(r.waits, 50), nil
}

func (r *rawSync) close() error { return r.f.Close() }
