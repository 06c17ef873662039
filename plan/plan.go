// Package plan makes the plan of a restore an object: shown, stored, checked
// and executed as it is.
//
// A [Document] holds what a [recovery.Plan] reads and leads to, how long that
// may take, the room it needs and what was looked at before. Its ID is the hash
// of the plan; a [Shelf] keeps documents and refuses one that was changed.
package plan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// Format is the version of stored plans that this tidemark writes and reads.
const Format = 1

var (
	// ErrChanged says that a stored plan is not what was stored: it was edited
	// or damaged, or it is no plan.
	ErrChanged = errors.New("stored plan was changed")

	// ErrUnknown says that no stored plan, or more than one, has an ID that
	// begins like that.
	ErrUnknown = errors.New("no such plan")

	// ErrNotHere says that a plan was made for another archive, or for a
	// history that the archive does not hold any more.
	ErrNotHere = errors.New("the plan is not for this archive")
)

// Document is a plan with what a person wants to know before it is carried out.
type Document struct {
	Asked       recovery.Target `json:"requested"`
	Includes    string          `json:"includes"` // Asked in words
	Format      int             `json:"format"`
	ID          change.Hash     `json:"plan_hash"` // of Plan
	Made        change.Time     `json:"made"`
	Archive     string          `json:"archive"`               // as it was named then
	Destination string          `json:"destination,omitempty"` // the same; "" when none was given
	Forecast    Forecast        `json:"forecast"`
	Room        []Room          `json:"room,omitempty"`
	Checks      []Check         `json:"checks"`
	Plan        *recovery.Plan  `json:"plan"`
}

// Options say where a plan is to be carried out, and what is known of this
// machine. The zero value is ready for use.
type Options struct {
	Archive     string        // its name, for people
	Destination string        // the same
	Target      driver.Target // the destination; nil when none was given
	Restore     restore.Options
	Measured    []Measured  // earlier restores on this machine
	Now         change.Time // 0: ages are not told
	Objects     int         // how many objects of the plan to look at; default 256; -1 for all
}

// Make plans for a target and looks at what the plan needs. That a check failed
// is no error: see [Document.Err].
func Make(ctx context.Context, a *archive.Archive, t recovery.Target, o Options) (*Document, *chain.State, error) {
	state, p, err := restore.Prepare(ctx, a, t)
	if err != nil {
		return nil, nil, err
	}
	d := &Document{Format: Format, Asked: t, Includes: t.Describe(), Plan: p}
	if d.ID, err = p.Hash(); err != nil {
		return nil, nil, err
	}
	return d, state, d.Examine(ctx, a, state, o)
}

// Examine looks again at what the plan needs, for a document that was stored or
// has a new destination.
func (d *Document) Examine(ctx context.Context, a *archive.Archive, state *chain.State, o Options) error {
	if o.Now != 0 {
		d.Made = o.Now
	}
	d.Archive, d.Destination = o.Archive, o.Destination
	d.Forecast = forecast(d.Plan, state, o.Measured)
	x := examiner{a: a, state: state, plan: d.Plan, o: o}
	x.o.Restore = o.Restore.Defaults()
	if err := x.run(ctx); err != nil {
		return err
	}
	d.Checks, d.Room = x.checks, x.room
	return nil
}

// Err returns why the plan can't be carried out now, as an error that wraps
// [restore.ErrPreflight] and what failed; nil when no check failed. Of a document
// that was read from storage it knows nothing before it is examined again.
func (d *Document) Err() error {
	var errs []error
	for i := range d.Checks {
		if c := &d.Checks[i]; c.Status == Failed {
			if c.err != nil {
				errs = append(errs, c.err)
			} else {
				errs = append(errs, fmt.Errorf("%s: %s", c.Name, c.Detail))
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", restore.ErrPreflight, errors.Join(errs...))
}

// Fits reports whether the plan is one for this archive as it is now: the same
// repository and timeline, whose chain holds the head that the plan was made
// from, and leads to what the plan lists: whoever can store a plan can make its
// hashes fit. An archive that has grown since is fine.
func (d *Document) Fits(ctx context.Context, a *archive.Archive, state *chain.State) error {
	p := d.Plan
	switch {
	case p.Repo != state.Repo:
		return fmt.Errorf("plan %s is for repository %s, this is %s: %w", d.ID.Short(), p.Repo, state.Repo, ErrNotHere)
	case p.Timeline != state.Timeline:
		return fmt.Errorf("plan %s is for timeline %s, this is %s: %w", d.ID.Short(), p.Timeline, state.Timeline, ErrNotHere)
	case p.Seq > state.Seq:
		return fmt.Errorf("plan %s was made when the chain had %d manifests, now it has %d: its tail was cut off: %w: %w",
			d.ID.Short(), p.Seq, state.Seq, ErrNotHere, chain.ErrDamaged)
	}
	head, err := a.HashAt(ctx, state, p.Seq)
	if err != nil {
		return err
	}
	if head != p.Head {
		return fmt.Errorf("plan %s was made from manifest %d with hash %s, the chain now holds %s there: it was rewritten: %w: %w",
			d.ID.Short(), p.Seq, p.Head, head, ErrNotHere, chain.ErrDamaged)
	}
	if err := p.Holds(ctx, state); errors.Is(err, recovery.ErrNoPlan) {
		return fmt.Errorf("plan %s: %w: %w", d.ID.Short(), ErrChanged, err)
	} else if err != nil {
		return err
	}
	return nil
}

// envelope is a stored document with what shows that it was changed.
type envelope struct {
	Sum  change.Hash     `json:"sha256"` // of document as it is written
	Body json.RawMessage `json:"document"`
}

// Encode writes the document for storage.
func (d *Document) Encode() ([]byte, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	b, err := json.Marshal(envelope{sha256.Sum256(body), body})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return append(b, '\n'), nil
}

// Decode reads what Encode wrote; anything else is [ErrChanged].
func Decode(b []byte) (*Document, error) {
	var e envelope
	if err := strict(b, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(append(again, '\n'), b) {
		return nil, fmt.Errorf("it is not written as tidemark writes it: %w", ErrChanged)
	}
	if got := change.Hash(sha256.Sum256(e.Body)); got != e.Sum {
		return nil, fmt.Errorf("its content has SHA-256 %s, it says %s: %w", got, e.Sum, ErrChanged)
	}
	d := new(Document)
	if err := strict(e.Body, d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if d.Format != Format {
		return nil, fmt.Errorf("format %d, this tidemark reads %d: %w", d.Format, Format, ErrChanged)
	}
	if d.Plan == nil {
		return nil, fmt.Errorf("it holds no plan: %w", ErrChanged)
	}
	switch got, err := d.Plan.Hash(); {
	case err != nil:
		return nil, err
	case got != d.ID:
		return nil, fmt.Errorf("its plan has hash %s, it says %s: %w", got, d.ID, ErrChanged)
	}
	return d, nil
}

func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows it")
	}
	return nil
}
