package change

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Op says what a record does.
type Op uint8

// The operations. In a bag, Insert adds one copy of a row and Delete takes one
// away; both carry the whole row, and there is no Update.
const (
	Insert    Op = 1 + iota
	Update       // the row exists and is replaced, or changed where the image is partial
	Delete       // the row is gone
	Truncate     // every row of the collection is gone
	SetSchema    // the collection has this schema from here on; Dropped ends it
	opEnd
)

var opNames = [...]string{Insert: "insert", Update: "update", Delete: "delete", Truncate: "truncate", SetSchema: "schema"}

func (o Op) String() string {
	if o == 0 || o >= opEnd {
		return fmt.Sprintf("op(%d)", uint8(o))
	}
	return opNames[o]
}

// Valid reports whether o is one of the operations.
func (o Op) Valid() bool { return o > 0 && o < opEnd }

// ParseOp reads an operation's name.
func ParseOp(s string) (Op, error) {
	for o := Insert; o < opEnd; o++ {
		if opNames[o] == s {
			return o, nil
		}
	}
	return 0, fmt.Errorf("unknown operation %q (want insert, update, delete, truncate or schema)", s)
}

// Record is one row change in a log, or one row version in a run.
type Record struct {
	LSN        LSN
	Op         Op
	Collection CollectionID
	Key        Key   // empty for Truncate and SetSchema
	Image      Image // the row; for SetSchema the schema's JSON; empty for Truncate and a keyed Delete
	Count      int64 // runs of bags: how many copies; 0 elsewhere
}

// SchemaRecord returns the record that sets a schema. A schema that is not
// valid, or whose JSON is larger than [MaxImage], is refused: no reader would
// take it.
func SchemaRecord(s *Schema) (Record, error) {
	if err := s.Validate(); err != nil {
		return Record{}, err
	}
	j, err := s.MarshalJSON()
	if err != nil {
		return Record{}, fmt.Errorf("schema of collection %q: %w", s.Name, err)
	}
	if len(j) > MaxImage {
		return Record{}, fmt.Errorf("schema of collection %q has %d bytes, the limit is %d: %w", s.Name, len(j), MaxImage, ErrSchema)
	}
	return Record{Op: SetSchema, Collection: s.Collection, Image: j}, nil
}

// Schema returns the schema that a SetSchema record carries.
func (r *Record) Schema() (*Schema, error) {
	s := new(Schema)
	if err := json.Unmarshal(r.Image, s); err != nil {
		return nil, fmt.Errorf("schema record at LSN %d: %w", r.LSN, err)
	}
	if s.Collection != r.Collection {
		return nil, fmt.Errorf("schema record at LSN %d is for collection %d, its schema for %d", r.LSN, r.Collection, s.Collection)
	}
	return s, nil
}

// errTx is wrapped by every error of a malformed transaction.
var errTx = errors.New("transaction is malformed")

// AppendTx appends the canonical encoding of a transaction: what the embedded
// database logs and what a log hash covers. The effective time and the
// position are not part of it. t is whole and holds at least one record, LSNs without
// holes, and keys and images within their limits; AppendTx does not check.
func AppendTx(dst []byte, t *Tx) []byte {
	dst = appendTxHead(dst, t.ID, t.Commit, t.First(), uint64(len(t.Records)))
	for i := range t.Records {
		r := &t.Records[i]
		dst = append(appendRecordHead(dst, r), r.Image...)
	}
	return dst
}

// DecodeTx reads one transaction from the front of b and returns what follows
// it. Keys and images point into b, and empty ones are nil. What AppendTx
// would not write again byte for byte is refused.
func DecodeTx(b []byte) (*Tx, []byte, error) {
	head, rest, err := DecodeTxHead(b)
	const leastRecord = 4 // bytes
	if err != nil || head.Count > int64(len(rest))/leastRecord {
		return nil, nil, errTx
	}
	const firstAlloc = 1 << 14 // records; a false count costs no more than this
	records := make([]Record, 0, min(head.Count, firstAlloc))
	if records, rest = DecodeRecords(records, rest, head.First, head.Count); int64(len(records)) < head.Count {
		return nil, nil, fmt.Errorf("record %d of %d: %w", len(records)+1, head.Count, errTx)
	}
	return &Tx{ID: head.ID, Commit: head.Commit, Records: records}, rest, nil
}

// DecodeTxHead reads what stands before the records in a transaction's
// canonical encoding at the front of b, and returns what follows it. The head
// has neither effective time nor position. [MaxTxHead] bytes are always enough.
func DecodeTxHead(b []byte) (TxHead, []byte, error) {
	d := decoder{b: b}
	h := TxHead{ID: TxID(d.uvarint()), Commit: Time(d.varint()), First: LSN(d.uvarint())}
	n := d.uvarint()
	if d.bad || n == 0 || n > math.MaxInt64 || h.First == 0 || h.First > MaxLSN-LSN(n) {
		return TxHead{}, nil, errTx
	}
	h.Count = int64(n)
	return h, d.b, nil
}

// DecodeRecords appends to dst the records that lie whole at the front of b, at
// most n, and returns what follows them; the first has this LSN. It stops
// before one that goes on after b, or that AppendTx would not write: one of
// more than [MaxRecord] bytes, or that is not whole where it should be, is
// malformed. Keys and images point into b, and empty ones are nil.
func DecodeRecords(dst []Record, b []byte, first LSN, n int64) ([]Record, []byte) {
	for i := range n {
		d := decoder{b: b}
		r := Record{LSN: first + LSN(i), Op: Op(d.byte())}
		c := d.uvarint()
		r.Collection = CollectionID(c)
		r.Key = d.bytes(MaxKey)
		r.Image = d.bytes(MaxImage)
		if d.bad || !r.Op.Valid() || uint64(r.Collection) != c || c == 0 {
			break
		}
		dst, b = append(dst, r), d.b
	}
	return dst, b
}

// Bytes that parts of a canonical encoding have at most.
const (
	MaxTxHead = 4 * binary.MaxVarintLen64
	MaxRecord = 1 + 3*binary.MaxVarintLen64 + MaxKey + MaxImage
)

// decoder reads varints and byte strings, remembering the first failure.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if !minimal(d.b, n) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if !minimal(d.b, n) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(limit uint64) []byte {
	n := d.uvarint()
	if n > limit || n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	if n == 0 {
		return nil
	}
	return out
}

const logDomain = "tidemark log v1\x00"

// LogHash extends a log hash by one transaction in its canonical encoding.
// The hash of an empty log is the zero Hash.
func LogHash(prev Hash, canonical []byte) Hash {
	h := sha256.New()
	var head [len(logDomain) + len(prev)]byte
	copy(head[:], logDomain)
	copy(head[len(logDomain):], prev[:])
	h.Write(head[:])
	h.Write(canonical)
	var out Hash
	h.Sum(out[:0])
	return out
}
