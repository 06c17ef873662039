// Package txlog is a log of transactions in a directory of files: preallocated,
// appended to one synced frame at a time, read while it is written, and
// released from its old end. FORMAT.md describes the files.
//
// A log is made by [Create], found by [Open], and brought back to a whole state
// by [Log.Recover]. What [Log.Append] has returned from survives a crash; what
// [Log.Publish] has shown can be read with [Log.Read].
//
// The package knows transactions only as package change encodes them, and
// nothing of what they are applied to: the order of LSNs and the log hash are
// all that it checks.
package txlog
