// Package chain says what the history of a timeline is and means. It does no
// I/O.
//
// A history is a chain of manifests, each of which announces one thing and
// holds the hash of the one before. [DecodeManifest] reads one, and proves that
// it is well-formed by itself. A [State] is what the manifests up to one say;
// [State.Next] alone decides what may follow it, and readers, writers and
// verification all use it. A [SegmentBuilder] works out what a manifest says of
// transactions. FORMAT.md describes keys, manifests and rules.
package chain
