package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tidemarkdb/tidemark/change"
)

// Images of one class are stored split into their columns when they are in the
// canonical form of package change: the values of a column then stand beside
// each other, which compresses far better than rows do. Joining them yields the
// same bytes again. Images that are not in that form are stored as they are.

// Kinds of value in an image, as FORMAT.md of package change numbers them.
const (
	kindAbsent    = 0 // the image has no such column
	kindNull      = 1
	kindFalse     = 2
	kindTrue      = 3
	kindInt64     = 4
	kindFloat64   = 5
	kindText      = 6
	kindBytes     = 7
	kindTimestamp = 8
	kindDecimal   = 9
	kindNative    = 10
	kindEnd       = 11

	kindMixed = 15 // of a column: each record has its own, in streamKinds
	deltaBit  = 16 // of a column: numbers are stored as differences
)

// Flags of an image: its first byte.
const (
	imageFull    = 0
	imagePartial = 1
)

// A class is split only when it has at least minSplit records, and a column
// directory of at most one entry per image byte.
const minSplit = 8

// splitColumn is one column of the images of a class, on its way into a block.
type splitColumn struct {
	id        change.ColumnID
	kinds     []byte // per record
	kind      byte   // of all records, or kindMixed
	nums      []byte // varints of integers and times, 8 bytes a float
	lens      []byte
	bytes     []byte
	prev      int64
	deltaSize int  // bytes that nums would have as differences
	floats    bool // nums holds floats, too
}

// splitter takes images of a class apart. Its memory is reused.
type splitter struct {
	columns []splitColumn
	used    int // columns in use
}

// column returns the column with this ID at or after position at, where it is
// unless the images differ in their columns.
func (s *splitter) column(at int, id change.ColumnID, record int) int {
	for at < s.used && s.columns[at].id < id {
		at++
	}
	if at < s.used && s.columns[at].id == id {
		return at
	}
	if s.used == len(s.columns) {
		s.columns = append(s.columns, splitColumn{})
	}
	fresh := s.columns[s.used]
	copy(s.columns[at+1:s.used+1], s.columns[at:s.used])
	s.used++
	s.columns[at] = splitColumn{id: id, kinds: fresh.kinds[:0], nums: fresh.nums[:0], lens: fresh.lens[:0], bytes: fresh.bytes[:0]}
	s.columns[at].fill(record)
	return at
}

// fill says that the column is absent up to a record.
func (c *splitColumn) fill(records int) {
	for len(c.kinds) < records {
		c.kinds = append(c.kinds, kindAbsent)
	}
}

// split takes the images apart whose lengths lens holds. It reports false when
// they are to be stored as they are.
func (s *splitter) split(images, lens []byte, records int) bool {
	s.used = 0
	size := len(images)
	if records < minSplit {
		return false
	}
	lengths := cursor{b: lens}
	for i := range records {
		n := lengths.uvarint()
		if !s.image(images[:n], i) || s.used*records > 2*size {
			return false
		}
		images = images[n:]
	}
	for i := range s.used {
		c := &s.columns[i]
		c.fill(records)
		c.kind = c.kinds[0]
		for _, k := range c.kinds {
			if k != c.kind {
				c.kind = kindMixed
				break
			}
		}
		if !c.floats && c.deltaSize < len(c.nums)-len(c.nums)/8 {
			c.toDeltas()
		}
	}
	return true
}

