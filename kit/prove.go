package kit

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/storage"
)

var (
	// ErrOlder says that an archive ends before what the kit saw: its tail is
	// gone. Every such error wraps [chain.ErrDamaged] too.
	ErrOlder = errors.New("the archive ends before what the recovery kit saw")

	// ErrRewritten says that an archive holds another history than the kit
	// saw. Every such error wraps [chain.ErrDamaged] too.
	ErrRewritten = errors.New("the archive's history is not the one that the recovery kit saw")
)

// Prove reports whether the archive in a bucket is the one that the kit was
// printed of, and still holds what it held then: [chain.ErrWrongRepo],
// [ErrOlder], [ErrRewritten], or what keeps it from being read. Of several
// faults the worst is returned.
func (k *Kit) Prove(ctx context.Context, bucket storage.Bucket, opts archive.OpenOptions) error {
	opts.PinRepo = k.Repo
	if len(k.Timelines) == 0 {
		_, err := archive.Open(ctx, bucket, opts)
		return err
	}
	var older []error
	for i := range k.Timelines {
		switch err := k.proveTimeline(ctx, bucket, opts, &k.Timelines[i]); {
		case errors.Is(err, ErrOlder):
			older = append(older, err)
		case err != nil:
			return err
		}
	}
	return errors.Join(older...)
}

func (k *Kit) proveTimeline(ctx context.Context, bucket storage.Bucket, opts archive.OpenOptions, t *Timeline) error {
	opts.Timeline, opts.Known = t.ID, nil
	a, err := archive.Open(ctx, bucket, opts)
	if err != nil {
		return err
	}
	s, err := a.Load(ctx)
	if err != nil {
		return err
	}
	if s.Seq < t.Seq {
		return k.older(s, t)
	}
	if opts.Known, err = t.known(); err != nil {
		return err
	}
	if a, err = archive.Open(ctx, bucket, opts); err == nil {
		_, err = a.Load(ctx)
	}
	if errors.Is(err, archive.ErrNotKnown) {
		return fmt.Errorf("the recovery kit of %s: %w: %w", k.Printed, err, ErrRewritten)
	}
	return err
}

// Known returns what the kit knows of a timeline: an archive that is opened with
// it holds that, or can't be read. nil when it knows nothing.
func (k *Kit) Known(timeline chain.TimelineID) *archive.Known {
	for i := range k.Timelines {
		if t := &k.Timelines[i]; t.ID == timeline {
			known, err := t.known()
			if err != nil {
				return nil // not reached: Parse has looked
			}
			return known
		}
	}
	return nil
}

func (t *Timeline) known() (*archive.Known, error) {
	h, err := t.hash()
	return &archive.Known{Seq: t.Seq, Hash: h}, err
}

// older says what is missing of a timeline.
func (k *Kit) older(s *chain.State, t *Timeline) error {
	held := "nothing"
	if s.Seq > 0 {
		held = fmt.Sprintf("%d manifests, LSN %d", s.Seq, s.Last)
		if c := max(s.CoveredUntil, s.Effective); c != 0 {
			held += ", up to " + c.String()
		}
	}
	saw := fmt.Sprintf("%d manifests, LSN %d", t.Seq, t.LSN)
	if t.Covered != "" {
		saw += ", up to " + t.Covered
	}
	missing := fmt.Sprintf("manifests %d to %d", s.Seq+1, t.Seq)
	if t.LSN > s.Last {
		missing += fmt.Sprintf(" and LSN %d to %d", s.Last+1, t.LSN)
	}
	return fmt.Errorf("timeline %s holds %s; the recovery kit of %s saw %s: %s are missing: %w: %w",
		t.ID, held, k.Printed, saw, missing, ErrOlder, chain.ErrDamaged)
}
