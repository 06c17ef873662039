package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// Shelf is the directory in which a machine keeps plans, each in a file named
// by its ID. It is safe for concurrent use, by several processes too.
type Shelf struct {
	dir string
}

// OpenShelf returns the shelf below a state directory. It is made when the
// first plan is stored.
func OpenShelf(stateDir string) *Shelf { return &Shelf{filepath.Join(stateDir, "plans")} }

const suffix = ".plan"

// Stored is a plan on the shelf.
type Stored struct {
	ID       change.Hash
	Document *Document // nil with Err
	Err      error     // why it can't be read: it wraps [ErrChanged]
}

// Put stores a document, in place of one with the same ID.
func (s *Shelf) Put(d *Document) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("store a plan: %w", err)
	}
	return WriteFile(filepath.Join(s.dir, d.ID.String()+suffix), d)
}

// WriteFile stores a document under a name of its own: whole or not at all.
func WriteFile(name string, d *Document) error {
	b, err := d.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".plan-*")
	if err != nil {
		return fmt.Errorf("store a plan: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("store a plan as %s: %w", name, err), os.Remove(f.Name()))
	}
	return nil
}

// ReadFile reads a document that was stored under a name of its own.
func ReadFile(name string) (*Document, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: %w", name, ErrUnknown)
	}
	if err != nil {
		return nil, err
	}
	d, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// Get returns the plan whose ID begins with the given digits, at least 4.
func (s *Shelf) Get(id string) (*Document, error) {
	hash, err := s.find(id)
	if err != nil {
		return nil, err
	}
	d, err := ReadFile(filepath.Join(s.dir, hash.String()+suffix))
	if err != nil {
		return nil, err
	}
	if d.ID != hash {
		return nil, fmt.Errorf("plan %s is stored under the ID %s: %w", d.ID.Short(), hash.Short(), ErrChanged)
	}
	return d, nil
}

func (s *Shelf) find(id string) (found change.Hash, err error) {
	const least = 4
	if len(id) < least {
		return found, fmt.Errorf("%q: give at least %d digits of a plan's ID: %w", id, least, ErrUnknown)
	}
	all, err := s.ids()
	if err != nil {
		return found, err
	}
	var fit []change.Hash
	for _, h := range all {
		if strings.HasPrefix(h.String(), strings.ToLower(id)) {
			fit = append(fit, h)
		}
	}
	switch len(fit) {
	case 1:
		return fit[0], nil
	case 0:
		return found, fmt.Errorf("plan %q is not among the %d in %s: %w", id, len(all), s.dir, ErrUnknown)
	}
	return found, fmt.Errorf("%d plans have IDs that begin with %q, such as %s and %s: %w", len(fit), id, fit[0], fit[1], ErrUnknown)
}

func (s *Shelf) ids() (out []change.Hash, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var h change.Hash
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && h.UnmarshalText([]byte(name)) == nil {
			out = append(out, h)
		}
	}
	return out, nil
}

// List returns every plan on the shelf, oldest first; those that can't be read
// come before all others.
func (s *Shelf) List() ([]Stored, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var out []Stored
	for _, id := range ids {
		d, err := s.Get(id.String())
		if errors.Is(err, ErrUnknown) {
			continue // removed meanwhile
		}
		if err != nil && !errors.Is(err, ErrChanged) {
			return nil, err
		}
		out = append(out, Stored{id, d, err})
	}
	slices.SortStableFunc(out, func(a, b Stored) int { return int(a.made() - b.made()) })
	return out, nil
}

func (s *Stored) made() change.Time {
	if s.Document == nil {
		return 0
	}
	return s.Document.Made
}

// Remove removes the plan whose ID begins with the given digits, and returns its ID.
func (s *Shelf) Remove(id string) (change.Hash, error) {
	hash, err := s.find(id)
	if err != nil {
		return hash, err
	}
	return hash, os.Remove(filepath.Join(s.dir, hash.String()+suffix))
}

// RemoveBefore removes all plans that were made before a time, and those that
// can't be read and were stored before it. It returns their IDs.
func (s *Shelf) RemoveBefore(t time.Time) (gone []change.Hash, err error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	for i := range all {
		name := filepath.Join(s.dir, all[i].ID.String()+suffix)
		old := all[i].made().Std().Before(t)
		if all[i].Document == nil {
			info, err := os.Stat(name)
			old = err == nil && info.ModTime().Before(t)
		}
		if !old {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, err
		}
		gone = append(gone, all[i].ID)
	}
	return gone, nil
}
