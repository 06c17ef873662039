package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/checkpoint"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
)

// What a segment of the made-up archive holds: a second of a small shop.
const (
	openTxs     = 24 // transactions, more than a manifest describes one by one
	openBases   = 20 // in the whole archive
	openSecond  = change.Time(1e6)
	openStarted = change.Time(1.7e15)
)

// openBuilder writes an archive manifest by manifest, as a capture would, but
// without a sync for each: the files are what a reader finds.
type openBuilder struct {
	ctx     context.Context
	dir     string
	n       int // segments
	archive *archive.Archive
	loader  *checkpoint.Loader
	state   *chain.State
	schema  *change.Schema
	real    map[int]*openTarget // segments whose packs are there
	targets []openTarget
	made    string      // the directory made last
	raws    [][]byte    // manifests that are in no checkpoint
	stored  int64       // bytes of manifests
	writes  []float64   // seconds for each of the last checkpoints
	hash    change.Hash // grows with every made-up thing
}

func newOpenBuilder(ctx context.Context, dir string, bucket storage.Bucket, segments int) (*openBuilder, error) {
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		return nil, err
	}
	schema, err := change.Define(1, "orders", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "v", Type: change.Text, Nullable: true})
	if err != nil {
		return nil, err
	}
	return &openBuilder{ctx: ctx, dir: dir, n: segments, archive: a, loader: checkpoint.NewLoader(bucket, nil), schema: schema,
		state: chain.NewState(a.Identity().Repo, chain.MainTimeline), real: make(map[int]*openTarget)}, nil
}

// build writes the whole archive.
func (b *openBuilder) build() error {
	every := max(b.n/openBases, 1)
	last, middle, quarter := b.n-1, b.n/2/every*every+every-1, b.n/4/every*every+every/2
	for i, name := range map[int]string{last: "plan --to latest", middle: "plan to a time, half way", quarter: "plan to an LSN, a quarter in"} {
		b.real[i] = &openTarget{Name: name}
	}
	if err := b.add(chain.Manifest{Kind: chain.KindClaim, Epoch: 1, Claim: &chain.Claim{Source: chain.Source{Kind: "embedded", System: "bench"}, Holder: "bench"}}); err != nil {
		return err
	}
	for i := range b.n {
		if i%every == 0 {
			if err := b.base(); err != nil {
				return err
			}
		}
		seg, err := b.segment(i)
		if err != nil {
			return err
		}
		if err := b.add(chain.Manifest{Kind: chain.KindSegment, Epoch: 1, Segment: seg}); err != nil {
			return err
		}
		if t := b.real[i]; t != nil {
			t.Span = i%every + 1
			t.To = recovery.AtLSN(seg.First + (seg.Last-seg.First)/3*3 + 2).String()
			if i == middle {
				t.To = (seg.Effective.From + (seg.Effective.To-seg.Effective.From)/2).String()
			} else if i == last {
				t.To = "latest"
			}
		}
		if err := b.checkpoint(); err != nil {
			return err
		}
	}
	for _, i := range []int{last, middle, quarter} {
		b.targets = append(b.targets, *b.real[i])
	}
	return nil
}

// add seals a manifest, moves the state on and stores it.
func (b *openBuilder) add(m chain.Manifest) error {
	s := b.state
	m.Format, m.Repo, m.Timeline, m.Seq, m.Prev = chain.FormatVersion, s.Repo, s.Timeline, s.Seq+1, s.Head
	m.Written, m.Nonce = openStarted+change.Time(m.Seq)*openSecond, b.next().String()[:32]
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	if err := s.Next(&m, chain.HashManifest(raw)); err != nil {
		return err
	}
	b.raws, b.stored = append(b.raws, raw), b.stored+int64(len(raw))
	return b.file(chain.ManifestKey(s.Timeline, m.Seq), raw)
}

func (b *openBuilder) file(key string, raw []byte) error {
	name := filepath.Join(b.dir, filepath.FromSlash(key))
	if dir := filepath.Dir(name); dir != b.made {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		b.made = dir
	}
	return os.WriteFile(name, raw, 0o600)
}

// next returns a hash that nothing else has.
func (b *openBuilder) next() change.Hash {
	b.hash = sha256.Sum256(b.hash[:])
	return b.hash
}

