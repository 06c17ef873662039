package main

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/change"
)

// targetForms says how a target is written, for help texts.
const targetForms = "latest, a time such as 2026-11-22T17:41:58Z, lsn:N, label:NAME or tx:ID (all included), or before: one of these"

// parseTarget reads the target that a flag gives.
func parseTarget(flag, s string) (archive.Target, error) {
	if s == "" {
		return archive.Target{}, usageError{fmt.Errorf("%s is missing: %s", flag, targetForms)}
	}
	t, err := archive.ParseTarget(s)
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
	t, err := archive.ParseTime(s)
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
