package restore

import (
	"errors"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
)

// TestConfirmMissing covers what the chain's rules keep from an archive whose
// schemas are known: the source shows a collection that the archive lacks.
func TestConfirmMissing(t *testing.T) {
	state := &chain.State{}
	state.Digests = append(state.Digests, chain.Announced[chain.Digest]{Body: chain.Digest{LSN: 9,
		Digests: []chain.CollectionDigest{{Collection: 1, Rows: 2}, {Collection: 2, Rows: 5}}}})
	got := []chain.CollectionDigest{{Collection: 1, Rows: 2}}
	if ok, err := confirm(state, 9, got); ok || !errors.Is(err, ErrMismatch) {
		t.Errorf("%t, %v, want ErrMismatch", ok, err)
	}
	if ok, err := confirm(state, 8, got); ok || err != nil {
		t.Errorf("at another LSN: %t, %v", ok, err)
	}
}