// image takes one image apart; it reports false unless joining yields the same bytes.
func (s *splitter) image(b []byte, record int) bool {
	if len(b) == 0 || b[0] > imagePartial {
		return false
	}
	b = b[1:]
	var id change.ColumnID
	at := 0
	for len(b) > 0 {
		kind := b[0] & 15
		delta := uint64(b[0] >> 4)
		b = b[1:]
		if delta == 15 {
			n := 0
			if delta, n = minimalUvarint(b); n <= 0 || delta < 15 {
				return false
			}
			b = b[n:]
		}
		if delta == 0 || delta > 1<<32-1-uint64(id) || kind == kindAbsent || kind >= kindEnd {
			return false
		}
		id += change.ColumnID(delta)
		at = s.column(at, id, record)
		c := &s.columns[at]
		at++
		if len(c.kinds) < record {
			c.fill(record)
		}
		c.kinds = append(c.kinds, kind)
		n := c.value(kind, b)
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// value takes the value at the front of b into the column and returns its
// size, or −1 when it is not well formed.
func (c *splitColumn) value(kind byte, b []byte) int {
	switch kind {
	case kindInt64, kindTimestamp:
		u, n := minimalUvarint(b)
		if n <= 0 {
			return -1
		}
		v := int64(u>>1) ^ -int64(u&1)
		c.nums = append(c.nums, b[:n]...)
		d := v - c.prev
		c.deltaSize += (bits.Len64(uint64(d<<1)^uint64(d>>63)|1) + 6) / 7
		c.prev = v
		return n
	case kindFloat64:
		if len(b) < 8 {
			return -1
		}
		c.nums = append(c.nums, b[:8]...)
		c.floats = true
		return 8
	case kindText, kindBytes, kindDecimal, kindNative:
		l, n := minimalUvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return -1
		}
		c.lens = append(c.lens, b[:n]...)
		c.bytes = append(c.bytes, b[n:n+int(l)]...)
		return n + int(l)
	}
	return 0
}

// toDeltas stores the numbers as differences.
func (c *splitColumn) toDeltas() {
	in := cursor{b: c.nums}
	out := make([]byte, 0, c.deltaSize)
	var prev int64
	for len(in.b) > 0 {
		v := in.varint()
		out = binary.AppendVarint(out, v-prev)
		prev = v
	}
	c.nums = out
	c.kind |= deltaBit
}

// minimalUvarint is binary.Uvarint for values in their shortest form only.
func minimalUvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	v, n := binary.Uvarint(b)
	if n > 1 && b[n-1] == 0 {
		return 0, -1
	}
	return v, n
}

// appendDirectory appends what streamColumns says of a split class.
func (s *splitter) appendDirectory(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.used))
	var last change.ColumnID
	for i := range s.used {
		c := &s.columns[i]
		b = binary.AppendUvarint(b, uint64(c.id-last))
		last = c.id
		b = append(b, c.kind)
		b = binary.AppendUvarint(b, uint64(len(c.nums)))
		b = binary.AppendUvarint(b, uint64(len(c.lens)))
		b = binary.AppendUvarint(b, uint64(len(c.bytes)))
	}
	return b
}

// joinColumn is one column of the images of a class, on its way out of a block.
type joinColumn struct {
	id    change.ColumnID
	kind  byte
	delta bool
	kinds []byte
	nums  []byte
	lens  cursor
	bytes []byte
	prev  int64
}

// joiner puts images together again. It holds what is left of the streams.
type joiner struct {
	directory cursor
	kinds     cursor
	nums      cursor
	lens      cursor
	bytes     cursor
	out       []byte // room for the images, and joinSlack bytes more
	columns   []joinColumn
}

const (
	// joinSlack is more than a value takes beside the bytes of a string, a
	// short copy included.
	joinSlack = 64
	// shortCopy is the size in bytes up to which a string is copied as if it
	// had that size: a move of fixed size needs no call.
	shortCopy = 32
)

var errJoin = errors.New("columns of the images do not fit together")

// reset lets go of the streams.
func (j *joiner) reset() {
	clear(j.columns)
	*j = joiner{columns: j.columns[:0]}
}

// begin reads the column directory of the next split class.
func (j *joiner) begin(records int) error {
	j.columns = j.columns[:0]
	var id uint64
	for range j.directory.count(5) {
		id += j.directory.uvarint()
		kind := j.directory.byte()
		nums, lens, size := j.directory.uvarint(), j.directory.uvarint(), j.directory.uvarint()
		c := joinColumn{id: change.ColumnID(id), kind: kind &^ deltaBit, delta: kind&deltaBit != 0,
			nums: j.nums.take(nums), lens: cursor{b: j.lens.take(lens)}, bytes: j.bytes.take(size)}
		if c.kind == kindMixed {
			c.kinds = j.kinds.take(uint64(records))
		}
		if id == 0 || id > 1<<32-1 || len(j.columns) > 0 && c.id <= j.columns[len(j.columns)-1].id ||
			c.kind == kindAbsent || c.kind >= kindEnd && c.kind != kindMixed || kind >= 2*deltaBit ||
			j.directory.bad || j.nums.bad || j.lens.bad || j.bytes.bad || j.kinds.bad {
			return fmt.Errorf("column %d of kind %d: %w", id, kind, errJoin)
		}
		j.columns = append(j.columns, c)
	}
	if j.directory.bad {
		return errShort
	}
	return nil
}

