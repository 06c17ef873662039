// Package storagetest proves implementations of [storage.Bucket] against its
// contract, and wraps a bucket with faults.
//
// A new bucket proves itself in one line:
//
//	storagetest.Run(t, func(t *testing.T) storage.Bucket { return open(t) })
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
)

// Run tests the contract of [storage.Bucket] on buckets that open returns.
// Each call of open must return an empty bucket that stays usable until the
// test it was given ends; open closes it with t.Cleanup if need be.
func Run(t *testing.T, open func(t *testing.T) storage.Bucket) {
	cases := []struct {
		name string
		test func(*testing.T, storage.Bucket)
	}{
		{"create and read", testCreateRead},
		{"create where an object is", testCreateExists},
		{"empty object", testEmpty},
		{"5 MiB object", testLarge},
		{"odd bodies", testOddBodies},
		{"body fails", testBodyFails},
		{"ranges", testRanges},
		{"missing object", testMissing},
		{"delete", testDelete},
		{"bad keys", testBadKeys},
		{"long keys", testLongKeys},
		{"cancelled context", testCancelled},
		{"context ends while the body is read", testCancelledBody},
		{"list of nothing", testListEmpty},
		{"list order", testListOrder},
		{"list of thousands", testListThousands},
		{"list stopped early", testListStopped},
		{"create race", testCreateRace},
		{"readers during create", testReadersDuringCreate},
		{"creators of different keys", testParallelCreates},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// put creates an object or ends the test.
func put(t testing.TB, b storage.Bucket, key string, data []byte) {
	t.Helper()
	if err := b.Create(t.Context(), key, bytes.NewReader(data)); err != nil {
		t.Fatalf("create %s: %v", key, err)
	}
}

// get reads a range to its end. The error is that of Read or of the reader.
func get(ctx context.Context, b storage.Bucket, key string, offset, length int64) ([]byte, error) {
	r, err := b.Read(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// wantObject checks that key holds exactly data, by Read and by Size.
func wantObject(t testing.TB, b storage.Bucket, key string, data []byte) {
	t.Helper()
	got, err := get(t.Context(), b, key, 0, -1)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("read %s: got %d bytes %.40q, want %d bytes %.40q", key, len(got), got, len(data), data)
	}
	size, err := b.Size(t.Context(), key)
	if err != nil || size != int64(len(data)) {
		t.Fatalf("size of %s: got %d, %v; want %d", key, size, err, len(data))
	}
}

// wantAbsent checks that key holds nothing, by Read, Size and List.
func wantAbsent(t testing.TB, b storage.Bucket, key string) {
	t.Helper()
	if _, err := get(t.Context(), b, key, 0, -1); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("read %s: got %v, want ErrNotFound", key, err)
	}
	if _, err := b.Size(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("size of %s: got %v, want ErrNotFound", key, err)
	}
	for _, k := range list(t, b, key, "") {
		if k == key {
			t.Fatalf("list shows %s, want it absent", key)
		}
	}
}

// list returns the keys that List yields.
func list(t testing.TB, b storage.Bucket, prefix, after string) []string {
	t.Helper()
	keys := []string{}
	for info, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("list prefix %q after %q: %v", prefix, after, err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// pattern returns n bytes that depend on seed and differ along the way.
func pattern(n int, seed uint32) []byte {
	data := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x >> 24)
	}
	return data
}

func testCreateRead(t *testing.T, b storage.Bucket) {
	for i, key := range []string{"tidemark.json", "t/manifest/0000000000000001.json", "t/log/a-b-c", "A_z.0-9", "x/y/z/w/v"} {
		data := pattern(100*i+1, uint32(i))
		put(t, b, key, data)
		wantObject(t, b, key, data)
	}
}

func testCreateExists(t *testing.T, b storage.Bucket) {
	put(t, b, "d/k", []byte("first"))
	for _, body := range []string{"second, and longer", "first", ""} {
		err := b.Create(t.Context(), "d/k", strings.NewReader(body))
		if !errors.Is(err, storage.ErrExists) {
			t.Fatalf("create of a taken key: got %v, want ErrExists", err)
		}
		wantObject(t, b, "d/k", []byte("first"))
	}
}

func testEmpty(t *testing.T, b storage.Bucket) {
	put(t, b, "e", nil)
	wantObject(t, b, "e", nil)
	if err := b.Create(t.Context(), "e", strings.NewReader("x")); !errors.Is(err, storage.ErrExists) {
		t.Fatalf("create over an empty object: got %v, want ErrExists", err)
	}
	if _, err := get(t.Context(), b, "e", 0, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("read 1 byte of an empty object: got %v, want io.ErrUnexpectedEOF", err)
	}
}

func testLarge(t *testing.T, b storage.Bucket) {
	data := pattern(5<<20, 7)
	put(t, b, "large", data)
	wantObject(t, b, "large", data)
	got, err := get(t.Context(), b, "large", 3<<20-1, 1<<20+2)
	if err != nil || !bytes.Equal(got, data[3<<20-1:4<<20+1]) {
		t.Fatalf("read the middle: %d bytes, %v", len(got), err)
	}
}

// oneByteReader yields a byte at a time, with an empty read before each, and
// its last byte together with io.EOF.
type oneByteReader struct {
	data  []byte
	empty bool
}

func (r *oneByteReader) Read(p []byte) (int, error) {
	if r.empty = !r.empty; r.empty {
		return 0, nil
	}
	p[0] = r.data[0]
	if r.data = r.data[1:]; len(r.data) == 0 {
		return 1, io.EOF
	}
	return 1, nil
}

func testOddBodies(t *testing.T, b storage.Bucket) {
	data := pattern(300, 3)
	if err := b.Create(t.Context(), "odd", &oneByteReader{data: data}); err != nil {
		t.Fatal(err)
	}
	wantObject(t, b, "odd", data)
}

// failingReader yields data and then err.
type failingReader struct {
	data []byte
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

func testBodyFails(t *testing.T, b storage.Bucket) {
	broken := errors.New("disk on fire")
	for _, n := range []int{0, 1, 100, 1 << 20} {
		for _, fault := range []error{broken, io.ErrUnexpectedEOF} {
			key := fmt.Sprintf("dir/broken-%d", n)
			err := b.Create(t.Context(), key, &failingReader{pattern(n, 1), fault})
			if !errors.Is(err, fault) {
				t.Fatalf("body fails after %d bytes: got %v, want the body's error wrapped", n, err)
			}
			wantAbsent(t, b, key)
		}
	}
	put(t, b, "dir/broken-1", []byte("now it works"))
	wantObject(t, b, "dir/broken-1", []byte("now it works"))
}

func testRanges(t *testing.T, b storage.Bucket) {
	const size = 10
	data := pattern(size, 5)
	put(t, b, "r", data)
	for offset := int64(0); offset <= size+2; offset++ {
		for length := int64(-1); length <= size+2; length++ {
			got, err := get(t.Context(), b, "r", offset, length)
			if offset > size || length > size-offset {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("read %d at %d of %d: got %d bytes, %v; want io.ErrUnexpectedEOF", length, offset, size, len(got), err)
				}
				continue
			}
			end := offset + length
			if length < 0 {
				end = size
			}
			if err != nil || !bytes.Equal(got, data[offset:end]) {
				t.Errorf("read %d at %d of %d: got %x, %v; want %x", length, offset, size, got, err, data[offset:end])
			}
		}
	}
	const huge = 1<<63 - 1
	for _, r := range [][2]int64{{1, huge}, {huge, huge}, {huge, -1}, {huge, 0}} {
		if _, err := get(t.Context(), b, "r", r[0], r[1]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %d at %d: got %v, want io.ErrUnexpectedEOF", r[1], r[0], err)
		}
	}
	if _, err := get(t.Context(), b, "r", -1, 1); err == nil {
		t.Error("read at a negative offset succeeded")
	}
}

func testMissing(t *testing.T, b storage.Bucket) {
	put(t, b, "a/b", []byte("x"))
	for _, key := range []string{"nothing", "a", "a/c", "a/b/c", "a/b/c/d", "z/z/z"} {
		wantAbsent(t, b, key)
	}
}

func testDelete(t *testing.T, b storage.Bucket) {
	put(t, b, "d/one", []byte("1"))
	put(t, b, "d/two", []byte("2"))
	for range 2 {
		if err := b.Delete(t.Context(), "d/one"); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, b, "d/one")
		wantObject(t, b, "d/two", []byte("2"))
	}
	for _, key := range []string{"never", "never/was/here", "d", "d/two/under"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("delete of %s, which is not there: %v", key, err)
		}
	}
	wantObject(t, b, "d/two", []byte("2"))
	put(t, b, "d/one", []byte("again"))
	wantObject(t, b, "d/one", []byte("again"))
	for _, key := range []string{"d/one", "d/two"} {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, b, "", ""); len(got) != 0 {
		t.Fatalf("list after deleting everything: %q", got)
	}
}

