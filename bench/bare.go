package bench

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/change"
)

// The bare pipeline is the yardstick of restores: the shortest program we
// could think of that reads a sorted base and log segments from disk, hashes,
// decompresses and decodes them, sorts the changes, merges them with the base
// and ingests sorted tables into a fresh Pebble. It knows no chain, schema,
// limit, damage or memory bound, and only changes whose images are full.

const (
	bareBlock    = 1 << 20 // bytes of raw block at which the next one starts
	bareBaseFile = "base"
	bareIndex    = "index.json"
)

// bareBlockRef places one compressed block in its file.
type bareBlockRef struct {
	Offset, Size, Raw int64
	Records           int
	First             []byte // key of the first record
	Hash              [sha256.Size]byte
}

// bareArchive says what a directory written by [writeBare] holds.
type bareArchive struct {
	Base     []bareBlockRef
	Segments [][]bareBlockRef
}

func bareSegmentFile(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprintf("segment-%03d", n))
}

// bareWriter cuts records into compressed blocks of one file. A raw block is
// the number of records, then for each the op and the lengths of key and
// image, then all keys, then all images.
type bareWriter struct {
	f                   *os.File
	enc                 *zstd.Encoder
	head, keys, images  []byte
	records             int
	first               []byte
	offset              int64
	blocks              []bareBlockRef
	rawBuf, compressBuf []byte
}

func createBare(path string, enc *zstd.Encoder) (*bareWriter, error) {
	f, err := os.Create(path)
	return &bareWriter{f: f, enc: enc}, err
}

func (w *bareWriter) add(op change.Op, key, image []byte) error {
	if w.records == 0 {
		w.first = append([]byte(nil), key...)
	}
	w.head = append(w.head, byte(op))
	w.head = binary.AppendUvarint(w.head, uint64(len(key)))
	w.head = binary.AppendUvarint(w.head, uint64(len(image)))
	w.keys = append(w.keys, key...)
	w.images = append(w.images, image...)
	w.records++
	if len(w.head)+len(w.keys)+len(w.images) < bareBlock {
		return nil
	}
	return w.flush()
}

func (w *bareWriter) flush() error {
	if w.records == 0 {
		return nil
	}
	raw := binary.AppendUvarint(w.rawBuf[:0], uint64(w.records))
	raw = binary.AppendUvarint(raw, uint64(len(w.keys)))
	raw = append(append(append(raw, w.head...), w.keys...), w.images...)
	stored := w.enc.EncodeAll(raw, w.compressBuf[:0])
	w.rawBuf, w.compressBuf = raw, stored
	w.blocks = append(w.blocks, bareBlockRef{w.offset, int64(len(stored)), int64(len(raw)), w.records, w.first, sha256.Sum256(stored)})
	w.offset += int64(len(stored))
	w.head, w.keys, w.images, w.records = w.head[:0], w.keys[:0], w.images[:0], 0
	_, err := w.f.Write(stored)
	return err
}

func (w *bareWriter) close() ([]bareBlockRef, error) {
	return w.blocks, errors.Join(w.flush(), w.f.Sync(), w.f.Close())
}

// writeBare writes what [restoreBare] reads: the base in one sorted file, the
// transactions in segments of at least perSegment records.
func writeBare(dir string, base iter.Seq2[Row, error], txs iter.Seq2[*change.Tx, error], perSegment int) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	var a bareArchive
	w, err := createBare(filepath.Join(dir, bareBaseFile), enc)
	if err != nil {
		return err
	}
	for r, err := range base {
		if err == nil {
			err = w.add(change.Insert, r.Key, r.Image)
		}
		if err != nil {
			return err
		}
	}
	if a.Base, err = w.close(); err != nil {
		return err
	}
	if a.Segments, err = writeBareSegments(dir, txs, perSegment, enc); err != nil {
		return err
	}
	index, err := json.Marshal(&a)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, bareIndex), index, 0o644)
}

func writeBareSegments(dir string, txs iter.Seq2[*change.Tx, error], perSegment int, enc *zstd.Encoder) ([][]bareBlockRef, error) {
	var segments [][]bareBlockRef
	var w *bareWriter
	records := 0
	finish := func() error {
		if w == nil {
			return nil
		}
		blocks, err := w.close()
		segments, w, records = append(segments, blocks), nil, 0
		return err
	}
	for t, err := range txs {
		if err != nil {
			return nil, err
		}
		if w == nil {
			if w, err = createBare(bareSegmentFile(dir, len(segments)), enc); err != nil {
				return nil, err
			}
		}
		for i := range t.Records {
			r := &t.Records[i]
			if err := w.add(r.Op, r.Key, r.Image); err != nil {
				return nil, err
			}
		}
		if records += len(t.Records); records >= perSegment {
			if err := finish(); err != nil {
				return nil, err
			}
		}
	}
	return segments, finish()
}

func openBare(dir string) (*bareArchive, error) {
	b, err := os.ReadFile(filepath.Join(dir, bareIndex))
	if err != nil {
		return nil, err
	}
	a := new(bareArchive)
	return a, json.Unmarshal(b, a)
}

var errBare = errors.New("bare block is damaged")

// bareReader reads blocks of a file: ranged read, hash, decompression.
type bareReader struct {
	f      *os.File
	dec    *zstd.Decoder
	stored []byte
}

func openBareFile(path string) (*bareReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	return &bareReader{f: f, dec: dec}, err
}

// block returns the raw block, in buf's storage if that is large enough.
func (r *bareReader) block(ref *bareBlockRef, buf []byte) ([]byte, error) {
	if int64(cap(r.stored)) < ref.Size {
		r.stored = make([]byte, ref.Size+ref.Size/4)
	}
	stored := r.stored[:ref.Size]
	if _, err := r.f.ReadAt(stored, ref.Offset); err != nil {
		return nil, err
	}
	if sha256.Sum256(stored) != ref.Hash {
		return nil, errBare
	}
	if int64(cap(buf)) < ref.Raw {
		buf = make([]byte, 0, ref.Raw)
	}
	return r.dec.DecodeAll(stored, buf[:0])
}

func (r *bareReader) close() {
	r.dec.Close()
	r.f.Close()
}

// bareCursor walks the records of a raw block.
type bareCursor struct {
	left               int
	head, keys, images []byte
}

func newBareCursor(raw []byte, ref *bareBlockRef) (bareCursor, error) {
	n, a := binary.Uvarint(raw)
	if a <= 0 || n != uint64(ref.Records) {
		return bareCursor{}, errBare
	}
	keysLen, b := binary.Uvarint(raw[a:])
	c := bareCursor{left: int(n), head: raw[a+b:]}
	p := c.head // the heads end where their number is reached
	for range c.left {
		p = p[1:]
		_, k := binary.Uvarint(p)
		_, i := binary.Uvarint(p[k:])
		p = p[k+i:]
	}
	c.head = c.head[:len(c.head)-len(p)]
	c.keys, c.images = p[:keysLen], p[keysLen:]
	return c, nil
}

// next returns the next record; its parts point into the block.
func (c *bareCursor) next() (op change.Op, key, image []byte, ok bool) {
	if c.left == 0 {
		return 0, nil, nil, false
	}
	c.left--
	op = change.Op(c.head[0])
	k, a := binary.Uvarint(c.head[1:])
	i, b := binary.Uvarint(c.head[1+a:])
	c.head = c.head[1+a+b:]
	key, image = c.keys[:k:k], c.images[:i:i]
	c.keys, c.images = c.keys[k:], c.images[i:]
	return op, key, image, true
}
