package embedded

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// goldenLog makes a database whose log file is always the same and returns it.
func goldenLog(t testing.TB) []byte {
	t.Helper()
	fs := vfs.NewMem()
	o := small(fs)
	o.LogFileBytes = 1 << 10
	o.Random = bytes.NewReader(bytes.Repeat([]byte{0xab, 0xcd}, 8))
	db := mustOpen(t, "db", o)
	if err := db.Update(createCity); err != nil {
		t.Fatal(err)
	}
	err := db.Update(func(tx *Tx) error {
		_, err := tx.Delete("city", change.IntValue(1))
		return errors.Join(err, tx.Put("city", city(1, "Gent")), tx.Put("city", city(-2, "Århus")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *Tx) error { _, err := tx.Delete("city", change.IntValue(1)); return err }); err != nil {
		t.Fatal(err)
	}
	b, err := db.log.readFile(1)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	return b
}

// TestGoldenLog holds the log format to what was written before.
func TestGoldenLog(t *testing.T) {
	name := filepath.Join("testdata", "log-v1.hex")
	got := hex.Dump(goldenLog(t))
	if *updateGolden {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("log file is not that of %s:\n%s", name, got)
	}
}

// TestInvalidLogHeaders are headers that must not be read.
func TestInvalidLogHeaders(t *testing.T) {
	id := databaseID{1}
	h := logHeader{Number: 5, First: 77, Hash: change.Hash{9}, Database: id}
	reseal := func(b []byte) []byte {
		const at = logHeaderSize - 4
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
	if got, ok, err := parseLogHeader(h.encode(), 5, id); !ok || err != nil || got != h {
		t.Fatalf("a good header: %+v, %t, %v", got, ok, err)
	}
	for _, c := range cases {
		_, ok, err := parseLogHeader(c.fn(h.encode()), 5, id)
		if ok || (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %t, %v; want %q", c.name, ok, err, c.want)
		}
	}
}

// FuzzWalk reads damaged log files: no panic, no transaction that was not written.
func FuzzWalk(f *testing.F) {
	file := goldenLog(f)
	h, ok, err := parseLogHeader(file, 1, databaseID(bytes.Repeat([]byte{0xab, 0xcd}, 8)))
	if !ok || err != nil {
		f.Fatal(ok, err)
	}
	var written []string
	if _, err := walk(file, &h, func(t logTx) error { written = append(written, string(t.canonical)); return nil }); err != nil || len(written) != 3 {
		f.Fatal(len(written), err)
	}
	f.Add(file)
	f.Add(file[:200])
	f.Add(append(bytes.Clone(file[:300]), make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < logHeaderSize {
			return
		}
		n := 0
		end, err := walk(b, &h, func(tx logTx) error {
			if n >= len(written) || string(tx.canonical) != written[n] {
				return fmt.Errorf("transaction %d was not written", n)
			}
			n++
			return nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if end.Offset > int64(len(b)) || (err == nil && n == 0 && end.LSN != 0) {
			t.Fatalf("end %+v of %d bytes after %d transactions", end, len(b), n)
		}
	})
}

// FuzzProgress decodes damaged progress values.
func FuzzProgress(f *testing.F) {
	p := progress{LSN: 5, Hash: change.Hash{1}, Tx: 6, Commit: -7, NextID: 8}
	f.Add(p.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProgress(b)
		if err == nil && !bytes.Equal(p.append(nil), b) {
			t.Fatalf("%x reads as %+v", b, p)
		}
		if _, _, err := bagValue(b); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
