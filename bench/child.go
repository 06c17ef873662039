package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// The pipelines that [Restore] compares.
const (
	pipelineTidemark = "tidemark"
	pipelineBare     = "bare"
)

// job is one restore to be measured, or a database to be built.
type job struct {
	Build    string `json:"build"` // the case of [Memory] to build in Dest; "" for a restore
	Rows     int    `json:"rows"`  // of what is built
	Pipeline string `json:"pipeline"`
	From     string `json:"from"`    // directory with the archive, or with what writeBare wrote
	Dest     string `json:"dest"`    // directory that does not exist yet
	Profile  string `json:"profile"` // file for a CPU profile; "" for none
	Memory   int64  `json:"memory"`  // option of the restore
	Buffer   int    `json:"buffer"`  // option of the bare pipeline
}

// outcome is what a job came to.
type outcome struct {
	Seconds float64     `json:"seconds"`
	CPU     float64     `json:"cpu"`      // seconds of all processors together; 0 when the system does not say
	PeakRSS int64       `json:"peak_rss"` // bytes, of the process; 0 when the system does not say
	Rows    int64       `json:"rows"`     // that the database has
	Bytes   int64       `json:"bytes"`    // of their keys and images, of what was built
	Digest  change.Hash `json:"digest"`   // of its rows, read back after the measurement
}

// Child carries out one measurement in a process of its own, so that it has a
// peak of memory of its own: it reads what to do from in and writes what it
// saw to out. [RestoreOptions.Child] says how to start such a process.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("benchmark's child process: what to do: %w", err)
	}
	do := j.run
	if j.Build != "" {
		do = j.build
	}
	got, err := do(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(got)
}

// run does the job in this process. Reading the rows back is not part of the time.
func (j *job) run(ctx context.Context) (outcome, error) {
	restore := restoreTidemark
	read := digestTidemark
	if j.Pipeline == pipelineBare {
		restore, read = restoreBare, digestBare
	}
	var got outcome
	runtime.GC() // of what earlier jobs left
	if j.Profile != "" {
		f, err := os.Create(j.Profile)
		if err != nil {
			return got, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return got, err
		}
		defer pprof.StopCPUProfile()
	}
	start, cpu := time.Now(), cpuSeconds()
	rows, err := restore(ctx, j)
	if err != nil {
		return got, fmt.Errorf("%s pipeline: %w", j.Pipeline, err)
	}
	got.Seconds = time.Since(start).Seconds()
	got.CPU, got.PeakRSS = cpuSeconds()-cpu, peakRSS()
	pprof.StopCPUProfile()
	d, err := read(ctx, j.Dest)
	if err != nil {
		return got, fmt.Errorf("read back what the %s pipeline restored: %w", j.Pipeline, err)
	}
	if d.Rows != rows {
		return got, fmt.Errorf("%s pipeline reports %d rows, the database has %d", j.Pipeline, rows, d.Rows)
	}
	got.Rows, got.Digest = d.Rows, d.Sum()
	return got, nil
}

// runIn does the job in a process started by the command line child, or here
// when there is none.
func (j *job) runIn(ctx context.Context, child []string) (outcome, error) {
	if len(child) == 0 {
		return j.run(ctx)
	}
	var got outcome
	what, err := json.Marshal(j)
	if err != nil {
		return got, err
	}
	var out, fault bytes.Buffer
	c := exec.CommandContext(ctx, child[0], child[1:]...)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(what), &out, &fault
	if err := c.Run(); err != nil {
		return got, fmt.Errorf("benchmark's child process: %w: %s", err, bytes.TrimSpace(fault.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return got, fmt.Errorf("benchmark's child process: answer %q: %w", out.Bytes(), err)
	}
	return got, nil
}
