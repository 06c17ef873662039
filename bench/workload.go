package bench

import (
	"encoding/hex"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// Row is a row as logs and states hold it.
type Row struct {
	Key   change.Key
	Image change.Image
}

// Customers is a seeded workload on one table with rows of about 200 bytes,
// key included: a base of n rows with even IDs, then transactions of 1 to 19
// random changes, of which 60% update a row, 30% insert one between the
// others and 10% delete one. The same seed and sizes give the same bytes.
type Customers struct {
	Schema *change.Schema
	seed   uint64
	live   []uint32 // by ID: the version of the row that exists, 0 for none
	n      int      // rows that exist
	rng    *rand.Rand
	lsn    change.LSN
	tx     change.TxID
	values change.Row
}

// workloadStart is the commit time of what the workloads do first.
const workloadStart = change.Time(1_795_000_000_000_000) // 2026-11-18T11:06:40Z

// NewCustomers returns the workload with its base of n rows, at the LSN 1:
// the record that set the schema.
func NewCustomers(seed uint64, n int) (*Customers, error) {
	s, err := change.Define(1, "customer", []string{"id"},
		change.Column{Name: "id", Type: change.Int64},
		change.Column{Name: "name", Type: change.Text},
		change.Column{Name: "email", Type: change.Text},
		change.Column{Name: "street", Type: change.Text},
		change.Column{Name: "city", Type: change.Text},
		change.Column{Name: "active", Type: change.Bool},
		change.Column{Name: "balance", Type: change.Int64},
		change.Column{Name: "created", Type: change.Timestamp},
		change.Column{Name: "seen", Type: change.Timestamp},
		change.Column{Name: "token", Type: change.Bytes},
		change.Column{Name: "note", Type: change.Text, Nullable: true},
	)
	if err != nil {
		return nil, err
	}
	c := &Customers{Schema: s, seed: seed, live: make([]uint32, 2*n+2), n: n, lsn: 1, tx: 1,
		rng: rand.New(rand.NewPCG(seed, uint64(n))), values: make(change.Row, len(s.Columns))}
	for id := 2; id <= 2*n; id += 2 {
		c.live[id] = 1
	}
	return c, nil
}

// Len returns how many rows exist now.
func (c *Customers) Len() int { return c.n }

// LSN returns the position of the last record so far.
func (c *Customers) LSN() change.LSN { return c.lsn }

// Rows yields the rows that exist now in key order.
func (c *Customers) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for id, version := range c.live {
			if version == 0 {
				continue
			}
			if r, err := c.row(id, version); !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Digest returns the digest of the rows that exist now.
func (c *Customers) Digest() (change.Digest, error) {
	var d change.Digest
	for r, err := range c.Rows() {
		if err != nil {
			return d, err
		}
		if err := d.Add(c.Schema, r.Key, r.Image, 1); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Next returns the next transaction, with at most limit records.
func (c *Customers) Next(limit int) (*change.Tx, error) {
	c.tx++
	t := &change.Tx{ID: c.tx, Commit: workloadStart + change.Time(c.tx)*1000 + change.Time(c.rng.IntN(900))}
	for range min(1+c.rng.IntN(19), limit) {
		id, op := c.choose()
		r := change.Record{Op: op, Collection: c.Schema.Collection}
		switch op {
		case change.Delete:
			c.live[id] = 0
			c.n--
			key, err := c.Schema.EncodeKey(nil, change.IntValue(int64(id)))
			if err != nil {
				return nil, err
			}
			r.Key = key
		default:
			if op == change.Insert {
				c.n++
			}
			c.live[id] = uint32(c.lsn + 1)
			row, err := c.row(id, c.live[id])
			if err != nil {
				return nil, err
			}
			r.Key, r.Image = row.Key, row.Image
		}
		c.lsn++
		r.LSN = c.lsn
		t.Records = append(t.Records, r)
	}
	return t, nil
}

// Changes yields transactions with n records in all.
func (c *Customers) Changes(n int) iter.Seq2[*change.Tx, error] {
	return func(yield func(*change.Tx, error) bool) {
		for left := n; left > 0; {
			t, err := c.Next(left)
			if !yield(t, err) || err != nil {
				return
			}
			left -= len(t.Records)
		}
	}
}

// choose picks a change that is possible now, and the ID of its row.
func (c *Customers) choose() (id int, op change.Op) {
	for {
		switch p := c.rng.IntN(10); {
		case p < 6:
			op = change.Update
		case p < 9:
			op = change.Insert
		default:
			op = change.Delete
		}
		for range 64 { // a full or an empty table allows only some of them
			id = 1 + c.rng.IntN(len(c.live)-1)
			if exists := c.live[id] != 0; exists == (op != change.Insert) {
				return id, op
			}
		}
	}
}

func (c *Customers) row(id int, version uint32) (Row, error) {
	p := newProse(c.seed, uint64(id), uint64(version))
	first, last := p.pick(firstNames), p.pick(lastNames)
	v := c.values[:0]
	v = append(v,
		change.IntValue(int64(id)),
		change.TextValue(first+" "+last),
		change.TextValue(fmt.Sprintf("%s.%s%d@%s.example", strings.ToLower(first), strings.ToLower(last), p.IntN(1000), p.pick(words))),
		change.TextValue(fmt.Sprintf("%d %s Street", 1+p.IntN(400), p.pick(lastNames))),
		change.TextValue(p.pick(cities)),
		change.BoolValue(p.IntN(10) > 0),
		change.IntValue(int64(p.IntN(10_000_000))),
		change.TimeValue(workloadStart-change.Time(p.Int64N(1e14))),
		change.TimeValue(workloadStart+change.Time(version)*1000+change.Time(p.IntN(1000))),
		change.BytesValue(p.bytes(16)),
		change.TextValue(p.sentence(19)),
	)
	key, image, err := c.Schema.EncodeRow(v)
	return Row{key, image}, err
}

// prose makes the text of one row.
type prose struct{ *rand.Rand }

func newProse(seed, a, b uint64) prose {
	return prose{rand.New(rand.NewPCG(seed^a<<32, b*0x9e3779b97f4a7c15+a))}
}

func (p prose) pick(from []string) string { return from[p.IntN(len(from))] }

func (p prose) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.Uint32())
	}
	return b
}

func (p prose) hex(n int) string { return hex.EncodeToString(p.bytes(n / 2)) }

// sentence joins n words, common ones more often than rare ones.
func (p prose) sentence(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(words[min(p.IntN(len(words)), p.IntN(len(words)))])
	}
	return b.String()
}

