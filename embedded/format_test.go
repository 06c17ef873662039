package embedded

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// goldenLog makes a database whose log file is always the same and returns it.
func goldenLog(t *testing.T) []byte {
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
	b, err := readAll(fs, "db/log/0000000000000001.log")
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, db)
	return b
}

// TestGoldenLog holds what a database logs to what was logged before.
func TestGoldenLog(t *testing.T) {
	name := filepath.Join("txlog", "testdata", "log-v1.hex")
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
