package change

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestLogHasher checks that a transaction hashed in parts has the log hash of
// its canonical encoding.
func TestLogHasher(t *testing.T) {
	var l LogHasher
	rapid.Check(t, func(t *rapid.T) {
		tx := Tx{ID: TxID(rapid.Uint64().Draw(t, "id")), Commit: Time(rapid.Int64().Draw(t, "commit"))}
		first := LSN(rapid.Uint64Range(1, 1<<60).Draw(t, "first"))
		for i := range rapid.IntRange(1, 20).Draw(t, "records") {
			image := bytes.Repeat([]byte{byte(i)}, rapid.SampledFrom([]int{0, 1, 100, 16<<10 - 1, 16 << 10, 40_000}).Draw(t, "image"))
			tx.Records = append(tx.Records, Record{LSN: first + LSN(i), Op: Update, Collection: 3, Key: Key{byte(i), 9}, Image: image})
		}
		prev := Hash(rapid.SliceOfN(rapid.Byte(), len(Hash{}), len(Hash{})).Draw(t, "prev"))
		l.Begin(prev, tx.ID, tx.Commit, first, int64(len(tx.Records)))
		for rest := tx.Records; len(rest) > 0; {
			n := rapid.IntRange(0, len(rest)).Draw(t, "part")
			l.Add(rest[:n])
			rest = rest[n:]
		}
		if got, want := l.Sum(), LogHash(prev, AppendTx(nil, &tx)); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
