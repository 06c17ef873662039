package main

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
)

// targetForms says how a target is written, for help texts.
const targetForms = "latest, a time such as 2026-11-22T17:41:58Z, lsn:N, label:NAME or tx:ID (all included), or before: one of these"

// targetHelp is the help topic about targets.
const targetHelp = `A target says where a restore stops. What it names is included:

  latest                    everything that the archive holds
  2026-11-22T17:41:58Z      every transaction up to that time, as the archive counts it
  '2026-11-22 18:41+01:00'  the same, less precisely; a zone is always needed
  lsn:N                     up to the transaction that ends at LSN N
  label:NAME                a restore point that was given a name
  tx:ID                     up to that transaction

With before: in front of a time, lsn: or tx:, what it names is left out:

  before:tx:88213           up to the transaction before it

A time is good up to what the archive covers, even when nothing happened since the
last transaction. Any other time is refused, never moved: the error names the
nearest moments that can be restored.`

// parseTarget reads the target that a flag gives.
func parseTarget(flag, s string) (recovery.Target, error) {
	if s == "" {
		return recovery.Target{}, usageError{fmt.Errorf("%s is missing: %s", flag, targetForms)}
	}
	t, err := recovery.ParseTarget(s)
	if err != nil {
		return t, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return t, nil
}

// parseTime reads the time that a flag gives; "" is 0.
func parseTime(flag, s string) (change.Time, error) {
	if s == "" {
		return 0, nil
	}
	t, err := recovery.ParseTime(s)
	if err != nil {
		return 0, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return t, nil
}

// byteFlag is a number of bytes such as 8MiB.
type byteFlag int64

func (b *byteFlag) String() string {
	if *b == 0 {
		return ""
	}
	return humanize.IBytes(uint64(*b))
}

func (b *byteFlag) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a number of bytes such as 8MiB", s)
	}
	*b = byteFlag(n)
	return nil
}

func (b *byteFlag) Type() string { return "size" }
