package embedded

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
)

// model is what a database should show: rows as text by key of each
// collection, and of bags how many copies.
type model map[string]map[string]string

func (m model) clone() model {
	out := make(model)
	for c, rows := range m {
		out[c] = maps.Clone(rows)
	}
	return out
}

var (
	modelKeyed = []string{"a", "b"}
	modelBag   = "bag"
)

func modelRow(id int64, name string) change.Row {
	return change.Row{change.IntValue(id), change.TextValue(name)}
}

func modelText(id int64, name string) string { return fmt.Sprintf("%d %q", id, name) }

// create makes a collection of the model.
func (m model) create(tx *Tx, name string) error {
	var key []string
	if name != modelBag {
		key = []string{"id"}
	}
	_, err := tx.CreateCollection(name, key,
		change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "name", Type: change.Text})
	m[name] = make(map[string]string)
	return err
}

// step does one random operation to both.
func (m model) step(rt *rapid.T, tx *Tx) error {
	c := rapid.SampledFrom(modelKeyed).Draw(rt, "collection")
	id := int64(rapid.IntRange(-3, 12).Draw(rt, "id"))
	name := rapid.SampledFrom([]string{"", "x", "yy", strings.Repeat("z", 200)}).Draw(rt, "name")
	key := fmt.Sprintf("%03d", id+100)
	_, have := m[c][key]
	expect := func(err, want error) error {
		if !errors.Is(err, want) {
			return fmt.Errorf("%s %d: got %v, want %v", c, id, err, want)
		}
		return nil
	}
	switch rapid.IntRange(0, 9).Draw(rt, "op") {
	case 0, 1, 2:
		m[c][key] = modelText(id, name)
		return tx.Put(c, modelRow(id, name))
	case 3:
		if have {
			return expect(tx.Insert(c, modelRow(id, name)), ErrExists)
		}
		m[c][key] = modelText(id, name)
		return tx.Insert(c, modelRow(id, name))
	case 4:
		if !have {
			return expect(tx.Update(c, modelRow(id, name)), ErrNotFound)
		}
		m[c][key] = modelText(id, name)
		return tx.Patch(c, modelRow(id, name))
	case 5, 6:
		delete(m[c], key)
		was, err := tx.Delete(c, change.IntValue(id))
		if was != have {
			return fmt.Errorf("%s: Delete %d says %t, want %t", c, id, was, have)
		}
		return err
	case 7:
		text := modelText(id, name)
		m[modelBag][text] += text + ";"
		return tx.Add(modelBag, modelRow(id, name), 1)
	case 8:
		text := modelText(id, name)
		if m[modelBag][text] == "" {
			return expect(tx.Remove(modelBag, modelRow(id, name)), ErrNotFound)
		}
		m[modelBag][text] = strings.TrimPrefix(m[modelBag][text], text+";")
		return tx.Remove(modelBag, modelRow(id, name))
	}
	if rapid.Bool().Draw(rt, "drop") {
		if err := tx.DropCollection(c); err != nil {
			return err
		}
		return m.create(tx, c)
	}
	m[c] = make(map[string]string)
	return tx.Truncate(c)
}

