package chain

import (
	"errors"
	"fmt"
)

var (
	// ErrWrongRepo says that the archive, or an object in it, belongs to
	// another repository than the one expected.
	ErrWrongRepo = errors.New("another repository")

	// ErrVersion says that an object was written by a newer tidemark.
	ErrVersion = errors.New("written by a newer version of tidemark")

	// ErrManifest says that a manifest is malformed by itself.
	ErrManifest = errors.New("malformed manifest")

	// ErrBroken says that a manifest does not follow from the history before
	// it. Every [RuleError] wraps it.
	ErrBroken = errors.New("the manifest does not follow from the chain")

	// ErrFenced says that the epoch is over: another capturer has claimed the
	// timeline, or this one has closed it. Nothing more can be published under
	// it; the capturer must stop.
	ErrFenced = errors.New("fenced: the epoch is over")

	// ErrLocked says that another capturer holds the timeline and is alive.
	ErrLocked = errors.New("another capturer holds the timeline")

	// ErrDamaged says that something the archive must hold is missing or not
	// what was written.
	ErrDamaged = errors.New("the archive is damaged")

	// ErrLabelTaken says that a label's name is used for another restore point.
	ErrLabelTaken = errors.New("the label is taken")
)

// RuleError says which rule a manifest breaks. It wraps [ErrBroken] and, where
// there is one, the more particular sentinel.
type RuleError struct {
	Timeline TimelineID
	Seq      Seq
	Kind     Kind
	Rule     string // stable short name, as in FORMAT.md
	Detail   string // what was found and what was wanted
	Err      error  // a more particular error, or nil
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("manifest %d (%s) of timeline %s breaks the rule %s: %s", e.Seq, e.Kind, e.Timeline, e.Rule, e.Detail)
}

// Unwrap returns ErrBroken and the particular error.
func (e *RuleError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrBroken}
	}
	return []error{ErrBroken, e.Err}
}
