package archive

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrNotArchive says that the bucket can be read but holds no archive.
	ErrNotArchive = errors.New("not a tidemark archive")

	// ErrAlreadyInitialized says that Init found an archive in the bucket.
	ErrAlreadyInitialized = errors.New("the bucket already holds a tidemark archive")

	// ErrForeign says that Init found other things in the bucket than an archive.
	ErrForeign = errors.New("the bucket is not empty")

	// ErrUnsuitable says that the store does not keep the promises that an
	// archive rests on.
	ErrUnsuitable = errors.New("the store is not suitable for an archive")

	// ErrUnresolved says that a manifest may have been published and may not:
	// the store gave no clear answer. The caller reads the chain again before
	// it decides; publishing the same work again is safe.
	ErrUnresolved = errors.New("it is not known whether the manifest was published")

	// ErrNotKnown says that the chain does not hold the manifest that the caller
	// knows it to have held: it was cut or rewritten. Every such error wraps
	// [chain.ErrDamaged] too.
	ErrNotKnown = errors.New("this is not the history that was known")

	// ErrBusy says that others kept publishing first.
	ErrBusy = errors.New("others kept publishing first")
)

// LockedError says who holds a timeline. It wraps [chain.ErrLocked].
type LockedError struct {
	Timeline chain.TimelineID
	Epoch    chain.Epoch
	Holder   string
	Seen     change.Time // when the holder last published, by its clock
	Age      change.Time // how long before the claimant's now that was, in microseconds
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("timeline %s is held by %q (epoch %d), which published %.1f s ago: stop it first, or take over if it is gone for good",
		e.Timeline, e.Holder, e.Epoch, float64(e.Age)/1e6)
}

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return chain.ErrLocked }
