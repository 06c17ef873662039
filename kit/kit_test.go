package kit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/kit"
	"github.com/tidemarkdb/tidemark/storage"
)

const repo = "00112233445566778899aabbccddeeff"

func state(id chain.TimelineID, seq chain.Seq, lsn change.LSN) *chain.State {
	s := chain.NewState(repo, id)
	s.Seq, s.Last, s.Head = seq, lsn, change.Hash{31: byte(seq)}
	s.CoveredUntil = change.TimeOf(time.Date(2026, 11, 22, 17, 41, 58, 0, time.UTC))
	s.Source = chain.Source{Kind: "embedded", System: "abc"}
	return s
}

func sample() *kit.Kit {
	return kit.New("shop", "v1.2.3", repo, "main", []string{"dir:/backup/shop"}, nil,
		[]*chain.State{state("main", 7, 41), state("after-fire", 2, 55), state("empty", 0, 0)}, time.Date(2026, 11, 22, 18, 0, 0, 5, time.UTC))
}

func TestText(t *testing.T) {
	const want = `# Recovery kit of shop
#
# With this page, what the archive holds can be restored on a bare machine. Keep
# it where neither the database nor the archive is: on paper, or with somebody
# else. Print a new one now and then: what the archive holds today can only be
# missed by a page that knows of it.
kit: 1
printed: "2026-11-22T18:00:00Z"
tidemark: "v1.2.3"
format: 1
database: "shop"
source: "embedded abc"
repo: "00112233445566778899aabbccddeeff"
archives:
  - "dir:/backup/shop"
timeline: "main"
timelines:
  - id: "main"
    seq: 7
    head: "0000000000000000000000000000000000000000000000000000000000000007"
    lsn: 41
    covered_until: "2026-11-22T17:41:58.000000Z"
  - id: "after-fire"
    seq: 2
    head: "0000000000000000000000000000000000000000000000000000000000000002"
    lsn: 55
    covered_until: "2026-11-22T17:41:58.000000Z"
credentials: []
checksum: "CHECKSUM" # of what is said above, without the remarks
#
# To restore:
#   1. Install tidemark v1.2.3 or newer (archive format 1).
#   2. Make the archive reachable: dir:/backup/shop
#      It needs no credentials, only to be readable.
#   3. Save this page as kit.txt and run
#        tidemark restore --kit kit.txt ./restored.db --to latest
#      or to a moment, such as --to '2026-11-22 17:41:58Z'. Where the archive
#      now is somewhere else, name the place before the destination:
#        tidemark restore --kit kit.txt ARCHIVE ./restored.db --to latest
#   4. Look at it: tidemark db collections ./restored.db
`
	k := sample()
	if diff := cmp.Diff(strings.Replace(want, "CHECKSUM", k.Checksum, 1), k.Text()); diff != "" {
		t.Error(diff)
	}
	if len(k.Checksum) != 19 {
		t.Errorf("checksum %s", k.Checksum)
	}
}

