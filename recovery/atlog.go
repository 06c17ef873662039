package recovery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// logReader reads the segments of a plan, proves them and hands their records
// to a sorter in LSN order. Packs are opened and blocks fetched, proved and
// decoded many at a time; segments are hashed each by a goroutine of its own.
// Semaphores bound the memory of what is on its way.
type logReader struct {
	bucket storage.Bucket
	plan   *Plan
	opt    AtOptions
	memory int64 // bytes, for what is on its way to the sorter
	rules  *merge.Rules
	sorter *merge.Sorter

	fetch  *semaphore.Weighted // packs and blocks being read
	opened *semaphore.Weighted // bytes of open packs
	ahead  *semaphore.Weighted // bytes of decoded blocks

	mu   sync.Mutex
	free []*pack.Block // guarded by mu
}

// packJob is a pack on its way.
type packJob struct {
	seg     int // of the plan
	ref     pack.Ref
	weight  int64
	done    chan struct{} // closed when reader is set
	reader  *pack.Reader
	pending atomic.Int64 // users; the last one closes the reader
}

// blockJob is a block on its way.
type blockJob struct {
	pack    *packJob
	index   int
	info    *pack.BlockInfo
	weight  int64
	block   *pack.Block
	decoded chan struct{} // closed when block is set
	records []change.Record
	proved  chan struct{} // closed when records is set: those that count
}

// read returns where the plan led.
func (l *logReader) read(ctx context.Context) (Reached, error) {
	reached := Reached{Point: l.plan.Point}
	if len(l.plan.Segments) == 0 {
		if l.plan.Base != nil {
			reached.LogHash = l.plan.Base.LogHash
		}
		return reached, nil
	}
	l.fetch = semaphore.NewWeighted(int64(l.opt.Fetch))
	l.opened = semaphore.NewWeighted(max(l.memory/4, 1))
	l.ahead = semaphore.NewWeighted(max(l.memory/4*3, 1))
	g, ctx := errgroup.WithContext(ctx)
	packs := make(chan *packJob, l.opt.Fetch)
	blocks := make(chan *blockJob, l.opt.Fetch)
	// A goroutine that fails leaves its channel open: those that wait on it
	// see ctx end, and the first error is the one that is returned.
	g.Go(func() error { return l.open(ctx, g, packs) })
	g.Go(func() error { return l.dispatch(ctx, g, packs, blocks, &reached) })
	g.Go(func() error { return l.collect(ctx, blocks) })
	err := g.Wait()
	return reached, err
}

