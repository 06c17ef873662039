package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/tidemarkdb/tidemark/storage"
)

// temp is a directory of spilled runs. It is a bucket so that one reader
// serves spilled and archived runs; unlike [storage.Dir] it syncs nothing.
type temp struct {
	dir string
	n   int
}

// newTemp makes an empty directory in parent, or in the system's place for
// temporary files when parent is empty.
func newTemp(parent string) (*temp, error) {
	dir, err := os.MkdirTemp(parent, "tidemark-sort-")
	if err != nil {
		return nil, fmt.Errorf("directory for sorting: %w", err)
	}
	return &temp{dir: dir}, nil
}

func (t *temp) path(key string) string { return filepath.Join(t.dir, key) }

// names returns n fresh keys. It is for one goroutine.
func (t *temp) names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		t.n++
		keys[i] = fmt.Sprintf("%06d", t.n)
	}
	return keys
}

func (t *temp) remove() error { return os.RemoveAll(t.dir) }

func (t *temp) Create(_ context.Context, key string, body io.Reader) error {
	f, err := os.OpenFile(t.path(key), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

func (t *temp) Read(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	f, err := os.Open(t.path(key))
	if err != nil {
		return nil, err
	}
	if length < 0 {
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		length = size - offset
	}
	return &section{io.NewSectionReader(f, offset, length), f}, nil
}

// section reads a part of a file, telling a file that is too short.
type section struct {
	*io.SectionReader
	f *os.File
}

func (s *section) Read(b []byte) (int, error) {
	n, err := s.SectionReader.Read(b)
	if at, _ := s.Seek(0, io.SeekCurrent); err == io.EOF && at < s.Size() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *section) Close() error { return s.f.Close() }

func (t *temp) Size(_ context.Context, key string) (int64, error) {
	info, err := os.Stat(t.path(key))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (t *temp) List(context.Context, string, string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		yield(storage.Info{}, errors.ErrUnsupported)
	}
}

func (t *temp) Delete(_ context.Context, key string) error { return os.Remove(t.path(key)) }
