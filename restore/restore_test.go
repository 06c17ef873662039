package restore_test

import (
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// TestWorld checks that the archive of these tests holds what they are about,
// and that it is whole.
func TestWorld(t *testing.T) {
	for name, make := range map[string]func() (*world, error){"whole": wholeWorld, "plain": plainWorld, "other": otherWorld} {
		t.Run(name, func(t *testing.T) {
			w := get(t, make)
			a := openArchive(t, bucketOf(t, w.objects))
			s, err := a.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Segments.Len() < 5 || len(s.Snapshots) != 2 || len(s.Snapshots[0].Body.Runs) < 2 || len(s.Labels) != 1 || s.Effective >= w.covered || s.CoveredUntil < w.covered {
				t.Errorf("%d segments, %d snapshots, %d labels, covered until %s", s.Segments.Len(), len(s.Snapshots), len(s.Labels), s.CoveredUntil)
			}
			rep, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: restore.LevelRecords})
			if err != nil || !rep.OK() {
				t.Errorf("%v, %+v", err, rep)
			}
			t.Logf("%d objects, %d manifests, %d transactions", len(w.objects), s.Seq, len(w.moments))
		})
	}
}

// TestEveryTransaction restores to every one, with and without memory and in
// several numbers of parts.
func TestEveryTransaction(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	for i, m := range w.moments {
		o := restore.Options{Parts: 1 + i%8, TempDir: t.TempDir(), NoDigest: i%5 == 4}
		if i%2 == 1 {
			o.Memory = 1
		}
		p := new(place)
		res, err := restore.Run(t.Context(), a, recovery.AtLSN(m.at), p, o)
		if err != nil {
			t.Fatalf("LSN %d, %+v: %v", m.at, o, err)
		}
		if err := p.holds(m); err != nil {
			t.Errorf("LSN %d, %+v: %v", m.at, o, err)
		}
		want := m.digests
		if o.NoDigest {
			want = nil
		}
		if res.Asked != recovery.AtLSN(m.at) || res.Reached.LSN != m.at || res.Reached.Tx != m.tx || res.Reached.Commit != m.commit ||
			res.Rows != m.rows || (res.Bytes > 0) != (m.rows > 0) || !slices.Equal(res.Digests, want) || res.Elapsed <= 0 {
			t.Errorf("LSN %d: result %+v, want %+v", m.at, res, m)
		}
		if end := w.last().at; res.Discards.Records != int64(end-m.at) {
			t.Errorf("LSN %d: discards %d records, want %d", m.at, res.Discards.Records, end-m.at)
		}
	}
}
