package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/storage"
)

// Finding is one thing that is not as it must be.
type Finding struct {
	Key   string `json:"key"`   // the object
	Want  string `json:"want"`  // what the archive needs it to be
	Found string `json:"found"` // what it is
}

func (f Finding) String() string { return fmt.Sprintf("%s: want %s, found %s", f.Key, f.Want, f.Found) }

// Report is the result of a verification.
type Report struct {
	Manifests int64        // read and proved
	Objects   int64        // announced and looked at
	Bytes     int64        // of those, as announced
	Findings  []Finding    // empty: the archive is whole, as far as was looked
	State     *chain.State // after the last manifest that was proved
}

// Err returns nil when nothing was found, otherwise an error that wraps
// [chain.ErrDamaged] and names the first finding.
func (r *Report) Err() error {
	if len(r.Findings) == 0 {
		return nil
	}
	return fmt.Errorf("%d findings, the first: %v: %w", len(r.Findings), r.Findings[0], chain.ErrDamaged)
}

// verifier gathers findings.
type verifier struct {
	a      *Archive
	own    bool // what the timeline inherits is not looked at
	mu     sync.Mutex
	report Report // guarded by mu
}

func (v *verifier) find(key, want, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, Finding{key, want, fmt.Sprintf(format, args...)})
}

// VerifyChain reads every manifest from the first on, without the help of
// checkpoints, proves every link and rule, derives the checkpoints again, and
// looks whether every announced object is there with the right size. Of a fork
// it also looks at all that it needs of the timelines that it comes from. The
// error says why the verification could not be done; what it found is in the report.
func (a *Archive) VerifyChain(ctx context.Context) (Report, error) { return a.verify(ctx, false) }

// VerifyOwn is [Archive.VerifyChain] of what was published in this timeline
// alone: the VerifyOwn of every timeline together covers the archive, each
// object once.
func (a *Archive) VerifyOwn(ctx context.Context) (Report, error) { return a.verify(ctx, true) }

func (a *Archive) verify(ctx context.Context, own bool) (Report, error) {
	v := &verifier{a: a, own: own}
	s, err := v.history(ctx, a, 0)
	if err != nil || s == nil {
		return v.report, err
	}
	v.report.State = s
	if err := v.objects(ctx, s); err != nil {
		return v.report, err
	}
	return v.report, nil
}

// history proves a timeline from its first manifest on, up to a limit unless
// that is 0, and before it those that it comes from. nil when it has no
// beginning.
func (v *verifier) history(ctx context.Context, a *Archive, limit chain.Seq) (*chain.State, error) {
	s, err := v.origin(ctx, a)
	if err != nil || s == nil {
		return nil, err
	}
	return v.chain(ctx, a, s, limit)
}

// origin returns the state that a timeline begins with.
func (v *verifier) origin(ctx context.Context, a *Archive) (*chain.State, error) {
	fresh := chain.NewState(a.id.Repo, a.timeline)
	if a.timeline == chain.MainTimeline {
		return fresh, nil
	}
	key := chain.ManifestKey(a.timeline, 1)
	first, err := a.manifest(ctx, 1)
	switch {
	case errors.Is(err, chain.ErrDamaged) || err == nil && first == nil || err == nil && first.err != nil || err == nil && first.m.Fork == nil:
		v.find(key, "the first manifest of a fork", "%s", whatIs(first, err))
		return nil, nil
	case err != nil:
		return nil, err
	}
	f := first.m.Fork
	var parent *chain.State
	p, err := a.parent(f.Parent)
	switch {
	case err != nil:
	case v.own:
		parent, err = p.through(ctx, f.ParentSeq, f.ParentHash)
	default:
		if parent, err = v.history(ctx, p, f.ParentSeq); err == nil && parent == nil {
			return nil, nil // reported
		}
	}
	if err == nil && (parent.Seq != f.ParentSeq || parent.Head != f.ParentHash) {
		err = fmt.Errorf("timeline %s at manifest %d with hash %s: %w", f.Parent, parent.Seq, parent.Head, chain.ErrDamaged)
	}
	var s *chain.State
	if err == nil {
		if s, err = forkOf(ctx, parent, a.timeline); err != nil {
			err = errors.Join(err, chain.ErrDamaged)
		}
	}
	if errors.Is(err, chain.ErrDamaged) || errors.Is(err, chain.ErrBroken) || errors.Is(err, ErrNoTimeline) {
		v.find(key, fmt.Sprintf("timeline %s to have been pinned by manifest %d of %s with hash %s", a.timeline, f.ParentSeq, f.Parent, f.ParentHash), "%v", err)
		return nil, nil
	}
	return s, err
}

