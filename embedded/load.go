package embedded

import (
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
)

// tableBytes is the size at which a sorted table is ended and the next begun.
const tableBytes = 64 << 20

// loader writes one ordered range of rows as sorted tables.
type loader struct {
	target *target
	w      *sstable.Writer
	name   string
	schema *change.Schema // of the row at hand
	bag    bool
	key    []byte
	value  []byte
}

func (l *loader) load(ctx context.Context, rows iter.Seq2[*change.Record, error]) error {
	const checkEvery = 1024
	n := 0
	for r, err := range rows {
		if err != nil {
			return err
		}
		if n++; n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if l.w != nil && l.w.Raw().EstimatedSize() >= tableBytes {
				if err := l.finishTable(); err != nil {
					return err
				}
			}
		}
		if err := l.add(r); err != nil {
			return err
		}
	}
	return l.finishTable()
}

func (l *loader) add(r *change.Record) error {
	if l.schema == nil || l.schema.Collection != r.Collection {
		s := l.target.schemas[r.Collection]
		if s == nil {
			return fmt.Errorf("load: a row of collection %d, which the state does not name: %w", r.Collection, change.ErrSchema)
		}
		l.schema, l.bag = s, s.Bag()
	}
	if r.Op != change.Insert || r.Image.Partial() || len(r.Image) == 0 || len(r.Key) == 0 || l.bag != (r.Count > 0) {
		return fmt.Errorf("load: %s in collection %q with a key of %d bytes, an image of %d (partial: %t) and count %d is no row to load: %w",
			r.Op, l.schema.Name, len(r.Key), len(r.Image), r.Image.Partial(), r.Count, change.ErrSchema)
	}
	if l.w == nil {
		if err := l.startTable(); err != nil {
			return err
		}
	}
	l.key = appendRowKey(l.key[:0], r.Collection, r.Key)
	value := []byte(r.Image)
	if l.bag {
		l.value = appendBagValue(l.value[:0], r.Count, r.Image)
		value = l.value
	}
	if err := l.w.Set(l.key, value); err != nil {
		return fmt.Errorf("load: collection %q: %w", l.schema.Name, err)
	}
	return nil
}

func (l *loader) startTable() error {
	t := l.target
	l.name = t.fs.PathJoin(t.partial, loadName, fmt.Sprintf("%08d.sst", t.table.Add(1)))
	f, err := t.fs.Create(l.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	o := stateOptions(t.fs, t.opts, nil)
	o.EnsureDefaults()
	const bottom = 6 // the level that ingested tables come to lie in
	l.w = sstable.NewWriter(newTableFile(f), o.MakeWriterOptions(bottom, stateFormat.MaxTableFormat()))
	return nil
}

// finishTable makes the table durable.
func (l *loader) finishTable() error {
	if l.w == nil {
		return nil
	}
	err := l.w.Close()
	l.w = nil
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	l.target.mu.Lock()
	defer l.target.mu.Unlock()
	l.target.tables = append(l.target.tables, l.name)
	return nil
}

// abort closes a table that will not be finished.
func (l *loader) abort() {
	if l.w != nil {
		_ = l.w.Close()
	}
}
