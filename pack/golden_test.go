package pack

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is what stands beside the bytes of a golden pack.
type golden struct {
	Ref  Ref
	Want string // the error to expect: "", corrupt, version or limit
	Text string // part of the error's text
}

var sentinels = map[string]error{"corrupt": ErrCorrupt, "version": ErrVersion, "limit": ErrLimit}

func writeGolden(t *testing.T, name string, data []byte, g golden) {
	t.Helper()
	g.Ref.Key = testKey
	j, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if err := errors.Join(os.MkdirAll("testdata", 0o777), os.WriteFile(path+".golden", data, 0o666), os.WriteFile(path+".json", append(j, '\n'), 0o666)); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T, name string) (data []byte, g golden) {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	j, err := os.ReadFile(path + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j, &g); err != nil {
		t.Fatal(err)
	}
	return data, g
}

// TestGolden: the packs of the first release read as they did, and today's
// writer makes the same bytes. A change of the zstd library may rightly break
// the latter: then see that the old files still read before writing them anew.
func TestGolden(t *testing.T) {
	log, logRef, txs := smallLog(t)
	run, runRef, rows := smallRun(t)
	piece, pieceRef, pieces := middle(t)
	if *update {
		writeGolden(t, "piece", piece, golden{Ref: pieceRef})
		writeGolden(t, "log", log, golden{Ref: logRef})
		writeGolden(t, "run", run, golden{Ref: runRef})
	}
	var records []change.Record
	for _, tx := range txs {
		records = append(records, tx.Records...)
	}
	var within []change.Record
	for _, tx := range pieces {
		within = append(within, tx.Records...)
	}
	for _, c := range []struct {
		name  string
		want  []change.Record
		today []byte
	}{{"log", records, log}, {"piece", within, piece}, {"run", rows, run}} {
		data, g := readGolden(t, c.name)
		b, ref := bucketOf(data, g.Ref)
		got, err := readAll(t.Context(), b, ref, false)
		if err != nil || !equalRecords(got, c.want) {
			t.Errorf("%s: error %v, %d records, want %d", c.name, err, len(got), len(c.want))
		}
		if !bytes.Equal(data, c.today) {
			t.Errorf("%s: today's writer makes other bytes than the golden file's", c.name)
		}
	}
}

// forgeries are packs whose hashes are all right and whose content is not.
var forgeries = []struct {
	name, want, text string
	forge            func(t *testing.T, a *anatomy)
}{
	{"newer-version", "version", "upgrade", func(_ *testing.T, a *anatomy) { a.header.version = FormatVersion + 1 }},
	{"version-zero", "corrupt", "version 0", func(_ *testing.T, a *anatomy) { a.header.version = 0 }},
	{"unknown-kind", "corrupt", "kind", func(_ *testing.T, a *anatomy) { a.header.kind = 3 }},
	{"unknown-codec", "version", "codec", func(_ *testing.T, a *anatomy) { a.header.codec = 9 }},
	{"unknown-flag", "version", "flags", func(_ *testing.T, a *anatomy) { a.header.flags = 1 }},
	{"block-flag", "version", "flags", func(_ *testing.T, a *anatomy) { a.blocks[1][36] = 1 }},
	{"required-stream", "version", "stream 60", func(t *testing.T, a *anatomy) {
		b := a.blocks[0]
		n := binary.LittleEndian.Uint32(b[32:])
		binary.LittleEndian.PutUint32(b[32:], n+1)
		at := blockHeaderSize + int(n)*streamEntrySize
		a.blocks[0] = slices.Insert(b, at, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}},
	{"stream-encoding", "version", "encoding", func(t *testing.T, a *anatomy) { a.stream(t, 0, streamBytes)[1] = 2 }},
	{"stream-too-large", "limit", "", func(t *testing.T, a *anatomy) {
		binary.LittleEndian.PutUint32(a.stream(t, 0, streamBytes)[8:], 1<<31)
	}},
	{"stream-past-end", "corrupt", "", func(t *testing.T, a *anatomy) {
		binary.LittleEndian.PutUint32(a.stream(t, 0, streamTxTime)[4:], 1<<20)
	}},
	{"bomb", "corrupt", "block 0", func(t *testing.T, a *anatomy) {
		raw := binary.LittleEndian.Uint32(a.stream(t, 0, streamBytes)[8:])
		a.replace(t, 0, streamBytes, encodingZstd, bomb(t, 1<<20), raw)
	}},
	{"key-bytes-lie", "corrupt", "", func(_ *testing.T, a *anatomy) {
		k := binary.LittleEndian.Uint32(a.blocks[0][4:])
		binary.LittleEndian.PutUint32(a.blocks[0][4:], k-1)
	}},
	{"record-count-lies", "corrupt", "records", func(_ *testing.T, a *anatomy) {
		a.blocks[0][0]++
	}},
	{"lsn-lies", "corrupt", "LSN", func(_ *testing.T, a *anatomy) { a.blocks[1][16]++ }},
	{"transaction-torn", "corrupt", "transaction", func(_ *testing.T, a *anatomy) { a.blocks[1][24]++ }},
	{"lsn-hole", "corrupt", "index", func(_ *testing.T, a *anatomy) { a.ix.Blocks[1].First++; a.ix.Blocks[1].Last++ }},
	{"index-raw-lies", "corrupt", "", func(_ *testing.T, a *anatomy) { a.ix.Blocks[0].Raw++ }},
	{"raw-too-large", "limit", "", func(_ *testing.T, a *anatomy) { a.footer.maxBlock = MaxBlockRaw + 1 }},
	{"statistics-lie", "corrupt", "index says", func(_ *testing.T, a *anatomy) {
		a.ix.Collections[0].Inserts++
		a.ix.Collections[0].Updates--
	}},
	{"tombstone-missing", "corrupt", "tombstones", func(_ *testing.T, a *anatomy) { a.ix.Tombstones = a.ix.Tombstones[1:] }},
	{"filter-empty", "corrupt", "filter", func(_ *testing.T, a *anatomy) { clear(a.filters) }},
	{"blocks-swapped", "corrupt", "", func(_ *testing.T, a *anatomy) { a.blocks[0], a.blocks[1] = a.blocks[1], a.blocks[0] }},
}

// TestInvalid: each golden file of an invalid pack is refused, with the error
// that says why.
func TestInvalid(t *testing.T) {
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			name := "invalid-" + f.name
			if *update {
				data, ref, _ := smallLog(t)
				a := dissect(t, data, ref)
				f.forge(t, a)
				data, ref = a.seal()
				writeGolden(t, name, data, golden{Ref: ref, Want: f.want, Text: f.text})
			}
			data, g := readGolden(t, name)
			for _, whole := range []bool{false, true} {
				b, ref := bucketOf(data, g.Ref)
				_, err := readAll(t.Context(), b, ref, whole)
				if err == nil || !errors.Is(err, sentinels[g.Want]) || !strings.Contains(err.Error(), g.Text) {
					t.Errorf("error %v, want %q with %q", err, g.Want, g.Text)
				}
				if g.Want == "version" && errors.Is(err, ErrCorrupt) {
					t.Errorf("error %v calls a newer pack damaged", err)
				}
			}
		})
	}
}
