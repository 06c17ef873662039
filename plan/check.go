package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// Status says how a check went.
type Status string

// How a check can go.
const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Unknown Status = "unknown" // it can't be told from here
)

// Check is something that was looked at before a restore.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Todo   string `json:"todo,omitempty"` // what a person can do about it

	err error // why it failed
}

// Room is what the plan needs of a place on disk, in bytes.
type Room struct {
	For   string `json:"for"` // "destination" or "sorting"
	Place string `json:"place"`
	Need  int64  `json:"need"`
	Free  int64  `json:"free"` // -1: not known
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

type examiner struct {
	a      *archive.Archive
	state  *chain.State
	plan   *recovery.Plan
	o      Options
	checks []Check
	room   []Room
}

func (x *examiner) say(name string, status Status, err error, todo, format string, args ...any) {
	x.checks = append(x.checks, Check{Name: name, Status: status, Detail: fmt.Sprintf(format, args...), Todo: todo, err: err})
}

func (x *examiner) run(ctx context.Context) error {
	x.say("format", OK, nil, "", "archive format %d; every manifest of timeline %s up to %d is understood and linked", x.a.Identity().Format, x.state.Timeline, x.state.Seq)
	if err := x.objects(ctx); err != nil {
		return err
	}
	x.source()
	if err := x.destination(ctx); err != nil {
		return err
	}
	x.sorting()
	x.memory()
	return nil
}

// refs returns every object that the plan reads.
func refs(p *recovery.Plan) (out []pack.Ref) {
	if p.Base != nil {
		out = append(out, p.Base.Runs...)
	}
	for i := range p.Segments {
		out = append(out, p.Segments[i].Packs...)
	}
	return out
}

// objects looks whether what the plan reads is there, with the right size.
func (x *examiner) objects(ctx context.Context) error {
	all := refs(x.plan)
	some := all
	limit := x.o.Objects
	if limit == 0 {
		limit = 256
	}
	if limit > 0 && len(all) > limit {
		some = nil
		for i := range limit { // the first, the last, and evenly between
			some = append(some, all[i*(len(all)-1)/max(limit-1, 1)])
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	errs := make([]error, len(some))
	for i, ref := range some {
		g.Go(func() error {
			n, err := x.a.Bucket().Size(ctx, ref.Key)
			switch {
			case err != nil && ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, storage.ErrNotFound):
				errs[i] = fmt.Errorf("pack %s, which a manifest announces, is missing: %w: %w", ref.Key, chain.ErrDamaged, err)
			case err != nil:
				errs[i] = fmt.Errorf("pack %s: %w", ref.Key, err)
			case n != ref.Size:
				errs[i] = fmt.Errorf("pack %s has %d bytes, its manifest says %d: %w", ref.Key, n, ref.Size, pack.ErrCorrupt)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	bad := 0
	var first error
	for _, err := range errs {
		if err != nil {
			if bad++; first == nil || errors.Is(first, storage.ErrUnavailable) {
				first = err // damage says more
			}
		}
	}
	switch {
	case bad > 0:
		x.say("objects", Failed, first, "tidemark verify shows all the damage; a target before it may still be restorable", "%d of the %d objects looked at: %v", bad, len(some), first)
	case len(some) < len(all):
		x.say("objects", OK, nil, "--check-all looks at all of them", "%d of %d objects were looked at: there, with the right sizes", len(some), len(all))
	case len(all) == 1:
		x.say("objects", OK, nil, "", "the one object is there, with the right size")
	default:
		there := "the one object is there, with the right size"
		if len(all) != 1 {
			there = fmt.Sprintf("all %d objects are there, with the right sizes", len(all))
		}
		x.say("objects", OK, nil, "", "%s", there)
	}
	return nil
}

// source says whether what the database does now still comes into the archive.
func (x *examiner) source() {
	switch s := x.state; {
	case s.Epoch == 0:
		x.say("capture", Unknown, nil, "", "no database was ever captured into this timeline")
	case !s.EpochOpen:
		x.say("capture", OK, nil, "", "nothing captures just now: the archive ends where it ends")
	case x.o.Now == 0:
		x.say("capture", OK, nil, "", "%s captures", s.EpochOwner)
	default:
		seen := x.o.Now.Std().Sub(s.EpochSeen.Std()).Round(time.Second)
		x.say("capture", OK, nil, "", "%s captures, last seen %s ago; what it adds from now on is not in this plan", s.EpochOwner, max(seen, 0))
	}
}

// destination asks the target, if there is one.
func (x *examiner) destination(ctx context.Context) error {
	if x.o.Target == nil {
		x.say("destination", Unknown, nil, "name a destination to have it looked at", "none was given")
		x.room = append(x.room, Room{For: "destination", Need: x.plan.Estimate.Bytes, Free: -1})
		return nil
	}
	want, err := restore.Wanted(x.plan, x.o.Restore)
	if err != nil {
		return err
	}
	room, err := x.o.Target.Preflight(ctx, want)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	x.room = append(x.room, Room{For: "destination", Place: room.Place, Need: room.Need, Free: room.Free})
	switch {
	case errors.Is(err, driver.ErrNoSpace):
		x.say("destination", OK, nil, "", "free and writable")
		x.say("space", Failed, err, "free some, or restore to another disk", "%v", err)
		return nil
	case err != nil:
		x.say("destination", Failed, err, "", "%v", err)
		return nil
	}
	x.say("destination", OK, nil, "", "free and writable")
	if room.Free < 0 {
		x.say("space", Unknown, nil, "", "about %s are needed; %s does not say how much is free", size(room.Need), room.Place)
		return nil
	}
	x.say("space", OK, nil, "", "about %s are needed, %s are free in %s", size(room.Need), size(room.Free), room.Place)
	return nil
}

// spill returns about how many bytes sorting the log puts on disk: none where
// it fits into the memory, else each record once, and once more where runs are
// merged.
func spill(p *recovery.Plan, memory int64) int64 {
	var raw, stored int64
	for i := range p.Segments {
		for _, r := range p.Segments[i].Packs {
			raw += r.Raw + 150*r.Records // what a record costs beside its key and image
			stored += r.Size
		}
	}
	if raw < memory*3/4 {
		return 0
	}
	return 2 * stored
}

// sorting compares what sorts spill with what is free there.
func (x *examiner) sorting() {
	dir := x.o.Restore.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	r := Room{For: "sorting", Place: dir, Need: spill(x.plan, x.o.Restore.Memory), Free: -1}
	if usage, err := vfs.Default.GetDiskUsage(dir); err == nil && usage.TotalBytes > 0 {
		r.Free = int64(min(usage.AvailBytes, 1<<62))
	}
	x.room = append(x.room, r)
	switch {
	case r.Need == 0:
		x.say("sorting", OK, nil, "", "the log fits into memory")
	case r.Free < 0:
		x.say("sorting", Unknown, nil, "", "about %s are needed in %s, which does not say how much is free", size(r.Need), dir)
	case r.Free < r.Need:
		err := fmt.Errorf("sorting the log needs about %s in %s, %s are free: %w", size(r.Need), dir, size(r.Free), driver.ErrNoSpace)
		x.say("sorting", Failed, err, "give more memory, or another directory for temporary files (TMPDIR)", "%v", err)
	default:
		x.say("sorting", OK, nil, "", "about %s are needed in %s, %s are free", size(r.Need), dir, size(r.Free))
	}
}

// memory compares the memory allowed with the least that the largest block needs.
func (x *examiner) memory() {
	var block int64
	for _, r := range refs(x.plan) {
		block = max(block, r.MaxBlock)
	}
	least, have := 4*block, x.o.Restore.Memory
	if have < least {
		x.say("memory", Unknown, nil, "allow more memory", "%s are allowed, the largest block of the plan needs %s: more may be used", size(have), size(least))
		return
	}
	x.say("memory", OK, nil, "", "%s are allowed, the largest block of the plan takes %s", size(have), size(block))
}
