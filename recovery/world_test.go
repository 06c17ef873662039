package recovery

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
)

// world is a random history: what an archive holds of it, and a model that
// remembers the state after every transaction.
type world struct {
	t      *rapid.T
	bucket *storage.Mem
	c      *chaintest.Chain
	now    change.Time

	schemas map[change.CollectionID]*change.Schema
	rows    map[change.CollectionID]map[string]change.Record
	nextID  change.CollectionID
	last    change.LSN
	eff     change.Time // of the last transaction, also unpublished
	hash    change.Hash
	pending []*change.Tx
	states  map[change.LSN]worldState // after each transaction
	order   []change.LSN              // of states
	packs   *int

	tree *[]*world // every timeline, main first
}

// worldState is the state after a transaction.
type worldState struct {
	tx      *change.Tx // nil for the start of the log, and for a gap
	hash    change.Hash
	schemas []*change.Schema
	rows    []change.Record
}

func newWorld(tb testing.TB, t *rapid.T) *world {
	w := &world{t: t, bucket: storage.NewMem(), c: &chaintest.Chain{T: tb, State: chain.NewState(chaintest.Repo, chain.MainTimeline)}, now: 1e9, nextID: 1,
		schemas: map[change.CollectionID]*change.Schema{}, rows: map[change.CollectionID]map[string]change.Record{},
		states: map[change.LSN]worldState{}, packs: new(int), tree: new([]*world)}
	*w.tree = append(*w.tree, w)
	w.c.Claim()
	w.remember(nil)
	return w
}

// remember keeps the state after what happened last.
func (w *world) remember(tx *change.Tx) {
	st := worldState{tx: tx, hash: w.hash}
	for _, id := range slices.Sorted(maps.Keys(w.schemas)) {
		s := w.schemas[id]
		st.schemas = append(st.schemas, s)
		for _, key := range slices.Sorted(maps.Keys(w.rows[id])) {
			r := w.rows[id][key]
			image, err := s.Normalize(nil, r.Image)
			if err != nil {
				w.t.Fatal(err)
			}
			r.LSN, r.Op, r.Image = 0, change.Insert, slices.Clone(image)
			st.rows = append(st.rows, r)
		}
	}
	w.states[w.last] = st
	w.order = append(w.order, w.last)
}

func (w *world) n(most int, what string) int { return rapid.IntRange(0, most).Draw(w.t, what) }

// step makes one random thing happen.
func (w *world) step() {
	switch n := w.n(19, "step"); {
	case n < 11:
		w.commit()
	case n < 15:
		w.publish()
	case n == 15:
		w.publish()
		w.c.Add(chain.Manifest{Kind: chain.KindCoverage, Coverage: &chain.Coverage{LSN: w.c.State.Last, CoveredUntil: max(w.now, w.c.State.CoveredUntil, w.c.State.Effective)}})
	case n < 19:
		w.base(w.order[w.n(len(w.order)-1, "base")])
	case w.n(2, "gap") == 0:
		w.gap()
	}
}

// commit makes a random transaction.
func (w *world) commit() {
	w.now += change.Time(w.n(3, "pass") * 1000)
	tx := &change.Tx{ID: change.TxID(100 + len(w.order)), Commit: w.now + change.Time(w.n(4, "clock")-2)*1000}
	tx.Effective = chain.Effective(w.eff, w.c.State.CoveredUntil, tx.Commit, w.now)
	for range 1 + w.n(6, "records") {
		r, ok := w.record()
		if !ok {
			continue
		}
		w.last++
		r.LSN = w.last
		tx.Records = append(tx.Records, r)
	}
	if len(tx.Records) == 0 {
		return
	}
	w.eff = tx.Effective
	w.hash = change.LogHash(w.hash, change.AppendTx(nil, tx))
	w.pending = append(w.pending, tx)
	w.remember(tx)
}

