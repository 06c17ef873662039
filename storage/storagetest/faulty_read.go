package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// Read implements [storage.Bucket]. An object whose reader is to fail or lie
// is read into memory first.
func (f *Faulty) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	a, err := f.begin(ctx, OpRead, key)
	if err != nil {
		return nil, err
	}
	r, err := f.bucket.Read(ctx, key, offset, length)
	if err != nil || a.rule.Fault == "" {
		return r, a.end(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, a.end(err)
	}
	last := io.EOF
	switch a.rule.Fault {
	case After:
		last = a.injected()
	case Partial:
		data, last = data[:len(data)/2], a.injected()
	case Cut:
		data = data[:len(data)/2]
	case Flip:
		if len(data) > 0 {
			data[a.rule.At%int64(len(data))] ^= 1
		}
	}
	_ = a.end(nil)
	return &lastWord{data: bytes.NewReader(data), last: last}, nil
}

// A lastWord ends with an error of its own instead of io.EOF.
type lastWord struct {
	data *bytes.Reader
	last error
}

func (r *lastWord) Read(p []byte) (int, error) {
	n, err := r.data.Read(p)
	if err == io.EOF {
		err = r.last
	}
	return n, err
}

func (r *lastWord) Close() error { return nil }
