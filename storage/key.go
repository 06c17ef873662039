package storage

import (
	"fmt"
	"iter"
	"strings"
)

// Limits of a key, in bytes. They leave room below what the narrowest store
// takes (255 bytes a file name, 1,024 bytes an S3 key) for a prefix that a
// bucket puts in front.
const (
	MaxKeyLen     = 800
	MaxSegmentLen = 200
)

// CheckKey returns an error that wraps [ErrBadKey] and names the fault if key
// breaks the rules in the comment of [Bucket], nil if it keeps them.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("key is empty: %w", ErrBadKey)
	}
	if len(key) > MaxKeyLen {
		return fmt.Errorf("key %.40q… has %d bytes, at most %d are allowed: %w", key, len(key), MaxKeyLen, ErrBadKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if fault := segmentFault(segment); fault != "" {
			return fmt.Errorf("key %q: segment %q %s: %w", key, segment, fault, ErrBadKey)
		}
	}
	return nil
}

// segmentFault says what is wrong with one segment of a key, "" if nothing is.
func segmentFault(s string) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > MaxSegmentLen:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(s), MaxSegmentLen)
	case s[0] == '.':
		return "starts with a dot"
	case s[len(s)-1] == '.':
		return "ends with a dot"
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Sprintf("holds %q, allowed are letters, digits, '.', '_' and '-'", c)
		}
	}
	return ""
}

// ancestors yields the keys that are directories of key, shortest first:
// "a" and "a/b" for "a/b/c". A bucket holds no object under any of them.
func ancestors(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(key) {
			if key[i] == '/' && !yield(key[:i]) {
				return
			}
		}
	}
}
