package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// This file decides in which timeline a database is captured. Among those of
// the archive it is the one that this very database was captured into, and
// whose end is part of its history. A restored database has none yet, and goes
// on in a timeline of its own from where it was restored. A database whose
// history went apart from what is archived of it - a copy, or one that was
// rolled back - is refused, or goes on in a timeline of its own if a person
// says so; it never writes into the history it came from.

// relation is how a timeline's end stands to the source's history.
type relation int

const (
	foreign relation = iota // another database has claimed it, or nobody
	fits                    // part of it
	lost                    // the source's log no longer reaches back to it
	apart                   // not part of it
)

// candidate is a timeline of the archive.
type candidate struct {
	*archive.Branch
	relation relation
	reason   error // what the source said, unless it fits
}

// choice is a decision.
type choice struct {
	archive *archive.Archive // of the timeline to capture into
	mark    *driver.Mark     // where the timeline has just begun; nil: at the archive's end
}

// chooser decides for one source.
type chooser struct {
	*Capturer
	id    driver.Identity
	self  chain.Source
	repo  string
	want  chain.TimelineID // named by the caller; "" for none
	all   []candidate
	acked *driver.Receipt // of this archive; nil for none
}

// choose decides where to capture, and begins a timeline if need be.
func (c *Capturer) choose(ctx context.Context, id driver.Identity) (choice, error) {
	h := &chooser{Capturer: c, id: id, self: chain.Source{Kind: id.Kind, System: id.System},
		repo: string(c.archive.Identity().Repo), want: c.o.Timeline}
	if h.want == "" && c.archive.Timeline() != chain.MainTimeline {
		h.want = c.archive.Timeline()
	}
	if id.Acked != nil && id.Acked.Archive == h.repo {
		h.acked = id.Acked
	}
	branches, err := c.archive.Timelines(ctx)
	if err != nil {
		return choice{}, err
	}
	for _, b := range branches {
		k, err := h.relate(ctx, b)
		if err != nil {
			return choice{}, err
		}
		h.all = append(h.all, k)
	}
	return h.decide(ctx)
}

// relate holds a timeline's end against the source's history.
func (h *chooser) relate(ctx context.Context, b *archive.Branch) (candidate, error) {
	k := candidate{Branch: b}
	if b.Err != nil || b.State.Source != h.self {
		return k, nil
	}
	var err error
	if k.relation, k.reason, err = h.try(ctx, endOf(b.State)); err != nil {
		return k, err
	}
	return k, nil
}

func endOf(s *chain.State) driver.Mark {
	return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}
}

// try asks the source whether a mark is one of its own.
func (h *chooser) try(ctx context.Context, m driver.Mark) (relation, error, error) {
	ch, err := h.source.Changes(ctx, m)
	switch {
	case err == nil:
		if err := ch.Close(); err != nil {
			return fits, nil, &sourceError{fmt.Errorf("close the source's log: %w", err)}
		}
		return fits, nil, nil
	case errors.Is(err, driver.ErrLogLost):
		return lost, err, nil
	case errors.Is(err, driver.ErrDiverged):
		return apart, err, nil
	}
	return apart, nil, &sourceError{fmt.Errorf("open the source's log after LSN %d: %w", m.LSN, err)}
}

// find returns the timeline of a name, or nil.
func (h *chooser) find(name chain.TimelineID) *candidate {
	for i := range h.all {
		if h.all[i].Timeline == name {
			return &h.all[i]
		}
	}
	return nil
}

// furthest returns, of the timelines with one of these relations, the one
// whose log goes furthest.
func (h *chooser) furthest(of ...relation) (best *candidate) {
	for _, r := range of {
		for i := range h.all {
			k := &h.all[i]
			if k.relation != r {
				continue
			}
			if best == nil || k.State.Last > best.State.Last {
				best = k
			}
		}
	}
	return best
}

// ambiguous refuses a choice between timelines that end alike, when nothing
// tells which one the database went on in.
func (h *chooser) ambiguous(best *candidate) error {
	for i := range h.all {
		k := &h.all[i]
		if k.relation == best.relation && k.Timeline != best.Timeline && k.State.Last == best.State.Last {
			return refusal(driver.ErrDiverged, "timelines %s and %s both end at LSN %d of this database; name the one to go on in", best.Timeline, k.Timeline, best.State.Last)
		}
	}
	return nil
}

func refusal(is error, format string, args ...any) error {
	return &sourceError{fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), is)}
}

func (h *chooser) decide(ctx context.Context) (choice, error) {
	main := h.find(chain.MainTimeline)
	named := h.find(h.want)
	switch {
	case main != nil && main.Err == nil && !main.State.Started:
		return h.empty(main)
	case h.want == "":
		return h.unnamed(ctx)
	case named != nil && named.Err != nil:
		return choice{}, named.Err
	case named == nil || named.State.Source == chain.Source{}:
		return h.begin(ctx)
	case named.relation == fits, named.relation == lost:
		return h.goOn(named)
	case named.relation == foreign:
		return choice{}, refusal(driver.ErrDiverged, "timeline %s holds the history of %s database %s, the source is %s database %s",
			named.Timeline, named.State.Source.Kind, named.State.Source.System, h.self.Kind, h.self.System)
	}
	if h.o.Fork {
		return choice{}, refusal(archive.ErrTimelineTaken, "timeline %s holds another history of this database; to fork, choose another name", named.Timeline)
	}
	return choice{}, h.wentApart(named)
}

