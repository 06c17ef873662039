package txlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// goldenID is the database of the golden file.
var goldenID = DatabaseID(bytes.Repeat([]byte{0xab, 0xcd}, 8))

// golden returns a log file that a database once wrote, of three transactions.
// The tests of package embedded hold databases to it.
func golden(t testing.TB) []byte {
	t.Helper()
	dump, err := os.ReadFile(filepath.Join("testdata", "log-v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for line := range strings.Lines(string(dump)) {
		_, digits, _ := strings.Cut(line, " ") // after the offset
		digits, _, _ = strings.Cut(digits, "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, b...)
	}
	return file
}

// TestGolden writes the golden file's transactions anew and expects the same file.
func TestGolden(t *testing.T) {
	want := golden(t)
	o := Options{FS: vfs.NewMem(), Dir: "log", Database: goldenID, FileBytes: int64(len(want))}
	h, ok, err := parseHeader(want, 1, goldenID)
	if !ok || err != nil || h.First != 1 {
		t.Fatal(h, ok, err)
	}
	if err := Create(o, 0, change.Hash{}); err != nil {
		t.Fatal(err)
	}
	l, _ := mustRecover(t, o)
	_, err = walk(bytes.NewReader(want), int64(len(want)), &h, 0, change.Hash{}, func(tx Tx) error {
		return l.Append(append(NewFrame(nil), tx.Canonical...), 1, tx.Last(), tx.Hash)
	})
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := readFile(o.FS, l.path(1))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the log file is not that of testdata: %v\n%s", err, hex.Dump(got))
	}
}

// TestInvalidHeaders are headers that must not be read.
func TestInvalidHeaders(t *testing.T) {
	id := DatabaseID{1}
	h := header{Number: 5, First: 77, Hash: change.Hash{9}, Database: id}
	reseal := func(b []byte) []byte {
		const at = headerSize - 4
		binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
		return b
	}
	cases := []struct {
		name string
		fn   func(b []byte) []byte
		want string // in the error; "" for no header
	}{
		{"short", func(b []byte) []byte { return b[:100] }, ""},
		{"flipped", func(b []byte) []byte { b[40] ^= 1; return b }, ""},
		{"magic", func(b []byte) []byte { b[0] ^= 1; return reseal(b) }, ""},
		{"version", func(b []byte) []byte { b[8] = 2; return reseal(b) }, "format version 2, this program reads 1"},
		{"flags", func(b []byte) []byte { b[12] = 1; return reseal(b) }, "features"},
		{"reserved", func(b []byte) []byte { b[90] = 1; return reseal(b) }, "features"},
		{"database", func(b []byte) []byte { b[64] = 2; return reseal(b) }, "belongs to database 02"},
		{"number", func(b []byte) []byte { b[16] = 4; return reseal(b) }, ""},
		{"LSN 0", func(b []byte) []byte { b[24] = 0; return reseal(b) }, ""},
	}
	if got, ok, err := parseHeader(h.encode(), 5, id); !ok || err != nil || got != h {
		t.Fatalf("a good header: %+v, %t, %v", got, ok, err)
	}
	for _, c := range cases {
		_, ok, err := parseHeader(c.fn(h.encode()), 5, id)
		if ok || (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %t, %v; want %q", c.name, ok, err, c.want)
		}
	}
}

// inPieces reads a log file in tiny pieces, each frame twice, and returns how
// many transactions it yields before its end or its damage.
func inPieces(t *testing.T, b []byte, h *header, written []string) (n int) {
	s := scanner{f: bytes.NewReader(b), key: frameKey{h.Database, h.Number}, piece: 1, at: h.start()}
	pieces := func(yield func(*change.Tx, error) bool) {
		for {
			tx, err := s.next()
			if err == nil && tx == nil {
				if ok, err := s.open(int64(len(b))); !ok || err != nil {
					return
				}
				continue
			}
			if !yield(tx, err) || err != nil {
				return
			}
		}
	}
	for tx, err := range change.Join(pieces) {
		if err != nil {
			break
		}
		if n >= len(written) || string(change.AppendTx(nil, tx)) != written[n] {
			t.Fatalf("transaction %d in pieces was not written", n)
		}
		n++
	}
	return n
}

// FuzzWalk reads damaged log files: no panic, no transaction that was not written.
func FuzzWalk(f *testing.F) {
	file := golden(f)
	h, ok, err := parseHeader(file, 1, goldenID)
	if !ok || err != nil {
		f.Fatal(ok, err)
	}
	var written []string
	if _, err := walk(bytes.NewReader(file), int64(len(file)), &h, 0, change.Hash{}, func(t Tx) error { written = append(written, string(t.Canonical)); return nil }); err != nil || len(written) != 3 {
		f.Fatal(len(written), err)
	}
	f.Add(file)
	f.Add(file[:200])
	f.Add(append(bytes.Clone(file[:300]), make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		n := 0
		end, err := walk(bytes.NewReader(b), int64(len(b)), &h, 0, change.Hash{}, func(tx Tx) error {
			if n >= len(written) || string(tx.Canonical) != written[n] {
				return fmt.Errorf("transaction %d was not written", n)
			}
			n++
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if m := inPieces(t, b, &h, written); m != n {
			t.Fatalf("%d transactions in pieces, %d whole", m, n)
		}
		if end.Offset > int64(len(b)) || (err == nil && n == 0 && end.LSN != 0) {
			t.Fatalf("end %+v of %d bytes after %d transactions", end, len(b), n)
		}
	})
}
