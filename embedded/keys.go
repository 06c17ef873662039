package embedded

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// Keys of the state store; FORMAT.md has the table. The first byte is the kind.
const (
	kindMeta   = 0x00
	kindSchema = 0x01
	kindRow    = 0x02
	kindEnd    = 0x03

	rowPrefix = 5 // kind and collection ID
)

// progressKey holds how far the state has come; every batch sets it.
var progressKey = []byte{kindMeta, 'p'}

func schemaKey(c change.CollectionID) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindSchema}, uint32(c))
}

// appendRowKey appends the key of a row; with an empty key, where its collection starts.
func appendRowKey(dst []byte, c change.CollectionID, key change.Key) []byte {
	dst = append(dst, kindRow)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c))
	return append(dst, key...)
}

// rowBounds returns where the rows of a collection start and end.
func rowBounds(c change.CollectionID) (lower, upper []byte) {
	return appendRowKey(nil, c, nil), successor(appendRowKey(nil, c, nil))
}

// successor turns a prefix into the least key after all keys that start with
// it, or nil when there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			prefix[i]++
			return prefix[:i+1]
		}
	}
	return nil
}

// A row's value in the state store: the image, for bags after the count.

func appendBagValue(dst []byte, count int64, image change.Image) []byte {
	return append(binary.AppendUvarint(dst, uint64(count)), image...)
}

func bagValue(v []byte) (count int64, image change.Image, err error) {
	n, size := binary.Uvarint(v)
	if size <= 0 || n == 0 || n > 1<<62 {
		return 0, nil, fmt.Errorf("state: a bag's row has no count: %w", ErrCorrupt)
	}
	return int64(n), v[size:], nil
}

// progress is how far a state has come in its history.
type progress struct {
	LSN    change.LSN
	Hash   change.Hash
	Tx     change.TxID
	Commit change.Time
	NextID change.CollectionID
}

const (
	progressVersion = 1
	progressSize    = 1 + 8 + 32 + 8 + 8 + 4
)

func (p *progress) append(dst []byte) []byte {
	dst = append(dst, progressVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.LSN))
	dst = append(dst, p.Hash[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Tx))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Commit))
	return binary.BigEndian.AppendUint32(dst, uint32(p.NextID))
}

func parseProgress(b []byte) (p progress, err error) {
	if len(b) != progressSize || b[0] != progressVersion {
		return p, fmt.Errorf("state: progress of %d bytes, want %d and version %d: %w", len(b), progressSize, progressVersion, ErrCorrupt)
	}
	b = b[1:]
	p.LSN = change.LSN(binary.BigEndian.Uint64(b))
	copy(p.Hash[:], b[8:])
	p.Tx = change.TxID(binary.BigEndian.Uint64(b[40:]))
	p.Commit = change.Time(binary.BigEndian.Uint64(b[48:]))
	p.NextID = change.CollectionID(binary.BigEndian.Uint32(b[56:]))
	return p, nil
}
