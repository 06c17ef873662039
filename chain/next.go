package chain

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
)

// Next moves the state on by the manifest m, whose stored bytes have the given
// hash. It is the only judge of what may follow what: a pure function of its
// arguments. When m breaks a rule, the error is a [*RuleError] and s is as it
// was. s keeps parts of m: neither is to be modified afterwards.
func (s *State) Next(m *Manifest, hash change.Hash) error {
	if err := m.Validate(); err != nil {
		r := &rules{s: s, m: m}
		r.fail("form", err, "%v", err)
		return r.err
	}
	return s.Advance(m, hash)
}

// Advance is [State.Next] for a manifest that is valid by itself, as
// [DecodeManifest] returns it.
func (s *State) Advance(m *Manifest, hash change.Hash) error {
	if err := s.Check(m); err != nil {
		return err
	}
	s.apply(m)
	s.Seq, s.Head = m.Seq, hash
	return nil
}

// Check reports which rule m, which is valid by itself, breaks after s, as
// [State.Next] does.
func (s *State) Check(m *Manifest) error {
	r := &rules{s: s, m: m}
	r.link()
	r.fork()
	r.epoch()
	if r.err == nil {
		r.body()
	}
	return r.err
}

// rules finds the first rule that m breaks after s.
type rules struct {
	s   *State
	m   *Manifest
	err error
}

func (r *rules) want(ok bool, rule, format string, args ...any) {
	if !ok {
		r.fail(rule, nil, format, args...)
	}
}

func (r *rules) fail(rule string, cause error, format string, args ...any) {
	if r.err == nil {
		r.err = &RuleError{Timeline: r.s.Timeline, Seq: r.m.Seq, Kind: r.m.Kind, Rule: rule,
			Detail: fmt.Sprintf(format, args...), Err: cause}
	}
}

func (r *rules) link() {
	s, m := r.s, r.m
	if m.Repo != s.Repo {
		r.fail("link.repo", ErrWrongRepo, "repo is %s, want %s", m.Repo, s.Repo)
	}
	r.want(m.Timeline == s.Timeline, "link.timeline", "timeline is %s, want %s", m.Timeline, s.Timeline)
	r.want(m.Seq == s.Seq+1, "link.seq", "seq is %d, want %d", m.Seq, s.Seq+1)
	r.want(m.Prev == s.Head, "link.prev", "prev_hash is %s, manifest %d has %s", m.Prev, s.Seq, s.Head)
}

// fork holds the first manifest of a child timeline to the pin in the parent.
func (r *rules) fork() {
	s, m := r.s, r.m
	switch {
	case s.Seq > 0: // a fork of any other seq is malformed
	case m.Kind != KindFork:
		r.want(s.Parent == nil && s.Timeline == MainTimeline, "fork.first", "timeline %s begins with a fork, as every one but %s", s.Timeline, MainTimeline)
	case s.Parent == nil:
		r.fail("fork.parent", nil, "nothing is known of the parent timeline %s", m.Fork.Parent)
	default:
		r.want(*m.Fork == *s.Parent, "fork.pin", "it says %+v, the pin %+v", *m.Fork, *s.Parent)
	}
}

func (r *rules) epoch() {
	s, m := r.s, r.m
	switch {
	case m.Kind == KindClaim:
		r.want(m.Epoch == s.Epoch+1, "epoch.claim", "claims epoch %d, want %d", m.Epoch, s.Epoch+1)
		if s.EpochOpen && m.Claim.Over == OverNothing {
			r.fail("epoch.over", ErrLocked, "epoch %d of %q is open; a claim over it says why (stale or takeover)", s.Epoch, s.EpochOwner)
		}
		r.want(s.EpochOpen || m.Claim.Over == OverNothing, "epoch.over", "claims %q over an epoch, but none is open", string(m.Claim.Over))
	case !m.Epochal():
		r.want(s.Started || m.Kind == KindCheckpoint || m.Kind == KindFork, "epoch.first", "nothing was archived yet; a timeline starts with a claim")
	case m.Epoch < s.Epoch || m.Epoch == s.Epoch && !s.EpochOpen:
		r.fail("epoch.fenced", ErrFenced, "epoch %d is over, the last is %d (open: %t)", m.Epoch, s.Epoch, s.EpochOpen)
	default:
		r.want(m.Epoch == s.Epoch, "epoch.unclaimed", "epoch %d was not claimed, the last is %d", m.Epoch, s.Epoch)
	}
}

