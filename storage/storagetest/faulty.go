package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/storage"
)

// ErrInjected is wrapped by every error that a [Faulty] makes up.
var ErrInjected = errors.New("injected fault")

// An Op is a method of [storage.Bucket].
type Op string

// The operations. The key of a List is its prefix.
const (
	OpCreate Op = "create"
	OpRead   Op = "read"
	OpSize   Op = "size"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// A Fault is something that goes wrong with one operation.
type Fault string

const (
	// Before fails the operation; nothing happened.
	Before Fault = "error before"
	// After fails the operation; it happened all the same. A reader fails
	// after its last byte, a list after its last object.
	After Fault = "error after"
	// Late fails a Create whose object lands when [Faulty.Land] is called: a
	// request that lingers in the network. Other operations fail as by Before.
	Late Fault = "late"
	// Partial fails the operation halfway: a Create leaves half of the object
	// (which a bucket that keeps its contract never does), a reader and a list
	// fail after half of it. Size and Delete fail as by Before.
	Partial Fault = "partial"
	// Slow waits for Rule.Delay before the operation, which then takes its
	// course, other faults included.
	Slow Fault = "slow"
	// Flip inverts the lowest bit of the byte at Rule.At, modulo the length,
	// of what a Read yields. Other operations are not affected.
	Flip Fault = "flip"
	// Cut ends what a Read yields after half of it, with io.EOF, as a store
	// that lies would. Other operations are not affected.
	Cut Fault = "cut"
	// Stale hides from a List the newest Rule.Newest objects that were created
	// through the wrapper. Other operations are not affected.
	Stale Fault = "stale list"
)

// Faults lists every fault, for tests that try them all.
func Faults() []Fault { return []Fault{Before, After, Late, Partial, Slow, Flip, Cut, Stale} }

// A Rule says which operations a fault befalls: of those that Op and Key
// match, Times from number N on.
type Rule struct {
	Fault Fault
	Op    Op                    // default: every operation
	Key   func(key string) bool // default: every key
	N     int                   // counts matching operations from 1; default 1
	Times int                   // how many operations in a row, -1 for all that follow; default 1

	Err    error         // wrapped beside ErrInjected; default none
	Delay  time.Duration // of Slow
	At     int64         // of Flip: a byte's position in what is read
	Newest int           // of Stale; default 1
}

// An Event is one operation that a [Faulty] saw.
type Event struct {
	N     int // counts all operations from 1, in the order they began
	Op    Op
	Key   string
	Fault Fault // "" if none befell it; Slow only if it was the only one
	Done  bool  // the call has returned; for List, the sequence has ended
	Err   error // what the call returned; for List, the error it yielded
}

// String returns the event as one line.
func (e Event) String() string {
	s := fmt.Sprintf("%d %s %s", e.N, e.Op, e.Key)
	if e.Fault != "" {
		s += " [" + string(e.Fault) + "]"
	}
	switch {
	case !e.Done:
		s += ": under way"
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	return s
}

// A Faulty is a bucket that passes operations on to another one and makes
// them fail as its rules say. For the same sequence of operations it does the
// same; concurrent operations are numbered in the order they begin. Of several
// rules that hit an operation the first decides, Slow rules add up.
type Faulty struct {
	bucket storage.Bucket
	// Sleep waits for a Slow fault, or until ctx ends. It may be replaced
	// before the first operation. Default: a timer.
	Sleep func(ctx context.Context, d time.Duration) error

	mu      sync.Mutex
	rules   []Rule                            // guarded by mu
	hits    []int                             // operations matched per rule; guarded by mu
	trace   []Event                           // guarded by mu
	created []string                          // keys, in the order they landed; guarded by mu
	late    []func(ctx context.Context) error // guarded by mu
}

// NewFaulty wraps bucket.
func NewFaulty(bucket storage.Bucket, rules ...Rule) *Faulty {
	f := &Faulty{bucket: bucket, Sleep: sleep}
	f.SetRules(rules...)
	return f
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// SetRules replaces all rules; their counts start anew. Trace numbers go on.
func (f *Faulty) SetRules(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = slices.Clone(rules)
	f.hits = make([]int, len(rules))
}

// Trace returns what has happened so far, in order.
func (f *Faulty) Trace() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

// Land lets the Creates that are late reach the bucket, in their order, and
// returns their errors: ErrExists where another came first.
func (f *Faulty) Land(ctx context.Context) error {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	var errs []error
	for _, land := range late {
		errs = append(errs, land(ctx))
	}
	return errors.Join(errs...)
}

// An attempt is one operation under way.
type attempt struct {
	faulty *Faulty
	event  Event // as it began
	rule   Rule
}

// begin records an operation, finds its fault and waits if it is slow.
func (f *Faulty) begin(ctx context.Context, op Op, key string) (attempt, error) {
	a, delay := f.decide(op, key)
	if delay > 0 {
		if err := f.Sleep(ctx, delay); err != nil {
			return a, a.end(err)
		}
	}
	if a.rule.Fault == Before {
		return a, a.end(a.injected())
	}
	return a, nil
}

func (f *Faulty) decide(op Op, key string) (attempt, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := attempt{faulty: f}
	var delay time.Duration
	slow := false
	for i, r := range f.rules {
		if r.Op != "" && r.Op != op || r.Key != nil && !r.Key(key) {
			continue
		}
		f.hits[i]++
		first, times := max(r.N, 1), r.Times
		if times == 0 {
			times = 1
		}
		if f.hits[i] < first || times > 0 && f.hits[i] >= first+times {
			continue
		}
		if r.Fault == Slow {
			delay, slow = delay+r.Delay, true
		} else if a.rule.Fault == "" {
			a.rule = r
		}
	}
	a.rule.Fault = effective(a.rule.Fault, op)
	e := Event{N: len(f.trace) + 1, Op: op, Key: key, Fault: a.rule.Fault}
	if e.Fault == "" && slow {
		e.Fault = Slow
	}
	f.trace = append(f.trace, e)
	a.event = e
	return a, delay
}

// effective is what a fault means to an operation.
func effective(fault Fault, op Op) Fault {
	switch {
	case fault == Late && op != OpCreate, fault == Partial && (op == OpSize || op == OpDelete):
		return Before
	case (fault == Flip || fault == Cut) && op != OpRead, fault == Stale && op != OpList:
		return ""
	}
	return fault
}

// injected returns the error that the fault makes up.
func (a attempt) injected() error {
	e := a.event
	err := fmt.Errorf("%s %s, operation %d: %w (%s)", e.Op, e.Key, e.N, ErrInjected, e.Fault)
	if a.rule.Err != nil {
		err = fmt.Errorf("%w: %w", err, a.rule.Err)
	}
	return err
}

// end records the outcome and returns it.
func (a attempt) end(err error) error {
	a.faulty.mu.Lock()
	defer a.faulty.mu.Unlock()
	e := &a.faulty.trace[a.event.N-1]
	e.Done, e.Err = true, err
	return err
}

// Create implements [storage.Bucket].
func (f *Faulty) Create(ctx context.Context, key string, body io.Reader) error {
	a, err := f.begin(ctx, OpCreate, key)
	if err != nil {
		return err
	}
	switch a.rule.Fault {
	case Late:
		data, err := io.ReadAll(body)
		if err != nil {
			return a.end(err)
		}
		f.mu.Lock()
		f.late = append(f.late, func(ctx context.Context) error { return f.create(ctx, key, bytes.NewReader(data)) })
		f.mu.Unlock()
		return a.end(a.injected())
	case Partial:
		data, err := io.ReadAll(body)
		if err == nil {
			err = f.create(ctx, key, bytes.NewReader(data[:len(data)/2]))
		}
		return a.end(errors.Join(a.injected(), err))
	}
	err = f.create(ctx, key, body)
	if a.rule.Fault == After {
		// What really came of it is hidden, as a lost answer hides it.
		err = a.injected()
	}
	return a.end(err)
}

func (f *Faulty) create(ctx context.Context, key string, body io.Reader) error {
	err := f.bucket.Create(ctx, key, body)
	if err == nil {
		f.mu.Lock()
		f.created = append(f.created, key)
		f.mu.Unlock()
	}
	return err
}

// Size implements [storage.Bucket].
func (f *Faulty) Size(ctx context.Context, key string) (int64, error) {
	a, err := f.begin(ctx, OpSize, key)
	if err != nil {
		return 0, err
	}
	size, err := f.bucket.Size(ctx, key)
	if a.rule.Fault == After {
		size, err = 0, a.injected()
	}
	return size, a.end(err)
}

// Delete implements [storage.Bucket].
func (f *Faulty) Delete(ctx context.Context, key string) error {
	a, err := f.begin(ctx, OpDelete, key)
	if err != nil {
		return err
	}
	err = f.bucket.Delete(ctx, key)
	if a.rule.Fault == After {
		err = a.injected()
	}
	return a.end(err)
}

// List implements [storage.Bucket].
func (f *Faulty) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		a, err := f.begin(ctx, OpList, prefix)
		if err != nil {
			yield(storage.Info{}, err)
			return
		}
		switch a.rule.Fault {
		case After, Partial:
			f.listAndFail(ctx, a, prefix, after, yield)
			return
		}
		hidden := f.hidden(a.rule)
		for info, err := range f.bucket.List(ctx, prefix, after) {
			if err != nil {
				yield(info, a.end(err))
				return
			}
			if !slices.Contains(hidden, info.Key) && !yield(info, nil) {
				break
			}
		}
		_ = a.end(nil)
	}
}

// listAndFail yields all or half of a list and then an error.
func (f *Faulty) listAndFail(ctx context.Context, a attempt, prefix, after string, yield func(storage.Info, error) bool) {
	var all []storage.Info
	for info, err := range f.bucket.List(ctx, prefix, after) {
		if err != nil {
			yield(storage.Info{}, a.end(err))
			return
		}
		all = append(all, info)
	}
	if a.rule.Fault == Partial {
		all = all[:len(all)/2]
	}
	for _, info := range all {
		if !yield(info, nil) {
			_ = a.end(nil)
			return
		}
	}
	yield(storage.Info{}, a.end(a.injected()))
}

// hidden returns the keys that a stale list does not show.
func (f *Faulty) hidden(r Rule) []string {
	if r.Fault != Stale {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(max(r.Newest, 1), len(f.created))
	return slices.Clone(f.created[len(f.created)-n:])
}
