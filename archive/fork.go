package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/storage"
)

// ForkOptions say where a timeline begins.
type ForkOptions struct {
	Child   chain.TimelineID // its name; default the first of t2, t3 … that is free
	LSN     change.LSN       // the last that it has in common with this one
	LogHash change.Hash      // there, as the database that forks has it
	Note    string           // for people
}

// Fork begins a timeline that goes on from this one, and returns it, loaded.
// The database's log hash is held against the archive's own log first:
// [driver.ErrDiverged] when they differ.
//
// The fork is two manifests: a pin in this timeline and the first of the
// child. A call that failed in between can be repeated: it goes on with what is
// there. Of several that fork under the same name at once one succeeds, or all
// do when they fork at the same place, and the first claim decides whose
// timeline it is; the others get [ErrTimelineTaken], or without a name another one.
func (a *Archive) Fork(ctx context.Context, o ForkOptions) (*Archive, error) {
	s, err := a.Load(ctx)
	if err != nil {
		return nil, err
	}
	at, err := a.forkPoint(ctx, s, o.LSN)
	if err != nil {
		return nil, fmt.Errorf("fork timeline %s at LSN %d: %w", a.timeline, o.LSN, err)
	}
	if at.LogHash != o.LogHash {
		return nil, fmt.Errorf("fork timeline %s at LSN %d: the archive's log hash there is %s, the database's %s: %w", a.timeline, o.LSN, at.LogHash, o.LogHash, driver.ErrDiverged)
	}
	at.Note = o.Note
	lost := make(map[chain.TimelineID]bool)
	for {
		pin, err := a.pin(ctx, o.Child, at, lost)
		if err != nil {
			return nil, err
		}
		child, err := a.begin(ctx, pin)
		if errors.Is(err, ErrTimelineTaken) && o.Child == "" {
			lost[pin.Body.Child] = true // between the look and the create
			continue
		}
		return child, err
	}
}

// pin publishes the pin of a child, or finds the one that is there.
func (a *Archive) pin(ctx context.Context, child chain.TimelineID, at chain.Pin, lost map[chain.TimelineID]bool) (*chain.Announced[chain.Pin], error) {
	s, err := a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		name, err := a.nameFork(ctx, s, child, &at, lost)
		if err != nil {
			return nil, err
		}
		at.Child = name
		return pinAfter(s, &at)
	})
	if err != nil {
		return nil, fmt.Errorf("pin timeline %s: %w", at.Child, err)
	}
	pin := s.Pins[at.Child]
	return &pin, nil
}

func pinAfter(s *chain.State, pin *chain.Pin) (*chain.Manifest, error) {
	if old, ok := s.Pins[pin.Child]; ok && samePlace(&old.Body, pin) {
		return nil, errDone
	}
	return &chain.Manifest{Kind: chain.KindPin, Pin: pin}, nil
}

func forkAfter(s *chain.State) (*chain.Manifest, error) {
	if s.Seq > 0 {
		return nil, errDone
	}
	return &chain.Manifest{Kind: chain.KindFork, Fork: s.Parent}, nil
}

func samePlace(a, b *chain.Pin) bool { return a.LSN == b.LSN && a.LogHash == b.LogHash }

// nameFork returns the name of the child: the one given, that of a fork at the
// same place which was never finished or never claimed, or a new one.
func (a *Archive) nameFork(ctx context.Context, s *chain.State, given chain.TimelineID, at *chain.Pin, lost map[chain.TimelineID]bool) (chain.TimelineID, error) {
	if given != "" {
		if old, ok := s.Pins[given]; ok {
			if !samePlace(&old.Body, at) {
				return "", fmt.Errorf("timeline %s goes on from LSN %d of %s: %w; choose another name", given, old.Body.LSN, a.timeline, ErrTimelineTaken)
			}
			return given, nil
		}
		if begun, err := a.begun(ctx, given); err != nil || begun || given == chain.MainTimeline {
			return "", errors.Join(err, taken(given, begun || given == chain.MainTimeline))
		}
		return given, nil
	}
	for _, old := range s.Forks() {
		if !samePlace(&old.Body, at) || lost[old.Body.Child] {
			continue
		}
		if unused, err := a.unused(ctx, old.Body.Child); err != nil || unused {
			return old.Body.Child, err
		}
	}
	for n := 2; ; n++ {
		name := chain.TimelineID(fmt.Sprintf("t%d", n))
		if _, pinned := s.Pins[name]; pinned || lost[name] {
			continue
		}
		if begun, err := a.begun(ctx, name); err != nil || !begun {
			return name, err
		}
	}
}

func taken(name chain.TimelineID, is bool) error {
	if !is {
		return nil
	}
	return fmt.Errorf("timeline %s is there: %w; choose another name", name, ErrTimelineTaken)
}

// begun reports whether a timeline has its first manifest.
func (a *Archive) begun(ctx context.Context, t chain.TimelineID) (bool, error) {
	_, err := a.bucket.Size(ctx, chain.ManifestKey(t, 1))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// unused reports whether no database has claimed a timeline.
func (a *Archive) unused(ctx context.Context, t chain.TimelineID) (bool, error) {
	s, err := a.sibling(t).Load(ctx)
	if errors.Is(err, ErrNoTimeline) {
		return true, nil
	}
	return err == nil && s.Source == chain.Source{} && s.Parent.Parent == a.timeline, err
}

// begin publishes the first manifest of the timeline that a pin announces, or
// finds it.
func (a *Archive) begin(ctx context.Context, pin *chain.Announced[chain.Pin]) (*Archive, error) {
	parent := a.State()
	if parent.Seq != pin.Seq {
		var err error
		if parent, err = a.through(ctx, pin.Seq, change.Hash{}); err != nil {
			return nil, err
		}
	}
	origin, err := forkOf(ctx, parent, pin.Body.Child)
	if err != nil {
		return nil, err
	}
	child := a.sibling(pin.Body.Child)
	child.setState(origin)
	_, err = child.Publish(ctx, forkAfter)
	var rule *chain.RuleError
	if errors.As(err, &rule) && rule.Seq == 1 && strings.HasPrefix(rule.Rule, "fork.") {
		return nil, errors.Join(taken(pin.Body.Child, true), err)
	}
	if err != nil {
		return nil, fmt.Errorf("begin timeline %s: %w", pin.Body.Child, err)
	}
	return child, nil
}