// whatIs says what was found instead of a fork.
func whatIs(first *stored, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case first == nil:
		return "nothing"
	case first.err != nil:
		return first.err.Error()
	}
	return fmt.Sprintf("a %s", first.m.Kind)
}

// chain follows the manifests after s as far as they hold together, and beyond
// that looks which ones are there.
func (v *verifier) chain(ctx context.Context, a *Archive, s *chain.State, limit chain.Seq) (*chain.State, error) {
	listed, err := v.listed(ctx, a)
	if err != nil {
		return nil, err
	}
	if limit > 0 {
		listed = limit
	}
	checkpoints, err := v.derive(ctx, a, s)
	if err != nil {
		return nil, err
	}
	ahead := a.readAhead(ctx, 1, listed)
	defer ahead.stop()
	broken := false
	for seq := chain.Seq(1); ; seq++ {
		ans, err := answer{}, error(nil)
		if seq <= listed {
			ans, err = ahead.next(ctx)
		} else if !broken && limit == 0 {
			ans = a.do(ctx, request{op: opRead, seq: seq})
		}
		key := chain.ManifestKey(a.timeline, seq)
		switch {
		case err != nil:
			return nil, err
		case seq > listed && ans.outcome != found:
			if ans.outcome == failed {
				return nil, ans.err
			}
			return s, nil
		case ans.outcome == failed && !errors.Is(ans.err, chain.ErrDamaged):
			return nil, ans.err
		case ans.outcome == absent:
			v.find(key, "a manifest, as later ones are there", "nothing")
			broken = true
		case ans.outcome == failed:
			v.find(key, "the bytes that were written", "%v", ans.err)
			broken = true
		case !broken:
			_, err := a.advance(ctx)(s, ans.stored)
			if errors.Is(err, storage.ErrUnavailable) || ctx.Err() != nil {
				return nil, errors.Join(err, ctx.Err())
			}
			if err != nil {
				v.find(key, "a manifest that follows from those before it", "%v", err)
				broken = true
				continue
			}
			if err := checkpoints.follow(ctx, s, ans.stored); err != nil {
				return nil, err
			}
			v.report.Manifests++
		}
	}
}

// listed returns the number of the last manifest that a list of a timeline shows.
func (v *verifier) listed(ctx context.Context, a *Archive) (last chain.Seq, err error) {
	prefix := chain.ManifestPrefix(a.timeline)
	for info, err := range a.bucket.List(ctx, prefix, "") {
		if err != nil {
			return 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		if _, seq, err := chain.ParseManifestKey(info.Key); err != nil {
			v.find(info.Key, "nothing but manifests", "%v", err)
		} else {
			last = max(last, seq)
		}
	}
	return last, nil
}

// objects looks at everything that the chain announces.
func (v *verifier) objects(ctx context.Context, s *chain.State) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.a.opts.Parallel)
	size := func(key string, want int64) {
		v.mu.Lock()
		v.report.Objects++
		v.report.Bytes += want
		v.mu.Unlock()
		g.Go(func() error {
			got, err := v.a.bucket.Size(ctx, key)
			switch {
			case errors.Is(err, storage.ErrNotFound):
				v.find(key, fmt.Sprintf("%d bytes", want), "nothing")
			case err != nil:
				return fmt.Errorf("size of %s: %w", key, err)
			case got != want:
				v.find(key, fmt.Sprintf("%d bytes", want), "%d bytes", got)
			}
			return nil
		})
	}
	for seg, err := range s.Segments.All(ctx) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if v.own && seg.Timeline != s.Timeline {
			continue
		}
		for _, p := range seg.Body.Packs {
			size(p.Key, p.Size)
		}
	}
	for i := range s.Snapshots {
		if v.own && s.Snapshots[i].Timeline != s.Timeline {
			continue
		}
		for _, p := range s.Snapshots[i].Body.Runs {
			size(p.Key, p.Size)
		}
	}
	return g.Wait()
}
