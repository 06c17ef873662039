// Package storage is where an archive's objects live.
//
// A [Bucket] is a flat, ordered set of immutable objects. The package holds
// the contract and two implementations: [Dir], a directory that survives a
// power cut, and [Mem], for tests and tools. Package storagetest proves any
// implementation against the contract and wraps one with faults.
package storage

import (
	"context"
	"errors"
	"io"
	"iter"
)

var (
	// ErrExists is returned by Create when the key already holds an object.
	// After an earlier attempt whose outcome is unknown, the object may be
	// the caller's own: read it back before drawing a conclusion.
	ErrExists = errors.New("object already exists")

	// ErrNotFound is returned when the key holds no object.
	ErrNotFound = errors.New("object not found")

	// ErrUnavailable is returned when the store as a whole cannot be reached
	// or used (directory missing, mount gone, full, not writable), as opposed
	// to one object of it. The caller may try again later.
	ErrUnavailable = errors.New("store unavailable")

	// ErrBadKey is returned for a key that breaks the rules of [Bucket]: by
	// its form, or because it is a directory of a stored key or lies under
	// one. It is a mistake of the program; trying again does not help.
	ErrBadKey = errors.New("bad key")
)

// Info describes one stored object.
type Info struct {
	Key  string
	Size int64 // bytes
}

// A Bucket stores immutable objects under keys.
//
// A key is one or more segments of [A-Za-z0-9._-], separated by '/'; no
// segment is empty, starts or ends with a dot or is longer than
// [MaxSegmentLen], and the key is no longer than [MaxKeyLen] (see [CheckKey]).
// Every method but List refuses another key with ErrBadKey. Keys are ordered
// bytewise, '/' like any other byte: "a-b" < "a/b" < "a0".
//
// Two stored keys never differ by case only, and none is a directory of the
// other ("a" and "a/b"): callers see to it, since not every store can tell
// them apart. Dir and Mem refuse the second of "a" and "a/b" with ErrBadKey.
//
// All methods are safe for concurrent use by several goroutines and, unless
// the implementation says otherwise, by several processes and hosts. No method
// retries by itself: who retries knows what an ambiguous answer means to him.
type Bucket interface {
	// Create stores what body yields until io.EOF as the object key, if the
	// key holds none. The object appears whole or not at all, under exactly
	// one winner when several create the same key, and is durable when
	// Create returns nil: it survives a crash of process and machine.
	//
	// An error that wraps ErrExists says that the key was taken and that the
	// object there is durable; body may have been read or not. An error from
	// body, and ctx ending before body did, is returned wrapped, and nothing
	// is stored. After any other error the object may nevertheless exist now
	// or come into existence later; it is then whole.
	Create(ctx context.Context, key string, body io.Reader) error

	// Read returns length bytes of the object from offset on; length < 0
	// means up to the end. Reading past the end, which includes starting
	// beyond it, yields io.ErrUnexpectedEOF from the reader (or from Read
	// itself), never a silent short read; with length < 0 the reader yields
	// every byte up to the end or an error. A negative offset is an error.
	// A missing object is ErrNotFound, from Read itself. ctx governs the
	// reader too. The caller closes the reader.
	Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Size returns the object's size in bytes, or ErrNotFound.
	Size(ctx context.Context, key string) (int64, error)

	// List yields the objects whose keys start with prefix and are greater
	// than after, in key order. An object created before the call began is
	// listed, unless the store is only eventually consistent in its lists:
	// then it may be missing for a while, and callers must probe. An object
	// created or deleted meanwhile may be listed or not. prefix and after are
	// any strings, prefix need not end at a '/'. The sequence ends at the
	// first error; it may be ranged over again, which lists anew.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes the object, durably. Removing what is not there is no
	// error. A reader opened before may go on or fail, but yields no wrong byte.
	Delete(ctx context.Context, key string) error
}
