package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// TestRequests: opening takes one request, reading on few large ones, a whole
// pack one in all, and a look-up only what it needs.
func TestRequests(t *testing.T) {
	data, ref, ix := logPack(t, WriterOptions{BlockSize: 64 << 10}, jsonRows(t, 200_000)...)
	b, ref := bucketOf(data, ref)
	r, err := Open(t.Context(), b, ref)
	if err != nil {
		t.Fatal(err)
	}
	if n, size := b.count(); n != 1 || size != ref.Tail {
		t.Errorf("open: %d requests, %d bytes; want 1 and %d", n, size, ref.Tail)
	}
	for _, err := range r.Txs(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := b.count(); n > len(data)/readAhead+1 {
		t.Errorf("read %d bytes with %d requests", len(data), n)
	}
	for _, err := range r.Txs(t.Context(), ix.Last()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, size := b.count(); n > 2 || size > 2*ix.Blocks[0].Stored {
		t.Errorf("last transaction: %d requests, %d bytes", n, size)
	}
	for _, err := range r.Txs(t.Context(), ix.Last()/2) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n, size := b.count(); n > 2 || size > 2*firstAhead {
		t.Errorf("one transaction: %d requests, %d bytes", n, size)
	}
	for range 2 {
		if _, err := r.MayContain(t.Context(), 1, ix.Collections[0].MinKey); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := b.count(); n != 1 {
		t.Errorf("two look-ups: %d requests, want 1", n)
	}
	if r, err = OpenWhole(t.Context(), b, ref); err != nil {
		t.Fatal(err)
	}
	if err := r.VerifyRecords(t.Context()); err != nil {
		t.Error(err)
	}
	if n, size := b.count(); n != 1 || size != ref.Size {
		t.Errorf("whole: %d requests, %d bytes; want 1 and %d", n, size, ref.Size)
	}
}

// TestFilter: of rows that are not in a pack few pass, of those in it all.
func TestFilter(t *testing.T) {
	data, ref, _ := logPack(t, WriterOptions{}, jsonRows(t, 40_000)...)
	r := mustOpen(t, data, ref)
	const tries = 20_000
	passed, blocks := 0, 0
	for i := range tries {
		held, err := r.Holding(t.Context(), 1, fmt.Appendf(nil, "\x30user:%07da\x00", i*40))
		if err != nil {
			t.Fatal(err)
		}
		blocks += len(held)
		if len(held) > 0 {
			passed++
		}
	}
	rate := float64(blocks) / tries / float64(len(r.Index().Blocks))
	t.Logf("%.2f%% of absent rows pass the filter of a block, %.2f%% of a pack of %d", 100*rate, 100*float64(passed)/tries, len(r.Index().Blocks))
	if rate > 0.02 {
		t.Errorf("%.2f%% of absent rows pass the filter of a block, want at most 2%%", 100*rate)
	}
	if ok, err := r.MayContain(t.Context(), 2, change.Key("x")); ok || err != nil {
		t.Errorf("a collection that is not there may be there: %v, %v", ok, err)
	}
}

// failingBucket fails its reads.
type failingBucket struct {
	storage.Bucket
	err  error
	late bool // only in the reader that Read returns
}

func (b *failingBucket) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if !b.late {
		return nil, b.err
	}
	return io.NopCloser(&failingReader{b.err}), nil
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

// TestBucketErrors: an error of the store comes through as it is, and is not
// taken for damage; a missing object is told apart.
func TestBucketErrors(t *testing.T) {
	data, ref, _ := smallLog(t)
	b, ref := bucketOf(data, ref)
	for _, want := range []error{storage.ErrNotFound, storage.ErrUnavailable, context.Canceled} {
		for _, late := range []bool{false, true} {
			bad := &failingBucket{b, want, late}
			if _, err := Open(t.Context(), bad, ref); !errors.Is(err, want) || errors.Is(err, ErrCorrupt) {
				t.Errorf("open: error %v, want %v", err, want)
			}
			r, err := Open(t.Context(), b, ref)
			if err != nil {
				t.Fatal(err)
			}
			r.bucket = bad
			var blk Block
			if err := r.Block(t.Context(), 0, &blk); !errors.Is(err, want) || errors.Is(err, ErrCorrupt) {
				t.Errorf("block: error %v, want %v", err, want)
			}
			if _, err := r.MayContain(t.Context(), 1, r.ix.Collections[0].MinKey); !errors.Is(err, want) {
				t.Errorf("filter: error %v, want %v", err, want)
			}
			for _, err := range r.Txs(t.Context(), 0) {
				if !errors.Is(err, want) {
					t.Errorf("transactions: error %v, want %v", err, want)
				}
			}
			r.bucket = b
			if err := r.VerifyRecords(t.Context()); err != nil {
				t.Errorf("after the store came back: %v", err)
			}
		}
	}
}

// TestRefMismatch: a reference that says anything else than the pack is refused.
func TestRefMismatch(t *testing.T) {
	data, ref, _ := smallLog(t)
	for name, spoil := range map[string]func(*Ref){
		"size":           func(r *Ref) { r.Size-- },
		"larger":         func(r *Ref) { r.Size++ },
		"tail":           func(r *Ref) { r.Tail-- },
		"tail too large": func(r *Ref) { r.Tail = r.Size },
		"negative":       func(r *Ref) { r.Tail = -1 },
		"hash":           func(r *Ref) { r.Hash[0]++ },
		"records":        func(r *Ref) { r.Records++ },
		"raw":            func(r *Ref) { r.Raw++ },
		"largest block":  func(r *Ref) { r.MaxBlock-- },
		"absurd block":   func(r *Ref) { r.MaxBlock = 1 << 40 },
		"absurd size":    func(r *Ref) { r.Size, r.Tail = 1<<50, 1<<40 },
	} {
		for _, open := range []func(context.Context, storage.Bucket, Ref) (*Reader, error){Open, OpenWhole} {
			b, ref := bucketOf(data, ref)
			spoil(&ref)
			if _, err := open(t.Context(), b, ref); err == nil {
				t.Errorf("%s: a wrong reference is taken", name)
			}
		}
	}
}

// TestConcurrentReads: one Reader serves several goroutines.
func TestConcurrentReads(t *testing.T) {
	txs := jsonRows(t, 2000)
	data, ref, ix := logPack(t, WriterOptions{BlockSize: 20_000}, txs...)
	r := mustOpen(t, data, ref)
	var all []change.Record
	for _, tx := range txs {
		all = append(all, tx.Records...)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var b Block
			at := 0
			for i := range ix.Blocks {
				if err := r.Block(t.Context(), i, &b); err != nil {
					t.Error(err)
					return
				}
				if !equalRecords(b.Records(), all[at:at+len(b.Records())]) {
					t.Errorf("goroutine %d: block %d is wrong", g, i)
				}
				at += len(b.Records())
				key := slices.Clone(b.Records()[g].Key)
				if held, err := r.Holding(t.Context(), 1, key); err != nil || !slices.Contains(held, i) {
					t.Errorf("goroutine %d: row %x is in block %d, the filters say %v, error %v", g, key, i, held, err)
				}
			}
		})
	}
	wg.Wait()
}
