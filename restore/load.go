package restore

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/merge"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
)

// The phases of a restore.
const (
	phaseRead int32 = iota
	phaseLoad
	phaseFinish
)

var phaseNames = [...]string{phaseRead: "read", phaseLoad: "load", phaseFinish: "finish"}

// load counts and fingerprints rows on their way into the target.
type load struct {
	o       Options
	plan    *recovery.Plan
	job     driver.Job
	done    []merge.Range // loaded by an earlier restore
	resumed int           // how many parts those are
	parts   atomic.Int64  // finished ones
	of      atomic.Int64  // of so many
	began   time.Time
	log     int64 // records of the log between base and target
	phase   atomic.Int32
	read    atomic.Int64 // of those
	rows    atomic.Int64
	bytes   atomic.Int64
	mu      sync.Mutex
	digests map[change.CollectionID]*change.Digest // guarded by mu
	schemas map[change.CollectionID]*change.Schema // at the point
}

func newLoad(o Options, plan *recovery.Plan) *load {
	l := &load{o: o, plan: plan, began: time.Now(), digests: make(map[change.CollectionID]*change.Digest),
		schemas: make(map[change.CollectionID]*change.Schema)}
	l.log = int64(plan.Point.LSN)
	if plan.Base != nil {
		l.log -= int64(plan.Base.LSN)
	}
	for _, s := range plan.Schemas {
		l.digests[s.Collection] = new(change.Digest)
		l.schemas[s.Collection] = s
	}
	return l
}

// goOn takes in what an earlier restore has finished.
func (l *load) goOn(parts []driver.Part) {
	for i := range parts {
		p := &parts[i]
		l.done = append(l.done, merge.Range{From: rowKey(p.From), To: rowKey(p.To)})
		for _, t := range p.Tallies {
			l.rows.Add(t.Rows)
			l.bytes.Add(t.Bytes)
			if d := l.digests[t.Collection]; d != nil {
				d.Merge(change.DigestOf(t.Rows, t.Digest))
			}
		}
	}
	l.resumed = len(parts)
	l.parts.Store(int64(len(parts)))
}

func rowKey(b *driver.Bound) *pack.RowKey {
	if b == nil {
		return nil
	}
	return &pack.RowKey{Collection: b.Collection, Key: b.Key}
}

func bound(k *pack.RowKey) *driver.Bound {
	if k == nil {
		return nil
	}
	return &driver.Bound{Collection: k.Collection, Key: k.Key}
}

// run loads every part. As many are read at once as may be; one whose rows have
// ended makes room for the next, while the target still makes it durable.
func (l *load) run(ctx context.Context, rows *recovery.Rows, dst driver.Target) error {
	parts := rows.Parts()
	l.of.Store(int64(l.resumed + len(parts)))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * rows.AtOnce())
	reading := make(chan struct{}, rows.AtOnce())
	for _, part := range parts {
		select {
		case reading <- struct{}{}:
		case <-ctx.Done():
			return cmp.Or(g.Wait(), ctx.Err())
		}
		g.Go(func() error { return l.one(ctx, part, dst, sync.OnceFunc(func() { <-reading })) })
	}
	return g.Wait()
}

// one loads a part. It calls read when no more of its rows are read.
func (l *load) one(ctx context.Context, part recovery.Part, dst driver.Target, read func()) error {
	defer read()
	if err := ctx.Err(); err != nil {
		return err // another part has failed
	}
	p := &driver.Part{From: bound(part.From), To: bound(part.To)}
	ended := false
	rows := l.watch(part.Rows, p, func() {
		ended = true
		read()
	})
	err := dst.Load(ctx, p, rows)
	if err == nil && !ended {
		err = errors.New("the target left rows unread and reported no error")
	}
	if err == nil {
		l.parts.Add(1)
	}
	return err
}

// watch passes a part's rows on and keeps count of them, in p too. It calls
// ended when all were taken.
func (l *load) watch(rows iter.Seq2[*change.Record, error], p *driver.Part, ended func()) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		c := counter{load: l, part: p}
		n := 0
		for rec, err := range rows {
			if err == nil {
				if c.schema == nil || c.schema.Collection != rec.Collection {
					c.next(l.schemas[rec.Collection])
				}
				if !l.o.NoDigest {
					err = c.digest.AddNormal(c.schema, rec.Key, rec.Image, max(1, rec.Count)) // as At yields them
				}
				c.rows += max(1, rec.Count)
				c.bytes += int64(len(rec.Key) + len(rec.Image))
				if n++; n%1024 == 0 {
					c.tell()
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
		c.next(nil)
		ended()
	}
}

// counter counts the rows of one part.
type counter struct {
	load   *load
	part   *driver.Part
	schema *change.Schema // of the collection at hand
	digest *change.Digest
	rows   int64 // of it
	bytes  int64
	told   driver.Tally // of those, what the load has been told
}

// tell adds to the load's progress.
func (c *counter) tell() {
	c.load.rows.Add(c.rows - c.told.Rows)
	c.load.bytes.Add(c.bytes - c.told.Bytes)
	c.told.Rows, c.told.Bytes = c.rows, c.bytes
}

// next ends a collection and begins another one, or none.
func (c *counter) next(s *change.Schema) {
	if c.schema != nil {
		c.tell()
		t := driver.Tally{Collection: c.schema.Collection, Rows: c.rows, Bytes: c.bytes}
		if !c.load.o.NoDigest {
			t.Digest = c.digest.Sum()
		}
		c.part.Tallies = append(c.part.Tallies, t)
		c.load.mu.Lock()
		c.load.digests[c.schema.Collection].Merge(c.digest)
		c.load.mu.Unlock()
	}
	c.schema, c.digest, c.rows, c.bytes, c.told = s, new(change.Digest), 0, 0, driver.Tally{}
}

// report calls Progress until the returned function is called.
func (l *load) report() (stop func()) {
	if l.o.Progress == nil {
		return func() {}
	}
	say := func() {
		l.o.Progress(Progress{Phase: phaseNames[l.phase.Load()], Read: l.read.Load(), Log: l.log,
			Rows: l.rows.Load(), Total: l.plan.Estimate.Rows, Bytes: l.bytes.Load(),
			Parts: int(l.parts.Load()), Of: int(l.of.Load())})
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				say()
			case <-done:
				say()
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (l *load) result(reached recovery.Reached) *Result {
	res := &Result{Asked: recovery.AtLSN(reached.LSN), Reached: reached, Discards: l.plan.Discards,
		Rows: l.rows.Load(), Bytes: l.bytes.Load(),
		Parts: int(l.parts.Load()), Resumed: l.resumed}
	if !l.o.NoDigest {
		for _, s := range l.plan.Schemas {
			d := l.digests[s.Collection]
			res.Digests = append(res.Digests, chain.CollectionDigest{Collection: s.Collection, Rows: d.Rows, Digest: d.Sum()})
		}
	}
	return res
}
