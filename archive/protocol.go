package archive

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// The protocol of reading and publishing, without I/O: a machine is asked for
// its first request, the caller carries it out and reports the answer, and so
// on until the machine is done. The model test explores every order of events
// over these same machines.

// opKind is what a machine asks of the bucket.
type opKind uint8

const (
	opRead   opKind = 1 + iota // read manifest seq
	opCreate                   // create manifest seq with the bytes of stored
)

// request is one operation on the bucket.
type request struct {
	op     opKind
	seq    chain.Seq
	stored *stored // opCreate
	tries  int     // how often in a row this place gave no clear answer: wait accordingly
}

// outcome is how an operation ended.
type outcome uint8

const (
	found   outcome = 1 + iota // opRead: stored holds the object
	absent                     // opRead: there is no such object
	failed                     // opRead: no answer
	created                    // opCreate: done
	exists                     // opCreate: the key was taken
	unclear                    // opCreate: no clear answer; the object may be there, or come later
)

// answer reports an operation to the machine that asked for it.
type answer struct {
	outcome outcome
	stored  *stored // found
	err     error   // failed, unclear: why
}

// stored is a manifest as the bucket holds it.
type stored struct {
	raw  []byte
	hash change.Hash
	m    *chain.Manifest
	err  error // why raw could not be decoded
}

// decodeStored reads a manifest's bytes; a failure stays in the result, since
// only its place in the chain makes it an error.
func decodeStored(raw []byte) *stored {
	m, err := chain.DecodeManifest(raw)
	return &stored{raw: raw, hash: chain.HashManifest(raw), m: m, err: err}
}

// advance returns the state after one more manifest; s itself may be used up.
type advance func(s *chain.State, next *stored) (*chain.State, error)

// advanceClone leaves s as it is.
func advanceClone(s *chain.State, next *stored) (*chain.State, error) {
	return advanceOwn(s.Clone(), next)
}

// advanceOwn changes s. After an error s is still as it was.
func advanceOwn(s *chain.State, next *stored) (*chain.State, error) {
	err := next.err
	if err == nil {
		err = s.Advance(next.m, next.hash) // decoding has validated it
	}
	if err != nil {
		// What the manifest says of itself need not be where it was found.
		return nil, fmt.Errorf("%s: %w", chain.ManifestKey(s.Timeline, s.Seq+1), err)
	}
	return s, nil
}

// A reading follows the chain from a state to its head: every number that a
// list has shown must be there, and from the last one on it probes until a
// number is absent, because lists may be stale.
type reading struct {
	state  *chain.State
	listed chain.Seq // the greatest number that a list has shown
	tries  int
}

// maxTries is how often a machine asks the same thing in a row.
const maxTries = 6

func (r *reading) first() request { return request{op: opRead, seq: r.state.Seq + 1, tries: r.tries} }

// step takes an answer and returns the next request, or done.
func (r *reading) step(a answer, next advance) (q request, done bool, err error) {
	switch a.outcome {
	case found:
		s, err := next(r.state, a.stored)
		if err != nil {
			return q, true, err
		}
		r.state, r.tries = s, 0
	case absent:
		if r.state.Seq < r.listed {
			return q, true, fmt.Errorf("%s is missing, but manifests up to %d are there: %w",
				chain.ManifestKey(r.state.Timeline, r.state.Seq+1), r.listed, chain.ErrDamaged)
		}
		return q, true, nil
	default:
		if r.tries++; r.tries >= maxTries {
			return q, true, a.err
		}
	}
	return r.first(), false, nil
}

// A publication brings one piece of work into the chain, or finds that it no
// longer fits.
//
// It builds a manifest over the state it knows and tries to create it under the
// next number. It is published when the create succeeds, or when these very
// bytes are read back. While the answer is open, only the identical bytes are
// sent again, for the same number. When the number turns out to be another's,
// the work is decided anew: the state moves on through everything that came in
// between, and build is asked again.
type publication struct {
	state  *chain.State
	build  func(*chain.State) (*stored, error) // an error abandons the work
	next   advance
	sent   *stored // asked for under state.Seq+1; nil while following the chain
	atHead bool    // state.Seq+1 was absent when last looked at
	tries  int     // unclear answers in a row
	losses int     // how often another was first
	cause  error   // of the last unclear answer
}

// maxLosses bounds how often a publication is decided anew.
const maxLosses = 1000

// first returns the first request. What build refuses over a state that may be
// old is asked again at the head; only there its error ends the publication.
func (p *publication) first() (q request, done bool, err error) {
	s, err := p.build(p.state)
	if err != nil && (p.atHead || errors.Is(err, errDone)) {
		return q, true, err
	}
	if err != nil {
		return p.read(), false, nil
	}
	p.sent = s
	return p.create(), false, nil
}

func (p *publication) create() request {
	return request{op: opCreate, seq: p.state.Seq + 1, stored: p.sent, tries: p.tries}
}

func (p *publication) read() request {
	return request{op: opRead, seq: p.state.Seq + 1, tries: p.tries}
}

// step takes an answer and returns the next request, or done: without an error
// the work is published and p.state includes it. Errors: that of build (the
// work is abandoned), of the chain, ErrBusy, the store's own, or ErrUnresolved.
func (p *publication) step(a answer) (q request, done bool, err error) {
	switch {
	case a.outcome == created:
		return q, true, p.accept(p.sent)
	case a.outcome == exists:
		return p.read(), false, nil
	case a.outcome == found && p.sent != nil && bytes.Equal(a.stored.raw, p.sent.raw):
		return q, true, p.accept(p.sent)
	case a.outcome == found:
		if err := p.accept(a.stored); err != nil {
			return q, true, err
		}
		if p.sent != nil {
			p.losses++
		}
		p.sent, p.tries, p.atHead = nil, 0, false
		if p.losses >= maxLosses {
			return q, true, fmt.Errorf("gave up after %d attempts: %w", p.losses, ErrBusy)
		}
		return p.read(), false, nil
	case a.outcome == absent && p.sent == nil:
		p.tries, p.atHead = 0, true
		return p.first()
	}
	// No clear answer, or one that leaves a create open.
	if a.err != nil {
		p.cause = a.err
	}
	if p.tries++; p.tries >= maxTries {
		return q, true, p.giveUp(p.cause)
	}
	if a.outcome == absent {
		return p.create(), false, nil
	}
	return p.read(), false, nil
}

func (p *publication) accept(s *stored) error {
	state, err := p.next(p.state, s)
	if err == nil {
		p.state = state
	}
	return err
}

// giveUp returns the error of a publication that can't go on, saying whether
// its manifest may be there or come later.
func (p *publication) giveUp(cause error) error {
	if cause == nil {
		cause = errors.New("the store says that the key is taken and that it is absent")
	}
	if p.sent == nil {
		return cause
	}
	return fmt.Errorf("%s: %w: %w", chain.ManifestKey(p.state.Timeline, p.state.Seq+1), ErrUnresolved, cause)
}
