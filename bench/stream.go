package bench

import (
	"fmt"
	"math/rand/v2"

	"github.com/tidemarkdb/tidemark/change"
)

// A Stream is an endless, seeded sequence of transactions.
type Stream interface {
	// Schemas returns the schema of every collection in the stream.
	Schemas() []*change.Schema
	// Next returns the next transaction; LSNs follow each other from 1.
	Next() (*change.Tx, error)
}

// numbering gives transactions their IDs, times and LSNs.
type numbering struct {
	lsn    change.LSN
	tx     change.TxID
	commit change.Time
}

func (n *numbering) number(t *change.Tx, rng *rand.Rand) *change.Tx {
	if n.commit == 0 {
		n.commit = workloadStart
	}
	n.tx++
	n.commit += change.Time(150 + rng.ExpFloat64()*400)
	t.ID, t.Commit, t.Effective = n.tx, n.commit, n.commit
	for i := range t.Records {
		n.lsn++
		t.Records[i].LSN = n.lsn
	}
	return t
}

// Documents is a stream of changes to a key-value collection whose values are
// small JSON documents: about 130 bytes of key and image a record, one to
// eight records a transaction, random keys.
type Documents struct {
	numbering
	schema *change.Schema
	rng    *rand.Rand
	keys   int
	exists []bool
}

// NewDocuments returns the stream over a space of keys possible keys.
func NewDocuments(seed uint64, keys int) (*Documents, error) {
	s, err := change.Define(1, "document", []string{"key"},
		change.Column{Name: "key", Type: change.Text},
		change.Column{Name: "value", Type: change.Text})
	if err != nil {
		return nil, err
	}
	return &Documents{schema: s, rng: rand.New(rand.NewPCG(seed, 1)), keys: keys, exists: make([]bool, keys)}, nil
}

// Schemas returns the schema of the one collection.
func (d *Documents) Schemas() []*change.Schema { return []*change.Schema{d.schema} }

// Next returns the next transaction.
func (d *Documents) Next() (*change.Tx, error) {
	t := new(change.Tx)
	p := prose{d.rng}
	for range 1 + d.rng.IntN(8) {
		n := d.rng.IntN(d.keys)
		key := fmt.Sprintf("user/%07d", n)
		if d.exists[n] && d.rng.IntN(12) == 0 {
			k, err := d.schema.EncodeKey(nil, change.TextValue(key))
			if err != nil {
				return nil, err
			}
			d.exists[n] = false
			t.Records = append(t.Records, change.Record{Op: change.Delete, Collection: 1, Key: k})
			continue
		}
		doc := fmt.Sprintf(`{"id":%d,"name":"%s %s","city":%q,"score":%d,"visits":%d,"active":%t,"plan":%q,"tag":"%s"}`,
			n, p.pick(firstNames), p.pick(lastNames), p.pick(cities), d.rng.IntN(100000), d.rng.IntN(500), d.rng.IntN(4) > 0, p.pick(words), p.hex(8))
		k, image, err := d.schema.EncodeRow(change.Row{change.TextValue(key), change.TextValue(doc)})
		if err != nil {
			return nil, err
		}
		op := change.Insert
		if d.exists[n] {
			op = change.Update
		}
		d.exists[n] = true
		t.Records = append(t.Records, change.Record{Op: op, Collection: 1, Key: k, Image: image})
	}
	return d.number(t, d.rng), nil
}

// Pgbench is the stream of row changes that pgbench's TPC-B-like script makes:
// a transaction updates one account, one teller and one branch and inserts
// one row of history. As there, accounts carry 84 blanks of filler and the
// history has no key, so that it is a bag.
type Pgbench struct {
	numbering
	accounts, tellers, branches, history *change.Schema
	rng                                  *rand.Rand
	scale                                int
	accountBalance                       []int64
	tellerBalance, branchBalance         []int64
}

const (
	pgbenchAccounts = 100_000 // per unit of scale
	pgbenchTellers  = 10
	pgbenchFiller   = 84
)

// NewPgbench returns the stream over tables of the given scale: 100,000
// accounts, 10 tellers and one branch for each unit.
func NewPgbench(seed uint64, scale int) (*Pgbench, error) {
	num := func(name string) change.Column { return change.Column{Name: name, Type: change.Int64} }
	filler := change.Column{Name: "filler", Type: change.Text, Nullable: true}
	p := &Pgbench{rng: rand.New(rand.NewPCG(seed, 2)), scale: scale,
		accountBalance: make([]int64, scale*pgbenchAccounts+1),
		tellerBalance:  make([]int64, scale*pgbenchTellers+1),
		branchBalance:  make([]int64, scale+1)}
	var err error
	define := func(id change.CollectionID, name string, key []string, columns ...change.Column) *change.Schema {
		s, e := change.Define(id, name, key, columns...)
		if err == nil {
			err = e
		}
		return s
	}
	p.accounts = define(1, "pgbench_accounts", []string{"aid"}, num("aid"), num("bid"), num("abalance"), filler)
	p.tellers = define(2, "pgbench_tellers", []string{"tid"}, num("tid"), num("bid"), num("tbalance"), filler)
	p.branches = define(3, "pgbench_branches", []string{"bid"}, num("bid"), num("bbalance"), filler)
	p.history = define(4, "pgbench_history", nil, num("tid"), num("bid"), num("aid"), num("delta"),
		change.Column{Name: "mtime", Type: change.Timestamp}, filler)
	return p, err
}

// Schemas returns the schemas of the four tables.
func (p *Pgbench) Schemas() []*change.Schema {
	return []*change.Schema{p.accounts, p.tellers, p.branches, p.history}
}

// blanks is the filler of an account.
var blanks = change.TextValue(fmt.Sprintf("%*s", pgbenchFiller, ""))

// Next returns the next transaction.
func (p *Pgbench) Next() (*change.Tx, error) {
	aid := 1 + p.rng.IntN(p.scale*pgbenchAccounts)
	tid := 1 + p.rng.IntN(p.scale*pgbenchTellers)
	bid := 1 + p.rng.IntN(p.scale)
	delta := int64(p.rng.IntN(10001) - 5000)
	p.accountBalance[aid] += delta
	p.tellerBalance[tid] += delta
	p.branchBalance[bid] += delta
	num := func(i int) change.Value { return change.IntValue(int64(i)) }
	t := new(change.Tx)
	for _, r := range []struct {
		op  change.Op
		s   *change.Schema
		row change.Row
	}{
		{change.Update, p.accounts, change.Row{num(aid), num((aid-1)/pgbenchAccounts + 1), change.IntValue(p.accountBalance[aid]), blanks}},
		{change.Update, p.tellers, change.Row{num(tid), num((tid-1)/pgbenchTellers + 1), change.IntValue(p.tellerBalance[tid]), change.Null()}},
		{change.Update, p.branches, change.Row{num(bid), change.IntValue(p.branchBalance[bid]), change.Null()}},
		{change.Insert, p.history, change.Row{num(tid), num(bid), num(aid), change.IntValue(delta), change.TimeValue(p.commit), change.Null()}},
	} {
		key, image, err := r.s.EncodeRow(r.row)
		if err != nil {
			return nil, err
		}
		t.Records = append(t.Records, change.Record{Op: r.op, Collection: r.s.Collection, Key: key, Image: image})
	}
	return p.number(t, p.rng), nil
}