func testBadKeys(t *testing.T, b storage.Bucket) {
	for _, key := range badKeys {
		if err := b.Create(t.Context(), key, strings.NewReader("x")); !errors.Is(err, storage.ErrBadKey) {
			t.Errorf("create %.60q: got %v, want ErrBadKey", key, err)
		}
		if _, err := b.Read(t.Context(), key, 0, -1); !errors.Is(err, storage.ErrBadKey) {
			t.Errorf("read %.60q: got %v, want ErrBadKey", key, err)
		}
		if _, err := b.Size(t.Context(), key); !errors.Is(err, storage.ErrBadKey) {
			t.Errorf("size of %.60q: got %v, want ErrBadKey", key, err)
		}
		if err := b.Delete(t.Context(), key); !errors.Is(err, storage.ErrBadKey) {
			t.Errorf("delete %.60q: got %v, want ErrBadKey", key, err)
		}
		if got := list(t, b, key, ""); key != "" && !strings.HasPrefix("harmless", key) && len(got) != 0 {
			t.Errorf("list prefix %.60q: %q", key, got)
		}
	}
	if got := list(t, b, "", ""); len(got) != 0 {
		t.Errorf("bad keys left objects: %q", got)
	}
}

// badKeys break the rules of a key, each in its own way.
var badKeys = []string{
	"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".hidden", "a/.hidden", ".tmp/x", "a.", "a./b",
	"a b", "a\x00b", "a\nb", "a\\b", "a:b", "a*b", "ä", "a%2fb", "a+b", "C:", "~", "a\xffb",
	strings.Repeat("x", storage.MaxSegmentLen+1), "a/" + strings.Repeat("x", storage.MaxSegmentLen+1),
	strings.Repeat("x/", storage.MaxKeyLen/2) + "x",
}

