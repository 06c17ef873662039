package driver

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// Digests reads every row of a view and fingerprints each collection. Two
// databases whose collections have the same digests hold the same rows.
func Digests(ctx context.Context, view Snapshot) (map[change.CollectionID]*change.Digest, error) {
	out := make(map[change.CollectionID]*change.Digest)
	for _, schema := range view.Schemas() {
		d := new(change.Digest)
		out[schema.Collection] = d
		for rec, err := range view.Rows(ctx, schema.Collection) {
			if err == nil {
				err = d.Add(schema, rec.Key, rec.Image, max(1, rec.Count))
			}
			if err != nil {
				return nil, fmt.Errorf("digest of collection %q: %w", schema.Name, err)
			}
		}
	}
	return out, nil
}
