package pack

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/change"
)

// decode reads a stored block whose hash was proved, and holds it against what
// the index says of it. After an error the block is empty.
func (b *Block) decode(stored []byte, kind Kind, info *BlockInfo) error {
	b.records, b.txs = b.records[:0], b.txs[:0]
	err := b.decodeAll(stored, kind, info)
	if err != nil {
		b.records, b.txs = b.records[:0], b.txs[:0]
	}
	return err
}

func (b *Block) decodeAll(stored []byte, kind Kind, info *BlockInfo) error {
	h, err := parseBlockHeader(stored, kind, info)
	if err != nil {
		return err
	}
	scratch := idleBuffers.Get().(*[]byte)
	defer func() {
		if cap(*scratch) <= keepAtMost {
			idleBuffers.Put(scratch)
		}
	}()
	s, err := b.inflate(h, info, scratch)
	if err != nil {
		return err
	}
	if err := b.decodeClasses(s.by[streamClasses], kind, h.records); err != nil {
		return fmt.Errorf("classes: %w", err)
	}
	if err := b.decodeOrder(s.by[streamClassOf], h.records); err != nil {
		return err
	}
	if cap(b.records) < h.records {
		b.records = make([]change.Record, h.records, h.records+h.records/8)
	}
	b.records = b.records[:h.records]
	if err := b.decodeRecords(s, h, kind); err != nil {
		return err
	}
	if images := len(s.by[streamImages]) + len(s.images) - joinSlack; b.Skip == 0 && int64(images+h.keys+h.pos) != info.Raw {
		return fmt.Errorf("%d bytes of keys, images and positions, want %d", images+h.keys+h.pos, info.Raw)
	}
	if kind == Log {
		return b.decodeTxs(s, h, info)
	}
	return b.checkRows(info)
}

func (b *Block) decodeClasses(stream []byte, kind Kind, records int) error {
	c := cursor{b: stream}
	n := c.count(4)
	if n == 0 || n > maxClasses {
		return fmt.Errorf("%d of them, want 1 to %d", n, maxClasses)
	}
	b.classes = b.classes[:0]
	for range n {
		k := class{op: change.Op(c.byte()), parts: c.byte()}
		id, members := c.uvarint(), c.uvarint()
		if c.bad || !k.op.Valid() || k.parts&^partsAll != 0 || id == 0 || id > 1<<32-1 || members > uint64(records) || members == 0 {
			return fmt.Errorf("%s, parts %#x, collection %d, %d records", k.op, k.parts, id, members)
		}
		if kind == Log && k.parts&partCount != 0 || kind == Run && (k.op > change.Delete || k.parts&partKey == 0) ||
			k.parts&partImage == 0 && k.parts&(partPartial|partSplit) != 0 {
			return fmt.Errorf("%s, parts %#x in a %s pack", k.op, k.parts, kind)
		}
		records -= int(members)
		k.collection, k.records = change.CollectionID(id), int(members)
		b.classes = append(b.classes, k)
	}
	if records != 0 {
		return fmt.Errorf("%d records have none", records)
	}
	return c.end()
}

// decodeOrder sorts the numbers of the records by class, into b.order.
func (b *Block) decodeOrder(classOf []byte, records int) error {
	if cap(b.order) < records {
		b.order = make([]uint32, records)
	}
	b.order = b.order[:records]
	if len(b.classes) == 1 && len(classOf) == 0 {
		for i := range b.order {
			b.order[i] = uint32(i)
		}
		return nil
	}
	if len(classOf) != records {
		return fmt.Errorf("classes of %d records, want %d", len(classOf), records)
	}
	var next, end [maxClasses]int
	at := 0
	for i := range b.classes {
		next[i] = at
		at += b.classes[i].records
		end[i] = at
	}
	for i, k := range classOf {
		if next[k] >= end[k] {
			return fmt.Errorf("class %d has more records than it says", k)
		}
		b.order[next[k]] = uint32(i)
		next[k]++
	}
	return nil
}

