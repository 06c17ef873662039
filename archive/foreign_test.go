package archive

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
)

// TestInitLeavesForeignBucketsAlone checks that only an empty bucket becomes an
// archive, one with the remains of an interrupted Init included.
func TestInitLeavesForeignBucketsAlone(t *testing.T) {
	for _, tt := range []struct {
		key  string
		want error
	}{{"tidemark-probe-0123456789abcdef", nil}, {"DATABASE", ErrForeign}, {"zz/top", ErrForeign}} {
		b := storage.NewMem()
		if err := b.Create(t.Context(), tt.key, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := Init(t.Context(), b, InitOptions{}); !errors.Is(err, tt.want) {
			t.Errorf("bucket with %s: got %v, want %v", tt.key, err, tt.want)
		}
	}
}
