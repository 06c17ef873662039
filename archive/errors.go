package archive

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrNotArchive says that the bucket can be read but holds no archive.
	ErrNotArchive = errors.New("not a tidemark archive")

	// ErrAlreadyInitialized says that Init found an archive in the bucket.
	ErrAlreadyInitialized = errors.New("the bucket already holds a tidemark archive")

	// ErrForeign says that Init found other things in the bucket than an archive.
	ErrForeign = errors.New("the bucket is not empty")

	// ErrWrongRepo says that the archive, or an object in it, belongs to
	// another repository than the one expected.
	ErrWrongRepo = errors.New("another repository")

	// ErrVersion says that an object was written by a newer tidemark.
	ErrVersion = errors.New("written by a newer version of tidemark")

	// ErrUnsuitable says that the store does not keep the promises that an
	// archive rests on.
	ErrUnsuitable = errors.New("the store is not suitable for an archive")

	// ErrManifest says that a manifest is malformed by itself.
	ErrManifest = errors.New("malformed manifest")

	// ErrChain says that a manifest does not follow from the history before
	// it. Every [ChainError] wraps it.
	ErrChain = errors.New("the manifest does not follow from the chain")

	// ErrFenced says that the epoch is over: another capturer has claimed the
	// timeline, or this one has closed it. Nothing more can be published under
	// it; the capturer must stop.
	ErrFenced = errors.New("fenced: the epoch is over")

	// ErrLocked says that another capturer holds the timeline and is alive.
	ErrLocked = errors.New("another capturer holds the timeline")

	// ErrDamaged says that something the archive must hold is missing or not
	// what was written.
	ErrDamaged = errors.New("the archive is damaged")

	// ErrUnresolved says that a manifest may have been published and may not:
	// the store gave no clear answer. The caller reads the chain again before
	// it decides; publishing the same work again is safe.
	ErrUnresolved = errors.New("it is not known whether the manifest was published")

	// ErrLabelTaken says that a label's name is used for another restore point.
	ErrLabelTaken = errors.New("the label is taken")

	// ErrBusy says that others kept publishing first.
	ErrBusy = errors.New("others kept publishing first")
)

// ChainError says which rule a manifest breaks. It wraps [ErrChain] and, where
// there is one, the more particular sentinel.
type ChainError struct {
	Timeline TimelineID
	Seq      Seq
	Kind     Kind
	Rule     string // stable short name, as in FORMAT.md
	Detail   string // what was found and what was wanted
	Err      error  // a more particular error, or nil
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("manifest %d (%s) of timeline %s breaks the rule %s: %s", e.Seq, e.Kind, e.Timeline, e.Rule, e.Detail)
}

// Unwrap returns ErrChain and the particular error.
func (e *ChainError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrChain}
	}
	return []error{ErrChain, e.Err}
}

// LockedError says who holds a timeline. It wraps [ErrLocked].
type LockedError struct {
	Timeline TimelineID
	Epoch    Epoch
	Holder   string
	Seen     change.Time // when the holder last published, by its clock
	Age      change.Time // how long before the claimant's now that was, in microseconds
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("timeline %s is held by %q (epoch %d), which published %.1f s ago: stop it first, or take over if it is gone for good",
		e.Timeline, e.Holder, e.Epoch, float64(e.Age)/1e6)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }
