package capture

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// largest returns the segment with most packs.
func largest(s *chain.State) *chain.Segment {
	var out *chain.Segment
	for _, seg := range chaintest.Segments(s) {
		if out == nil || len(seg.Body.Packs) > len(out.Packs) {
			out = &seg.Body
		}
	}
	return out
}

// A large transaction becomes a segment of its own, of packs of the size that
// was asked for; what comes before and after it is in others.
func TestLargeTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.fill(3, 10)
		w.src.piece = 5
		last := w.src.big(200, 1000)
		w.src.fill(3, 10)
		c := w.capture(Options{FlushBytes: 20_000})
		c.sync()
		c.stop()
		seg := largest(w.checkAll())
		if seg.Txs != 1 || seg.Last != last || seg.First != last-199 || len(seg.Packs) < 4 {
			t.Errorf("LSN %d to %d, %d transactions in %d packs; want one, to LSN %d, in several", seg.First, seg.Last, seg.Txs, len(seg.Packs), last)
		}
		for _, p := range seg.Packs {
			if p.Size > 60_000 {
				t.Errorf("a pack of %d bytes", p.Size)
			}
		}
	})
}

// While the store is away inside a large transaction, no more than two packs of
// it are in memory.
func TestStoreAwayInsideATransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.src.piece = 1
		c := w.capture(Options{FlushBytes: 20_000})
		c.sync()
		synctest.Wait()
		w.away()
		w.src.big(500, 1000)
		seconds(60)
		synctest.Wait()
		if n := w.src.pieces; n < 20 || n > 100 {
			t.Errorf("%d pieces of 1000 bytes were read, a pack has 20000 bytes", n)
		}
		w.back()
		c.sync()
		c.stop()
		w.checkAll()
	})
}

// A transaction that takes long to store, or to read, does not make the epoch
// look abandoned: coverage goes on to be published, for no time that the
// transaction may have.
func TestLongTransactionIsNotSilence(t *testing.T) {
	for name, slow := range map[string]func(w *world){
		"slow store": func(w *world) {
			w.faulty.SetRules(storagetest.Rule{Fault: storagetest.Slow, Times: -1, Delay: 6 * time.Second})
		},
		"slow source": func(w *world) { w.src.set(func() { w.src.withheld = 50 }) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.capture(Options{FlushBytes: 20_000, CoverageEvery: 10 * time.Second, CloseTimeout: time.Hour})
				c.sync()
				w.src.piece = 1
				slow(w)
				last := w.src.big(500, 1000)
				for range 3 {
					before := w.load()
					if before.Last >= last {
						t.Fatal("the transaction took no time")
					}
					seconds(25)
					if s := w.load(); s.Seq == before.Seq {
						t.Fatalf("nothing was published for 25 s, at LSN %d", s.Last)
					}
				}
				w.src.set(func() { w.src.withheld = 0 })
				w.src.fill(1, 1) // wakes the source
				w.back()
				c.sync()
				c.stop()
				w.checkAll()
			})
		})
	}
}

// A capture that ends inside a transaction closes its epoch in good order,
// leaves orphans only, and the next one starts again with the transaction.
func TestStopInsideATransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		before := w.src.fill(3, 10)
		w.src.piece, w.src.withheld = 5, 3
		w.src.big(200, 1000)
		c := w.capture(Options{FlushBytes: 20_000})
		seconds(20)
		c.stop()
		s := w.check()
		if s.Last != before || s.EpochOpen || w.src.acked() != before {
			t.Errorf("the archive ends at LSN %d, acknowledged is %d, want %d; epoch open: %t", s.Last, w.src.acked(), before, s.EpochOpen)
		}
		w.src.checkClosed(t)
		w.src.withheld = 0
		c = w.capture(Options{FlushBytes: 20_000})
		c.sync()
		c.stop()
		w.checkAll()
	})
}

// Pieces that do not fit end the capture; what came before them is archived.
func TestWrongPieces(t *testing.T) {
	for name, spoil := range map[string]func(pieces []*change.Tx) []*change.Tx{
		"the first is missing":  func(p []*change.Tx) []*change.Tx { return p[1:] },
		"one is missing":        func(p []*change.Tx) []*change.Tx { return append(p[:2:2], p[3:]...) },
		"one comes twice":       func(p []*change.Tx) []*change.Tx { return append(p[:2:2], p[1:]...) },
		"another in between":    func(p []*change.Tx) []*change.Tx { q := *p[1]; q.ID++; return []*change.Tx{p[0], &q} },
		"a whole one inside it": func(p []*change.Tx) []*change.Tx { q := *p[1]; q.Before, q.After = 0, 0; return []*change.Tx{p[0], &q} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				before := w.src.fill(3, 10)
				w.src.piece, w.src.spoil = 5, spoil
				w.src.big(40, 100)
				c := w.capture(Options{})
				if err := c.wait(); err == nil {
					t.Fatal("taken")
				}
				if s := w.check(); s.Last != before || s.EpochOpen {
					t.Errorf("the archive ends at LSN %d, want %d; epoch open: %t", s.Last, before, s.EpochOpen)
				}
				w.src.checkClosed(t)
			})
		})
	}
}
