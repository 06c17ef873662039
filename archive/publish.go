package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

func newBody(raw []byte) io.Reader { return bytes.NewReader(raw) }

// errDone ends a publication whose work turns out to be in the chain already.
var errDone = errors.New("published before")

// Publish brings one manifest into the chain and returns the state that
// includes it. build says what to publish after a given state; it sets Kind,
// the section of that kind and Epoch, and Publish the rest. It is called again
// before each attempt, over a state that includes everything that came in
// between; what it refuses at the head of the chain is abandoned, and its error
// returned as it is.
//
// What build returns is checked with [chain.State.Next] before anything is sent. An
// error that wraps [ErrUnresolved] leaves open whether the manifest is
// published, now or later; after any other it is not.
func (a *Archive) Publish(ctx context.Context, build func(*chain.State) (*chain.Manifest, error)) (*chain.State, error) {
	if err := a.lock(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	p := &publication{next: a.advanceClone(ctx), build: func(s *chain.State) (*stored, error) {
		m, err := build(s)
		if err != nil {
			return nil, err
		}
		return a.seal(ctx, s, m)
	}}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.State().Seq == 0 {
		if _, err := a.load(ctx); err != nil {
			return nil, err
		}
	}
	p.state = a.State()
	q, done, err := p.first()
	for !done {
		q, done, err = p.step(a.do(ctx, q))
		if !done && ctx.Err() != nil {
			done, err = true, p.giveUp(ctx.Err())
		}
	}
	a.setState(p.state)
	if errors.Is(err, errDone) {
		err = nil
	}
	return p.state, err
}

// seal completes a manifest that is to follow s and encodes it.
func (a *Archive) seal(ctx context.Context, s *chain.State, body *chain.Manifest) (*stored, error) {
	nonce, err := randomHex(a.opts.Rand, 16)
	if err != nil {
		return nil, err
	}
	if body.Kind == chain.KindClaim {
		a.mu.Lock()
		a.claims[nonce] = true
		a.mu.Unlock()
	}
	out, err := sealAs(s, body, change.TimeOf(a.opts.Now()), nonce)
	if err != nil {
		return nil, err
	}
	return out, withLog(ctx, s.Clone(), func(s *chain.State) error { return s.Check(out.m) })
}

// sealAs completes a manifest that is to follow s and encodes it. Whether it
// may follow is for the caller to check.
func sealAs(s *chain.State, body *chain.Manifest, written change.Time, nonce string) (*stored, error) {
	m := *body
	m.Format, m.Repo, m.Timeline = chain.FormatVersion, s.Repo, s.Timeline
	m.Seq, m.Prev = s.Seq+1, s.Head
	m.Written, m.Nonce = written, nonce
	raw, err := m.Encode()
	if err != nil {
		return nil, err
	}
	out := decodeStored(raw)
	if out.err != nil {
		return nil, fmt.Errorf("the manifest reads back otherwise than it was written: %w", out.err)
	}
	return out, nil
}

// Label names a restore point for good. The same label for the same LSN again
// is no error; for another LSN it is [chain.ErrLabelTaken].
func (a *Archive) Label(ctx context.Context, l chain.Label) error {
	_, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) { return labelAfter(s, &l) })
	return err
}

func labelAfter(s *chain.State, l *chain.Label) (*chain.Manifest, error) {
	if old, ok := s.Labels[l.Name]; ok && old.Body == *l {
		return nil, errDone
	}
	return &chain.Manifest{Kind: chain.KindLabel, Label: l}, nil
}

// AckGap says that somebody knows of the gap that starts at ack.First. The same
// again is no error; another word about the same gap is refused with the rule
// gap-ack.once, and one about no gap with gap-ack.lsn.
func (a *Archive) AckGap(ctx context.Context, ack chain.GapAck) error {
	_, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		if old, ok := s.GapAcks[ack.First]; ok && old.Body == ack {
			return nil, errDone
		}
		return &chain.Manifest{Kind: chain.KindGapAck, GapAck: &ack}, nil
	})
	return err
}

// Hold keeps what a restore to an LSN needs until the hold is released.
func (a *Archive) Hold(ctx context.Context, h chain.Hold) error {
	h.Release = false
	_, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		if old, ok := s.Holds[h.Name]; ok && old.Body == h {
			return nil, errDone
		}
		return &chain.Manifest{Kind: chain.KindHold, Hold: &h}, nil
	})
	return err
}

// Release ends a hold. When none of that name is in force it is refused with
// the rule hold.name, also after an earlier Release that was published although
// it returned [ErrUnresolved].
func (a *Archive) Release(ctx context.Context, name, reason string) error {
	_, err := a.Publish(ctx, func(*chain.State) (*chain.Manifest, error) {
		return &chain.Manifest{Kind: chain.KindHold, Hold: &chain.Hold{Name: name, Reason: reason, Release: true}}, nil
	})
	return err
}

// Snapshot announces a base that was computed from the archive itself.
func (a *Archive) Snapshot(ctx context.Context, b chain.Snapshot) error {
	b.Origin = chain.OriginSynthetic
	return a.publishSnapshot(ctx, &b, func(*chain.State) (chain.Epoch, error) { return 0, nil })
}

func (a *Archive) publishSnapshot(ctx context.Context, b *chain.Snapshot, epoch func(*chain.State) (chain.Epoch, error)) error {
	_, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		e, err := epoch(s)
		if err != nil {
			return nil, err
		}
		for i := range s.Snapshots {
			if old := &s.Snapshots[i].Body; old.LSN == b.LSN && len(b.Runs) > 0 && slices.Equal(old.Runs, b.Runs) {
				return nil, errDone
			}
		}
		return &chain.Manifest{Kind: chain.KindSnapshot, Epoch: e, Snapshot: b}, nil
	})
	return err
}
