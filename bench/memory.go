package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// MemoryOptions size [Memory]. Only Program and Child must be set.
type MemoryOptions struct {
	Dir     string   // directory to work in; what is made there is removed; default the system's temporary one
	TxRows  int      // of the large transaction; default 5,000,000
	DBBytes int64    // keys and images of the large database; default 4 GiB
	Cases   []string // of those in MemoryCases; default all
	Program []string // command line of tidemark
	Child   []string // command line of a process that calls Child
}

// MemoryCases are the names of what [Memory] measures.
var MemoryCases = []string{caseTx, caseDatabase}

const (
	caseTx       = "transaction"
	caseDatabase = "database"
)

// MemoryResult is what [Memory] saw.
type MemoryResult struct {
	Cases []MemoryCase `json:"cases"`
}

// MemoryCase is one database on its way into an archive and back.
type MemoryCase struct {
	Name    string       `json:"name"`
	Rows    int64        `json:"rows"`
	Bytes   int64        `json:"bytes"`         // of keys and images
	Files   int64        `json:"file_bytes"`    // of the database
	Archive int64        `json:"archive_bytes"` //
	Steps   []MemoryStep `json:"steps"`
}

// MemoryStep is one process.
type MemoryStep struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	PeakRSS int64   `json:"peak_rss_bytes"` // VmHWM, looked at every few milliseconds; 0 when the system does not say
}

// WriteText writes the result for people.
func (r *MemoryResult) WriteText(w io.Writer) error {
	for i := range r.Cases {
		c := &r.Cases[i]
		if _, err := fmt.Fprintf(w, "large %s: %d rows, %.0f MiB of keys and images, %.0f MiB of files, %.0f MiB in the archive\n",
			c.Name, c.Rows, float64(c.Bytes)/mib, float64(c.Files)/mib, float64(c.Archive)/mib); err != nil {
			return err
		}
		for _, s := range c.Steps {
			if _, err := fmt.Fprintf(w, "  %-8s peak %4.0f MiB, %6.1f s, %5.2f M rows/s, %4.0f MiB/s\n",
				s.Name, float64(s.PeakRSS)/mib, s.Seconds, float64(c.Rows)/s.Seconds/million, float64(c.Bytes)/s.Seconds/mib); err != nil {
				return err
			}
		}
	}
	return nil
}

// Memory measures how much memory the commands capture, verify and restore
// take with a transaction, and with a database, that is larger than they may
// be. What was restored is compared with what was written.
func Memory(ctx context.Context, o MemoryOptions) (*MemoryResult, error) {
	setDefault(&o.TxRows, 5_000_000)
	setDefault(&o.DBBytes, 4<<30)
	if len(o.Cases) == 0 {
		o.Cases = MemoryCases
	}
	if len(o.Program) == 0 || len(o.Child) == 0 {
		return nil, errors.New("the memory benchmark needs programs to run")
	}
	res := new(MemoryResult)
	for _, name := range o.Cases {
		if !slices.Contains(MemoryCases, name) {
			return nil, fmt.Errorf("no case %q, want of %q", name, MemoryCases)
		}
		c, err := memoryCase(ctx, &o, name)
		if err != nil {
			return nil, fmt.Errorf("large %s: %w", name, err)
		}
		res.Cases = append(res.Cases, c)
	}
	return res, nil
}

