package drivertest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// fold is a database's state, put together from a snapshot and transactions.
type fold struct {
	schemas map[change.CollectionID]*change.Schema
	rows    map[change.CollectionID]map[string]version
	mark    driver.Mark
}

type version struct {
	image change.Image
	count int64
}

func newFold() *fold {
	return &fold{
		schemas: make(map[change.CollectionID]*change.Schema),
		rows:    make(map[change.CollectionID]map[string]version),
	}
}

// foldSnapshot reads a whole snapshot and checks its order.
func foldSnapshot(s driver.Snapshot) (*fold, error) {
	f := newFold()
	f.mark = s.Mark()
	last := change.CollectionID(0)
	for _, schema := range s.Schemas() {
		if schema.Collection <= last {
			return nil, fmt.Errorf("snapshot: schema of collection %d after %d", schema.Collection, last)
		}
		last = schema.Collection
		f.schemas[last] = schema
		rows := make(map[string]version)
		f.rows[last] = rows
		prev := ""
		for r, err := range s.Rows(context.Background(), last) {
			if err != nil {
				return nil, err
			}
			key := string(r.Key)
			if key <= prev || r.Op != change.Insert || r.LSN != 0 || r.Collection != last ||
				r.Image.Partial() || (r.Count > 0) != schema.Bag() {
				return nil, fmt.Errorf("snapshot: row %+v after key %x is not as the contract wants it", r, prev)
			}
			prev = key
			rows[key] = version{slices.Clone(r.Image), max(1, r.Count)}
		}
	}
	return f, nil
}

// add applies a transaction, checking that it is the next one.
func (f *fold) add(t *change.Tx) error {
	if len(t.Records) == 0 || t.First() != f.mark.LSN+1 {
		return fmt.Errorf("transaction %d with %d records does not start at LSN %d", t.ID, len(t.Records), f.mark.LSN+1)
	}
	for i := range t.Records {
		r := &t.Records[i]
		if r.LSN != f.mark.LSN+1 {
			return fmt.Errorf("record with LSN %d, want %d", r.LSN, f.mark.LSN+1)
		}
		if err := f.record(r); err != nil {
			return fmt.Errorf("LSN %d, %s: %w", r.LSN, r.Op, err)
		}
		f.mark.LSN = r.LSN
	}
	f.mark.LogHash = change.LogHash(f.mark.LogHash, change.AppendTx(nil, t))
	f.mark.Position = t.Position
	return nil
}

func (f *fold) record(r *change.Record) error {
	if r.Op == change.SetSchema {
		s, err := r.Schema()
		if err != nil {
			return err
		}
		if s.Dropped {
			delete(f.schemas, s.Collection)
			delete(f.rows, s.Collection)
			return nil
		}
		if f.rows[s.Collection] == nil {
			f.rows[s.Collection] = make(map[string]version)
		}
		f.schemas[s.Collection] = s
		return nil
	}
	s, rows := f.schemas[r.Collection], f.rows[r.Collection]
	if s == nil {
		return fmt.Errorf("collection %d is not known", r.Collection)
	}
	key := string(r.Key)
	old, had := rows[key]
	switch {
	case r.Op == change.Truncate:
		clear(rows)
		return nil
	case s.Bag():
		old.image = r.Image
		if r.Op == change.Insert {
			old.count++
		} else {
			old.count--
		}
		if rows[key] = old; old.count == 0 {
			delete(rows, key)
		}
		if old.count < 0 || r.Op == change.Update {
			return fmt.Errorf("bag with %d copies of a row", old.count)
		}
		return nil
	case had == (r.Op == change.Insert):
		return fmt.Errorf("row %x is there: %t", r.Key, had)
	case r.Op == change.Delete:
		delete(rows, key)
		return nil
	}
	image, err := change.Compose(nil, old.image, r.Image)
	rows[key] = version{image, 1}
	return err
}

// show returns the state in the form of [Database.Show], sorted.
func (f *fold) show() (map[string][]string, error) {
	out := make(map[string][]string)
	for id, s := range f.schemas {
		rows := []string{}
		for key, v := range f.rows[id] {
			row, err := s.DecodeRow(nil, change.Key(key), v.image)
			if err != nil {
				return nil, err
			}
			for range v.count {
				rows = append(rows, fmt.Sprint(row))
			}
		}
		slices.Sort(rows)
		out[s.Name] = rows
	}
	return out, nil
}

// shown returns what a database shows, sorted.
func shown(t TB, db Database) map[string][]string {
	t.Helper()
	got, err := db.Show()
	if err != nil {
		t.Fatalf("show: %v", err)
	}
	for _, rows := range got {
		slices.Sort(rows)
	}
	return got
}

// differ says where two states differ; "" where they don't.
func differ(want, got map[string][]string) string {
	var b strings.Builder
	for name, rows := range want {
		other, ok := got[name]
		if !ok {
			fmt.Fprintf(&b, "collection %s is missing\n", name)
		} else if !slices.Equal(rows, other) {
			fmt.Fprintf(&b, "collection %s:\n  want %v\n  got  %v\n", name, rows, other)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			fmt.Fprintf(&b, "collection %s should not be there\n", name)
		}
	}
	return b.String()
}
