package txlog

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// testLog returns a new log in memory with the smallest files.
func testLog(t *testing.T, fs vfs.FS) Options {
	t.Helper()
	o := Options{FS: fs, Dir: "log", Database: DatabaseID{7}, FileBytes: MinFileBytes}
	if err := Create(o, 0, change.Hash{}); err != nil {
		t.Fatal(err)
	}
	return o
}

// recoverLog opens and recovers a log, and returns the LSNs at which its
// transactions end.
func recoverLog(o Options, after change.LSN, hash change.Hash) (*Log, []change.LSN, error) {
	l, err := Open(o)
	if err != nil {
		return nil, nil, err
	}
	var lasts []change.LSN
	err = l.Recover(after, hash, func(tx Tx) error { lasts = append(lasts, tx.Last()); return nil })
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, lasts, nil
}

func mustRecover(t *testing.T, o Options) (*Log, []change.LSN) {
	t.Helper()
	l, lasts, err := recoverLog(o, 0, change.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	return l, lasts
}

// appendTx appends a transaction of one record, whose image has size bytes.
func appendTx(t *testing.T, l *Log, size int) {
	t.Helper()
	lsn, hash := l.end.LSN+1, l.end.Hash
	frame := change.AppendTx(NewFrame(nil), &change.Tx{ID: change.TxID(lsn), Commit: change.Time(lsn), Records: []change.Record{
		{LSN: lsn, Op: change.Insert, Collection: 1, Key: change.Key("key"), Image: bytes.Repeat([]byte{1}, size)},
	}})
	if err := l.Append(frame, 1, lsn, change.LogHash(hash, frame[len(NewFrame(nil)):])); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// damage applies fn to the content of a log's only file.
func damage(t *testing.T, o Options, fn func(b []byte, frames []int64) []byte) {
	t.Helper()
	l := newLog(o)
	b, err := readFile(o.FS, l.path(1))
	if err != nil {
		t.Fatal(err)
	}
	var frames []int64
	k := frameKey{o.Database, 1}
	for off := int64(headerSize); ; {
		payload, _, ok := k.open(b[off:], off)
		if !ok {
			break
		}
		frames = append(frames, off)
		off += frameHeaderSize + int64(len(payload))
	}
	if len(frames) != 6 || int64(len(b)) != o.FileBytes || frames[5]+2*(frames[5]-frames[4]) > o.FileBytes {
		t.Fatalf("frames at %v of %d bytes, want six and room for one", frames, len(b))
	}
	f, err := o.FS.Create(l.path(1), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(fn(b, frames))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTornTailAndCorruption tells what a crash leaves from damage.
func TestTornTailAndCorruption(t *testing.T) {
	const frames = 6
	cases := []struct {
		name string
		fn   func(b []byte, frames []int64) []byte
		want int // frames that remain; -1 for ErrCorrupt
	}{
		{"whole", func(b []byte, f []int64) []byte { return b }, frames},
		{"last frame's payload", func(b []byte, f []int64) []byte { b[f[len(f)-1]+60] ^= 1; return b }, frames - 1},
		{"last frame's length", func(b []byte, f []int64) []byte { b[f[len(f)-1]+25] ^= 1; return b }, frames - 1},
		{"cut in the last frame", func(b []byte, f []int64) []byte { return b[:f[len(f)-1]+20] }, frames - 1},
		{"cut at the last frame", func(b []byte, f []int64) []byte { return b[:f[len(f)-1]] }, frames - 1},
		{"payload in the middle", func(b []byte, f []int64) []byte { b[f[len(f)-2]+60] ^= 1; return b }, -1},
		{"length in the middle", func(b []byte, f []int64) []byte { b[f[len(f)-2]+26] ^= 0xff; return b }, -1},
		{"header", func(b []byte, f []int64) []byte { b[30] ^= 1; return b }, -1},
		{"frame moved over another", func(b []byte, f []int64) []byte { copy(b[f[1]:f[2]], b[f[2]:]); return b }, -1},
		{"zeros in the middle", func(b []byte, f []int64) []byte { clear(b[f[1]:f[2]]); return b }, -1},
		{"copy of a frame after the end", func(b []byte, f []int64) []byte { copy(b[len(b)-int(f[1]-f[0]):], b[f[0]:f[1]]); return b }, frames},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := testLog(t, vfs.NewMem())
			l, _ := mustRecover(t, o)
			for range frames {
				appendTx(t, l, 20)
			}
			mustClose(t, l)
			damage(t, o, c.fn)
			l, got, err := recoverLog(o, 0, change.Hash{})
			if c.want < 0 {
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), suffix) || !strings.Contains(err.Error(), "offset") {
					t.Fatalf("%v, want ErrCorrupt with file and offset", err)
				}
				return
			}
			if err != nil || len(got) != c.want {
				t.Fatalf("%d frames, want %d: %v", len(got), c.want, err)
			}
			appendTx(t, l, 20)
			mustClose(t, l)
			l, got = mustRecover(t, o)
			if len(got) != c.want+1 {
				t.Errorf("%d frames after another, want %d", len(got), c.want+1)
			}
			mustClose(t, l)
		})
	}
}

// TestFiles follows a log across files: read while written, released, used
// again, recovered.
func TestFiles(t *testing.T) {
	o := testLog(t, vfs.NewMem())
	l, _ := mustRecover(t, o)
	r, err := l.Read(0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	readAll := func() {
		for {
			tx, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if tx == nil {
				return
			}
			read++
		}
	}
	var before change.Hash // of the last transaction
	for i := range 40 {
		before = l.end.Hash
		appendTx(t, l, 200)
		if readAll(); read != i {
			t.Fatalf("read %d frames, %d are published", read, i)
		}
		moved := l.Moved(r.LSN())
		l.Publish()
		<-moved
		if readAll(); r.LSN() != change.LSN(i+1) || r.Hash() != l.end.Hash {
			t.Fatalf("read through LSN %d, want %d", r.LSN(), i+1)
		}
		if i%10 == 9 {
			if err := l.Release(change.LSN(i - 3)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l.Moved(39) != nil {
		t.Error("Moved wants to wait for what is there")
	}
	if _, err := l.Read(0, 1<<20); !errors.Is(err, ErrReleased) {
		t.Errorf("Read of what was released: %v", err)
	}
	e := l.Extent()
	end, hash := l.End()
	if e.First <= 30 || e.First > 37 || e.Files < 2 || e.Bytes != int64(e.Files)*o.FileBytes || end != 40 {
		t.Errorf("%+v, ending at LSN %d", e, end)
	}
	if err := errors.Join(r.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}

	if _, _, err := recoverLog(o, 0, change.Hash{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Recover of what was released: %v", err)
	}
	if _, _, err := recoverLog(o, 39, hash); !errors.Is(err, ErrForeign) {
		t.Errorf("Recover after an LSN with another log hash: %v", err)
	}
	l, lasts, err := recoverLog(o, 39, before)
	if err != nil || !slices.Equal(lasts, []change.LSN{40}) {
		t.Fatalf("recovered %v: %v", lasts, err)
	}
	if again, h := l.End(); again != end || h != hash {
		t.Errorf("the log ended at LSN %d, now at %d", end, again)
	}
	mustClose(t, l)
}