var (
	firstNames = strings.Fields(`Ada Alan Amal Anders Barbara Bjarne Carla Chen Claude Dana Dennis Edsger Elena Emil
		Farid Frances Grace Hanna Ines Ivan Jack Jana Joan Karim Ken Lena Leslie Lin Margaret Maya Niklaus Nora Olga
		Omar Paula Priya Rob Rosa Sara Sofia Tim Tomas Ursula Vera Viktor Wanda Yusuf Zoe`)
	lastNames = strings.Fields(`Adams Almeida Bauer Becker Brown Castro Chen Costa Dijkstra Evans Fischer Garcia Gray
		Haddad Hansen Hoare Ivanova Jensen Johnson Kaya Keller Khan Kim Kowalski Lamport Larsen Liskov Lopez Meyer
		Moreau Nakamura Nguyen Novak Okafor Olsen Park Patel Perez Rossi Santos Sato Schmidt Silva Singh Suzuki Tanaka
		Thompson Turing Weber Wirth Wong Yamamoto Zhang`)
	cities = strings.Fields(`Accra Amsterdam Ankara Athens Auckland Bergen Berlin Bogota Boston Brno Cairo Chennai
		Chicago Dakar Dallas Delhi Dublin Durban Geneva Genoa Hamburg Hanoi Helsinki Istanbul Jakarta Kyoto Lagos Lima
		Lisbon Lyon Madrid Manila Montreal Nairobi Naples Osaka Oslo Paris Porto Prague Quito Riga Rome Santiago Seoul
		Sofia Sydney Tallinn Tokyo Toronto Tunis Vienna Vilnius Warsaw Zagreb Zurich`)
	words = strings.Fields(`the of and to in a is that for it as was with be by on not he this are or his from at which
		but have an had they you were their one all we can her has there been if more when will would who so no out up
		into do any your what them than then now only new first order account invoice paid late ship stock return open
		closed call mail customer price refund review renew trial plan seat region credit limit store branch parcel
		delivery address changed confirmed requested escalated resolved pending monthly yearly discount contract`)
)
