package archive

import (
	"context"

	"github.com/tidemarkdb/tidemark/chain"
)

// RecordVerify puts down what a verification found, so that readers go around
// what is lost until a later one finds it whole.
func (a *Archive) RecordVerify(ctx context.Context, v chain.Verify) error {
	_, err := a.Publish(ctx, func(*chain.State) (*chain.Manifest, error) {
		return &chain.Manifest{Kind: chain.KindVerify, Verify: &v}, nil
	})
	return err
}

// RecordDrill puts down how a rehearsal of a restore went.
func (a *Archive) RecordDrill(ctx context.Context, d chain.Drill) error {
	_, err := a.Publish(ctx, func(*chain.State) (*chain.Manifest, error) {
		return &chain.Manifest{Kind: chain.KindDrill, Drill: &d}, nil
	})
	return err
}