// memoryCase builds a database and takes it into an archive and back.
func memoryCase(ctx context.Context, o *MemoryOptions, name string) (c MemoryCase, err error) {
	dir, err := os.MkdirTemp(o.Dir, "tidemark-bench-")
	if err != nil {
		return c, err
	}
	defer os.RemoveAll(dir)
	db, store, dest := filepath.Join(dir, "db"), filepath.Join(dir, "archive"), filepath.Join(dir, "dest")
	j := job{Build: name, Dest: db, Rows: o.TxRows}
	if name == caseDatabase {
		j.Rows = int(o.DBBytes / largeRowBytes)
	}
	c.Name = name
	var built outcome
	what, err := json.Marshal(j)
	if err != nil {
		return c, err
	}
	out, err := c.step(ctx, "write", what, o.Child...)
	if err == nil {
		err = json.Unmarshal(out, &built)
	}
	if err != nil {
		return c, err
	}
	c.Rows, c.Bytes = built.Rows, built.Bytes
	if c.Files, err = bytesIn(db); err != nil {
		return c, err
	}
	run := func(args ...string) []string {
		return append(append(slices.Clone(o.Program), args...), "--json", "--quiet")
	}
	if _, err := runStep(ctx, nil, run("init", store)...); err != nil {
		return c, err
	}
	if _, err := c.step(ctx, "capture", nil, run("capture", "--once", db, store)...); err != nil {
		return c, err
	}
	if c.Archive, err = bytesIn(store); err != nil {
		return c, err
	}
	if err := os.RemoveAll(db); err != nil {
		return c, err
	}
	if _, err := c.step(ctx, "verify", nil, run("verify", "--level", "records", store)...); err != nil {
		return c, err
	}
	if out, err = c.step(ctx, "restore", nil, run("restore", "--to", "latest", store, dest)...); err != nil {
		return c, err
	}
	return c, sameDigest(out, built.Rows, built.Digest)
}

// sameDigest compares what a restore reports with what was written.
func sameDigest(out []byte, rows int64, want change.Hash) error {
	for line := range bytes.Lines(out) {
		var m struct {
			Type    string `json:"message_type"`
			Rows    int64  `json:"rows"`
			Digests []struct {
				Digest change.Hash `json:"digest"`
			} `json:"digests"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("restore says %q: %w", line, err)
		}
		if m.Type != "restored" {
			continue
		}
		if m.Rows != rows || len(m.Digests) != 1 || m.Digests[0].Digest != want {
			return fmt.Errorf("restored %d rows with digests %v, want %d with %v", m.Rows, m.Digests, rows, want)
		}
		return nil
	}
	return fmt.Errorf("restore says nothing of what it restored: %q", out)
}

// step runs a process and notes what it took.
func (c *MemoryCase) step(ctx context.Context, name string, in []byte, command ...string) (out []byte, err error) {
	s := MemoryStep{Name: name}
	start := time.Now()
	watch := func(pid int) { s.PeakRSS = max(s.PeakRSS, peakRSSOf(fmt.Sprint(pid))) }
	out, err = runWatched(ctx, in, watch, command...)
	s.Seconds = time.Since(start).Seconds()
	c.Steps = append(c.Steps, s)
	return out, err
}

func runStep(ctx context.Context, in []byte, command ...string) ([]byte, error) {
	return runWatched(ctx, in, func(int) {}, command...)
}

// runWatched is runMeasured for the sake of what the process writes.
func runWatched(ctx context.Context, in []byte, watch func(pid int), command ...string) ([]byte, error) {
	r, err := runMeasured(ctx, in, watch, command...)
	return r.out, err
}

// ran is a process that has ended well.
type ran struct {
	out []byte        // what it wrote
	cpu time.Duration // of all processors, user and system
}

// runMeasured runs a process and calls watch every few milliseconds while it runs.
func runMeasured(ctx context.Context, in []byte, watch func(pid int), command ...string) (ran, error) {
	var out, fault bytes.Buffer
	p := exec.CommandContext(ctx, command[0], command[1:]...)
	p.Stdin, p.Stdout, p.Stderr = bytes.NewReader(in), &out, &fault
	if err := p.Start(); err != nil {
		return ran{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			watch(p.Process.Pid)
		case err := <-ended:
			if err != nil {
				return ran{}, fmt.Errorf("%q: %w: %s%s", command, err, bytes.TrimSpace(fault.Bytes()), bytes.TrimSpace(out.Bytes()))
			}
			return ran{out.Bytes(), p.ProcessState.UserTime() + p.ProcessState.SystemTime()}, nil
		}
	}
}
