package pack

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/change"
)

// Generators of records for tests and benchmarks. All are deterministic.

var (
	firstNames = strings.Fields("Ada Alan Barbara Claude Dennis Edsger Frances Grace Hedy Ivan Jean Katherine Leslie Margaret Niklaus Ole Peter Radia Sophie Tim Ursula Vint Whitfield Yukihiro Zofia")
	lastNames  = strings.Fields("Lovelace Turing Liskov Shannon Ritchie Dijkstra Allen Hopper Lamarr Sutherland Bartik Johnson Lamport Hamilton Wirth Dahl Naur Perlman Wilson Berners Martin Cerf Diffie Matsumoto Nowak Okafor Petrova Quispe Rossi Sato")
	mailHosts  = strings.Fields("example.com example.org mail.example.net corp.example.com")
	states     = strings.Fields("active pending blocked trial")
)

const benchStart = change.Time(1_790_000_000_000_000)

// jsonRows returns n updates of a users table in random order of its rows, of
// which there are a million, ten to a transaction. Key and image hold what a
// small JSON document holds, about 130 bytes together: the key as text
// ("user:0000123"), a random UUID as text, the ISO time of the change with
// microseconds, one of 750 names, an e-mail address made of the name, a number
// of up to 100,000 and one of four states. The UUID is incompressible but for
// its digits (16 bytes of chance), the rest is as repetitive as such rows are.
func jsonRows(t testing.TB, n int) []*change.Tx {
	s, err := change.Define(1, "users", []string{"key"},
		change.Column{Name: "key", Type: change.Text}, change.Column{Name: "id", Type: change.Text},
		change.Column{Name: "at", Type: change.Text}, change.Column{Name: "name", Type: change.Text},
		change.Column{Name: "email", Type: change.Text}, change.Column{Name: "score", Type: change.Int64},
		change.Column{Name: "state", Type: change.Text})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var txs []*change.Tx
	now := benchStart
	for lsn := change.LSN(1); int(lsn) <= n; {
		now += change.Time(rng.IntN(4000))
		tx := &change.Tx{ID: change.TxID(lsn), Commit: now, Effective: now}
		for range 10 {
			first, last := firstNames[rng.IntN(len(firstNames))], lastNames[rng.IntN(len(lastNames))]
			hi, lo := rng.Uint64(), rng.Uint64()
			row := change.Row{
				change.TextValue(fmt.Sprintf("user:%07d", rng.IntN(1_000_000))),
				change.TextValue(fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xfff, lo>>48, lo&(1<<48-1))),
				change.TextValue(now.String()),
				change.TextValue(first + " " + last),
				change.TextValue(strings.ToLower(first) + "." + strings.ToLower(last) + "@" + mailHosts[rng.IntN(len(mailHosts))]),
				change.IntValue(rng.Int64N(100_000)),
				change.TextValue(states[rng.IntN(len(states))]),
			}
			key, image, err := s.EncodeRow(row)
			if err != nil {
				t.Fatal(err)
			}
			tx.Records = append(tx.Records, change.Record{LSN: lsn, Op: change.Update, Collection: 1, Key: key, Image: image})
			lsn++
		}
		txs = append(txs, tx)
	}
	return txs
}

// pgbenchRows returns about n records of transactions as pgbench makes them at
// scale 10: an update each of accounts (aid, bid, abalance, filler of 84
// blanks), tellers and branches, and an insert into history, which has no key:
// a bag. Images of updates are partial: they leave out the filler, which a
// database does not log when it did not change.
func pgbenchRows(t testing.TB, n int) []*change.Tx {
	const scale = 10
	define := func(id change.CollectionID, name string, key []string, columns ...change.Column) *change.Schema {
		s, err := change.Define(id, name, key, columns...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	num := func(name string) change.Column { return change.Column{Name: name, Type: change.Int64} }
	filler := change.Column{Name: "filler", Type: change.Text}
	accounts := define(1, "pgbench_accounts", []string{"aid"}, num("aid"), num("bid"), num("abalance"), filler)
	tellers := define(2, "pgbench_tellers", []string{"tid"}, num("tid"), num("bid"), num("tbalance"), filler)
	branches := define(3, "pgbench_branches", []string{"bid"}, num("bid"), num("bbalance"), filler)
	history := define(4, "pgbench_history", nil, num("tid"), num("bid"), num("aid"), num("delta"), change.Column{Name: "mtime", Type: change.Timestamp})
	rng := rand.New(rand.NewPCG(3, 4))
	balance := make(map[[2]int64]int64)
	add := func(table, id, delta int64) change.Value {
		balance[[2]int64{table, id}] += delta
		return change.IntValue(balance[[2]int64{table, id}])
	}
	now := benchStart
	lsn := change.LSN(1)
	var txs []*change.Tx
	for int(lsn) <= n {
		now += change.Time(200 + rng.IntN(1000))
		tx := &change.Tx{ID: change.TxID(lsn), Commit: now, Effective: now}
		put := func(op change.Op, s *change.Schema, row change.Row) {
			key, image, err := s.EncodeRow(row)
			if err != nil {
				t.Fatal(err)
			}
			tx.Records = append(tx.Records, change.Record{LSN: lsn, Op: op, Collection: s.Collection, Key: key, Image: image})
			lsn++
		}
		aid, tid := 1+rng.Int64N(100_000*scale), 1+rng.Int64N(10*scale)
		bid, delta := 1+(tid-1)/10, rng.Int64N(10_001)-5000
		put(change.Update, accounts, change.Row{change.IntValue(aid), change.IntValue(1 + (aid-1)/100_000), add(1, aid, delta), change.Unchanged()})
		put(change.Update, tellers, change.Row{change.IntValue(tid), change.IntValue(bid), add(2, tid, delta), change.Unchanged()})
		put(change.Update, branches, change.Row{change.IntValue(bid), add(3, bid, delta), change.Unchanged()})
		put(change.Insert, history, change.Row{change.IntValue(tid), change.IntValue(bid), change.IntValue(aid), change.IntValue(delta), change.TimeValue(now)})
		txs = append(txs, tx)
	}
	return txs
}

// asRun returns the last version of each row, in order.
func asRun(txs []*change.Tx) []change.Record {
	var all []change.Record
	for _, tx := range txs {
		all = append(all, tx.Records...)
	}
	slices.SortStableFunc(all, func(a, b change.Record) int { return rowOf(&a).Compare(rowOf(&b)) })
	out := all[:0]
	for i := range all {
		if i+1 == len(all) || rowOf(&all[i]).Compare(rowOf(&all[i+1])) != 0 {
			out = append(out, all[i])
		}
	}
	return out
}
