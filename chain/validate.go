package chain

import (
	"fmt"
	"unicode/utf8"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// maxText is the greatest length of a free text in a manifest, in bytes.
const maxText = 64 << 10

// maxCovered leaves room for later times.
const maxCovered = change.Time(1 << 62)

// form collects the first thing that is wrong with a manifest by itself.
type form struct {
	m   *Manifest
	err error
}

func (f *form) want(ok bool, format string, args ...any) {
	if !ok && f.err == nil {
		f.err = fmt.Errorf("manifest %d (%s): %s: %w", f.m.Seq, f.m.Kind, fmt.Sprintf(format, args...), ErrManifest)
	}
}

func (f *form) noError(err error) {
	if err != nil {
		f.want(false, "%v", err)
	}
}

func (f *form) text(name, s string) {
	f.want(len(s) <= maxText, "%s has %d bytes, the limit is %d", name, len(s), maxText)
	f.want(utf8.ValidString(s), "%s is not UTF-8", name)
}

func (f *form) span(name string, s Span) {
	f.want(s.From <= s.To, "%s ends at %v before it starts at %v", name, s.To, s.From)
}

// Validate reports what is wrong with the manifest by itself: what the history
// before it says is not looked at. Errors wrap [ErrManifest] or [ErrVersion].
func (m *Manifest) Validate() error {
	if err := CheckVersion(m.Format); err != nil {
		return err
	}
	f := &form{m: m}
	f.want(m.Format == FormatVersion, "format is %d, want %d", m.Format, FormatVersion)
	f.noError(CheckRepo(m.Repo))
	f.noError(CheckTimeline(m.Timeline))
	f.want(m.Seq >= 1, "seq is 0, they count from 1")
	f.want((m.Seq == 1) == m.Prev.IsZero(), "prev_hash is zeros if and only if seq is 1")
	f.want(isHex(m.Nonce, 32), "nonce %.40q is not 32 hexadecimal digits", m.Nonce)
	f.section()
	if f.err != nil {
		return f.err
	}
	f.epoch()
	f.body()
	return f.err
}

// section checks that exactly the section of the kind is there.
func (f *form) section() {
	m := f.m
	have := []struct {
		kind Kind
		set  bool
	}{
		{KindClaim, m.Claim != nil}, {KindClose, m.Close != nil}, {KindSegment, m.Segment != nil},
		{KindSnapshot, m.Snapshot != nil}, {KindDigest, m.Digest != nil}, {KindCoverage, m.Coverage != nil},
		{KindLabel, m.Label != nil}, {KindHold, m.Hold != nil}, {KindCheckpoint, m.Checkpoint != nil},
		{KindGap, m.Gap != nil}, {KindGapAck, m.GapAck != nil}, {KindPin, m.Pin != nil}, {KindFork, m.Fork != nil},
		{KindDrill, m.Drill != nil}, {KindVerify, m.Verify != nil},
	}
	known := false
	for _, h := range have {
		known = known || h.kind == m.Kind
	}
	f.want(known, "kind %q is unknown to this tidemark", string(m.Kind))
	for _, h := range have {
		f.want(h.set == (h.kind == m.Kind), "section %q is present: %t, in a manifest of kind %q", string(h.kind), h.set, string(m.Kind))
	}
}

// Epochal reports whether the manifest belongs to the epoch of a capturer.
func (m *Manifest) Epochal() bool {
	switch m.Kind {
	case KindClaim, KindClose, KindSegment, KindCoverage, KindGap, KindDigest:
		return true
	case KindSnapshot:
		return m.Snapshot.Origin == OriginSource
	}
	return false
}

func (f *form) epoch() {
	if f.m.Epochal() {
		f.want(f.m.Epoch > 0, "epoch is missing")
	} else {
		f.want(f.m.Epoch == 0, "epoch is %d, this kind belongs to none", f.m.Epoch)
	}
}

func (f *form) body() {
	switch m := f.m; m.Kind {
	case KindClaim:
		c := m.Claim
		f.want(c.Source.Kind != "" && c.Source.System != "", "source is %q/%q, both parts are needed", c.Source.Kind, c.Source.System)
		f.want(c.Over == OverNothing || c.Over == OverStale || c.Over == OverTakeover, "over is %q, want stale, takeover or nothing", string(c.Over))
		f.want(c.LSN < change.MaxLSN, "lsn is %d", c.LSN)
		f.text("source.kind", c.Source.Kind)
		f.text("source.system", c.Source.System)
		f.text("position", string(c.Position))
		f.text("holder", c.Holder)
	case KindSegment:
		f.segment(m.Segment)
	case KindSnapshot:
		f.snapshot(m.Snapshot)
	case KindDigest:
		f.want(len(m.Digest.Digests) > 0, "no digests")
		f.digests(m.Digest.Digests)
	case KindCoverage:
		f.want(m.Coverage.CoveredUntil > 0 && m.Coverage.CoveredUntil <= maxCovered, "covered_until is %v", m.Coverage.CoveredUntil)
	case KindLabel:
		f.noError(CheckLabel(m.Label.Name))
		f.text("note", m.Label.Note)
	case KindHold:
		h := m.Hold
		f.noError(CheckLabel(h.Name))
		f.text("reason", h.Reason)
		f.want(!h.Release || (h.LSN == 0 && h.Until == 0), "a release carries neither lsn nor until")
	case KindCheckpoint:
		f.checkpoint(m.Checkpoint)
	case KindGap:
		f.gap(m.Gap)
	case KindGapAck:
		f.want(m.GapAck.Reason != "", "reason is missing")
		f.text("reason", m.GapAck.Reason)
		f.text("by", m.GapAck.By)
	case KindPin:
		f.noError(CheckTimeline(m.Pin.Child))
		f.want(m.Pin.Child != m.Timeline, "child is this timeline itself")
		f.want(m.Pin.Child != MainTimeline, "child is %s, which is nobody's", MainTimeline)
		f.want(m.Pin.Txs >= 0, "transactions is %d", m.Pin.Txs)
		f.text("note", m.Pin.Note)
	case KindFork:
		f.fork(m.Fork)
	case KindDrill:
		f.drill(m.Drill)
	case KindVerify:
		f.verify(m.Verify)
	}
}

func (f *form) fork(k *Fork) {
	f.noError(CheckTimeline(k.Parent))
	f.want(f.m.Seq == 1, "a fork is manifest 1 of its timeline")
	f.want(k.Parent != f.m.Timeline, "parent is this timeline itself")
	f.want(k.ParentSeq > 0 && !k.ParentHash.IsZero(), "parent_seq or parent_hash is missing")
}

func (f *form) drill(d *Drill) {
	f.want(d.Base <= d.LSN, "base_lsn %d is above lsn %d", d.Base, d.LSN)
	f.want(d.Elapsed >= 0 && d.Rows >= 0 && d.Bytes >= 0, "a figure is negative")
	f.want(d.OK || d.Detail != "", "it went wrong, but detail is missing")
	f.text("detail", d.Detail)
}

func (f *form) verify(v *Verify) {
	f.want(v.Level == "chain" || v.Level == "objects" || v.Level == "records", "level is %q, want chain, objects or records", v.Level)
	f.want(v.Through < f.m.Seq, "through is %d, want a manifest before %d", v.Through, f.m.Seq)
	f.want(v.Elapsed >= 0 && v.Objects >= 0 && v.Bytes >= 0 && v.Records >= 0 && v.Findings >= 0, "a figure is negative")
	f.want(v.Findings > 0 || len(v.Lost) == 0 && len(v.Bases) == 0, "something is lost, but findings is 0")
	var last change.LSN
	for _, l := range v.Lost {
		f.want(l.First > last && l.First <= l.Last, "lost LSN %d to %d follow %d", l.First, l.Last, last)
		f.want(l.Detail != "", "detail is missing")
		f.span("lost", l.Effective)
		f.text("detail", l.Detail)
		last = l.Last
	}
	for i, b := range v.Bases {
		f.noError(CheckTimeline(b.Timeline))
		f.want(b.Seq > 0 && (b.Timeline != f.m.Timeline || b.Seq <= v.Through), "the base of manifest %d is beyond %d", b.Seq, v.Through)
		f.want(i == 0 || v.Bases[i-1].compare(&b) < 0, "the base of manifest %d is out of order", b.Seq)
		f.want(b.Detail != "", "detail is missing")
		f.text("detail", b.Detail)
	}
}

func (f *form) checkpoint(c *Checkpoint) {
	f.want(c.First >= 1 && c.First <= c.Last && c.Last < f.m.Seq, "covers %d to %d, want a range below %d", c.First, c.Last, f.m.Seq)
	f.want(c.Key == CheckpointKey(f.m.Timeline, c.First, c.Last), "key is %q, want %q", c.Key, CheckpointKey(f.m.Timeline, c.First, c.Last))
	f.want(c.Size > 0, "size is %d", c.Size)
	f.want(!c.Hash.IsZero() && !c.Index.IsZero(), "a hash is missing")
}

func (f *form) gap(g *Gap) {
	f.want(g.First > 0 && g.First <= g.Last && g.Last < change.MaxLSN, "it covers LSN %d to %d", g.First, g.Last)
	f.span("gap", Span{g.From, g.To})
	f.want(g.Reason != "", "reason is missing")
	f.text("reason", g.Reason)
	f.text("position", string(g.Position))
	var last change.CollectionID
	for _, c := range g.Collections {
		f.want(c > last, "collection %d follows %d", c, last)
		last = c
	}
}

func (f *form) digests(l []CollectionDigest) {
	var last change.CollectionID
	for _, d := range l {
		f.want(d.Collection > last, "the digest of collection %d follows that of %d", d.Collection, last)
		f.want(d.Rows >= 0 && d.Rows < maxRecords, "collection %d has %d rows", d.Collection, d.Rows)
		last = d.Collection
	}
}

func (f *form) snapshot(s *Snapshot) {
	f.want(s.Origin == OriginSource || s.Origin == OriginSynthetic, "origin is %q, want source or synthetic", string(s.Origin))
	f.digests(s.Digests)
	f.want(len(s.Digests) == len(s.Schemas), "%d digests for %d schemas", len(s.Digests), len(s.Schemas))
	var last change.CollectionID
	for i, c := range s.Schemas {
		f.schema(c)
		if f.err != nil {
			return
		}
		f.want(!c.Dropped, "collection %d is dropped", c.Collection)
		f.want(c.Collection > last, "the schema of collection %d follows that of %d", c.Collection, last)
		f.want(s.Digests[i].Collection == c.Collection, "digest %d is of collection %d, the schema there of %d", i, s.Digests[i].Collection, c.Collection)
		last = c.Collection
	}
	var rows, records int64
	for _, d := range s.Digests {
		rows = add(rows, max(d.Rows, 0))
	}
	keys := make(map[string]bool, len(s.Runs))
	for i := range s.Runs {
		r := &s.Runs[i]
		k := f.ref(r, RunPack)
		f.want(k.Last == s.LSN, "run %s ends at LSN %d, the base is at %d", r.Key, k.Last, s.LSN)
		f.want(!keys[r.Key], "run %s is there twice", r.Key)
		keys[r.Key] = true
		records = add(records, max(r.Records, 0))
	}
	f.want(records <= rows, "the runs hold %d records, the digests %d rows", records, rows)
	f.want(rows == 0 || records > 0, "the digests count %d rows, the runs are empty", rows)
}

func (f *form) schema(s *change.Schema) {
	if s == nil {
		f.want(false, "a schema is null")
		return
	}
	f.noError(s.Validate())
	f.want(utf8.ValidString(s.Name), "the name of collection %d is not UTF-8", s.Collection)
	for i := range s.Columns {
		f.want(utf8.ValidString(s.Columns[i].Name) && utf8.ValidString(s.Columns[i].NativeType),
			"a column name of collection %d is not UTF-8", s.Collection)
	}
}

// ref checks a pack's reference and returns its parsed key.
func (f *form) ref(r *pack.Ref, want PackKind) PackKey {
	k, err := ParsePackKey(r.Key)
	f.noError(err)
	f.want(k.Kind == want && k.Timeline == f.m.Timeline, "pack %q is not below %s/%s/", r.Key, f.m.Timeline, want)
	f.want(r.Size > 0 && r.Tail > 0 && r.Tail <= r.Size, "pack %s has %d bytes, %d of them tail", r.Key, r.Size, r.Tail)
	f.want(r.Records >= 0 && r.Raw >= 0 && r.MaxBlock >= 0, "pack %s has a negative count", r.Key)
	f.want(!r.Hash.IsZero(), "pack %s has no hash", r.Key)
	return k
}