// TestRoundTrip: whatever names and places hold, the page is read as it was
// written, also by who types it off without the remarks.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		k := kit.New(text.Draw(t, "name"), text.Draw(t, "version"), repo, "main",
			rapid.SliceOfN(rapid.StringN(1, 20, -1), 1, 3).Draw(t, "archives"), rapid.SliceOf(text).Draw(t, "needs"),
			[]*chain.State{state("main", chain.Seq(rapid.Uint64Range(0, 1<<60).Draw(t, "seq")), change.LSN(rapid.Uint64Range(0, 1<<60).Draw(t, "lsn")))},
			time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "now"), 0))
		var typed strings.Builder
		for line := range strings.Lines(k.Text()) {
			if !strings.HasPrefix(line, "#") {
				typed.WriteString(strings.TrimRight(line, "\n") + "  \r\n")
			}
		}
		for _, page := range []string{k.Text(), typed.String()} {
			got, err := kit.Parse([]byte(page))
			if err != nil {
				t.Fatalf("%v\n%s", err, page)
			}
			if diff := cmp.Diff(k, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// TestMistyped: no letter of what is said can be changed unnoticed.
func TestMistyped(t *testing.T) {
	page := sample().Text()
	good := sample()
	noticed := 0
	for i := range page {
		for _, c := range []byte("0aZ ") {
			if page[i] == c {
				continue
			}
			got, err := kit.Parse([]byte(page[:i] + string(c) + page[i+1:]))
			switch {
			case err == nil && !cmp.Equal(good, got, cmpopts.EquateEmpty()):
				t.Fatalf("byte %d as %q: read as %+v", i, c, got)
			case err != nil && !errors.Is(err, kit.ErrKit) && !errors.Is(err, chain.ErrVersion):
				t.Fatalf("byte %d as %q: %v", i, c, err)
			case err != nil:
				noticed++
			}
		}
	}
	if noticed < 1000 {
		t.Errorf("noticed %d changes", noticed)
	}
}

func TestRefused(t *testing.T) {
	page := sample().Text()
	sum := sample().Checksum
	for _, tt := range []struct{ old, new, want string }{
		{`seq: 7`, `seq: 8`, `its checksum is ` + sum},
		{`lsn: 41`, `lsn: 41x`, `line 21: cannot unmarshal string`},
		{`printed: "2026`, `printed: "soon`, `printed is "soon-11-22T18:00:00Z", want a time such as`},
		{`repo: "0`, `repo: "x`, `is not 32 hexadecimal digits`},
		{`timeline: "main"`, `timeline: "MAIN"`, `timeline "MAIN" is not 1 to 64`},
		{`checksum: "` + sum + `"`, ``, `its checksum is missing`},
		{`kit: 1`, ``, `it does not say 'kit: 1'`},
		{`kit: 1`, `kit: 2`, `recovery kit of version 2, this tidemark reads 1: written by a newer version`},
		{`kit: 1`, `kit: 1` + "\nkat: 2", `line 8: unknown field "kat"`},
		{`- "dir:/backup/shop"`, `- ""`, `it names no archive`},
		{`head: "00`, `head: "x0`, `the head of timeline main is manifest 7 with hash "x0`},
		{page, `hello`, `line 1: `},
		{page, ``, `it does not say 'kit: 1'`},
		{page, strings.Repeat(" ", 1<<18+1), `it has 262145 bytes`},
		{page, strings.Repeat("[", 1<<18), `it has 262144 brackets`},
		{page, strings.Repeat("- ", 100_000), `a line has 200000 bytes`},
	} {
		_, err := kit.Parse([]byte(strings.Replace(page, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.30s as %.30s: %v\nwant %s", tt.old, tt.new, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample().Text()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := kit.Parse(raw)
		if err != nil {
			return
		}
		again, err := kit.Parse([]byte(k.Text()))
		if err != nil || !cmp.Equal(k, again, cmpopts.EquateEmpty()) {
			t.Errorf("%v\n%s", err, k.Text())
		}
	})
}

// world is an archive whose repository is always the same.
type world struct{ *storage.Mem }

func newWorld(t *testing.T) world {
	w := world{storage.NewMem()}
	if _, err := archive.Init(t.Context(), w, archive.InitOptions{Rand: bytes.NewReader(make([]byte, 1<<10))}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) open(t *testing.T) *archive.Archive {
	a, err := archive.Open(t.Context(), w, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// grow publishes n coverages.
func (w world) grow(t *testing.T, holder string, n int) {
	a := w.open(t)
	c, err := a.Claim(t.Context(), archive.ClaimOptions{Source: chain.Source{Kind: "test", System: "x"}, Holder: holder, Takeover: true,
		Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
			return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := c.Coverage(t.Context(), change.Time(1000+i)); err != nil {
			t.Fatal(err)
		}
	}
}

func (w world) kit(t *testing.T) *kit.Kit {
	s, err := w.open(t).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return kit.New("x", "v", s.Repo, "main", []string{"mem:"}, nil, []*chain.State{s}, time.Now())
}

// copyOf returns the first objects of a chain.
func (w world) copyOf(t *testing.T, manifests chain.Seq) world {
	out := world{storage.NewMem()}
	for info, err := range w.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, seq, err := chain.ParseManifestKey(info.Key); err == nil && seq > manifests {
			continue
		}
		r, err := w.Read(t.Context(), info.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Create(t.Context(), info.Key, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestProve(t *testing.T) {
	w := newWorld(t)
	fresh := w.kit(t)
	w.grow(t, "a", 4)
	k := w.kit(t)
	prove := func(k *kit.Kit, w world) error { return k.Prove(t.Context(), w, archive.OpenOptions{}) }
	if err := prove(k, w); err != nil {
		t.Error(err)
	}
	cut := w.copyOf(t, 3)
	none := w.copyOf(t, 0)
	w.grow(t, "a", 20)
	for _, k := range []*kit.Kit{k, fresh} {
		if err := prove(k, w); err != nil {
			t.Errorf("grown since: %v", err)
		}
	}
	for name, tt := range map[string]struct {
		w    world
		want string
	}{
		"cut":   {cut, "timeline main holds 3 manifests, LSN 0, up to 1970-01-01T00:00:00.001001Z; the recovery kit of " + k.Printed + " saw 5 manifests, LSN 0, up to 1970-01-01T00:00:00.001003Z: manifests 4 to 5 are missing: "},
		"empty": {none, "timeline main holds nothing; the recovery kit of " + k.Printed + " saw 5 manifests, LSN 0, up to 1970-01-01T00:00:00.001003Z: manifests 1 to 5 are missing: "},
	} {
		err := prove(k, tt.w)
		if !errors.Is(err, kit.ErrOlder) || !errors.Is(err, chain.ErrDamaged) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", name, err, tt.want)
		}
	}
	cut.grow(t, "b", 20)
	if err := prove(k, cut); !errors.Is(err, kit.ErrRewritten) || !errors.Is(err, chain.ErrDamaged) || errors.Is(err, kit.ErrOlder) {
		t.Errorf("rewritten: %v", err)
	}
	same := w.copyOf(t, 4)
	same.grow(t, "b", 0)
	if err := prove(k, same); !errors.Is(err, kit.ErrRewritten) {
		t.Errorf("another head at the same place: %v", err)
	}
	other := world{storage.NewMem()}
	if _, err := archive.Init(t.Context(), other, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*kit.Kit{k, fresh} {
		if err := prove(k, other); !errors.Is(err, chain.ErrWrongRepo) {
			t.Errorf("another repository: %v", err)
		}
	}
	if err := prove(k, world{storage.NewMem()}); !errors.Is(err, archive.ErrNotArchive) {
		t.Errorf("no archive: %v", err)
	}
}
