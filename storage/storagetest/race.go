package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
)

// inParallel calls work for 0 … n-1 from several goroutines and fails the test
// with the first error.
func inParallel(t testing.TB, workers, n int, work func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[w] = work(i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// testCreateRace lets 32 creators loose on one key, in several rounds: one
// wins, the others get ErrExists, and the object is the winner's, to the byte.
func testCreateRace(t *testing.T, b storage.Bucket) {
	const creators = 32
	for round := range 8 {
		key := fmt.Sprintf("race/%d/k", round)
		start := make(chan struct{})
		errs := make([]error, creators)
		var wg sync.WaitGroup
		for c := range creators {
			wg.Go(func() {
				<-start
				errs[c] = b.Create(t.Context(), key, bytes.NewReader(creation(round, c)))
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for c, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: creators %d and %d both won", round, winner, c)
			case err == nil:
				winner = c
			case !errors.Is(err, storage.ErrExists):
				t.Fatalf("round %d: creator %d got %v, want nil or ErrExists", round, c, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		wantObject(t, b, key, creation(round, winner))
	}
}

// creation is what a creator writes: its length and content tell who it was.
func creation(round, creator int) []byte {
	return pattern(1000+creator*37, uint32(round*1000+creator))
}

// testReadersDuringCreate reads and lists an object all the while it is
// created: it is absent or whole.
func testReadersDuringCreate(t *testing.T, b storage.Bucket) {
	const rounds, size = 6, 1 << 20
	for round := range rounds {
		key := fmt.Sprintf("watched/%d", round)
		data := pattern(size, uint32(round))
		// The body gives way after each piece until a reader has looked, so
		// that there are looks at every stage of the creation.
		looked := make(chan struct{})
		finished := make(chan struct{})
		unwatched := make(chan struct{})
		body := &steppedReader{data: data, step: size / 8, wait: looked, unwatched: unwatched}
		var createErr error
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(finished)
			createErr = b.Create(t.Context(), key, body)
		})
		watchErrs := make([]error, 3)
		var watchers sync.WaitGroup
		for w := range watchErrs {
			watchers.Go(func() { watchErrs[w] = watch(t.Context(), b, key, data, looked, finished) })
		}
		watchers.Wait()
		close(unwatched)
		wg.Wait()
		if err := errors.Join(append(watchErrs, createErr)...); err != nil {
			t.Fatal(err)
		}
		wantObject(t, b, key, data)
	}
}

// steppedReader yields data in steps and receives from wait before each, as
// long as anybody watches.
type steppedReader struct {
	data      []byte
	step      int
	wait      <-chan struct{}
	unwatched <-chan struct{}
}

func (r *steppedReader) Read(p []byte) (int, error) {
	select {
	case <-r.wait:
	case <-r.unwatched:
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data[:min(r.step, len(r.data))])
	r.data = r.data[n:]
	return n, nil
}

// watch looks at key until finished is closed, sending to looked after each look.
func watch(ctx context.Context, b storage.Bucket, key string, data []byte, looked chan<- struct{}, finished <-chan struct{}) error {
	seen := false
	for {
		got, err := get(ctx, b, key, 0, -1)
		switch {
		case errors.Is(err, storage.ErrNotFound) && seen:
			return fmt.Errorf("%s was there and is gone", key)
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		case !bytes.Equal(got, data):
			return fmt.Errorf("%s: a reader saw %d of %d bytes, or others", key, len(got), len(data))
		default:
			seen = true
		}
		for info, err := range b.List(ctx, key, "") {
			if err != nil {
				return err
			}
			if info.Key != key || info.Size != int64(len(data)) {
				return fmt.Errorf("list shows %s with %d bytes, want %s with %d", info.Key, info.Size, key, len(data))
			}
		}
		select {
		case <-finished:
			return nil
		case looked <- struct{}{}:
		}
	}
}

func testParallelCreates(t *testing.T, b storage.Bucket) {
	const n = 64
	key := func(i int) string { return fmt.Sprintf("p/%d/%d/%d", i%2, i%4, i) }
	inParallel(t, 16, n, func(i int) error {
		return b.Create(t.Context(), key(i), bytes.NewReader(creation(0, i)))
	})
	for i := range n {
		wantObject(t, b, key(i), creation(0, i))
	}
	if got := list(t, b, "p/", ""); len(got) != n {
		t.Fatalf("list shows %d objects, want %d", len(got), n)
	}
}
