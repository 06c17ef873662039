package change

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// LogHasher extends a log hash by a transaction that comes in parts, so that
// one of any size can be hashed. The zero LogHasher is ready for use.
type LogHasher struct {
	h     hash.Hash
	buf   []byte // what h has not seen yet
	begun bool   // h has seen some of the transaction
}

const fullHash = 16 << 10 // bytes

// Begin starts a transaction after a log whose hash is prev.
func (l *LogHasher) Begin(prev Hash, id TxID, commit Time, first LSN, records int64) {
	l.begun = false
	l.buf = append(l.buf[:0], logDomain...)
	l.buf = append(l.buf, prev[:]...)
	l.buf = appendTxHead(l.buf, id, commit, first, uint64(records))
}

// Add takes the next records of the transaction.
func (l *LogHasher) Add(records []Record) {
	for i := range records {
		r := &records[i]
		if len(r.Image) >= fullHash {
			l.buf = appendRecordHead(l.buf, r)
			l.flush()
			l.h.Write(r.Image)
			continue
		}
		l.buf = append(appendRecordHead(l.buf, r), r.Image...)
		if len(l.buf) >= fullHash {
			l.flush()
		}
	}
}

// BeginBytes starts a transaction after a log whose hash is prev, of which
// AddBytes takes the canonical encoding; then Sum is as usual.
func (l *LogHasher) BeginBytes(prev Hash) {
	l.begun = false
	l.buf = append(l.buf[:0], logDomain...)
	l.buf = append(l.buf, prev[:]...)
}

// AddBytes takes the next bytes of the canonical encoding.
func (l *LogHasher) AddBytes(b []byte) {
	if len(l.buf)+len(b) >= fullHash {
		l.flush()
	}
	if len(b) >= fullHash {
		l.h.Write(b)
		return
	}
	l.buf = append(l.buf, b...)
}

// AddTx takes the next transaction or piece of one, and returns the log hash
// after it; prev is what the hash was before the transaction. The result means
// something only after a whole transaction or its last piece.
func (l *LogHasher) AddTx(prev Hash, t *Tx) Hash {
	if t.Before == 0 {
		h := t.Head()
		l.Begin(prev, h.ID, h.Commit, h.First, h.Count)
	}
	l.Add(t.Records)
	if t.After > 0 {
		return prev
	}
	return l.Sum()
}

func (l *LogHasher) flush() {
	if l.h == nil {
		l.h = sha256.New()
	}
	if !l.begun {
		l.h.Reset()
		l.begun = true
	}
	l.h.Write(l.buf)
	l.buf = l.buf[:0]
}

// Sum returns the log hash with the transaction.
func (l *LogHasher) Sum() Hash {
	if !l.begun {
		return sha256.Sum256(l.buf)
	}
	l.flush()
	var out Hash
	l.h.Sum(out[:0])
	return out
}

func appendTxHead(dst []byte, id TxID, commit Time, first LSN, records uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(id))
	dst = binary.AppendVarint(dst, int64(commit))
	dst = binary.AppendUvarint(dst, uint64(first))
	return binary.AppendUvarint(dst, records)
}

// appendRecordHead appends all of a record but the bytes of its image.
func appendRecordHead(dst []byte, r *Record) []byte {
	dst = append(dst, byte(r.Op))
	dst = binary.AppendUvarint(dst, uint64(r.Collection))
	dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
	dst = append(dst, r.Key...)
	return binary.AppendUvarint(dst, uint64(len(r.Image)))
}
