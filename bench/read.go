package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// ReadOptions size [Read]. The zero value asks for the figures of RESULTS.md.
type ReadOptions struct {
	Dir          string // directory for the segments, which are removed at the end; default the system's temporary one
	Records      int    // of each workload; default 1,000,000
	SegmentBytes int64  // stored bytes at which a segment ends; default 8 MiB
	Rounds       int    // times that each workload is read; default 7
	Seed         uint64 // default 1
}

func (o *ReadOptions) setDefaults() {
	setDefault(&o.Records, 1_000_000)
	setDefault(&o.SegmentBytes, 8<<20)
	setDefault(&o.Rounds, 7)
	setDefault(&o.Seed, 1)
}

// setDefault replaces a zero option.
func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// ReadResult is what [Read] saw.
type ReadResult struct {
	Workloads []ReadFigures `json:"workloads"`
}

// ReadFigures are the figures of one workload.
type ReadFigures struct {
	Name            string  `json:"name"`
	Records         int     `json:"records"`
	Segments        int     `json:"segments"`
	RawPerRecord    float64 `json:"raw_per_record"`     // bytes of key and image
	StoredPerRecord float64 `json:"stored_per_record"`  // bytes in the bucket: blocks, index, filters, footer
	PerSecond       Spread  `json:"records_per_second"` // read, proved, decompressed and decoded on one core
}

// WriteText writes the result for people.
func (r *ReadResult) WriteText(w io.Writer) error {
	for _, f := range r.Workloads {
		if _, err := fmt.Fprintf(w, "read %-10s %d records in %d segments, %.1f B a record, stored in %.1f B: %s M records/s on one core, %d runs\n",
			f.Name, f.Records, f.Segments, f.RawPerRecord, f.StoredPerRecord, f.PerSecond.per(million, 2), f.PerSecond.Runs); err != nil {
			return err
		}
	}
	return nil
}

// Read measures how fast segments in a directory are read, proved against
// their hashes, decompressed and decoded by one core, and how large they are.
// While it runs, the process is confined to one core.
func Read(ctx context.Context, o ReadOptions) (*ReadResult, error) {
	o.setDefaults()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	keys := max(100, o.Records/2)
	documents, err := NewDocuments(o.Seed, keys)
	if err != nil {
		return nil, err
	}
	pgbench, err := NewPgbench(o.Seed, 10)
	if err != nil {
		return nil, err
	}
	loads := []struct {
		name   string
		stream Stream
	}{{"documents", documents}, {"pgbench", pgbench}}

	res := new(ReadResult)
	samples := make([][]float64, len(loads))
	written := make([]*segments, len(loads))
	for i, l := range loads {
		if written[i], err = writeSegments(ctx, o, l.stream); err != nil {
			return nil, err
		}
		defer written[i].remove()
	}
	for range o.Rounds {
		for i := range loads {
			rate, err := written[i].read(ctx)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], rate)
		}
	}
	for i, l := range loads {
		s := written[i]
		n := float64(s.records)
		res.Workloads = append(res.Workloads, ReadFigures{l.name, s.records, len(s.refs), float64(s.raw) / n, float64(s.stored) / n, spread(samples[i])})
	}
	return res, nil
}

// segments are log packs in a directory of their own.
type segments struct {
	dir         string
	bucket      *storage.Dir
	refs        []pack.Ref
	records     int
	raw, stored int64
}

func (s *segments) remove() {
	s.bucket.Close()
	os.RemoveAll(s.dir)
}

// writeSegments writes o.Records records of a stream, whole transactions.
func writeSegments(ctx context.Context, o ReadOptions, stream Stream) (*segments, error) {
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return nil, err
	}
	bucket, err := storage.OpenDir(dir, storage.DirOptions{})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s := &segments{dir: dir, bucket: bucket}
	for s.records < o.Records {
		if err := s.writeNext(ctx, o, stream); err != nil {
			s.remove()
			return nil, err
		}
	}
	return s, nil
}

// writeNext adds a segment.
func (s *segments) writeNext(ctx context.Context, o ReadOptions, stream Stream) error {
	key := fmt.Sprintf("segment-%04d", len(s.refs))
	pr, pw := io.Pipe()
	var ref pack.Ref
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := pack.NewLogWriter(pw, pack.WriterOptions{})
		err := s.fill(w, o, stream)
		var closeErr error
		ref, _, closeErr = w.Close()
		if err == nil {
			err = closeErr
		}
		pw.CloseWithError(err)
	}()
	err := s.bucket.Create(ctx, key, pr)
	pr.CloseWithError(err) // ends the writer if it still writes
	<-done
	if err != nil {
		return err
	}
	ref.Key = key
	s.refs = append(s.refs, ref)
	s.raw += ref.Raw
	s.stored += ref.Size
	return nil
}

func (s *segments) fill(w *pack.LogWriter, o ReadOptions, stream Stream) error {
	for s.records < o.Records && w.Size() < o.SegmentBytes {
		t, err := stream.Next()
		if err != nil {
			return err
		}
		if err := w.AppendTx(t); err != nil {
			return err
		}
		s.records += len(t.Records)
	}
	return nil
}

// read reads every segment once and returns the records per second.
func (s *segments) read(ctx context.Context) (float64, error) {
	start := time.Now()
	records := 0
	var raw int64
	for _, ref := range s.refs {
		r, err := pack.Open(ctx, s.bucket, ref)
		if err != nil {
			return 0, err
		}
		for b, err := range r.Blocks(ctx, 0, len(r.Index().Blocks), 0) {
			if err != nil {
				return 0, err
			}
			for i := range b.Records() {
				rec := &b.Records()[i]
				raw += int64(len(rec.Key) + len(rec.Image))
				records++
			}
		}
		r.Close()
	}
	if records != s.records || raw != s.raw {
		return 0, fmt.Errorf("read %d records of %d bytes, want %d of %d", records, raw, s.records, s.raw)
	}
	return float64(records) / time.Since(start).Seconds(), nil
}