// record makes a random record and applies it to the model.
func (w *world) record() (change.Record, bool) {
	n := w.n(30, "kind")
	if len(w.schemas) == 0 || n == 0 && len(w.schemas) < 4 {
		return w.create(), true
	}
	ids := slices.Sorted(maps.Keys(w.schemas))
	id := rapid.SampledFrom(ids).Draw(w.t, "collection")
	s := w.schemas[id]
	switch {
	case n == 1:
		next := *s
		next.Version++
		next.Dropped = true
		delete(w.schemas, id)
		delete(w.rows, id)
		return w.schema(&next), true
	case n == 2 && len(s.Columns) < 6:
		next, err := s.AddColumns(change.Column{Name: fmt.Sprint("n", s.Version), Type: change.Int64, Default: change.IntValue(int64(s.Version))})
		if err != nil {
			w.t.Fatal(err)
		}
		w.schemas[id] = next
		return w.schema(next), true
	case n == 3:
		w.rows[id] = map[string]change.Record{}
		return change.Record{Op: change.Truncate, Collection: id}, true
	case s.Bag():
		return w.bagRecord(s)
	}
	return w.keyedRecord(s)
}

func (w *world) create() change.Record {
	var key []string
	if w.n(2, "bag") > 0 {
		key = []string{"k"}
	}
	s, err := change.Define(w.nextID, fmt.Sprint("c", w.nextID), key, change.Column{Name: "k", Type: change.Int64},
		change.Column{Name: "a", Type: change.Text, Nullable: true}, change.Column{Name: "b", Type: change.Text})
	if err != nil {
		w.t.Fatal(err)
	}
	w.schemas[s.Collection], w.rows[s.Collection] = s, map[string]change.Record{}
	w.nextID++
	return w.schema(s)
}