// open opens the packs of the plan, in order.
func (l *logReader) open(ctx context.Context, g *errgroup.Group, packs chan<- *packJob) error {
	base, limit := l.base(), max(l.memory/4, 1)
	for i := range l.plan.Segments {
		seg := &l.plan.Segments[i]
		for _, ref := range seg.Packs {
			p := &packJob{seg: i, ref: ref, done: make(chan struct{})}
			// A pack that is needed whole is best read by one request.
			whole := seg.First > base && seg.packLast() <= l.plan.Point.LSN && ref.Size <= limit/4
			p.weight = min(limit, ref.Tail)
			if whole {
				p.weight = ref.Size
			}
			p.pending.Store(1)
			if err := l.opened.Acquire(ctx, p.weight); err != nil {
				return err
			}
			if err := l.fetch.Acquire(ctx, 1); err != nil {
				return err
			}
			g.Go(func() (err error) {
				defer l.fetch.Release(1)
				if whole {
					p.reader, err = pack.OpenWhole(ctx, l.bucket, ref)
				} else {
					p.reader, err = pack.Open(ctx, l.bucket, ref)
				}
				if err == nil {
					close(p.done)
				}
				return err
			})
			select {
			case packs <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	close(packs)
	return nil
}

// last is where reading a segment of the plan ends: at the point, or where a
// fork has cut it.
func (l *logReader) last(seg int) change.LSN {
	return min(l.plan.Segments[seg].Last, l.plan.Point.LSN)
}

// base is the LSN that the log is read after.
func (l *logReader) base() change.LSN {
	if l.plan.Base == nil {
		return 0
	}
	return l.plan.Base.LSN
}

// unuse gives the pack back when nobody needs it any more.
func (l *logReader) unuse(p *packJob) {
	if p.pending.Add(-1) == 0 {
		p.reader.Close()
		l.opened.Release(p.weight)
	}
}

// dispatch sends every block that is needed to be decoded, to the goroutine
// that proves its segment, and to collect; all in order.
func (l *logReader) dispatch(ctx context.Context, g *errgroup.Group, packs <-chan *packJob, blocks chan<- *blockJob, reached *Reached) error {
	var seg *segmentProof
	for {
		p, ok, err := receive(ctx, packs)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := wait(ctx, p.done); err != nil {
			return err
		}
		if seg == nil || seg.n != p.seg {
			if seg != nil {
				close(seg.blocks)
			}
			seg = l.prove(ctx, g, p.seg, reached)
		}
		if err := l.blocks(ctx, g, p, seg, blocks); err != nil {
			return err
		}
		l.unuse(p)
	}
	close(seg.blocks)
	close(blocks)
	return nil
}

// blocks sends the blocks of one pack.
func (l *logReader) blocks(ctx context.Context, g *errgroup.Group, p *packJob, seg *segmentProof, blocks chan<- *blockJob) error {
	ix := p.reader.Index()
	if ix.Kind != pack.Log {
		return corrupt(p.ref, "it is a %s pack, want a log", ix.Kind)
	}
	limit := max(l.memory/4*3, 1)
	last := l.last(p.seg)
	for i := ix.SeekLSN(l.base() + 1); i < len(ix.Blocks) && ix.Blocks[i].First <= last; i++ {
		b := &blockJob{pack: p, index: i, info: &ix.Blocks[i], decoded: make(chan struct{}), proved: make(chan struct{})}
		b.weight = min(limit, merge.BlockMemory(b.info))
		if err := l.ahead.Acquire(ctx, b.weight); err != nil {
			return err
		}
		if err := l.fetch.Acquire(ctx, 1); err != nil {
			return err
		}
		p.pending.Add(1)
		g.Go(func() error {
			defer l.fetch.Release(1)
			b.block = l.take()
			if err := p.reader.Block(ctx, b.index, b.block); err != nil {
				return err
			}
			l.unuse(p)
			close(b.decoded)
			return nil
		})
		for _, c := range []chan<- *blockJob{seg.blocks, blocks} {
			select {
			case c <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// collect hands proved blocks to the sorter.
func (l *logReader) collect(ctx context.Context, blocks <-chan *blockJob) error {
	var records int64
	for {
		b, ok, err := receive(ctx, blocks)
		if err != nil || !ok {
			return err
		}
		if err := wait(ctx, b.proved); err != nil {
			return err
		}
		records += int64(len(b.records))
		if l.rules.Any(b.records) {
			b.block.Compact()
			size, block := merge.BlockMemory(b.info)-b.info.Stored, b.block
			if err := l.sorter.Add(ctx, b.records, size, func() { l.give(block, size) }); err != nil {
				return err
			}
		} else {
			l.give(b.block, merge.BlockMemory(b.info))
		}
		l.ahead.Release(b.weight)
		if l.opt.Progress != nil {
			l.opt.Progress(records)
		}
	}
}

// take returns a Block to read into: touching fresh memory costs more than
// decoding into it.
func (l *logReader) take() *pack.Block {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		return b
	}
	return new(pack.Block)
}

// give takes a Block back, unless it is so large that it would be missed.
func (l *logReader) give(b *pack.Block, size int64) {
	if size > 4<<20 || size > l.memory/8 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, b)
}

func receive[T any](ctx context.Context, c <-chan T) (v T, ok bool, err error) {
	select {
	case v, ok = <-c:
		return v, ok, nil
	case <-ctx.Done():
		return v, false, ctx.Err()
	}
}

func wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// segmentProof holds the blocks of one segment against its manifest.
type segmentProof struct {
	n      int // of the plan
	seg    *PlanSegment
	base   change.LSN // what lies at or before it is left out
	point  change.LSN // what lies after it too; in this segment
	blocks chan *blockJob

	next   change.LSN // of the record that must come
	open   bool       // a transaction goes on in the next block
	tx     txHead     // the last one
	txs    int64
	hash   change.Hash
	hasher change.LogHasher
}

// txHead is what every part of a transaction must say of it.
type txHead struct {
	ID        change.TxID
	Commit    change.Time
	Effective change.Time
	First     change.LSN
	Count     int64
}

// prove starts the proof of a segment. That of the last one says what was reached.
func (l *logReader) prove(ctx context.Context, g *errgroup.Group, n int, reached *Reached) *segmentProof {
	seg := &l.plan.Segments[n]
	s := &segmentProof{n: n, seg: seg, base: l.base(), point: l.last(n), blocks: make(chan *blockJob, l.opt.Fetch),
		next: max(seg.First, l.base()+1), hash: seg.Prev}
	g.Go(func() error {
		for {
			b, ok, err := receive(ctx, s.blocks)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := wait(ctx, b.decoded); err != nil {
				return err
			}
			if err := s.block(b); err != nil {
				return err
			}
			close(b.proved)
		}
		if err := s.end(); err != nil {
			return err
		}
		if n == len(l.plan.Segments)-1 {
			reached.Point = Point{LSN: s.next - 1, Tx: s.tx.ID, Commit: s.tx.Commit, Effective: s.tx.Effective, Rest: l.plan.Point.Rest}
			reached.LogHash = s.hash
		}
		return nil
	})
	return s
}

// block checks and hashes the transactions of one block, and finds the records
// between base and point.
func (s *segmentProof) block(b *blockJob) error {
	records := b.block.Records()
	from, to := len(records), 0
	txs := b.block.Txs()
	for i := range txs {
		p := &txs[i]
		first := records[p.From].LSN
		switch {
		case p.Last() <= s.base:
			continue
		case p.First > s.point:
			continue
		case p.First <= s.base:
			return fmt.Errorf("pack %s: %w", b.pack.ref.Key, &InsideTxError{LSN: s.base, Tx: p.ID, Before: p.First - 1, Last: p.Last()})
		case p.Last() > s.point:
			return fmt.Errorf("pack %s: %w", b.pack.ref.Key, &InsideTxError{LSN: s.point, Tx: p.ID, Before: p.First - 1, Last: p.Last()})
		case first != s.next:
			return corrupt(b.pack.ref, "block %d: LSN %d where LSN %d must come", b.index, first, s.next)
		case p.Before != s.open || s.open && s.tx != txHead{p.ID, p.Commit, p.Effective, p.First, p.Count}:
			return corrupt(b.pack.ref, "block %d: transaction %d at LSN %d does not go on from what comes before it", b.index, p.ID, first)
		case !p.Before:
			s.hasher.Begin(s.hash, p.ID, p.Commit, p.First, p.Count)
		}
		s.hasher.Add(records[p.From:p.To])
		if !p.Before {
			s.tx = txHead{p.ID, p.Commit, p.Effective, p.First, p.Count}
		}
		s.open = p.After
		s.next += change.LSN(p.To - p.From)
		if !p.After {
			s.hash = s.hasher.Sum()
			s.txs++
		}
		from, to = min(from, p.From), max(to, p.To)
	}
	b.records = records[min(from, to):to]
	return nil
}

// end checks what only the whole segment can show.
func (s *segmentProof) end() error {
	want := min(s.seg.Last, s.point)
	packs := s.seg.Packs
	last := packs[len(packs)-1]
	switch {
	case s.open || s.next != want+1:
		return corrupt(last, "the segment ends at LSN %d (inside a transaction: %t), want LSN %d", s.next-1, s.open, want)
	case want < s.seg.Last:
		return nil // the rest was not read
	case s.hash != s.seg.LogHash:
		return corrupt(last, "the segment of LSN %d to %d leads to log hash %s, %s says %s", s.seg.First, s.seg.Last, s.hash, s.seg.key(), s.seg.LogHash)
	case s.seg.First > s.base && s.txs != s.seg.Txs:
		return corrupt(last, "the segment holds %d transactions, %s says %d", s.txs, s.seg.key(), s.seg.Txs)
	}
	return nil
}
