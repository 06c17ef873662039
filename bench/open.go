package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/storage"
)

// OpenOptions size [Open]. The zero value asks for the figures of RESULTS.md.
type OpenOptions struct {
	Dir      string   // directory to work in; what is made there is removed; default the system's temporary one
	Keep     bool     // leave the archive in Dir, where the next Open with as many segments finds it
	Segments int      // of the archive; default 1,000,000
	Rounds   int      // runs of each command; default 7
	Program  []string // command line of tidemark itself
}

// OpenResult is what [Open] saw.
type OpenResult struct {
	Segments    int       `json:"segments"`           // of the archive
	Manifests   int       `json:"manifests"`          // of its chain
	Checkpoints int       `json:"checkpoints"`        // that hold them
	Tail        int       `json:"tail"`               // manifests after the newest checkpoint
	Bases       int       `json:"bases"`              // snapshots
	Stored      int64     `json:"manifest_bytes"`     // of all manifests
	Objects     int64     `json:"checkpoint_bytes"`   // of all checkpoints
	Build       float64   `json:"build_seconds"`      // how long the archive took to build
	Steps       []OpenRun `json:"steps"`              // the commands that were measured
	Write       Spread    `json:"checkpoint_seconds"` // to work out and store one checkpoint, in the last tenth of the archive
}

// OpenRun is one command, each time in a process of its own.
type OpenRun struct {
	Name    string `json:"name"`           // the command and its target
	Spans   int    `json:"plan_segments"`  // segments that the plan reads
	Seconds Spread `json:"seconds"`        // from the start of the process to its end
	CPU     Spread `json:"cpu_seconds"`    // of all processors, user and system
	PeakRSS Spread `json:"peak_rss_bytes"` // 0 when the system does not say
}

// WriteText writes the result for people.
func (r *OpenResult) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d segments, %d bases, %d manifests (%.0f MiB), %d checkpoints (%.0f MiB), %d manifests after the last; built in %.0f s\n",
		r.Segments, r.Bases, r.Manifests, float64(r.Stored)/mib, r.Checkpoints, float64(r.Objects)/mib, r.Tail, r.Build)
	for _, s := range r.Steps {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %-28s %s ms, processors %s ms, peak %s MiB", s.Name, s.Seconds.per(1e-3, 0), s.CPU.per(1e-3, 0), s.PeakRSS.per(mib, 0))
		}
		if err == nil && s.Spans > 0 {
			_, err = fmt.Fprintf(w, ", a plan over %d segments", s.Spans)
		}
		if err == nil {
			_, err = fmt.Fprintln(w)
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "  a checkpoint takes %s ms to work out and store\n", r.Write.per(1e-3, 1))
	}
	return err
}

// Open builds an archive of many segments and measures status and plan on it.
// Manifests and checkpoints are real and lie in a directory, a file each; of the
// packs there are only those that the targets' segments need.
func Open(ctx context.Context, o OpenOptions) (_ *OpenResult, err error) {
	setDefault(&o.Segments, 1_000_000)
	setDefault(&o.Rounds, 7)
	work, err := os.MkdirTemp(o.Dir, "tidemark-bench-open-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if removed := os.RemoveAll(work); err == nil {
			err = removed
		}
	}()
	built, err := openArchive(ctx, o, work)
	if err != nil {
		return nil, err
	}
	r := &built.Result
	for _, t := range append([]openTarget{{Name: "status"}}, built.Targets...) {
		run, err := t.measure(ctx, o, built.dir)
		if err != nil {
			return nil, err
		}
		r.Steps = append(r.Steps, run)
	}
	return r, nil
}

// openBuilt is a made-up archive, as it is noted beside one that is kept.
type openBuilt struct {
	Result  OpenResult   `json:"result"`
	Targets []openTarget `json:"targets"`
	dir     string
}

// openArchive returns the archive to measure: the one that was kept, or a new
// one, which is built in the directory work and moved beside it when it is kept.
func openArchive(ctx context.Context, o OpenOptions, work string) (*openBuilt, error) {
	kept := filepath.Join(filepath.Dir(work), fmt.Sprintf("tidemark-bench-open-%d", o.Segments))
	note := kept + ".json"
	if o.Keep {
		raw, err := os.ReadFile(note)
		if err == nil {
			b := &openBuilt{dir: kept}
			if err := json.Unmarshal(raw, b); err != nil {
				return nil, fmt.Errorf("%s: %w", note, err)
			}
			return b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	b, err := buildOpen(ctx, filepath.Join(work, "archive"), o.Segments)
	if err != nil || !o.Keep {
		return b, err
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(b.dir, kept); err != nil {
		return nil, err
	}
	b.dir = kept
	return b, os.WriteFile(note, raw, 0o600)
}

// buildOpen makes an archive in a directory.
func buildOpen(ctx context.Context, dir string, segments int) (*openBuilt, error) {
	bucket, err := storage.CreateDir(dir, storage.DirOptions{})
	if err != nil {
		return nil, err
	}
	defer bucket.Close()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return nil, err
	}
	b, err := newOpenBuilder(ctx, dir, bucket, segments)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := b.build(); err != nil {
		return nil, err
	}
	s := b.state
	r := OpenResult{Segments: s.Segments.Len(), Manifests: int(s.Seq), Checkpoints: len(s.Checkpoints), Tail: int(s.Seq - s.Bundled()),
		Bases: len(s.Snapshots), Stored: b.stored, Build: time.Since(began).Seconds(), Write: spread(b.writes)}
	for i := range s.Checkpoints {
		r.Objects += s.Checkpoints[i].Body.Size
	}
	return &openBuilt{Result: r, Targets: b.targets, dir: dir}, nil
}

// openTarget is a command that is measured: status, or a plan to a target.
type openTarget struct {
	Name string `json:"name"`
	To   string `json:"to"` // "" for status
	Span int    `json:"span"`
}

func (t *openTarget) measure(ctx context.Context, o OpenOptions, dir string) (OpenRun, error) {
	command := append(append([]string(nil), o.Program...), "status", dir)
	if t.To != "" {
		command = append(append([]string(nil), o.Program...), "plan", dir, "--to", t.To)
	}
	run := OpenRun{Name: t.Name, Spans: t.Span}
	var seconds, cpu, peaks []float64
	for range o.Rounds {
		var peak int64
		start := time.Now()
		used, err := runMeasured(ctx, nil, func(pid int) { peak = max(peak, peakRSSOf(fmt.Sprint(pid))) }, command...)
		if err != nil {
			return run, err
		}
		seconds, cpu, peaks = append(seconds, time.Since(start).Seconds()), append(cpu, used.cpu.Seconds()), append(peaks, float64(peak))
	}
	run.Seconds, run.CPU, run.PeakRSS = spread(seconds), spread(cpu), spread(peaks)
	return run, nil
}
