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

// tableSuffix ends the name of a table.
const tableSuffix = ".sst"

// loader writes one ordered range of rows as sorted tables.
type loader struct {
	target *target
	w      *sstable.Writer
	name   string
	rows   int64          // in the table at hand
	tables []tableInfo    // finished ones
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
	l.rows++
	return nil
}

func (l *loader) startTable() error {
	t := l.target
	l.name, l.rows = fmt.Sprintf("%08d", t.table.Add(1))+tableSuffix, 0
	f, err := t.fs.Create(t.fs.PathJoin(t.partial, loadName, l.name), vfs.WriteCategoryUnspecified)
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
	if err == nil {
		var meta *sstable.WriterMetadata
		if meta, err = l.w.Raw().Metadata(); err == nil {
			l.tables = append(l.tables, tableInfo{Name: l.name, Size: int64(meta.Size), Rows: l.rows})
		}
	}
	l.w = nil
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// abort closes a table that will not be finished.
func (l *loader) abort() {
	if l.w != nil {
		_ = l.w.Close()
	}
}
