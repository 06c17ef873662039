package history

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// fataler is what testing.TB and rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is an archive under construction, and what was put into it.
type world struct {
	t       fataler
	faulty  *storagetest.Faulty // records what is read
	a       *archive.Archive
	session *archive.Session
	txs     []*change.Tx
	sealed  int // so many of txs are in segments
	clock   change.Time
	packOf  int // so many pieces of transactions go into a pack; 0: whole ones, all into one
}

func newWorld(t fataler) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, faulty: storagetest.NewFaulty(storage.NewMem()), clock: 1e15}
	if _, err := archive.Init(ctx, w.faulty, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.a, err = archive.Open(ctx, w.faulty, archive.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	w.session, err = w.a.Claim(ctx, archive.ClaimOptions{Source: chain.Source{Kind: "fake", System: "s1"},
		Mark: func(context.Context, *chain.State) (driver.Mark, error) { return driver.Mark{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// commit adds a transaction a second after the last one.
func (w *world) commit(records ...change.Record) *change.Tx {
	lsn := change.LSN(1)
	if n := len(w.txs); n > 0 {
		lsn = w.txs[n-1].Last() + 1
	}
	for i := range records {
		records[i].LSN = lsn + change.LSN(i)
	}
	w.clock += 1e6
	tx := &change.Tx{ID: change.TxID(len(w.txs) + 1), Commit: w.clock - 5, Effective: w.clock, Records: records}
	w.txs = append(w.txs, tx)
	return tx
}

// packs returns what each pack of a segment is to hold.
func (w *world) packs(txs []*change.Tx) [][]*change.Tx {
	if w.packOf == 0 {
		return [][]*change.Tx{txs}
	}
	var pieces []*change.Tx
	for _, tx := range txs {
		pieces = append(pieces, change.Cut(tx, 3)...)
	}
	return slices.Collect(slices.Chunk(pieces, w.packOf))
}

// flush makes a segment of what was committed since the last one.
func (w *world) flush(o pack.WriterOptions) {
	w.t.Helper()
	ctx := context.Background()
	w.clock++ // a segment covers its last time
	b := chain.NewSegmentBuilder(w.a.State().LogHash)
	txs := w.txs[w.sealed:]
	w.sealed = len(w.txs)
	var refs []pack.Ref
	for _, pieces := range w.packs(txs) {
		ref, err := w.a.PutPack(ctx, chain.LogPack, pieces[0].First(), pieces[len(pieces)-1].Last(), func(out io.Writer) (pack.Ref, error) {
			p := pack.NewLogWriter(out, o)
			for _, tx := range pieces {
				if err := p.AppendTx(tx); err != nil {
					return pack.Ref{}, err
				}
				if err := b.Add(tx); err != nil {
					return pack.Ref{}, err
				}
			}
			ref, _, err := p.Close()
			return ref, err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	seg := b.Segment()
	seg.Packs = refs
	if err := w.session.Segment(ctx, seg); err != nil {
		w.t.Fatal(err)
	}
}

// find returns what a query chooses, and the packs that were read for it.
func (w *world) find(q Query, limit int) (found []Transaction, packs map[string]bool, err error) {
	before := len(w.faulty.Trace())
	for tx, e := range Find(context.Background(), w.a, w.a.State(), q) {
		if err = e; err != nil {
			break
		}
		if found = append(found, tx); len(found) == limit {
			break
		}
	}
	packs = make(map[string]bool)
	for _, e := range w.faulty.Trace()[before:] {
		if !strings.Contains(e.Key, "/log/") {
			w.t.Fatalf("find did %s", e)
		}
		packs[e.Key] = true
	}
	return found, packs, err
}

func (w *world) mustFind(q Query) ([]Transaction, map[string]bool) {
	w.t.Helper()
	found, packs, err := w.find(q, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	return found, packs
}

func schema(t fataler, id change.CollectionID, name string) *change.Schema {
	t.Helper()
	s, err := change.Define(id, name, []string{"id"}, change.Column{Name: "id", Type: change.Int64})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setSchema(t fataler, s *change.Schema) change.Record {
	t.Helper()
	r, err := change.SchemaRecord(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rows returns n records of one operation.
func rows(op change.Op, id change.CollectionID, n int) (out []change.Record) {
	for i := range n {
		out = append(out, change.Record{Op: op, Collection: id, Key: change.Key(fmt.Sprintf("%06d", i))})
	}
	return out
}

var _ fataler = testing.TB(nil)