// decodeRecords fills b.records, class by class, putting keys and split images
// together.
func (b *Block) decodeRecords(s *streams, h *blockHeader, kind Kind) error {
	d := recordDecoder{
		shared:   s.by[streamKeyShared],
		keyLen:   cursor{b: s.by[streamKeyLen]},
		keyBytes: s.by[streamKeys],
		keys:     s.keys,
		imageLen: cursor{b: s.by[streamImageLen]},
		images:   s.by[streamImages],
		lsns:     cursor{b: s.by[streamLSN]},
		counts:   cursor{b: s.by[streamCounts]},
		base:     h.lsn,
		log:      kind == Log,
		sameLSN:  len(s.by[streamLSN]) == 0,
		join:     &b.join,
	}
	b.join = joiner{directory: cursor{b: s.by[streamColumns]}, kinds: cursor{b: s.by[streamKinds]}, nums: cursor{b: s.by[streamNums]},
		lens: cursor{b: s.by[streamLens]}, bytes: cursor{b: s.by[streamBytes]}, out: s.images, columns: b.join.columns}
	defer b.join.reset()
	at := 0
	for i := range b.classes {
		k := b.classes[i]
		if b.Skip&SkipKeys != 0 {
			k.parts &^= partKey
		}
		if b.Skip&SkipImages != 0 {
			k.parts &^= partImage
		}
		order := b.order[at:][:k.records]
		at += k.records
		if err := d.class(k, order, b.records); err != nil {
			return fmt.Errorf("class %d (%s, collection %d): %w", i, k.op, k.collection, err)
		}
	}
	if b.Skip&SkipKeys == 0 && (len(d.shared) > 0 || len(d.keyBytes) > 0 || len(d.keys) > 0) {
		return errors.New("keys go on after the last one")
	}
	if len(d.images) > 0 {
		return errors.New("images go on after the last one")
	}
	for _, c := range []*cursor{&d.keyLen, &d.imageLen, &d.lsns, &d.counts} {
		if err := c.end(); err != nil {
			return fmt.Errorf("record streams: %w", err)
		}
	}
	return b.join.finish()
}

// recordDecoder holds what is left of each stream.
type recordDecoder struct {
	shared   []byte
	keyLen   cursor
	keyBytes []byte
	keys     []byte // where the keys are put together
	imageLen cursor
	images   []byte
	lsns     cursor
	counts   cursor
	base     change.LSN
	log      bool
	sameLSN  bool
	join     *joiner
}

// class decodes the records of one class, whose numbers are order.
func (d *recordDecoder) class(k class, order []uint32, records []change.Record) error {
	for _, i := range order {
		r := &records[i]
		*r = change.Record{Op: k.op, Collection: k.collection, LSN: d.base}
		switch {
		case d.log:
			r.LSN += change.LSN(i)
		case !d.sameLSN:
			r.LSN += change.LSN(d.lsns.varint())
		}
		if k.parts&partCount != 0 {
			r.Count = d.counts.varint()
		}
	}
	if d.lsns.bad || d.counts.bad {
		return errShort
	}
	if k.parts&partKey != 0 && !d.classKeys(order, records) {
		return fmt.Errorf("keys: %w", errShort)
	}
	switch {
	case k.parts&partImage == 0:
		return nil
	case k.parts&partSplit != 0:
		return d.splitImages(k, order, records)
	}
	for _, i := range order {
		n := d.imageLen.uvarint()
		if n > uint64(len(d.images)) || n > change.MaxImage || n == 0 {
			return fmt.Errorf("images: %w", errShort)
		}
		records[i].Image = d.images[:n:n]
		d.images = d.images[n:]
	}
	return nil
}

// classKeys puts the keys of a class together. It reports false when a stream
// ends too early or a length does not fit.
func (d *recordDecoder) classKeys(order []uint32, records []change.Record) bool {
	if len(d.shared) < len(order) {
		return false
	}
	sharing := d.shared[:len(order)]
	d.shared = d.shared[len(order):]
	lens, rest, out := d.keyLen, d.keyBytes, d.keys
	var prev []byte
	for j, i := range order {
		shared := int(sharing[j])
		more := lens.uvarint()
		if shared > len(prev) || more > uint64(len(rest)) {
			return false
		}
		n := shared + int(more)
		if n > len(out) || n > change.MaxKey || n == 0 {
			return false
		}
		key := out[:n:n]
		out = out[n:]
		copy(key, prev[:shared])
		copy(key[shared:], rest[:more])
		rest = rest[more:]
		records[i].Key, prev = key, key
	}
	d.keyLen, d.keyBytes, d.keys = lens, rest, out
	return !lens.bad
}

