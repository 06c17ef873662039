// Package archive keeps the history of a database in a bucket and says what is
// in it.
//
// The history of a timeline is a chain of manifests, each of which announces
// one thing and holds the hash of the one before. [State.Next] alone decides
// what may follow what; it is pure, and readers, writers and verification all
// use it. An [Archive] reads the chain ([Archive.Load]) and adds to it
// ([Archive.Publish]) by one protocol, which protocol.go holds without any I/O
// and the model test explores; a capturer does so as a [Session]
// ([Archive.Claim]). FORMAT.md says what is stored.
//
// On the state rest [Target] and its resolution to an LSN, the plan of what a
// restore reads, and the sorted stream of the database's rows at that LSN.
package archive