// empty decides for an archive that nothing was ever captured into.
func (h *chooser) empty(main *candidate) (choice, error) {
	switch {
	case h.acked != nil:
		return choice{}, refusal(driver.ErrTruncated, "the archive is empty, but everything through LSN %d of timeline %s was archived in it: bring the missing objects back, or make a new archive",
			h.acked.LSN, h.acked.Timeline)
	case h.want != "" && h.want != chain.MainTimeline:
		return choice{}, refusal(archive.ErrNoTimeline, "the archive is empty: its first timeline is %s, %s can only go on from it", chain.MainTimeline, h.want)
	}
	return choice{archive: main.Archive}, nil
}

// unnamed finds the source's own timeline: the one that it was last captured
// into, or else the one that goes furthest of those that fit.
func (h *chooser) unnamed(ctx context.Context) (choice, error) {
	if h.acked != nil {
		switch k := h.find(chain.TimelineID(h.acked.Timeline)); {
		case k != nil && k.Err != nil:
			return choice{}, k.Err
		case k == nil || k.relation == foreign:
		case k.relation == fits:
			return h.goOn(k)
		// What else fits now is what a copy of it went on in.
		case h.o.Fork:
			return h.begin(ctx)
		case k.relation == apart:
			return choice{}, h.wentApart(k)
		default:
			return h.goOn(k)
		}
	}
	if k := h.furthest(fits); k != nil {
		if err := h.ambiguous(k); err != nil {
			return choice{}, err
		}
		return h.goOn(k)
	}
	if k := h.furthest(lost); k != nil && !h.o.Fork {
		return h.goOn(k)
	}
	return h.begin(ctx)
}

// goOn captures into a timeline of the source's own.
func (h *chooser) goOn(k *candidate) (choice, error) {
	end := k.State.Last
	acked := h.acked != nil && h.acked.Timeline == string(k.Timeline)
	switch {
	case acked && h.acked.LSN > end && k.relation == lost:
		return choice{}, refusal(driver.ErrTruncated, "timeline %s ends at LSN %d, but everything through LSN %d was archived, and the database has released its log of that: "+
			"the manifests after %d of the timeline are missing; bring them back from a copy of the archive", k.Timeline, end, h.acked.LSN, k.State.Seq)
	case acked && h.acked.LSN > end:
		h.notify(Event{Kind: EventPutBack, Timeline: k.Timeline, LSN: end, Warning: true})
	case k.relation == lost && (!acked || h.acked.LSN < end || h.acked.LogHash != k.State.LogHash):
		return choice{}, h.wentApart(k) // it may be a copy: what it last heard of is not the archive's end
	}
	return choice{archive: k.Archive}, nil
}

// begin finds the place where a timeline of the source's own can begin, and
// begins it.
func (h *chooser) begin(ctx context.Context) (choice, error) {
	own := h.furthest(apart, lost, fits)
	o := h.id.Restored
	restored := o != nil && o.Archive == h.repo
	switch damaged := h.unreadable(); {
	case own == nil && damaged != nil: // perhaps that was this one's
		return choice{}, damaged
	case own == nil && h.acked != nil && h.find(chain.TimelineID(h.acked.Timeline)) == nil && !h.o.Fork:
		return choice{}, refusal(driver.ErrTruncated, "the archive has no timeline %s, but everything through LSN %d of it was archived: bring the missing objects back from a copy of the archive",
			h.acked.Timeline, h.acked.LSN)
	case own == nil && restored, own != nil && h.o.Fork:
		return h.fork(ctx)
	case own != nil && own.relation == fits:
		return choice{}, refusal(driver.ErrDiverged, "this database is captured in timeline %s; to go on in a new one, %s, it has to fork", own.Timeline, h.want)
	case own != nil:
		return choice{}, h.wentApart(own)
	}
	return choice{}, h.stranger()
}

// ApartError says that a database's history is not, or can't be shown to be,
// the one that was captured of it. It wraps [driver.ErrDiverged]. With
// [Options].Fork the database goes on in a timeline of its own.
type ApartError struct {
	Timeline chain.TimelineID // that holds the database's history
	End      change.LSN       // where it ends
	Lost     bool             // the source has no log from there, so that nothing shows it
	Reason   error            // what the source says of that end
}

func (e *ApartError) Error() string {
	what := "it was copied or rolled back"
	if e.Lost {
		what = "it may be a copy of the one that was captured"
	}
	reason := strings.TrimSuffix(why(e.Reason, driver.ErrDiverged), ": "+driver.ErrLogLost.Error())
	return fmt.Sprintf("timeline %s holds the history of this database up to LSN %d, but the database does not go on from there (%s): %s",
		e.Timeline, e.End, reason, what)
}

// Unwrap returns ErrDiverged.
func (e *ApartError) Unwrap() error { return driver.ErrDiverged }

// wentApart says that the source is not what it once was.
func (h *chooser) wentApart(k *candidate) error {
	return &sourceError{&ApartError{Timeline: k.Timeline, End: k.State.Last, Lost: k.relation == lost, Reason: k.reason}}
}

// unreadable returns why timelines can't be read, nil when all can.
func (h *chooser) unreadable() (err error) {
	for _, k := range h.all {
		err = errors.Join(err, k.Err)
	}
	return err
}

// stranger says that the archive is another database's.
func (h *chooser) stranger() error {
	var holds []string
	for _, k := range h.all {
		if k.State.Source != (chain.Source{}) {
			holds = append(holds, fmt.Sprintf("%s database %s", k.State.Source.Kind, k.State.Source.System))
		}
	}
	return refusal(driver.ErrDiverged, "the archive holds the history of %s, the source is %s database %s, which was not restored from it; another database needs an archive of its own",
		strings.Join(holds, ", "), h.self.Kind, h.self.System)
}