// same compares a transaction's view with the model.
func (m model) same(tx *Tx) error {
	for _, c := range modelKeyed {
		var want []string
		for _, k := range slices.Sorted(maps.Keys(m[c])) {
			want = append(want, m[c][k])
		}
		for _, reverse := range []bool{false, true} {
			got, err := scanTx(tx, c, Range{Reverse: reverse})
			if err != nil {
				return err
			}
			if reverse {
				slices.Reverse(got)
			}
			if d := cmp.Diff(want, got); d != "" {
				return fmt.Errorf("collection %s: %s", c, d)
			}
		}
	}
	got, err := scanTx(tx, modelBag, Range{})
	if err != nil {
		return err
	}
	var want []string
	for _, copies := range m[modelBag] {
		for copies != "" {
			var text string
			text, copies, _ = strings.Cut(copies, ";")
			want = append(want, text)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("bag: %s", d)
	}
	return nil
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem := vfs.NewCrashableMem()
		fs := mem
		db := mustOpen(t, "db", small(fs))
		defer func() { _ = db.Close() }()
		m := make(model)
		if err := db.Update(func(tx *Tx) error {
			return errors.Join(m.create(tx, "a"), m.create(tx, "b"), m.create(tx, modelBag))
		}); err != nil {
			rt.Fatal(err)
		}
		roll := errors.New("roll back")
		for range rapid.IntRange(1, 25).Draw(rt, "transactions") {
			next := m.clone()
			fail := rapid.IntRange(0, 5).Draw(rt, "fail") == 0
			err := db.Update(func(tx *Tx) error {
				for range rapid.IntRange(0, 8).Draw(rt, "steps") {
					if err := next.step(rt, tx); err != nil {
						return err
					}
				}
				if err := next.same(tx); err != nil {
					return err
				}
				if fail {
					return roll
				}
				return nil
			})
			switch {
			case fail && err == roll:
			case err != nil:
				rt.Fatal(err)
			default:
				m = next
			}
			switch rapid.IntRange(0, 15).Draw(rt, "then") {
			case 0: // restart
				mustClose(t, db)
				db = mustOpen(t, "db", small(fs))
			case 1: // power cut
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
				mustClose(t, db)
				db = mustOpen(t, "db", small(fs))
			case 2:
				if err := db.state.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
			if err := db.View(m.same); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// TestConcurrentWritersAndReaders moves amounts between accounts from several
// goroutines; every view must show the same total, and every commit that was
// acknowledged to its writer.
func TestConcurrentWritersAndReaders(t *testing.T) {
	db := mustOpen(t, "db", small(vfs.NewMem()))
	const accounts, writers, moves = 10, 8, 60
	account := func(id, amount int64) change.Row { return change.Row{change.IntValue(id), change.IntValue(amount)} }
	update(t, db, func(tx *Tx) error {
		_, err := tx.CreateCollection("account", []string{"id"},
			change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "amount", Type: change.Int64})
		for i := range int64(accounts) {
			err = errors.Join(err, tx.Put("account", account(i, 100)))
		}
		_, err2 := tx.CreateCollection("done", []string{"id"}, change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "amount", Type: change.Int64})
		return errors.Join(err, err2)
	})
	move := func(tx *Tx, from, to, n int64) error {
		a, _, err := tx.Get("account", change.IntValue(from))
		if err != nil {
			return err
		}
		b, _, err := tx.Get("account", change.IntValue(to))
		if err != nil || from == to {
			return err
		}
		return errors.Join(tx.Put("account", account(from, a[1].Int()-n)), tx.Put("account", account(to, b[1].Int()+n)))
	}
	var wg, readers sync.WaitGroup
	for w := range int64(writers) {
		wg.Go(func() {
			for i := range int64(moves) {
				err := db.Update(func(tx *Tx) error {
					return errors.Join(move(tx, (w+i)%accounts, (w*3+i*7)%accounts, i), tx.Put("done", account(w, i)))
				})
				if err != nil {
					t.Error(err)
				}
				err = db.View(func(tx *Tx) error {
					row, ok, err := tx.Get("done", change.IntValue(w))
					if err == nil && (!ok || row[1].Int() != i) {
						t.Errorf("writer %d: acknowledged %d, a view shows %v", w, i, row)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				total := int64(0)
				err := db.View(func(tx *Tx) error {
					for row, err := range tx.Scan("account", Range{}) {
						if err != nil {
							return err
						}
						total += row[1].Int()
					}
					return nil
				})
				if err != nil || total != accounts*100 {
					t.Errorf("a view shows a total of %d, want %d: %v", total, accounts*100, err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	if got := db.visible.Tx; got != writers*moves+1 {
		t.Errorf("last transaction %d, want %d", got, writers*moves+1)
	}
	mustClose(t, db)
}
