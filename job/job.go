// Package job remembers what was done: every restore, verification, drill and
// snapshot leaves a record in the state directory, also when the process that
// did it died.
//
// A [Ledger] is a directory of append-only files, one for each month, of one
// JSON object a line. A job has a line when it begins and another when it
// ends; the last line with its ID holds. Lines are short and written at once,
// so that several processes may write. A line that a crash cut short is passed
// over.
package job

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says what a job does.
type Kind string

// The kinds of job.
const (
	Restore  Kind = "restore"
	Verify   Kind = "verify"
	Drill    Kind = "drill"
	Snapshot Kind = "snapshot"
)

// State says how far a job is.
type State string

// The states of a job.
const (
	Running     State = "running"
	OK          State = "ok"
	Failed      State = "failed"
	Interrupted State = "interrupted" // it was given up, or its process is gone and left no end
)

// Job is the record of one job.
type Job struct {
	ID       string         `json:"id"` // sorts by start
	Kind     Kind           `json:"kind"`
	Database string         `json:"database"`     // its configured name, or the archive as it was typed
	By       string         `json:"by,omitempty"` // "schedule", or "" for a person
	State    State          `json:"state"`
	Start    time.Time      `json:"start"`
	End      time.Time      `json:"end,omitzero"`
	Result   string         `json:"result,omitempty"` // for people, one line
	Error    string         `json:"error,omitempty"`
	Figures  map[string]any `json:"figures,omitempty"` // such as rows, bytes, findings
	Process  Process        `json:"process"`
}

// Took returns how long the job took, until now if it is running and 0 if it
// was interrupted.
func (j *Job) Took(now time.Time) time.Duration {
	switch {
	case !j.End.IsZero():
		return j.End.Sub(j.Start)
	case j.State == Running:
		return now.Sub(j.Start)
	}
	return 0
}

// Process says which process does a job, such that another one that gets the
// same number later is told apart.
type Process struct {
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Started string `json:"started,omitempty"` // what the system says of its start; "" where it says nothing
}

// Ledger is where jobs are remembered. It is safe for concurrent use, by
// several processes too.
type Ledger struct {
	dir string
	now func() time.Time

	mu sync.Mutex // serializes appends of this process
}

// Open returns the ledger below a state directory, which is made when the first
// job begins.
func Open(stateDir string) *Ledger {
	return &Ledger{dir: filepath.Join(stateDir, "jobs"), now: time.Now}
}

// ErrRecord is wrapped by the errors of a record that can't be written or read.
var ErrRecord = errors.New("record of jobs")

// Active is a job that has begun.
type Active struct {
	ledger *Ledger
	job    Job
}

// Begin notes that a job has begun, durably. The caller ends it.
func (l *Ledger) Begin(kind Kind, database, by string) (*Active, error) {
	now := l.now().UTC()
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	a := &Active{ledger: l, job: Job{ID: now.Format("20060102T150405.000000Z") + "-" + hex.EncodeToString(b[:]), Kind: kind, Database: database,
		By: by, State: Running, Start: now, Process: self()}}
	return a, l.append(&a.job)
}

// ID returns the job's ID.
func (a *Active) ID() string { return a.job.ID }

// End notes how a job ended, durably: with err, or with a result. One whose
// context was cancelled was interrupted.
func (a *Active) End(result string, figures map[string]any, err error) error {
	j := a.job
	j.End, j.State, j.Result, j.Figures = a.ledger.now().UTC(), OK, result, figures
	switch {
	case errors.Is(err, context.Canceled):
		j.State, j.Error = Interrupted, err.Error()
	case err != nil:
		j.State, j.Error = Failed, err.Error()
	}
	return a.ledger.append(&j)
}

// maxLine is the size limit of a record in bytes.
const maxLine = 64 << 10

func (l *Ledger) append(j *Job) (err error) {
	if len(j.Error) > maxLine/4 {
		j.Error = strings.ToValidUTF8(j.Error[:maxLine/4], "") + " …"
	}
	line, err := json.Marshal(j)
	if err != nil || len(line) > maxLine {
		return fmt.Errorf("%w: %s %s: %d bytes, %w", ErrRecord, j.Kind, j.ID, len(line), cmpErr(err))
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}()
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := filepath.Join(l.dir, l.now().UTC().Format("2006-01")+".jsonl")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line = append(line, '\n')
	if torn(f) {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	return f.Sync()
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("too long")
	}
	return err
}

// torn reports whether a crash has left a line without an end.
func torn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	n, _ := f.ReadAt(last[:], info.Size()-1)
	return n == 1 && last[0] != '\n'
}

// List returns the jobs of a database, or all for "", in order of their start.
// A job that is running by its record but whose process is gone is Interrupted.
func (l *Ledger) List(database string) ([]Job, error) {
	names, err := filepath.Glob(filepath.Join(l.dir, "????-??.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	slices.Sort(names)
	last := make(map[string]Job)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecord, err)
		}
		for line := range strings.Lines(string(raw)) {
			var j Job
			if json.Unmarshal([]byte(line), &j) == nil && j.ID != "" && (database == "" || j.Database == database) {
				last[j.ID] = j
			}
		}
	}
	out := make([]Job, 0, len(last))
	for _, j := range last {
		if j.State == Running && !j.Process.alive() {
			j.State = Interrupted
		}
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b Job) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// Last returns the newest job of a kind for a database that has ended, nil when
// there is none.
func (l *Ledger) Last(kind Kind, database string) (*Job, error) {
	jobs, err := l.List(database)
	if err != nil {
		return nil, err
	}
	for i := len(jobs) - 1; i >= 0; i-- {
		if j := &jobs[i]; j.Kind == kind && j.State != Running {
			return j, nil
		}
	}
	return nil, nil
}