func (r *rules) body() {
	s, m := r.s, r.m
	switch m.Kind {
	case KindClaim:
		r.claim(m.Claim)
	case KindClose:
		r.want(m.Close.LSN == s.Last, "close.lsn", "lsn is %d, the log ends at %d", m.Close.LSN, s.Last)
	case KindSegment:
		r.segment(m.Segment)
	case KindSnapshot:
		r.snapshot(m.Snapshot)
	case KindDigest:
		r.point("digest", m.Digest.LSN)
		r.digest(m.Digest)
	case KindCoverage:
		c := m.Coverage
		r.want(c.LSN == s.Last, "coverage.lsn", "lsn is %d, the log ends at %d", c.LSN, s.Last)
		r.want(c.CoveredUntil >= s.CoveredUntil, "coverage.time", "covered_until is %v, it was %v", c.CoveredUntil, s.CoveredUntil)
	case KindLabel:
		if l, ok := s.Labels[m.Label.Name]; ok {
			r.fail("label.name", ErrLabelTaken, "label %q names LSN %d since manifest %d; labels are for good", m.Label.Name, l.Body.LSN, l.Seq)
		}
		r.point("label", m.Label.LSN)
	case KindHold:
		r.hold(m.Hold)
	case KindCheckpoint:
		r.want(m.Checkpoint.First == s.Bundled()+1, "checkpoint.range", "starts at %d, want %d", m.Checkpoint.First, s.Bundled()+1)
	case KindGap:
		r.gap(m.Gap)
	case KindGapAck:
		r.gapAck(m.GapAck)
	case KindPin:
		r.pin(m.Pin)
	case KindDrill:
		r.point("drill", m.Drill.LSN)
	case KindVerify: // says nothing of the history
	}
}

// Bundled returns the last manifest that a checkpoint holds, or 0.
func (s *State) Bundled() Seq {
	if n := len(s.Checkpoints); n > 0 {
		return s.Checkpoints[n-1].Body.Last
	}
	return 0
}

func (r *rules) claim(c *Claim) {
	s := r.s
	if !s.Started {
		r.want(c.LSN > 0 || c.LogHash.IsZero(), "claim.start", "lsn is 0 but log_hash is not zero")
		return
	}
	first := s.Source == Source{} // on a fork: whose history it is from now on
	r.want(first || c.Source == s.Source, "claim.source", "source is %s/%s, the archive holds %s/%s", c.Source.Kind, c.Source.System, s.Source.Kind, s.Source.System)
	r.want(c.LSN == s.Last, "claim.lsn", "the source goes on from LSN %d, the archive ends at %d", c.LSN, s.Last)
	r.want(c.LogHash == s.LogHash, "claim.log_hash", "the source's log hash at LSN %d is %s, the archive's %s: they have different histories", c.LSN, c.LogHash, s.LogHash)
	r.want(first || c.Position == s.Position, "claim.position", "position is %q, the archive ends at %q", c.Position, s.Position)
}

