package pack

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("ends inside a value")

// cursor reads varints and byte strings from the front of b and remembers the
// first failure; after it every read yields zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) fail() { c.bad, c.b = true, nil }

// uvarint is small enough to be inlined for values of one byte.
func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	return c.slowUvarint()
}

func (c *cursor) slowUvarint() uint64 {
	if len(c.b) > 1 && c.b[1] < 0x80 && c.b[1] != 0 {
		v := uint64(c.b[0]&0x7f) | uint64(c.b[1])<<7
		c.b = c.b[2:]
		return v
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// varint reads a zigzag-encoded value.
func (c *cursor) varint() int64 {
	v := c.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// take returns the next n bytes, still in place.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// bytes reads a byte string with its length in front.
func (c *cursor) bytes(limit uint64) []byte {
	n := c.uvarint()
	if n > limit {
		c.fail()
		return nil
	}
	return c.take(n)
}

// count reads a number of things of which each takes at least size bytes of
// what is left, so that memory may be allocated for them.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if n > uint64(len(c.b)/size) {
		c.fail()
		return 0
	}
	return int(n)
}

// end reports an error unless everything was read and nothing failed.
func (c *cursor) end() error {
	switch {
	case c.bad:
		return errShort
	case len(c.b) > 0:
		return errors.New("goes on after its last value")
	}
	return nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// sharedPrefix returns how many bytes a and b start with in common, at most limit.
func sharedPrefix(a, b []byte, limit int) int {
	n := min(len(a), len(b), limit)
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
