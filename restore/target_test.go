package restore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// A place is a target in memory. It holds the calls to the contract, and
// fingerprints the rows by itself.
type place struct {
	// on, when set, is asked before every call and row, and may fail it. n
	// counts rows over all loads from 1.
	on func(call string, n int) error

	mu       sync.Mutex
	calls    []string                               // guarded by mu
	begun    *driver.State                          // guarded by mu; nil after Abort
	finished *driver.State                          // guarded by mu
	loads    int                                    // guarded by mu; running
	n        int                                    // guarded by mu
	digests  map[change.CollectionID]*change.Digest // guarded by mu
	breach   error                                  // guarded by mu; of the contract, by the caller
}

func (p *place) call(name string) error {
	p.mu.Lock()
	p.calls = append(p.calls, name)
	if p.loads > 0 && name != "load" {
		p.breach = errors.Join(p.breach, fmt.Errorf("%s while a load runs", name))
	}
	if p.finished != nil && name != "abort" {
		p.breach = errors.Join(p.breach, fmt.Errorf("%s after finish", name))
	}
	if p.begun == nil && (name == "load" || name == "finish") {
		p.breach = errors.Join(p.breach, fmt.Errorf("%s before begin", name))
	}
	n := p.n
	p.mu.Unlock()
	if p.on == nil {
		return nil
	}
	return p.on(name, n)
}

func (p *place) Preflight(context.Context, driver.State) (driver.Room, error) {
	return driver.Room{Free: -1}, p.call("preflight")
}

func (p *place) Begin(_ context.Context, want driver.State) ([]driver.Part, error) {
	err := p.call("begin")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = &want // also when it fails: half-done
	p.digests = make(map[change.CollectionID]*change.Digest)
	for _, s := range want.Schemas {
		p.digests[s.Collection] = new(change.Digest)
	}
	return nil, err
}

func (p *place) Load(ctx context.Context, _ *driver.Part, rows iter.Seq2[*change.Record, error]) error {
	if err := p.call("load"); err != nil {
		return err
	}
	p.mu.Lock()
	p.loads++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.loads--
		p.mu.Unlock()
	}()
	var before *change.Record
	for rec, err := range rows {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.row(rec, before); err != nil {
			return err
		}
		before = &change.Record{Collection: rec.Collection, Key: slices.Clone(rec.Key)}
	}
	return nil
}

func (p *place) row(rec, before *change.Record) error {
	p.mu.Lock()
	p.n++
	n := p.n
	if before != nil && (before.Collection > rec.Collection || before.Collection == rec.Collection && before.Key.Compare(rec.Key) >= 0) {
		p.breach = errors.Join(p.breach, fmt.Errorf("row %x of collection %d follows %x of %d", rec.Key, rec.Collection, before.Key, before.Collection))
	}
	i := slices.IndexFunc(p.begun.Schemas, func(s *change.Schema) bool { return s.Collection == rec.Collection })
	err := p.digests[rec.Collection].Add(p.begun.Schemas[i], rec.Key, rec.Image, max(1, rec.Count))
	p.mu.Unlock()
	if err == nil && p.on != nil {
		err = p.on("row", n)
	}
	return err
}

func (p *place) Finish(_ context.Context, want driver.State) error {
	if err := p.call("finish"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished, p.begun = &want, nil
	return nil
}

// Abort keeps nothing.
func (p *place) Abort(bool) (int, error) {
	err := p.call("abort")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = nil
	return 0, err
}

// untouched reports why the place is not as it was before the restore.
func (p *place) untouched() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.breach != nil:
		return p.breach
	case p.finished != nil:
		return fmt.Errorf("it is finished after %v", p.calls)
	case p.begun != nil:
		return fmt.Errorf("it is half-done after %v", p.calls)
	}
	return nil
}

// holds reports why the place is not the restored database of a moment.
func (p *place) holds(m moment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.breach != nil:
		return p.breach
	case p.finished == nil:
		return fmt.Errorf("it is not finished after %v", p.calls)
	case p.finished.LSN != m.at || p.finished.LastTx != m.tx || p.finished.Commit != m.commit || p.finished.LogHash.IsZero() != (m.at == 0):
		return fmt.Errorf("it is %+v, want LSN %d, transaction %d, commit time %s", *p.finished, m.at, m.tx, m.commit)
	}
	var got []chain.CollectionDigest
	for _, id := range slices.Sorted(maps.Keys(p.digests)) {
		got = append(got, chain.CollectionDigest{Collection: id, Rows: p.digests[id].Rows, Digest: p.digests[id].Sum()})
	}
	if !slices.Equal(got, m.digests) {
		return fmt.Errorf("it has the wrong rows for LSN %d: %+v, want %+v", m.at, got, m.digests)
	}
	return nil
}