func testLongKeys(t *testing.T, b storage.Bucket) {
	segment := strings.Repeat("s", storage.MaxSegmentLen)
	long := strings.Repeat("long/", storage.MaxKeyLen/5-1) + "final"
	keys := []string{segment, "d/" + segment, long}
	for i, key := range keys {
		put(t, b, key, []byte{byte(i)})
		wantObject(t, b, key, []byte{byte(i)})
	}
	if got := list(t, b, "", ""); len(got) != len(keys) {
		t.Fatalf("list shows %d keys, want %d", len(got), len(keys))
	}
}

func testCancelled(t *testing.T, b storage.Bucket) {
	put(t, b, "k", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Create(ctx, "new", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("create: got %v, want context.Canceled", err)
	}
	if _, err := get(ctx, b, "k", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("read: got %v, want context.Canceled", err)
	}
	if _, err := b.Size(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("size: got %v, want context.Canceled", err)
	}
	if err := b.Delete(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: got %v, want context.Canceled", err)
	}
	var listErr error
	for _, err := range b.List(ctx, "", "") {
		listErr = err
	}
	if !errors.Is(listErr, context.Canceled) {
		t.Errorf("list: got %v, want context.Canceled", listErr)
	}
	wantObject(t, b, "k", []byte("x"))
	wantAbsent(t, b, "new")
}

func testCancelledBody(t *testing.T, b storage.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	late := readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	body := io.MultiReader(bytes.NewReader(pattern(1<<20, 1)), io.LimitReader(late, 8<<20))
	if err := b.Create(ctx, "d/k", body); !errors.Is(err, context.Canceled) {
		t.Fatalf("create: got %v, want context.Canceled", err)
	}
	wantAbsent(t, b, "d/k")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