func (r *rules) segment(b *Segment) {
	s := r.s
	r.want(b.First == s.Last+1, "segment.lsn", "lsn_start is %d, want %d", b.First, s.Last+1)
	r.want(b.Effective.From >= EffectiveFloor(s.Effective, s.CoveredUntil), "segment.effective",
		"effective times start at %v, want %v at least (last %v, covered until %v)", b.Effective.From, EffectiveFloor(s.Effective, s.CoveredUntil), s.Effective, s.CoveredUntil)
	r.want(b.CoveredUntil >= s.CoveredUntil, "segment.covered", "covered_until is %v, it was %v", b.CoveredUntil, s.CoveredUntil)
	if r.err != nil {
		return
	}
	known := s.Schemas
	if len(b.Schemas) > 0 {
		known = make(map[change.CollectionID]*change.Schema, len(s.Schemas))
		for k, v := range s.Schemas {
			known[k] = v
		}
		if _, err := followSchemas(known, s.NextCollection, b.Schemas, s.schemas.unknown); err != nil {
			r.fail("segment.schema", err, "%v", err)
		}
	}
	if s.schemas.unknown {
		return
	}
	for i := range b.Counts {
		c := &b.Counts[i]
		r.want(c.Schemas > 0 || known[c.Collection] != nil, "segment.collection", "collection %d has records but no schema", c.Collection)
	}
}

func (r *rules) snapshot(b *Snapshot) {
	s := r.s
	r.point("snapshot", b.LSN)
	if r.err != nil {
		return
	}
	seg, err := s.Segments.resident(b.LSN)
	if err != nil {
		r.unknown(err)
		return
	}
	if want, known := s.logHashAt(seg, b.LSN); known {
		r.want(b.LogHash == want, "snapshot.log_hash", "log_hash is %s, the archive's at LSN %d is %s", b.LogHash, b.LSN, want)
	}
	if err := s.checkSchemas(b); err != nil {
		r.fail("snapshot.schemas", err, "%v", err)
	}
	for i := range s.Snapshots {
		old := &s.Snapshots[i]
		if old.Body.LSN != b.LSN {
			continue // runs name the base's LSN in their keys
		}
		for _, run := range old.Body.Runs {
			for j := range b.Runs {
				r.want(run.Key != b.Runs[j].Key, "snapshot.run", "run %s belongs to manifest %d already", run.Key, old.Seq)
			}
		}
	}
}

func (r *rules) digest(d *Digest) {
	at, known := r.s.schemas.at(d.LSN)
	for _, c := range d.Digests {
		r.want(!known || at[c.Collection] != nil, "digest.collection", "collection %d is not there at LSN %d", c.Collection, d.LSN)
	}
}

func (r *rules) hold(h *Hold) {
	old, held := r.s.Holds[h.Name]
	if h.Release {
		r.want(held, "hold.name", "no hold %q is in force", h.Name)
		return
	}
	r.want(!held, "hold.name", "hold %q is in force since manifest %d; release it first", h.Name, old.Seq)
	r.point("hold", h.LSN)
}

func (r *rules) gap(g *Gap) {
	s := r.s
	r.want(g.First == s.Last+1, "gap.lsn", "lsn_start is %d, want %d", g.First, s.Last+1)
	r.want(g.To >= s.Effective && g.To >= s.CoveredUntil, "gap.time", "ends at %v, before the last transaction (%v) or what is covered (%v)", g.To, s.Effective, s.CoveredUntil)
}

func (r *rules) gapAck(a *GapAck) {
	s := r.s
	_, acked := s.GapAcks[a.First]
	r.want(!acked, "gap-ack.once", "the gap at LSN %d was acknowledged before", a.First)
	known := slices.ContainsFunc(s.Gaps, func(g Announced[Gap]) bool { return g.Body.First == a.First })
	r.want(known, "gap-ack.lsn", "no gap starts at LSN %d", a.First)
}

