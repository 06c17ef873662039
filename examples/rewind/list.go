package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// item is a line of the list.
type item struct {
	ID   int64  `tidemark:"id,key"`
	Text string `tidemark:"text"`
}

var items = embedded.Of[item]("item")

// list is the shopping list: a database, and the archive that it is copied to.
type list struct {
	data string // holds archive/, one directory per database, and the file current
	ctx  context.Context

	mu     sync.RWMutex // held for writing while the database is changed for another
	db     *embedded.DB
	backup *tidemark.Protection
}

// open opens the list in a directory, or starts one there.
func open(ctx context.Context, data string) (*list, error) {
	l := &list{data: data, ctx: context.WithoutCancel(ctx)}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	name, err := os.ReadFile(l.path("current"))
	if errors.Is(err, os.ErrNotExist) {
		name = []byte("db-1")
		err = l.setCurrent(string(name))
	}
	if err != nil {
		return nil, err
	}
	return l, l.use(strings.TrimSpace(string(name)))
}

func (l *list) path(name string) string { return filepath.Join(l.data, name) }

// setCurrent says which database is the list, from the next open on.
func (l *list) setCurrent(name string) error {
	next := l.path("current.next")
	if err := os.WriteFile(next, []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(next, l.path("current"))
}

// use opens a database of the data directory and protects it.
func (l *list) use(name string) error {
	db, err := embedded.Open(l.path(name), embedded.Options{})
	if err != nil {
		return err
	}
	if err := db.Update(items.Create); err != nil && !errors.Is(err, embedded.ErrExists) {
		return errors.Join(err, db.Close())
	}
	backup, err := tidemark.Protect(l.ctx, db, l.path("archive"), tidemark.Options{})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	l.db, l.backup = db, backup
	return nil
}

func (l *list) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.backup.Close(), l.db.Close())
}

// all returns the lines.
func (l *list) all() (out []item, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	err = l.db.View(func(tx *embedded.Tx) error {
		for it, err := range items.All(tx) {
			if err != nil {
				return err
			}
			out = append(out, it)
		}
		return nil
	})
	return out, err
}

// add appends lines, all in one transaction.
func (l *list) add(lines ...string) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.db.Update(func(tx *embedded.Tx) error {
		last := int64(0)
		for it, err := range items.All(tx) {
			if err != nil {
				return err
			}
			last = it.ID
		}
		for i, text := range lines {
			if err := items.Insert(tx, item{last + 1 + int64(i), text}); err != nil {
				return err
			}
		}
		return nil
	})
}

// clear is the accident.
func (l *list) clear() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.db.Update(func(tx *embedded.Tx) error { return tx.Truncate("item") })
}

// past returns the newest transactions, newest first.
func (l *list) past(ctx context.Context, most int) (out []history.Transaction, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if _, err := l.backup.Sync(ctx); err != nil {
		return nil, err
	}
	a := l.backup.Archive()
	for tx, err := range history.Find(ctx, a, a.State(), history.Query{}) {
		if err != nil {
			return nil, err
		}
		if out = append(out, tx); len(out) == most {
			break
		}
	}
	return out, nil
}

// rewind makes the list what it was at an LSN, and goes on from there. The
// database in use until then is kept; when anything fails it stays the list.
func (l *list) rewind(ctx context.Context, to change.LSN) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.backup.Sync(ctx); err != nil {
		return fmt.Errorf("archive the last changes: %w", err)
	}
	name := "db-" + time.Now().UTC().Format("20060102-150405.000000")
	if _, err := l.backup.Restore(ctx, l.path(name), recovery.AtLSN(to), restore.Options{}); err != nil {
		return err
	}
	db, backup := l.db, l.backup
	if err := l.use(name); err != nil {
		return err
	}
	if err := l.setCurrent(name); err != nil {
		failed := errors.Join(err, l.backup.Close(), l.db.Close())
		l.db, l.backup = db, backup
		return failed
	}
	return errors.Join(backup.Close(), db.Close())
}
