// Package spine proves the way of a row from a commit to a restore: the
// embedded database, its capture, the archive and the restore together, held
// against a model that knows nothing of logs, packs or chains. It has tests
// only.
//
//	go test ./internal/spine                       some hundred random histories
//	go test ./internal/spine -rapid.checks=5000    thousands
package spine
