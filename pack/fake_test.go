package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// bucket is a storage.Bucket in memory that counts its requests.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte // guarded by mu
	reads   int               // guarded by mu
	bytes   int64             // guarded by mu
}

func (b *bucket) Create(_ context.Context, key string, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = make(map[string][]byte)
	}
	if _, ok := b.objects[key]; ok {
		return storage.ErrExists
	}
	b.objects[key] = data
	return nil
}

func (b *bucket) Read(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.objects[key]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, storage.ErrNotFound)
	}
	b.reads++
	if offset > int64(len(data)) || length >= 0 && offset+length > int64(len(data)) {
		return nil, io.ErrUnexpectedEOF
	}
	if length < 0 {
		length = int64(len(data)) - offset
	}
	b.bytes += length
	return io.NopCloser(bytes.NewReader(data[offset : offset+length])), nil
}

func (b *bucket) Size(_ context.Context, key string) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.objects[key]
	if !ok {
		return 0, storage.ErrNotFound
	}
	return int64(len(data)), nil
}

func (b *bucket) List(_ context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(b.objects)) {
			if strings.HasPrefix(k, prefix) && k > after && !yield(storage.Info{Key: k, Size: int64(len(b.objects[k]))}, nil) {
				return
			}
		}
	}
}

func (b *bucket) Delete(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return nil
}

// count returns the requests and bytes since the last call.
func (b *bucket) count() (reads int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reads, bytes = b.reads, b.bytes
	b.reads, b.bytes = 0, 0
	return reads, bytes
}

const testKey = "main/log/pack"

// bucketOf returns a bucket that holds one pack, and its reference.
func bucketOf(data []byte, ref Ref) (*bucket, Ref) {
	ref.Key = testKey
	return &bucket{objects: map[string][]byte{testKey: data}}, ref
}

// logPack writes transactions to a pack in memory.
func logPack(t testing.TB, o WriterOptions, txs ...*change.Tx) ([]byte, Ref, *Index) {
	t.Helper()
	var buf bytes.Buffer
	w := NewLogWriter(&buf, o)
	for _, tx := range txs {
		if err := w.AppendTx(tx); err != nil {
			t.Fatal(err)
		}
	}
	ref, ix, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if ref.Size != int64(buf.Len()) {
		t.Fatalf("reference says %d bytes, the pack has %d", ref.Size, buf.Len())
	}
	return buf.Bytes(), ref, ix
}

// runPack writes row versions to a pack in memory.
func runPack(t testing.TB, o WriterOptions, records []change.Record, tombstones ...Tombstone) ([]byte, Ref, *Index) {
	t.Helper()
	var buf bytes.Buffer
	w := NewRunWriter(&buf, o)
	for i := range records {
		if err := w.Append(&records[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, ts := range tombstones {
		w.AddTombstone(ts)
	}
	ref, ix, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), ref, ix
}

// mustOpen opens a pack that has to be sound.
func mustOpen(t testing.TB, data []byte, ref Ref) *Reader {
	t.Helper()
	b, ref := bucketOf(data, ref)
	r, err := Open(t.Context(), b, ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sum(b []byte) change.Hash { return sha256.Sum256(b) }