func (r *rules) pin(p *Pin) {
	s := r.s
	old, taken := s.Pins[p.Child]
	r.want(!taken, "pin.child", "timeline %s goes on from LSN %d since manifest %d", p.Child, old.Body.LSN, old.Seq)
	r.point("pin", p.LSN)
	if r.err != nil {
		return
	}
	at, err := s.Segments.resident(p.LSN)
	if err != nil {
		r.unknown(err)
		return
	}
	if want, known := s.logHashAt(at, p.LSN); known {
		r.want(p.LogHash == want, "pin.log_hash", "log_hash is %s, the archive's at LSN %d is %s", p.LogHash, p.LSN, want)
	}
	from, to, txs := change.Time(0), max(s.Effective, s.CoveredUntil), int64(0)
	if at != nil {
		seg := &at.Body
		from, to = seg.Effective.From, seg.Effective.To
		if p.LSN == seg.Last {
			from = to
		} else {
			txs = seg.Txs - 1
		}
	}
	r.want(p.Txs <= txs && (p.Txs > 0) == (txs > 0), "pin.transactions", "transactions is %d, of LSN %d it is at most %d, and 0 where it cuts no segment", p.Txs, p.LSN, txs)
	r.want(p.Effective >= from && p.Effective <= to, "pin.effective", "effective is %v, of LSN %d it is from %v to %v", p.Effective, p.LSN, from, to)
}

// point checks an LSN that a restore may stop at.
func (r *rules) point(kind string, lsn change.LSN) {
	s := r.s
	r.want(lsn >= s.Start && lsn <= s.Last, kind+".lsn", "lsn is %d, the archive holds %d to %d", lsn, s.Start, s.Last)
	for i := range s.Gaps {
		g := &s.Gaps[i].Body
		r.want(lsn < g.First || lsn >= g.Last, kind+".gap", "lsn %d is inside the gap of LSN %d to %d", lsn, g.First, g.Last)
	}
	seg, err := s.Segments.resident(lsn)
	if err != nil {
		r.unknown(err)
		return
	}
	first, last, inside := within(seg, lsn)
	r.want(!inside, kind+".boundary", "lsn %d is inside the transaction of LSN %d to %d; it ends at %d", lsn, first, last, last)
}

// unknown says that the judgement needs a part of the log that is not in memory.
func (r *rules) unknown(err error) {
	if r.err == nil {
		r.err = err
	}
}

// SegmentAt returns the segment that holds an LSN, or nil. Errors are those of
// [Segments.Covering].
func (s *State) SegmentAt(ctx context.Context, lsn change.LSN) (*Segment, error) {
	seg, err := s.Segments.Covering(ctx, lsn)
	if seg == nil {
		return nil, err
	}
	return &seg.Body, nil
}

// within returns the transaction that an LSN would split, as far as the chain
// alone can tell: small transactions are known to their segment only.
func within(seg *Announced[Segment], lsn change.LSN) (first, last change.LSN, inside bool) {
	if seg == nil {
		return 0, 0, false
	}
	for i := range seg.Body.Largest {
		if t := &seg.Body.Largest[i]; t.First <= lsn && lsn < t.Last {
			return t.First, t.Last, true
		}
	}
	return 0, 0, false
}

// LogHashAt returns the log hash at an LSN where the chain states it: the
// start, a segment's end, a gap. Errors are those of [Segments.Covering].
func (s *State) LogHashAt(ctx context.Context, lsn change.LSN) (hash change.Hash, known bool, err error) {
	seg, err := s.Segments.Covering(ctx, lsn)
	if err != nil {
		return change.Hash{}, false, err
	}
	hash, known = s.logHashAt(seg, lsn)
	return hash, known, nil
}

// logHashAt is [State.LogHashAt], given the segment that covers lsn.
func (s *State) logHashAt(seg *Announced[Segment], lsn change.LSN) (change.Hash, bool) {
	switch {
	case lsn == s.Last:
		return s.LogHash, true
	case lsn == s.Start:
		return s.StartLog, true
	case seg != nil:
		return seg.Body.LogHash, seg.Body.Last == lsn
	}
	i := slices.IndexFunc(s.Gaps, func(g Announced[Gap]) bool { return g.Body.Last == lsn })
	if i < 0 {
		return change.Hash{}, false
	}
	return s.Gaps[i].Body.LogHash, true
}
