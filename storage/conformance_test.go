package storage_test

import (
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

func TestMemConforms(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Bucket { return storage.NewMem() })
}

func TestDirConforms(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Bucket {
		d, err := storage.OpenDir(t.TempDir(), storage.DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	})
}