func (w *world) schema(s *change.Schema) change.Record {
	r, err := change.SchemaRecord(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// row makes a random full row with few different keys.
func (w *world) row(s *change.Schema) change.Row {
	row := change.Row{change.IntValue(int64(w.n(300, "k")%12) * 100), change.Null(), change.TextValue(string(rune('a' + w.n(2, "b"))))}
	if w.n(1, "null") == 0 {
		row[1] = change.TextValue("a value of some length")
	}
	for i := 3; i < len(s.Columns); i++ {
		row = append(row, change.IntValue(int64(w.n(3, "n"))))
	}
	return row
}

func (w *world) encode(s *change.Schema, row change.Row) (change.Key, change.Image) {
	key, image, err := s.EncodeRow(row)
	if err != nil {
		w.t.Fatal(err)
	}
	return key, image
}

func (w *world) keyedRecord(s *change.Schema) (change.Record, bool) {
	row := w.row(s)
	key, image := w.encode(s, row)
	r := change.Record{Op: change.Insert, Collection: s.Collection, Key: key, Image: image}
	rows := w.rows[s.Collection]
	old, exists := rows[string(key)]
	switch n := w.n(5, "op"); {
	case exists && n < 2:
		r.Op, r.Image = change.Delete, nil
		delete(rows, string(key))
		return r, true
	case exists && n == 2:
		r.Op = change.Update
	case exists:
		for i := 1; i < len(row); i++ {
			if w.n(1, "unchanged") == 0 {
				row[i] = change.Unchanged()
			}
		}
		r.Op = change.Update
		_, r.Image = w.encode(s, row)
		var err error
		if image, err = change.Compose(nil, old.Image, r.Image); err != nil {
			w.t.Fatal(err)
		}
	}
	rows[string(key)] = change.Record{Collection: s.Collection, Key: key, Image: image}
	return r, true
}

func (w *world) bagRecord(s *change.Schema) (change.Record, bool) {
	rows := w.rows[s.Collection]
	if len(rows) > 0 && w.n(2, "take") == 0 {
		old := rows[rapid.SampledFrom(slices.Sorted(maps.Keys(rows))).Draw(w.t, "copy")]
		image, err := s.Normalize(nil, old.Image)
		if err != nil {
			w.t.Fatal(err)
		}
		if old.Count--; old.Count == 0 {
			delete(rows, string(old.Key))
		} else {
			rows[string(old.Key)] = old
		}
		return change.Record{Op: change.Delete, Collection: s.Collection, Key: old.Key, Image: image}, true
	}
	key, image := w.encode(s, w.row(s))
	r := rows[string(key)]
	rows[string(key)] = change.Record{Collection: s.Collection, Key: key, Image: image, Count: r.Count + 1}
	return change.Record{Op: change.Insert, Collection: s.Collection, Key: key, Image: image}, true
}

// pieces cuts some of the pending transactions into pieces.
func (w *world) pieces() (out []*change.Tx) {
	for _, tx := range w.pending {
		n := len(tx.Records)
		if w.n(1, "whole") == 0 {
			n = 1 + w.n(2, "piece")
		}
		out = append(out, change.Cut(tx, n)...)
	}
	return out
}

// publish archives what is pending as one segment of a few packs, which begin
// and end anywhere in a transaction.
func (w *world) publish() {
	if len(w.pending) == 0 {
		return
	}
	b := chain.NewSegmentBuilder(w.c.State.LogHash)
	var refs []pack.Ref
	for rest := w.pieces(); len(rest) > 0; {
		n := 1 + w.n(len(rest)-1, "pack")
		w.store(chain.PackKey{Kind: chain.LogPack, First: rest[0].First(), Last: rest[n-1].Last()}, &refs, func(buf *bytes.Buffer) (pack.Ref, error) {
			lw := pack.NewLogWriter(buf, pack.WriterOptions{BlockSize: 1 + w.n(300, "block")})
			for _, tx := range rest[:n] {
				if err := lw.AppendTx(tx); err != nil {
					w.t.Fatal(err)
				}
				if err := b.Add(tx); err != nil {
					w.t.Fatal(err)
				}
			}
			ref, _, err := lw.Close()
			return ref, err
		})
		rest = rest[n:]
	}
	seg := b.Segment()
	seg.Packs = refs
	w.c.Add(chain.Manifest{Kind: chain.KindSegment, Segment: &seg})
	w.pending = nil
}

// store uploads a pack under a fresh name.
func (w *world) store(k chain.PackKey, refs *[]pack.Ref, write func(*bytes.Buffer) (pack.Ref, error)) {
	*w.packs++
	k.Timeline, k.Nonce = w.c.State.Timeline, fmt.Sprintf("%016x", *w.packs)
	var buf bytes.Buffer
	ref, err := write(&buf)
	if err != nil {
		w.t.Fatal(err)
	}
	ref.Key = k.String()
	if err := w.bucket.Create(context.Background(), ref.Key, &buf); err != nil {
		w.t.Fatal(err)
	}
	*refs = append(*refs, ref)
}

// base publishes a snapshot at the end of a transaction.
func (w *world) base(lsn change.LSN) {
	w.publish()
	st := w.states[lsn]
	b := &chain.Snapshot{LSN: lsn, LogHash: st.hash, Origin: chain.OriginSource, Taken: w.now, Schemas: st.schemas}
	if st.tx != nil {
		b.Taken = max(st.tx.Commit, 0)
	}
	for _, s := range st.schemas {
		n := int64(0)
		for _, r := range st.rows {
			if r.Collection == s.Collection {
				n += max(r.Count, 1)
			}
		}
		b.Digests = append(b.Digests, chain.CollectionDigest{Collection: s.Collection, Rows: n})
	}
	for rest := st.rows; len(rest) > 0; {
		n := 1 + w.n(len(rest)-1, "run")
		w.store(chain.PackKey{Kind: chain.RunPack, Last: lsn}, &b.Runs, func(buf *bytes.Buffer) (pack.Ref, error) {
			rw := pack.NewRunWriter(buf, pack.WriterOptions{BlockSize: 1 + w.n(200, "block")})
			for _, r := range rest[:n] {
				r.LSN = lsn * change.LSN(w.n(1, "row LSN"))
				if err := rw.Append(&r); err != nil {
					return pack.Ref{}, err
				}
			}
			ref, _, err := rw.Close()
			return ref, err
		})
		rest = rest[n:]
	}
	m := w.c.Seal(chain.Manifest{Kind: chain.KindSnapshot, Snapshot: b})
	if w.c.State.Clone().Next(m, change.Hash{1}) != nil {
		return // the chain can't take it there, such as between a gap and the base after it
	}
	w.c.Add(chain.Manifest{Kind: chain.KindSnapshot, Snapshot: b})
}

// gap loses the log for a while, in which nothing happened.
func (w *world) gap() {
	w.publish()
	from := max(w.c.State.Effective, w.c.State.CoveredUntil)
	w.now = max(w.now, from) + 5000
	w.last++
	w.hash = change.Hash{byte(w.last), 1}
	w.c.Add(chain.Manifest{Kind: chain.KindGap, Gap: &chain.Gap{First: w.last, Last: w.last, Reason: "the log was lost", From: from, To: w.now, LogHash: w.hash}})
	w.eff = max(w.eff, w.now)
	w.remember(nil)
	if w.n(3, "base after gap") > 0 {
		w.base(w.last)
	}
}

// fork begins a timeline that goes on from a random place of this one, where
// the archive has come to, with its own model.
func (w *world) fork() *world {
	s := w.c.State
	published := slices.DeleteFunc(slices.Clone(w.order), func(lsn change.LSN) bool { return lsn > s.Last })
	lsn := published[w.n(len(published)-1, "fork")]
	st := w.states[lsn]
	pin := chain.Pin{Child: chain.TimelineID(fmt.Sprint("t", len(*w.tree)+1)), LSN: lsn, LogHash: st.hash}
	switch {
	case st.tx != nil:
		pin.Effective = st.tx.Effective
	case lsn == s.Last:
		pin.Effective = s.Effective
	default:
		for i := range s.Gaps {
			if g := &s.Gaps[i].Body; g.Last == lsn {
				pin.Effective = g.To
			}
		}
	}
	for _, seg := range chaintest.Segments(s) {
		if b := &seg.Body; b.First <= lsn && lsn < b.Last {
			pin.Txs = w.txsAfter(b.First-1, lsn)
		}
	}
	w.c.Add(chain.Manifest{Kind: chain.KindPin, Pin: &pin})
	f := &world{t: w.t, bucket: w.bucket, c: w.c.Child(pin.Child), now: w.now, last: lsn, hash: st.hash, eff: pin.Effective,
		schemas: map[change.CollectionID]*change.Schema{}, rows: map[change.CollectionID]map[string]change.Record{},
		states: map[change.LSN]worldState{}, packs: w.packs, tree: w.tree}
	claim := chaintest.Claim(f.c.State)
	claim.Claim.Source.System = string(pin.Child)
	f.c.Add(claim)
	f.nextID = f.c.State.NextCollection
	for _, n := range w.order {
		if n <= lsn {
			f.order, f.states[n] = append(f.order, n), w.states[n]
		}
	}
	for _, schema := range st.schemas {
		f.schemas[schema.Collection], f.rows[schema.Collection] = schema, map[string]change.Record{}
		f.nextID = max(f.nextID, schema.Collection+1)
	}
	for _, r := range st.rows {
		r.Op = 0
		f.rows[r.Collection][string(r.Key)] = r
	}
	*w.tree = append(*w.tree, f)
	return f
}

// rowsText shows rows so that a difference can be read.
func rowsText(rows []change.Record) []string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d %x %s ×%d %x", r.Collection, []byte(r.Key), r.Op, r.Count, []byte(r.Image)))
	}
	return out
}