// image puts the image of record i of the class together.
func (j *joiner) image(flag byte, i int) (change.Image, bool) {
	out := j.out
	limit := len(out) - joinSlack
	if limit < 1 {
		return nil, false
	}
	out[0] = flag
	n := 1
	var last change.ColumnID
	for k := range j.columns {
		c := &j.columns[k]
		kind := c.kind
		if kind == kindMixed {
			if kind = c.kinds[i]; kind == kindAbsent {
				continue
			}
		}
		if delta := c.id - last; delta < 15 {
			out[n] = byte(delta)<<4 | kind
			n++
		} else {
			out[n] = 15<<4 | kind
			n += 1 + binary.PutUvarint(out[n+1:], uint64(delta))
		}
		last = c.id
		switch kind {
		case kindText, kindBytes, kindDecimal, kindNative:
			l := c.lens.uvarint()
			if l > uint64(len(c.bytes)) || l > uint64(limit-n) || c.lens.bad {
				return nil, false
			}
			if l < 0x80 {
				out[n] = byte(l)
				n++
			} else {
				n += binary.PutUvarint(out[n:], l)
			}
			if l <= shortCopy && len(c.bytes) >= shortCopy {
				// What is written too much, the next value overwrites.
				copyShort((*[shortCopy]byte)(out[n:]), (*[shortCopy]byte)(c.bytes))
				n += int(l)
			} else {
				n += copy(out[n:], c.bytes[:l])
			}
			c.bytes = c.bytes[l:]
		case kindInt64, kindTimestamp:
			m := c.number(out[n:])
			if m == 0 {
				return nil, false
			}
			n += m
		case kindFloat64:
			if len(c.nums) < 8 {
				return nil, false
			}
			n += copy(out[n:], c.nums[:8])
			c.nums = c.nums[8:]
		case kindNull, kindFalse, kindTrue:
		default:
			return nil, false
		}
		if n > limit {
			return nil, false
		}
	}
	if n > change.MaxImage {
		return nil, false
	}
	j.out = out[n:]
	return out[:n:n], true
}

// copyShort copies word by word: assigning one array to the other would be a
// call, as they could overlap.
func copyShort(to, from *[shortCopy]byte) {
	a, b := binary.NativeEndian.Uint64(from[0:]), binary.NativeEndian.Uint64(from[8:])
	c, d := binary.NativeEndian.Uint64(from[16:]), binary.NativeEndian.Uint64(from[24:])
	binary.NativeEndian.PutUint64(to[0:], a)
	binary.NativeEndian.PutUint64(to[8:], b)
	binary.NativeEndian.PutUint64(to[16:], c)
	binary.NativeEndian.PutUint64(to[24:], d)
}

// number writes the column's next number to out and returns its size, or 0
// when there is none.
func (c *joinColumn) number(out []byte) int {
	b := c.nums
	if !c.delta {
		for i := range min(len(b), binary.MaxVarintLen64) {
			out[i] = b[i]
			if b[i] < 0x80 {
				c.nums = b[i+1:]
				return i + 1
			}
		}
		return 0
	}
	d, n := binary.Varint(b)
	if n <= 0 {
		return 0
	}
	c.nums = b[n:]
	c.prev += d
	return binary.PutVarint(out, c.prev)
}

// end reports an error unless the columns of the class are used up.
func (j *joiner) end() error {
	for i := range j.columns {
		c := &j.columns[i]
		if len(c.nums) > 0 || len(c.lens.b) > 0 || len(c.bytes) > 0 {
			return fmt.Errorf("column %d goes on after its last value: %w", c.id, errJoin)
		}
	}
	return nil
}

// finish reports an error unless all streams are used up and out is full.
func (j *joiner) finish() error {
	for _, c := range []*cursor{&j.directory, &j.kinds, &j.nums, &j.lens, &j.bytes} {
		if err := c.end(); err != nil {
			return fmt.Errorf("columns of images: %w", err)
		}
	}
	if len(j.out) != joinSlack {
		return fmt.Errorf("images have %d bytes less than they should: %w", len(j.out)-joinSlack, errJoin)
	}
	return nil
}
