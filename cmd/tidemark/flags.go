package main

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// targetForms says how a target is written, for help texts.
const targetForms = "latest, a time such as 2026-11-22T17:41:58Z or '2h30m ago', lsn:N, label:NAME or tx:ID (all included), or before: one of these"

// targetLine says the same in a help text, and where to read more.
const targetLine = `A target is latest, a time such as 2026-11-22T17:41:58Z or '2h30m ago', lsn:N,
label:NAME or tx:ID, all included, or before: one of these: tidemark help targets.`

// targetHelp is the help topic about targets.
const targetHelp = `A target says where a restore stops. What it names is included:

  latest                    everything that the archive holds
  TIME                      every transaction up to that time, as the archive counts it
  lsn:N                     up to the transaction that ends at LSN N
  label:NAME                a restore point that was given a name
  tx:ID                     up to that transaction

With before: in front of any but latest, what it names is left out:

  before:tx:88213           up to the transaction before it

A TIME is written in one of these ways; find takes the same ones:

  2026-11-22T17:41:58Z            RFC 3339, to the microsecond
  '2026-11-22 18:41+01:00'        a space for the T, without seconds
  '2026-11-22 18:41 Europe/Zurich'
                                  the zone by its name, UTC, or local
  '2026-11-22 18:41'              in the zone of --tz or TIDEMARK_TZ
  'today 18:41', 'yesterday 18:41:58'
                                  the same rules for the zone
  '2h30m ago'                     days of 24 hours (d), h, m, s

No zone is ever guessed. A local time that a clock skipped in spring is refused;
of one that it showed twice in autumn both are offered. EST, CET and the like name
several zones and are refused.

A time is good up to what the archive covers, even when nothing happened since the
last transaction. Any other time is refused, never moved: the error names the
nearest moments that can be restored.`

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
