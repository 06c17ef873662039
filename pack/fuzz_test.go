package pack

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

// Each fuzz target feeds one decoder with bytes whose hash nobody proved, as
// if a forger had sealed them. A decoder must not panic, and must not use more
// memory than what it was told the limits are.

func seeds(f *testing.F) (packs [][]byte, refs []Ref) {
	f.Helper()
	log, logRef, _ := smallLog(f)
	run, runRef, _ := smallRun(f)
	piece, pieceRef, _ := middle(f)
	return [][]byte{log, run, piece}, []Ref{logRef, runRef, pieceRef}
}

func FuzzFooter(f *testing.F) {
	packs, _ := seeds(f)
	for _, p := range packs {
		f.Add(p[:headerSize], p[len(p)-footerSize:])
	}
	f.Fuzz(func(t *testing.T, head, foot []byte) {
		if h, err := parseHeader(head); err == nil && !bytes.Equal(h.append(nil), head[:headerSize]) {
			t.Errorf("header % x is not what its fields encode to", head)
		}
		if ft, err := parseFooter(foot); err == nil && !bytes.Equal(ft.append(nil), foot[len(foot)-footerSize:]) {
			t.Errorf("footer % x is not what its fields encode to", foot)
		}
	})
}

func FuzzIndex(f *testing.F) {
	packs, refs := seeds(f)
	for i, p := range packs {
		tail := p[int64(len(p))-refs[i].Tail:]
		f.Add(tail[:len(tail)-footerSize], int64(len(p))-refs[i].Tail)
	}
	f.Fuzz(func(t *testing.T, b []byte, start int64) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		ix, err := parseIndex(b, start, h)
		if err != nil {
			return
		}
		again, err := parseIndex(ix.append(nil, h), start, h)
		if err != nil {
			t.Fatalf("index does not read after it was written again: %v", err)
		}
		if !bytes.Equal(again.append(nil, h), ix.append(nil, h)) {
			t.Error("index changes when it is read and written")
		}
	})
}

func FuzzBlock(f *testing.F) {
	packs, refs := seeds(f)
	for i, p := range packs {
		for _, k := range mustOpen(f, p, refs[i]).Index().Blocks {
			f.Add(p[k.Offset:k.Offset+k.Stored], i == 0, k.Raw, k.Records)
		}
	}
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, stored []byte, log bool, raw int64, records int) {
		if raw < 0 || raw > limit || records < 1 || records > 1000 {
			return
		}
		kind := Run
		info := BlockInfo{Raw: raw, Records: records}
		if log && len(stored) >= blockHeaderSize {
			kind = Log
			info.First = 1
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var b Block
		err := b.decode(stored, kind, &info)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%d bytes of memory for a block of %d", used, raw)
		}
		if err != nil && len(b.Records()) > 0 {
			t.Errorf("%d records beside error %v", len(b.Records()), err)
		}
		for i := range b.Records() {
			if r := &b.Records()[i]; !r.Op.Valid() || r.Collection == 0 {
				t.Errorf("record %d: %v", i, r)
			}
		}
	})
}

// FuzzSplit feeds the splitter with images of any kind: what it takes apart has
// to come back the same.
func FuzzSplit(f *testing.F) {
	for _, tx := range pgbenchRows(f, 40)[:10] {
		f.Add([]byte(tx.Records[0].Image), []byte(tx.Records[3].Image))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if len(one) == 0 || len(two) == 0 {
			return
		}
		_, _, txs := smallLog(t)
		tx := txs[0]
		for i := range tx.Records {
			tx.Records[i].Image = one
			if i%3 == 0 {
				tx.Records[i].Image = two
			}
		}
		data, ref, _ := logPack(t, WriterOptions{}, tx)
		for got, err := range change.Join(mustOpen(t, data, ref).Txs(t.Context(), 0)) {
			if err != nil || !equalRecords(got.Records, tx.Records) {
				t.Fatalf("error %v, images of %d and %d bytes came back changed", err, len(one), len(two))
			}
		}
	})
}