// base announces a base whose runs are not there.
func (b *openBuilder) base() error {
	s := b.state
	if s.Last == 0 {
		return nil // nothing to hold
	}
	rows := int64(s.Last) / 2
	k := chain.PackKey{Timeline: s.Timeline, Kind: chain.RunPack, Last: s.Last, Nonce: b.next().String()[:16]}
	return b.add(chain.Manifest{Kind: chain.KindSnapshot, Epoch: 1, Snapshot: &chain.Snapshot{LSN: s.Last, LogHash: s.LogHash, Origin: chain.OriginSource, Taken: s.Effective,
		Schemas: []*change.Schema{b.schema}, Digests: []chain.CollectionDigest{{Collection: 1, Rows: rows, Digest: b.next()}},
		Runs: []pack.Ref{{Key: k.String(), Size: rows * 40, Tail: 4096, Hash: b.next(), Records: rows, Raw: rows * 120, MaxBlock: 1 << 17}}}})
}

// segment returns the transactions of a second, three records each. Their pack
// is written where a target asks for it.
func (b *openBuilder) segment(i int) (*chain.Segment, error) {
	s := b.state
	made := chain.NewSegmentBuilder(s.LogHash)
	var txs []*change.Tx
	lsn, at := s.Last+1, openStarted+change.Time(i)*openSecond
	for n := range openTxs {
		at += openSecond/openTxs - change.Time(b.hash[n]) // not as even as that
		tx := &change.Tx{ID: change.TxID(lsn), Commit: at, Effective: max(at, chain.EffectiveFloor(s.Effective, s.CoveredUntil))}
		for k := range 3 {
			r := change.Record{LSN: lsn, Op: change.Insert, Collection: 1, Key: binary.BigEndian.AppendUint64(nil, uint64(lsn)), Image: change.Image{0}}
			if i == 0 && n == 0 && k == 0 {
				var err error
				if r, err = change.SchemaRecord(b.schema); err != nil {
					return nil, err
				}
				r.LSN = lsn
			}
			tx.Records = append(tx.Records, r)
			lsn++
		}
		if err := made.Add(tx); err != nil {
			return nil, err
		}
		txs = append(txs, tx)
	}
	seg := made.Segment()
	if b.real[i] != nil {
		ref, err := b.archive.PutPack(b.ctx, chain.LogPack, seg.First, seg.Last, func(out io.Writer) (pack.Ref, error) {
			w := pack.NewLogWriter(out, pack.WriterOptions{})
			for _, tx := range txs {
				if err := w.AppendTx(tx); err != nil {
					return pack.Ref{}, err
				}
			}
			ref, _, err := w.Close()
			return ref, err
		})
		seg.Packs = []pack.Ref{ref}
		return &seg, err
	}
	h := b.next()
	k := chain.PackKey{Timeline: s.Timeline, Kind: chain.LogPack, First: seg.First, Last: seg.Last, Nonce: h.String()[:16]}
	seg.Packs = []pack.Ref{{Key: k.String(), Size: 2000 + int64(h[0]), Tail: 700 + int64(h[1]), Hash: b.next(), Records: openTxs * 3, Raw: 3000 + int64(h[2]), MaxBlock: 3000 + int64(h[2])}}
	return &seg, nil
}

// checkpoint does what a capture does after every so many manifests. As many
// at the end are left without one: the most that a reader usually finds.
func (b *openBuilder) checkpoint() error {
	s := b.state
	if s.Seq-s.Bundled() < archive.DefaultCheckpointEvery || b.n-s.Segments.Len() < archive.DefaultCheckpointEvery {
		return nil
	}
	first := s.Bundled() + 1
	start := time.Now()
	o, err := checkpoint.Encode(s, first, b.raws, 0)
	if err != nil {
		return err
	}
	if err := b.file(o.Key, o.Bytes); err != nil {
		return err
	}
	if s.Segments.Len() > b.n*9/10 {
		b.writes = append(b.writes, time.Since(start).Seconds())
	}
	c := &chain.Checkpoint{First: first, Last: s.Seq, Key: o.Key, Size: int64(len(o.Bytes)), Hash: chain.HashManifest(o.Bytes), Index: o.Index}
	b.raws = nil
	if err := b.add(chain.Manifest{Kind: chain.KindCheckpoint, Checkpoint: c}); err != nil {
		return err
	}
	s.Segments, err = s.Segments.Fold(o.Chunks, b.loader)
	return err
}
