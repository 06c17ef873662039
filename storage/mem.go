package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
)

// A Mem is a [Bucket] in memory, durable as long as the process lives. The
// zero value is an empty bucket.
type Mem struct {
	mu      sync.RWMutex
	objects map[string][]byte // values are never changed; guarded by mu
	keys    []string          // sorted; guarded by mu
}

// NewMem returns an empty bucket.
func NewMem() *Mem { return &Mem{} }

// String returns "mem".
func (m *Mem) String() string { return "mem" }

// Create implements [Bucket].
func (m *Mem) Create(ctx context.Context, key string, body io.Reader) error {
	if err := checkCall(ctx, key); err != nil {
		return err
	}
	data, err := io.ReadAll(contextReader{ctx, body})
	if err != nil {
		return fmt.Errorf("create %s: read body: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		return fmt.Errorf("create %s: %w", key, ErrExists)
	}
	at, _ := slices.BinarySearch(m.keys, key)
	if below, _ := slices.BinarySearch(m.keys, key+"/"); below < len(m.keys) && strings.HasPrefix(m.keys[below], key+"/") {
		return fmt.Errorf("create %s: there are objects below %s/: %w", key, key, ErrBadKey)
	}
	for above := range ancestors(key) {
		if _, ok := m.objects[above]; ok {
			return fmt.Errorf("create %s: %s is an object: %w", key, above, ErrBadKey)
		}
	}
	if m.objects == nil {
		m.objects = make(map[string][]byte)
	}
	m.objects[key] = data
	m.keys = slices.Insert(m.keys, at, key)
	return nil
}

// Read implements [Bucket].
func (m *Mem) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	data, err := m.object(ctx, "read", key)
	if err != nil {
		return nil, err
	}
	n, err := checkRange(key, int64(len(data)), offset, length)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(contextReader{ctx, bytes.NewReader(data[offset : offset+n])}), nil
}

// Size implements [Bucket].
func (m *Mem) Size(ctx context.Context, key string) (int64, error) {
	data, err := m.object(ctx, "size of", key)
	return int64(len(data)), err
}

// List implements [Bucket].
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		// Objects are looked up one by one, so that the consumer may use the
		// bucket meanwhile. "\x00" makes the smallest string above a key.
		for from := max(prefix, after+"\x00"); ; {
			if err := ctx.Err(); err != nil {
				yield(Info{}, err)
				return
			}
			info, ok := m.first(from)
			if !ok || !strings.HasPrefix(info.Key, prefix) || !yield(info, nil) {
				return
			}
			from = info.Key + "\x00"
		}
	}
}

// Delete implements [Bucket].
func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := checkCall(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := slices.BinarySearch(m.keys, key); ok {
		m.keys = slices.Delete(m.keys, at, at+1)
		delete(m.objects, key)
	}
	return nil
}

// first returns the first object whose key is from or greater.
func (m *Mem) first(from string) (Info, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at, _ := slices.BinarySearch(m.keys, from)
	if at == len(m.keys) {
		return Info{}, false
	}
	return Info{Key: m.keys[at], Size: int64(len(m.objects[m.keys[at]]))}, true
}

func (m *Mem) object(ctx context.Context, op, key string) ([]byte, error) {
	if err := checkCall(ctx, key); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	data, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("%s %s: %w", op, key, ErrNotFound)
	}
	return data, nil
}

// checkCall refuses bad keys and an ended context.
func checkCall(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

// A contextReader stops when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
