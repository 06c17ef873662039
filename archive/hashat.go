package archive

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// HashAt returns the hash of manifest seq of the chain that s is the state of,
// proved by the links from there to the head of s. It reads every manifest from
// seq on. What it finds missing or not linked is [chain.ErrDamaged].
func (a *Archive) HashAt(ctx context.Context, s *chain.State, seq chain.Seq) (change.Hash, error) {
	if seq == 0 || seq > s.Seq {
		return change.Hash{}, fmt.Errorf("timeline %s has %d manifests, asked for number %d", a.timeline, s.Seq, seq)
	}
	if seq == s.Seq {
		return s.Head, nil
	}
	ahead := a.readAhead(ctx, seq, s.Seq)
	defer ahead.stop()
	var first, last change.Hash
	for n := seq; n <= s.Seq; n++ {
		key := chain.ManifestKey(a.timeline, n)
		ans, err := ahead.next(ctx)
		switch {
		case err != nil:
			return first, err
		case ans.outcome == absent:
			return first, fmt.Errorf("%s is missing: %w", key, chain.ErrDamaged)
		case ans.outcome == failed:
			return first, ans.err
		case ans.stored.err != nil:
			return first, fmt.Errorf("%s: %w", key, ans.stored.err)
		case n == seq:
			first = ans.stored.hash
		case ans.stored.m.Prev != last:
			return first, fmt.Errorf("%s does not link to the manifest before it: %w", key, chain.ErrDamaged)
		}
		last = ans.stored.hash
	}
	if last != s.Head {
		return first, fmt.Errorf("%s is not the manifest that was read before: %w", chain.ManifestKey(a.timeline, s.Seq), chain.ErrDamaged)
	}
	return first, nil
}
