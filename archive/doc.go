// Package archive keeps the history of a database in a bucket.
//
// What a history is, package chain says. An [Archive] reads a timeline's chain
// ([Archive.Load]) and adds to it ([Archive.Publish]) by one protocol, which
// protocol.go holds without any I/O and the model test explores; a capturer
// does so as a [Session] ([Archive.Claim]). FORMAT.md says what is stored
// beside the chain, and how.
package archive
