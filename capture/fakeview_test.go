package capture

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// state returns the rows just after an LSN.
func (s *fakeSource) state(lsn change.LSN) (schemas []*change.Schema, rows map[change.CollectionID]map[string]change.Record) {
	rows = make(map[change.CollectionID]map[string]change.Record)
	for _, tx := range s.txs {
		if tx.Last() > lsn {
			break
		}
		for _, r := range tx.Records {
			switch r.Op {
			case change.SetSchema:
				sc, err := r.Schema()
				if err != nil {
					panic(err)
				}
				schemas = append(schemas, sc)
				rows[r.Collection] = make(map[string]change.Record)
			case change.Delete:
				delete(rows[r.Collection], string(r.Key))
			default:
				r.Op, r.LSN = change.Insert, 0
				rows[r.Collection][string(r.Key)] = r
			}
		}
	}
	return schemas, rows
}

func (s *fakeSource) Snapshot(ctx context.Context) (driver.Snapshot, error) {
	if err := s.hanging(ctx, "snapshot"); err != nil {
		return nil, err
	}
	if err := s.failure("snapshot"); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	before := s.onSnapshot
	s.mu.Unlock()
	if before != nil {
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	m, _ := s.mark(s.last())
	m.LSN -= s.behind
	if s.otherHash {
		m.LogHash[0]++
	}
	v := &fakeView{s: s, mark: m, taken: s.clock()}
	v.schemas, v.rows = s.state(m.LSN)
	return v, nil
}

type fakeView struct {
	s       *fakeSource
	mark    driver.Mark
	taken   change.Time
	schemas []*change.Schema
	rows    map[change.CollectionID]map[string]change.Record
	closed  bool
}

func (v *fakeView) Mark() driver.Mark         { return v.mark }
func (v *fakeView) Taken() change.Time        { return v.taken }
func (v *fakeView) Schemas() []*change.Schema { return v.schemas }

func (v *fakeView) Rows(ctx context.Context, c change.CollectionID) iter.Seq2[*change.Record, error] {
	return func(yield func(*change.Record, error) bool) {
		keys := slices.Sorted(maps.Keys(v.rows[c]))
		v.s.mu.Lock()
		if v.s.reversed {
			slices.Reverse(keys)
		}
		v.s.mu.Unlock()
		for i, k := range keys {
			err := ctx.Err()
			v.s.mu.Lock()
			hook := v.s.rowHook
			v.s.mu.Unlock()
			if hook != nil && err == nil {
				err = hook(i)
			}
			r := v.rows[c][k]
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&r, nil) {
				return
			}
		}
	}
}

func (v *fakeView) Close() error {
	if v.closed {
		panic("view closed twice")
	}
	v.closed = true
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.open--
	return nil
}

var errFake = errors.New("the fake source fails")
