package recovery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/when"
)

// TargetKind says what a [Target] is given as.
type TargetKind string

// The kinds of target.
const (
	TargetLatest TargetKind = "latest" // the last transaction in the archive
	TargetTime   TargetKind = "time"   // the last transaction with an effective time at or before it
	TargetLSN    TargetKind = "lsn"    // the transaction that ends there
	TargetLabel  TargetKind = "label"  // the restore point with that name
	TargetTx     TargetKind = "tx"     // the transaction with that ID
)

// Target is where a restore stops, in the words of the person who asks:
// [Resolve] turns it into a place in the log. What it names is included,
// unless Before is set. The zero Target is [Latest].
type Target struct {
	Kind   TargetKind
	Time   change.Time
	LSN    change.LSN
	Label  string
	Tx     change.TxID
	Before bool // just before it: of a time, only earlier ones; of the others, not that transaction
}

// Latest is everything that the archive holds.
func Latest() Target { return Target{Kind: TargetLatest} }

// AtTime is everything up to a time, included.
func AtTime(t change.Time) Target { return Target{Kind: TargetTime, Time: t} }

// AtLSN is everything up to the transaction that ends at an LSN, included.
func AtLSN(n change.LSN) Target { return Target{Kind: TargetLSN, LSN: n} }

// AtLabel is a labelled restore point.
func AtLabel(name string) Target { return Target{Kind: TargetLabel, Label: name} }

// AtTx is everything up to a transaction, included.
func AtTx(id change.TxID) Target { return Target{Kind: TargetTx, Tx: id} }

// JustBefore is the same without what the target names. For an LSN it is the
// place before the transaction that contains it.
func (t Target) JustBefore() Target {
	t.Before = true
	return t
}

// String returns the form that [ParseTarget] reads.
func (t Target) String() string {
	var s string
	switch t.Kind {
	case TargetTime:
		s = t.Time.String()
	case TargetLSN:
		s = "lsn:" + t.LSN.String()
	case TargetLabel:
		s = "label:" + t.Label
	case TargetTx:
		s = "tx:" + strconv.FormatUint(uint64(t.Tx), 10)
	default:
		return "latest"
	}
	if t.Before {
		return "before:" + s
	}
	return s
}

// Describe says in words what the target includes.
func (t Target) Describe() string {
	if t.Kind == TargetLatest || t.Kind == "" {
		return "latest: every transaction in the archive"
	}
	var what string
	switch {
	case t.Kind == TargetTime && t.Before:
		return fmt.Sprintf("before %s: transactions of that very time are left out", t.Time)
	case t.Kind == TargetTime:
		return fmt.Sprintf("%s: transactions of that very time are included", t.Time)
	case t.Kind == TargetLSN && t.Before:
		what = fmt.Sprintf("the transaction that contains LSN %d", t.LSN)
	case t.Kind == TargetLSN:
		what = fmt.Sprintf("the transaction that ends at LSN %d", t.LSN)
	case t.Kind == TargetLabel:
		what = fmt.Sprintf("label %s", t.Label)
	default:
		what = fmt.Sprintf("transaction %d", t.Tx)
	}
	if t.Before {
		return "just before " + what
	}
	return what + ", included"
}

// MarshalText writes the form of [Target.String].
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads it.
func (t *Target) UnmarshalText(b []byte) error {
	p, err := ParseTarget(string(b), when.Reader{})
	if err == nil {
		*t = p
	}
	return err
}

// errTarget tells the forms of a target.
var errTarget = errors.New("want latest, a time such as 2026-11-22T17:41:58Z or 2h30m ago, lsn:N, label:NAME or tx:ID; before: in front of one leaves it out")

// ParseTarget reads a target: latest, a time, lsn:N, label:NAME, tx:ID, each
// but the first also with before: in front. Times are read by r, see package
// when; its error about one is in the error's chain.
func ParseTarget(s string, r when.Reader) (Target, error) {
	rest, before := strings.CutPrefix(strings.TrimSpace(s), "before:")
	rest = strings.TrimSpace(rest)
	t, err := parseTarget(rest, r)
	if err == nil && before && t.Kind == TargetLatest {
		err = fmt.Errorf("latest has no before: %w", errTarget)
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %q: %w", s, err)
	}
	t.Before = before
	return t, nil
}

func parseTarget(s string, r when.Reader) (Target, error) {
	kind, arg, ok := strings.Cut(s, ":")
	switch {
	case s == "latest":
		return Latest(), nil
	case s == "":
		return Target{}, errTarget
	case ok && kind == "lsn":
		n, err := change.ParseLSN(arg)
		return AtLSN(n), err
	case ok && kind == "label":
		if arg == "" {
			return Target{}, errors.New("the label has no name")
		}
		return AtLabel(arg), nil
	case ok && kind == "tx":
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return Target{}, fmt.Errorf("transaction %q is not a decimal number of at most 20 digits", arg)
		}
		return AtTx(change.TxID(id)), nil
	}
	at, err := r.Parse(s)
	if bad := new(when.Error); errors.As(err, &bad) && bad.Unknown {
		err = errTarget
	}
	return AtTime(change.TimeOf(at)), err
}
