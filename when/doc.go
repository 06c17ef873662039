// Package when reads times as people write them, strictly: what could mean two
// moments, or none, is refused with what to write instead. It never guesses a
// zone, never rounds, and never moves a time.
//
// The grammar, spaces as shown or more of them:
//
//	2026-11-22T17:41:58Z             RFC 3339, to the microsecond
//	2026-11-22 17:41[:58[.5]]Z       a space for the T, seconds may be left out
//	2026-11-22 17:41 +01:00          offsets also as +01 and +0100
//	2026-11-22 17:41 Europe/Zurich   the zone by its IANA name, UTC, or local
//	2026-11-22 17:41                 only with a zone given beside, see [Reader.Zone]
//	today 17:41, yesterday 17:41:58  the same rules for the zone; the day is the zone's
//	2h30m ago, 90m ago, 1d 6h ago    d (24 hours), h, m, s; in that order, each once
//
// A local time that a clock skipped in spring is refused with its two
// neighbours; one that came twice in autumn with both readings. Abbreviations
// such as EST or CET name several zones and are refused.
package when
