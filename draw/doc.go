// Package draw draws the timelines of an archive as lines of text: a band of
// what can be restored with its gaps, the marks on it, and forks as lanes under
// the lane that they leave. It is pure: the same lanes make the same lines.
package draw
