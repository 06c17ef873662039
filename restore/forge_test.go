package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// resume captures the world's database into an archive, over any epoch, and
// returns why it could not.
func resume(t *testing.T, w *world, a *archive.Archive) error {
	t.Helper()
	c := capture.New(a, w.db.Source(), capture.Options{Takeover: true})
	return c.While(t.Context(), func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	})
}

// TestTailRemoved takes manifests from the end of the chain. What remains is
// whole and restorable, and says up to where. The captured database still has
// its log, and puts back what is gone.
func TestTailRemoved(t *testing.T) {
	for name, make := range map[string]func() (*world, error){"with a checkpoint": wholeWorld, "without": plainWorld} {
		t.Run(name, func(t *testing.T) {
			w := get(t, make)
			head := w.head()
			noticed := 0
			for n := chain.Seq(1); n < head; n++ {
				objects := maps.Clone(w.objects)
				for seq := head - n + 1; seq <= head; seq++ {
					delete(objects, chain.ManifestKey(chain.MainTimeline, seq))
				}
				a := openArchive(t, bucketOf(t, objects))
				s, err := a.Load(t.Context())
				if err != nil {
					t.Fatalf("%d removed: %v", n, err)
				}
				if rep, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: restore.LevelRecords}); err != nil || !rep.OK() {
					t.Errorf("%d removed: %+v, %v", n, rep, err)
				}
				p := new(place)
				res, err := restore.Run(t.Context(), a, recovery.Latest(), p, restore.Options{TempDir: t.TempDir()})
				if err != nil || res.Reached.LSN != s.Last {
					t.Fatalf("%d removed: %+v, %v, want LSN %d", n, res, err, s.Last)
				}
				if s.Last > 0 {
					if err := p.holds(w.moment(t, s.Last)); err != nil {
						t.Errorf("%d removed: %v", n, err)
					}
				}
				if s.Last == w.last().at {
					continue
				}
				noticed++
				if _, err := restore.Run(t.Context(), a, recovery.AtLSN(w.last().at), new(place), restore.Options{}); !errors.Is(err, recovery.ErrOutside) {
					t.Errorf("%d removed, to an LSN that is gone: %v, want ErrOutside", n, err)
				}
				if err := resume(t, w, a); err != nil {
					t.Fatalf("%d removed, capture goes on at LSN %d: %v", n, s.Last, err)
				}
				p = new(place)
				if _, err := restore.Run(t.Context(), a, recovery.Latest(), p, restore.Options{}); err != nil || p.holds(w.last()) != nil {
					t.Errorf("%d removed, captured again: %v, %v", n, err, p.holds(w.last()))
				}
				if rep, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: restore.LevelRecords}); err != nil || !rep.OK() {
					t.Errorf("%d removed, captured again: %+v, %v", n, rep, err)
				}
			}
			if noticed == 0 {
				t.Error("no transaction was ever gone")
			}
		})
	}
}

