// Package checkpoint reads and writes the objects that let a reader open a
// long chain without reading all of it.
//
// The object of a checkpoint holds the manifests of its range as they are
// stored, the state of the chain after the last of them, and the log as
// columns: in chunks of about a thousand segments, which the state's directory
// names wherever they lie, so that one object opens the whole archive and the
// log is read in parts. A hash over the header, which the announcing manifest
// states, proves each section, and through the directory each chunk.
//
// What is in an object follows from the manifests: verification derives it
// again. FORMAT.md has the layout.
package checkpoint