// splitImages puts the images of a class together.
func (d *recordDecoder) splitImages(k class, order []uint32, records []change.Record) error {
	if err := d.join.begin(len(order)); err != nil {
		return err
	}
	flag := byte(imageFull)
	if k.parts&partPartial != 0 {
		flag = imagePartial
	}
	for j, i := range order {
		image, ok := d.join.image(flag, j)
		if !ok {
			return errJoin
		}
		records[i].Image = image
	}
	return d.join.end()
}

// decodeTxs fills b.txs.
func (b *Block) decodeTxs(s *streams, h *blockHeader, info *BlockInfo) error {
	records, ids := cursor{b: s.by[streamTxRecords]}, cursor{b: s.by[streamTxID]}
	commits, times := cursor{b: s.by[streamTxCommit]}, cursor{b: s.by[streamTxTime]}
	if cap(b.txs) < h.txs {
		b.txs = make([]TxPart, 0, h.txs+h.txs/8)
	}
	var id change.TxID
	var commit, last change.Time
	at := 0
	for i := range h.txs {
		id += change.TxID(ids.varint())
		commit += change.Time(commits.varint())
		p := TxPart{ID: id, Commit: commit, Effective: commit + change.Time(times.varint()), From: at}
		count := records.uvarint()
		before := uint64(0)
		if i == 0 {
			before = h.before
		}
		p.First = h.lsn + change.LSN(at) - change.LSN(before)
		p.Before = before > 0
		left := uint64(h.records - at)
		if at == h.records || count <= before || count > 1<<62 || p.First > h.lsn+change.LSN(at) || p.First == 0 {
			return fmt.Errorf("transaction %d of %d in the block has %d records, %d of them before it", i+1, h.txs, count, before)
		}
		p.After = count-before > left
		p.To = at + int(min(count-before, left))
		p.Count = int64(count)
		if i > 0 && p.Effective < last {
			return fmt.Errorf("effective time %v after %v", p.Effective, last)
		}
		at, last = p.To, p.Effective
		b.txs = append(b.txs, p)
	}
	for _, c := range []*cursor{&records, &ids, &commits, &times} {
		if err := c.end(); err != nil {
			return fmt.Errorf("transactions: %w", err)
		}
	}
	if at != h.records {
		return fmt.Errorf("transactions have %d of %d records", at, h.records)
	}
	if first := b.txs[0].Effective; first != info.FirstTime || last != info.LastTime {
		return fmt.Errorf("effective times %v to %v, want %v to %v", first, last, info.FirstTime, info.LastTime)
	}
	return b.decodePositions(cursor{b: s.by[streamTxPosLen]}, s.by[streamTxPosition], s.positions)
}

// decodePositions puts the positions together in out, and makes strings of
// them with one allocation.
func (b *Block) decodePositions(lens cursor, rest, out []byte) error {
	if len(lens.b) == 0 && len(rest) == 0 && len(out) == 0 {
		return nil
	}
	free := out
	var prev []byte
	for i := range b.txs {
		shared, n := lens.uvarint(), lens.uvarint()
		if lens.bad || shared > uint64(len(prev)) || n > uint64(len(rest)) || shared+n > MaxPosition || shared+n > uint64(len(free)) {
			return fmt.Errorf("position of transaction %d: %w", i, errShort)
		}
		p := free[:shared+n]
		free = free[shared+n:]
		copy(p, prev[:shared])
		copy(p[shared:], rest[:n])
		rest, prev = rest[n:], p
		b.txs[i].posLen = int(shared + n)
	}
	if len(rest) > 0 || len(free) > 0 {
		return errors.New("positions go on after the last one")
	}
	all := string(out)
	for i := range b.txs {
		p := &b.txs[i]
		p.Position, all = change.Position(all[:p.posLen]), all[p.posLen:]
	}
	return lens.end()
}

// checkRows holds the first and last row of a run block against the index.
func (b *Block) checkRows(info *BlockInfo) error {
	first, last := rowOf(&b.records[0]), rowOf(&b.records[len(b.records)-1])
	if b.Skip&SkipKeys != 0 {
		first.Key, last.Key = info.FirstRow.Key, info.LastRow.Key
	}
	if first.Compare(info.FirstRow) != 0 || last.Compare(info.LastRow) != 0 {
		return fmt.Errorf("rows %v to %v, want %v to %v", first, last, info.FirstRow, info.LastRow)
	}
	return nil
}

func rowOf(r *change.Record) RowKey { return RowKey{r.Collection, r.Key} }