// TestTailLost takes manifests from the end of the chain when the database has
// released that part of its log, because it was archived: the next capture
// says that the archive has lost it, since going on could only leave a hole
// where a transaction was acknowledged.
func TestTailLost(t *testing.T) {
	db, err := embedded.Open("db", embedded.Options{FS: vfs.NewMem(), LogFileBytes: 64 << 10, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	bucket := storage.NewMem()
	if _, err := archive.Init(t.Context(), bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, bucket)
	c := capture.New(a, db.Source(), capture.Options{})
	err = c.While(t.Context(), func(ctx context.Context) error {
		for n := int64(0); db.Info().LogFrom < 100; n++ {
			if n == 10_000 {
				return fmt.Errorf("the log was never released: %+v", db.Info())
			}
			err := db.Update(func(tx *embedded.Tx) error {
				if n == 0 {
					_, err := tx.CreateCollection("c", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "text", Type: change.Text})
					return err
				}
				return tx.Put("c", change.Row{change.IntValue(n % 10), change.TextValue(fmt.Sprint(n, strings.Repeat("x", 8<<10)))})
			})
			if err == nil && n%10 == 0 {
				_, err = c.Sync(ctx)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for seq := a.State().Seq; seq > 4; seq-- { // leaves the first segments
		if err := bucket.Delete(t.Context(), chain.ManifestKey(chain.MainTimeline, seq)); err != nil {
			t.Fatal(err)
		}
	}
	if err := resume(t, &world{db: db}, openArchive(t, bucket)); !errors.Is(err, driver.ErrTruncated) {
		t.Errorf("got %v, want ErrTruncated", err)
	}
}

// head returns the number of the last manifest.
func (w *world) head() (head chain.Seq) {
	for key := range w.objects {
		if _, seq, err := chain.ParseManifestKey(key); err == nil {
			head = max(head, seq)
		}
	}
	return head
}

// TestOtherArchives covers what the identity decides.
func TestOtherArchives(t *testing.T) {
	w, other := get(t, wholeWorld), get(t, otherWorld)
	b := bucketOf(t, w.objects)
	mine := openArchive(t, b).Identity().Repo
	theirs := openArchive(t, bucketOf(t, other.objects)).Identity().Repo
	if _, err := archive.Open(t.Context(), b, archive.OpenOptions{PinRepo: mine}); err != nil {
		t.Error(err)
	}
	if _, err := archive.Open(t.Context(), b, archive.OpenOptions{PinRepo: theirs}); !errors.Is(err, chain.ErrWrongRepo) {
		t.Errorf("another repository: %v, want ErrWrongRepo", err)
	}
	if _, err := archive.Open(t.Context(), storage.NewMem(), archive.OpenOptions{}); !errors.Is(err, archive.ErrNotArchive) {
		t.Errorf("an empty bucket: %v, want ErrNotArchive", err)
	}
	newer := maps.Clone(w.objects)
	newer[archive.IdentityKey] = bytes.Replace(newer[archive.IdentityKey], []byte(`"format":1`), []byte(`"format":2`), 1)
	if _, err := archive.Open(t.Context(), bucketOf(t, newer), archive.OpenOptions{}); !errors.Is(err, chain.ErrVersion) {
		t.Errorf("a newer format: %v, want ErrVersion", err)
	}
}

// A forger has the archive and all its rules, and writes what he likes.
type forger struct {
	t       *testing.T
	w       *world
	objects map[string][]byte
}

func newForger(t *testing.T) *forger {
	w := get(t, plainWorld)
	return &forger{t: t, w: w, objects: maps.Clone(w.objects)}
}

func (f *forger) manifest(seq chain.Seq) *chain.Manifest {
	f.t.Helper()
	m, err := chain.DecodeManifest(f.objects[chain.ManifestKey(chain.MainTimeline, seq)])
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// first returns the number of the first manifest of a kind.
func (f *forger) first(kind chain.Kind) chain.Seq {
	for seq := chain.Seq(1); ; seq++ {
		if f.manifest(seq).Kind == kind {
			return seq
		}
	}
}

// rechain rewrites every manifest from one on, edited, and returns how many
// objects changed.
func (f *forger) rechain(from chain.Seq, edit func(m *chain.Manifest)) (changed int) {
	f.t.Helper()
	for seq, head := from, f.w.head(); seq <= head; seq++ {
		m := f.manifest(seq)
		edit(m)
		if seq > 1 {
			m.Prev = chain.HashManifest(f.objects[chain.ManifestKey(chain.MainTimeline, seq-1)])
		}
		raw, err := m.Encode()
		if err != nil {
			f.t.Fatal(err)
		}
		key := chain.ManifestKey(chain.MainTimeline, seq)
		if !bytes.Equal(raw, f.objects[key]) {
			changed++
		}
		f.objects[key] = raw
	}
	return changed
}

// txs reads all transactions of a log pack.
func (f *forger) txs(ref pack.Ref) (all []*change.Tx) {
	f.t.Helper()
	r, err := pack.Open(f.t.Context(), bucketOf(f.t, f.objects), ref)
	if err != nil {
		f.t.Fatal(err)
	}
	for tx, err := range change.Join(r.Txs(f.t.Context(), 0)) {
		if err != nil {
			f.t.Fatal(err)
		}
		c := *tx
		c.Records = nil
		for _, rec := range tx.Records {
			rec.Key, rec.Image = slices.Clone(rec.Key), slices.Clone(rec.Image)
			c.Records = append(c.Records, rec)
		}
		all = append(all, &c)
	}
	return all
}

// swap exchanges the images of the first two rows of collection 1.
func swap(records []change.Record) bool {
	var found []int
	for i := range records {
		if records[i].Collection == 1 && records[i].Op == change.Insert {
			found = append(found, i)
		}
	}
	if len(found) < 2 {
		return false
	}
	a, b := &records[found[0]], &records[found[1]]
	a.Image, b.Image = b.Image, a.Image
	return true
}

// logPack rewrites a log pack with other rows, and returns what it has become.
func (f *forger) logPack(ref pack.Ref) pack.Ref {
	f.t.Helper()
	var out bytes.Buffer
	w := pack.NewLogWriter(&out, pack.WriterOptions{})
	done := false
	for _, tx := range f.txs(ref) {
		done = done || swap(tx.Records)
		if err := w.AppendTx(tx); err != nil {
			f.t.Fatal(err)
		}
	}
	got, _, err := w.Close()
	if err != nil || !done {
		f.t.Fatalf("%v, swapped: %t", err, done)
	}
	got.Key = ref.Key
	f.objects[ref.Key] = out.Bytes()
	return got
}

func (f *forger) archive() *archive.Archive { return openArchive(f.t, bucketOf(f.t, f.objects)) }

// findings verifies at a level.
func (f *forger) findings(level restore.Level) []archive.Finding {
	f.t.Helper()
	rep, err := restore.Verify(f.t.Context(), f.archive(), restore.VerifyOptions{Level: level})
	if err != nil {
		f.t.Fatal(err)
	}
	return rep.Findings
}

// TestForgedLog rewrites rows of the first segment with all hashes of the pack
// and of the chain made to fit.
func TestForgedLog(t *testing.T) {
	f := newForger(t)
	seq := f.first(chain.KindSegment)
	ref := f.logPack(f.manifest(seq).Segment.Packs[0])
	end := f.manifest(seq).Segment.Last
	f.rechain(seq, func(m *chain.Manifest) {
		if m.Seq == seq {
			m.Segment.Packs[0] = ref
		}
	})
	if got := f.findings(restore.LevelObjects); len(got) != 0 {
		t.Errorf("hashes fit, and yet: %v", got)
	}
	key := chain.ManifestKey(chain.MainTimeline, seq)
	if got := f.findings(restore.LevelRecords); len(got) != 1 || got[0].Key != key || !strings.Contains(got[0].Found, "LogHash") || !strings.Contains(got[0].Found, ref.Key) {
		t.Errorf("level records finds %v, want the log hash of %s", got, key)
	}
	p := new(place)
	if _, err := restore.Run(t.Context(), f.archive(), recovery.AtLSN(end), p, restore.Options{}); err == nil || p.untouched() != nil {
		t.Errorf("restored forged rows: %v, %v", err, p.untouched())
	}

	// Making the log hash of that segment fit breaks what follows it.
	forged := f.segmentHash(seq, change.Hash{})
	f.rechain(seq, func(m *chain.Manifest) {
		if m.Seq == seq {
			m.Segment.LogHash = forged
		}
	})
	if got := f.findings(restore.LevelRecords); len(got) == 0 {
		t.Error("a log hash that the next segment does not go on from was not found")
	}
}

// segmentHash works out the log hash after a segment from its packs.
func (f *forger) segmentHash(seq chain.Seq, before change.Hash) change.Hash {
	f.t.Helper()
	b := chain.NewSegmentBuilder(before)
	for _, ref := range f.manifest(seq).Segment.Packs {
		for _, tx := range f.txs(ref) {
			if err := b.Add(tx); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	return b.LogHash()
}

// TestForgedHistory documents what nothing in the archive can show without
// signatures: a forger who rewrites the log hash of every later manifest. A
// copy of the head's hash shows it, and so does the captured database.
func TestForgedHistory(t *testing.T) {
	f := newForger(t)
	real, err := f.archive().Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seq := f.first(chain.KindSegment)
	ref := f.logPack(f.manifest(seq).Segment.Packs[0])
	hash := change.Hash{}
	at := map[change.LSN]change.Hash{}
	changed := f.rechain(seq, func(m *chain.Manifest) {
		switch m.Kind {
		case chain.KindSegment:
			if m.Seq == seq {
				m.Segment.Packs[0] = ref
			}
			b := chain.NewSegmentBuilder(hash)
			for _, p := range m.Segment.Packs {
				for _, tx := range f.txs(p) {
					if err := b.Add(tx); err != nil {
						t.Fatal(err)
					}
				}
			}
			hash = b.LogHash()
			m.Segment.LogHash, at[m.Segment.Last] = hash, hash
		case chain.KindSnapshot:
			m.Snapshot.LogHash = at[m.Snapshot.LSN]
		case chain.KindClaim:
			m.Claim.LogHash = at[m.Claim.LSN]
		}
	})
	if want := int(f.w.head() - seq + 1); changed != want {
		t.Errorf("%d manifests had to be rewritten, want %d: all from the forged one on", changed, want)
	}
	if got := f.findings(restore.LevelRecords); len(got) != 0 {
		t.Errorf("found, better than documented: %v", got)
	}
	a := f.archive()
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Head == real.Head || s.LogHash == real.LogHash {
		t.Error("head and log hash are those of the real history")
	}
	if err := resume(t, f.w, a); !errors.Is(err, driver.ErrDiverged) {
		t.Errorf("capture goes on with %v, want ErrDiverged", err)
	}
}

// run rewrites the first run of the first base, its records edited, and returns
// the base's manifest.
func (f *forger) run(edit func(records []change.Record, base change.LSN)) *chain.Manifest {
	f.t.Helper()
	m := f.manifest(f.first(chain.KindSnapshot))
	ref := m.Snapshot.Runs[0]
	r, err := pack.Open(f.t.Context(), bucketOf(f.t, f.objects), ref)
	if err != nil {
		f.t.Fatal(err)
	}
	var records []change.Record
	for rec, err := range r.Records(f.t.Context(), pack.RowKey{}) {
		if err != nil {
			f.t.Fatal(err)
		}
		c := *rec
		c.Key, c.Image = slices.Clone(rec.Key), slices.Clone(rec.Image)
		records = append(records, c)
	}
	edit(records, m.Snapshot.LSN)
	var out bytes.Buffer
	w := pack.NewRunWriter(&out, pack.WriterOptions{})
	for i := range records {
		if err := w.Append(&records[i]); err != nil {
			f.t.Fatal(err)
		}
	}
	got, _, err := w.Close()
	if err != nil {
		f.t.Fatal(err)
	}
	got.Key = ref.Key
	f.objects[ref.Key] = out.Bytes()
	f.rechain(m.Seq, func(o *chain.Manifest) {
		if o.Seq == m.Seq {
			o.Snapshot.Runs[0] = got
		}
	})
	return m
}

// TestForgedBase rewrites a base with all hashes made to fit. Its digest shows
// a row that was changed, to a verification and to a restore to that very LSN;
// what the digest does not cover is checked row by row.
func TestForgedBase(t *testing.T) {
	f := newForger(t)
	m := f.run(func(records []change.Record, _ change.LSN) {
		if !swap(records) {
			t.Fatal("the run has no two rows of collection 1")
		}
	})
	if got := f.findings(restore.LevelObjects); len(got) != 0 {
		t.Errorf("hashes fit, and yet: %v", got)
	}
	key := chain.ManifestKey(chain.MainTimeline, m.Seq)
	if got := f.findings(restore.LevelRecords); len(got) != 1 || got[0].Key != key || !strings.Contains(got[0].Found, "digest") {
		t.Errorf("level records finds %v, want the digest of %s", got, key)
	}
	p := new(place)
	if _, err := restore.Run(t.Context(), f.archive(), recovery.AtLSN(m.Snapshot.LSN), p, restore.Options{}); !errors.Is(err, restore.ErrMismatch) || p.untouched() != nil {
		t.Errorf("%v, %v; want ErrMismatch and nothing left", err, p.untouched())
	}

	for name, edit := range map[string]func(rec *change.Record, base change.LSN){
		"a row of a later LSN":           func(rec *change.Record, base change.LSN) { rec.LSN = base + 1 },
		"an update":                      func(rec *change.Record, _ change.LSN) { rec.Op = change.Update },
		"a row of another collection":    func(rec *change.Record, _ change.LSN) { rec.Collection = 77 },
		"a row that was deleted":         func(rec *change.Record, _ change.LSN) { rec.Op, rec.Image = change.Delete, nil },
		"a bag's count in a keyed table": func(rec *change.Record, _ change.LSN) { rec.Count = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			m := f.run(func(records []change.Record, base change.LSN) { edit(&records[len(records)-1], base) })
			if got := f.findings(restore.LevelRecords); len(got) != 1 || got[0].Key != m.Snapshot.Runs[0].Key {
				t.Errorf("level records finds %v, want one of %s", got, m.Snapshot.Runs[0].Key)
			}
			p := new(place)
			_, err := restore.Run(t.Context(), f.archive(), recovery.AtLSN(m.Snapshot.LSN), p, restore.Options{})
			if err == nil {
				err = p.holds(f.w.moment(t, m.Snapshot.LSN))
			} else if e := p.untouched(); e != nil {
				t.Errorf("refused with %v, and %v", err, e)
				return
			} else {
				return
			}
			if err != nil {
				t.Errorf("restored, and %v", err)
			}
		})
	}
}

// TestOverlappingRuns lists the runs of a base in another order.
func TestOverlappingRuns(t *testing.T) {
	f := newForger(t)
	seq := f.first(chain.KindSnapshot)
	f.rechain(seq, func(m *chain.Manifest) {
		if m.Seq == seq {
			m.Snapshot.Runs[0], m.Snapshot.Runs[1] = m.Snapshot.Runs[1], m.Snapshot.Runs[0]
		}
	})
	key := f.manifest(seq).Snapshot.Runs[1].Key
	if got := f.findings(restore.LevelRecords); len(got) != 1 || got[0].Key != key || !strings.Contains(got[0].Found, "after row") {
		t.Errorf("level records finds %v, want the order of %s", got, key)
	}
}

// TestAllFindings harms many objects at once: each is reported, once.
func TestAllFindings(t *testing.T) {
	f := newForger(t)
	want := map[string]bool{}
	for i, key := range slices.Sorted(maps.Keys(f.objects)) {
		if k := kindOf(key); k != "log" && k != "run" {
			continue
		}
		want[key] = true
		raw := bytes.Clone(f.objects[key])
		switch i % 3 {
		case 0:
			delete(f.objects, key)
			continue
		case 1:
			raw[len(raw)/2] ^= 4
		case 2:
			raw = raw[:len(raw)-1]
		}
		f.objects[key] = raw
	}
	progress := make(chan int64, 1000)
	for _, level := range []restore.Level{restore.LevelObjects, restore.LevelRecords} {
		rep, err := restore.Verify(t.Context(), f.archive(), restore.VerifyOptions{Level: level, Parallel: 8,
			Progress: func(done, all int64) { progress <- all - done }})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, finding := range rep.Findings {
			if got[finding.Key] {
				t.Errorf("%s: %s is reported twice", level, finding.Key)
			}
			got[finding.Key] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: found %v, want %v", level, got, want)
		}
		if rep.Level != level.String() || rep.Manifests != int64(f.w.head()) || rep.Objects != int64(len(want)) || rep.Records != 0 {
			t.Errorf("report %+v", rep)
		}
		ended := false
		for range want {
			ended = <-progress == 0 || ended // each takes one: what is left would be the next level's
		}
		if !ended {
			t.Errorf("%s: progress did not reach its end", level)
		}
	}
}

// split makes two packs of the only one of the second segment, the second from
// its third transaction on, or from inside one, and returns their keys.
func (f *forger) split(inside bool) []string {
	f.t.Helper()
	seq := f.first(chain.KindSegment) + 1
	m := f.manifest(seq)
	txs := f.txs(m.Segment.Packs[0])
	at := 2
	if inside {
		i := slices.IndexFunc(txs, func(tx *change.Tx) bool { return len(tx.Records) > 1 })
		txs = slices.Concat(txs[:i], change.Cut(txs[i], 1), txs[i+1:])
		at = i + 1
	}
	var refs []pack.Ref
	for i, part := range [][]*change.Tx{txs[:at], txs[at:]} {
		var out bytes.Buffer
		w := pack.NewLogWriter(&out, pack.WriterOptions{})
		for _, tx := range part {
			if err := w.AppendTx(tx); err != nil {
				f.t.Fatal(err)
			}
		}
		ref, _, err := w.Close()
		if err != nil {
			f.t.Fatal(err)
		}
		ref.Key = chain.PackKey{Timeline: chain.MainTimeline, Kind: chain.LogPack, First: part[0].First(), Last: part[len(part)-1].Last(),
			Nonce: strings.Repeat(string(rune('a'+i)), chain.NonceDigits)}.String()
		f.objects[ref.Key] = out.Bytes()
		refs = append(refs, ref)
	}
	delete(f.objects, m.Segment.Packs[0].Key)
	f.rechain(seq, func(o *chain.Manifest) {
		if o.Seq == seq {
			o.Segment.Packs = refs
		}
	})
	return []string{refs[0].Key, refs[1].Key}
}

// TestSegmentOfTwoPacks verifies and restores one, and damages both packs.
func TestSegmentOfTwoPacks(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut inside a transaction %t", inside), func(t *testing.T) { testTwoPacks(t, inside) })
	}
}

func testTwoPacks(t *testing.T, inside bool) {
	f := newForger(t)
	keys := f.split(inside)
	if got := f.findings(restore.LevelRecords); len(got) != 0 {
		t.Fatalf("found %v", got)
	}
	for _, m := range f.w.moments {
		p := new(place)
		if _, err := restore.Run(t.Context(), f.archive(), recovery.AtLSN(m.at), p, restore.Options{}); err != nil || p.holds(m) != nil {
			t.Errorf("LSN %d: %v, %v", m.at, err, p.holds(m))
		}
	}
	for n := range keys {
		f.objects[keys[n]] = bytes.Clone(f.objects[keys[n]])
		f.objects[keys[n]][100] ^= 1
		for _, level := range []restore.Level{restore.LevelObjects, restore.LevelRecords} {
			var got []string
			for _, finding := range f.findings(level) {
				got = append(got, finding.Key)
			}
			if !slices.Equal(got, keys[:n+1]) {
				t.Errorf("%s: found %v, want %v", level, got, keys[:n+1])
			}
		}
	}
}
