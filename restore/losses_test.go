package restore_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// TestLosses checks that what a verification reports as lost is what can't be
// read, that it is gone around once that is recorded, and that a later
// verification puts it right.
func TestLosses(t *testing.T) {
	w := get(t, plainWorld)
	whole := openArchive(t, bucketOf(t, w.objects))
	state, err := whole.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var segs []chain.Announced[chain.Segment]
	for seg, err := range state.Segments.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		segs = append(segs, *seg)
	}
	bases := state.Snapshots
	for _, c := range []struct {
		name  string
		gone  []string
		lost  [][2]change.LSN
		bases []chain.Seq
	}{
		{"a segment", []string{segs[1].Body.Packs[0].Key}, [][2]change.LSN{{segs[1].Body.First, segs[1].Body.Last}}, nil},
		{"two that follow each other, a base between", []string{segs[1].Body.Packs[0].Key, segs[2].Body.Packs[0].Key},
			[][2]change.LSN{{segs[1].Body.First, segs[1].Body.Last}, {segs[2].Body.First, segs[2].Body.Last}}, nil},
		{"two that follow each other", []string{segs[2].Body.Packs[0].Key, segs[3].Body.Packs[0].Key}, [][2]change.LSN{{segs[2].Body.First, segs[3].Body.Last}}, nil},
		{"both bases", []string{bases[0].Body.Runs[1].Key, bases[1].Body.Runs[0].Key}, nil, []chain.Seq{bases[0].Seq, bases[1].Seq}},
		{"a segment and a base", []string{segs[0].Body.Packs[0].Key, bases[1].Body.Runs[0].Key}, [][2]change.LSN{{1, segs[0].Body.Last}}, []chain.Seq{bases[1].Seq}},
	} {
		for _, level := range []restore.Level{restore.LevelChain, restore.LevelObjects, restore.LevelRecords} {
			t.Run(c.name+" "+level.String(), func(t *testing.T) {
				objects := maps.Clone(w.objects)
				for _, key := range c.gone {
					delete(objects, key)
				}
				bucket := bucketOf(t, objects)
				a := openArchive(t, bucket)
				r := w.verified(t, a, level)
				var lost [][2]change.LSN
				for _, l := range r.Lost {
					lost = append(lost, [2]change.LSN{l.First, l.Last})
					if l.Detail == "" || l.Effective.From == 0 || l.Effective.To < l.Effective.From {
						t.Errorf("lost %+v", l)
					}
				}
				var bad []chain.Seq
				for _, b := range r.Bases {
					bad = append(bad, b.Seq)
				}
				if !slices.Equal(lost, c.lost) || !slices.Equal(bad, c.bases) {
					t.Errorf("lost %v and bases %v, want %v and %v", lost, bad, c.lost, c.bases)
				}
				if refused := w.everyMoment(t, a); (refused > 0) != (len(c.lost) > 0) {
					t.Errorf("%d moments are refused", refused)
				}
				for _, key := range c.gone {
					if err := bucket.Create(t.Context(), key, bytes.NewReader(w.objects[key])); err != nil {
						t.Fatal(err)
					}
				}
				if r := w.verified(t, a, level); !r.OK() || len(r.Lost)+len(r.Bases) > 0 {
					t.Errorf("put back: %+v", r)
				}
				if refused := w.everyMoment(t, a); refused > 0 {
					t.Errorf("put back, and %d moments are refused", refused)
				}
			})
		}
	}
}

// verified verifies and records.
func (w *world) verified(t *testing.T, a *archive.Archive, level restore.Level) *restore.Report {
	t.Helper()
	r, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: level, TempDir: t.TempDir()})
	if err == nil {
		err = a.RecordVerify(t.Context(), r.Section())
	}
	if err != nil {
		t.Fatal(err)
	}
	v := a.State().Verifies
	if last := v[len(v)-1].Body; last.Level != level.String() || last.Findings != int64(len(r.Findings)) || last.Through != r.Through || last.Through == 0 {
		t.Errorf("recorded %+v", last)
	}
	return r
}

// everyMoment restores to a few moments, each exactly or with a refusal that
// the chain alone gives, and returns how many were refused.
func (w *world) everyMoment(t *testing.T, a *archive.Archive) (refused int) {
	t.Helper()
	for i, m := range w.moments {
		if i%3 != 0 && i != len(w.moments)-1 {
			continue
		}
		p := new(place)
		_, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, restore.Options{TempDir: t.TempDir()})
		if err == nil {
			err = p.holds(m)
		} else if errors.Is(err, recovery.ErrLost) {
			refused++
			err = p.untouched()
		}
		if err != nil {
			t.Errorf("LSN %d: %v", m.at, err)
		}
	}
	return refused
}

// TestDigestsAreCompared finds digests that the database never showed, and does
// not compare again what was found to be right.
func TestDigestsAreCompared(t *testing.T) {
	w := get(t, plainWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	state, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say := func(d chain.Digest) {
		t.Helper()
		s := a.State()
		session, err := a.Claim(t.Context(), archive.ClaimOptions{Source: s.Source, Mark: func(context.Context, *chain.State) (driver.Mark, error) {
			return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
		}})
		if err == nil {
			err = session.Digest(t.Context(), d)
		}
		if err == nil {
			err = session.Close(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := w.moments[len(w.moments)/2]
	say(chain.Digest{LSN: m.at, Digests: m.digests})
	if r := w.verified(t, a, restore.LevelRecords); !r.OK() {
		t.Errorf("right digests: %v", r.Findings)
	}
	last := w.last()
	wrong := chain.Digest{LSN: state.Last, Digests: slices.Clone(last.digests)}
	wrong.Digests[0].Rows++
	say(wrong)
	if r := w.verified(t, a, restore.LevelObjects); !r.OK() {
		t.Errorf("level objects compares no rows: %v", r.Findings)
	}
	for range 2 { // it is found again: the one before was not clean
		r := w.verified(t, a, restore.LevelRecords)
		if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Key, "/manifest/") || !strings.Contains(r.Findings[0].Found, "rows") || len(r.Lost)+len(r.Bases) > 0 {
			t.Errorf("findings %v, lost %v", r.Findings, r.Lost)
		}
	}
}
