package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
)

// find looks for the accident, as a person who only knows that cities are gone.
func (s *story) find(ctx context.Context) error {
	s.chapter("Cities are missing. Which transaction was it?")
	if err := s.run(ctx, "find", s.archivePath, "--collection", "cities", "--op", "delete", "--limit", "3"); err != nil {
		return err
	}
	state, err := s.archive.Load(ctx)
	if err != nil {
		return err
	}
	for tx, err := range history.Find(ctx, s.archive, state, history.Query{Collection: "cities", Op: change.Delete, MinRows: 1000}) {
		if err != nil {
			return err
		}
		s.res.JustBefore = tx.JustBefore()
		s.line("%s cities deleted at once, at %s. Just before it the database stood at LSN %d.",
			comma(int(tx.Rows)), tx.Effective.Std().Format("15:04:05.000"), s.res.JustBefore)
		break
	}
	if s.res.JustBefore != s.before {
		return fmt.Errorf("find says that LSN %d is just before the accident, it was LSN %d: %w", s.res.JustBefore, s.before, ErrFailed)
	}
	return nil
}

func (s *story) target() string { return recovery.AtLSN(s.res.JustBefore).String() }

func (s *story) plan(ctx context.Context) error {
	s.chapter("What would bring it back?")
	return s.run(ctx, "plan", s.archivePath, "--to", s.target())
}

func (s *story) restore(ctx context.Context) error {
	s.chapter("Back to just before it, in a new place.")
	began := time.Now()
	err := s.run(ctx, "restore", s.archivePath, s.restoredPath, "--to", s.target())
	s.res.Restore = time.Since(began)
	return err
}

// compare holds the restored database against what was taken down just before
// the accident, and against the wrecked one.
func (s *story) compare(ctx context.Context) (err error) {
	s.chapter("Is it the same? Rows and their digest, in the database just before the accident, in\n   the wrecked one, and in the restored one:")
	wrecked, err := s.digests(ctx)
	if err != nil {
		return err
	}
	db, err := embedded.Open(s.restoredPath, embedded.Options{MustExist: true})
	if err != nil {
		return err
	}
	restored, err := readDigests(ctx, db.Source())
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	const line = "%-8s  %-20s  %-20s  %-20s  %s"
	s.line(line, "", "just before", "wrecked", "restored", "")
	s.res.Identical = len(restored.of) == len(s.lost.of)
	for _, name := range []string{"cities", "regions"} {
		was, is, now := s.lost.of[name], wrecked.of[name], restored.of[name]
		verdict := "identical"
		if was != now {
			verdict, s.res.Identical = "DIFFERENT", false
		}
		s.line(line, name, was, is, now, verdict)
	}
	switch {
	case !s.res.Identical:
		return fmt.Errorf("the restored rows differ from those before the accident: %w", ErrFailed)
	case wrecked.of["cities"] == s.lost.of["cities"]:
		return fmt.Errorf("the accident changed nothing: %w", ErrFailed)
	}
	return s.run(ctx, "db", "get", s.restoredPath, "cities", fmt.Sprint(lostCity))
}

func (s *story) verify(ctx context.Context) error {
	s.chapter("And the archive itself: is every record what was announced?")
	if err := s.run(ctx, "verify", s.archivePath, "--level", "records"); err != nil {
		return err
	}
	state, err := s.archive.Load(ctx)
	if err != nil {
		return err
	}
	s.res.Records, s.res.Bytes = state.Last, stored(state)
	return nil
}

// fingerprint is a collection's digest and how many rows it is over.
type fingerprint struct {
	rows int64
	hash change.Hash
}

func (f fingerprint) String() string {
	return fmt.Sprintf("%7s  %.8s…", comma(int(f.rows)), f.hash)
}

// digests are the fingerprints of a database's collections at an LSN.
type digests struct {
	lsn change.LSN
	of  map[string]fingerprint
}

func (d *digests) rows() (n int64) {
	for _, f := range d.of {
		n += f.rows
	}
	return n
}

func (s *story) digests(ctx context.Context) (digests, error) { return readDigests(ctx, s.db.Source()) }

func readDigests(ctx context.Context, src driver.Source) (out digests, err error) {
	view, err := src.Snapshot(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	all, err := driver.Digests(ctx, view)
	if err != nil {
		return out, err
	}
	out = digests{lsn: view.Mark().LSN, of: make(map[string]fingerprint)}
	for _, schema := range view.Schemas() {
		d := all[schema.Collection]
		out.of[schema.Name] = fingerprint{rows: d.Rows, hash: d.Sum()}
	}
	return out, nil
}

// archived waits until the archive holds everything, and says so.
func (s *story) archived(ctx context.Context) error {
	began := time.Now()
	mark, err := s.capture.Sync(ctx)
	if err != nil {
		return err
	}
	state := s.archive.State()
	s.line("the archive has it all %s later: LSN %d, %d segments, %s", seconds(time.Since(began)), mark.LSN, state.Segments.Len(), humanize.IBytes(uint64(stored(state))))
	return nil
}

// stored returns how many bytes of packs the archive holds.
func stored(state *chain.State) (n int64) {
	n = state.Segments.Totals().Bytes
	for i := range state.Snapshots {
		for _, p := range state.Snapshots[i].Body.Runs {
			n += p.Size
		}
	}
	return n
}

// show prints rows of cities as the living database has them.
func (s *story) show(when string, ids ...int64) error {
	return s.db.View(func(tx *embedded.Tx) error {
		for _, id := range ids {
			row, ok, err := tx.Get("cities", change.IntValue(id))
			if err != nil {
				return err
			}
			text := "no such row"
			if ok {
				text = fmt.Sprintf("%s, %s, at %v°, %v°", row[1].Str(), row[columnRegionName].Str(), row[columnLatitude].Float(), row[columnLongitude].Float())
			}
			s.line("%-6s  city %d: %s", when, id, text)
		}
		return nil
	})
}

// run shows a command line and carries it out.
func (s *story) run(ctx context.Context, args ...string) error {
	var shown []string
	for _, a := range args {
		if strings.ContainsAny(a, " '\"$") {
			a = "'" + a + "'"
		}
		shown = append(shown, a)
	}
	s.say("   $ tidemark %s\n", strings.Join(shown, " "))
	out := &indent{w: s.o.Out}
	if err := s.o.Command(ctx, out, args...); err != nil {
		return fmt.Errorf("tidemark %s: %w", strings.Join(shown, " "), err)
	}
	return nil
}

func (s *story) say(format string, a ...any) { fmt.Fprintf(s.o.Out, format, a...) }

func (s *story) line(format string, a ...any) {
	s.say("   %s\n", strings.TrimRight(fmt.Sprintf(format, a...), " "))
}

func (s *story) chapter(title string) {
	s.chapters++
	s.say("\n%d. %s\n", s.chapters, title)
}

// indent sets every line that is written apart from the story.
type indent struct {
	w    io.Writer
	busy bool // within a line
}

func (i *indent) Write(b []byte) (int, error) {
	for _, line := range strings.SplitAfter(string(b), "\n") {
		if line == "" {
			continue
		}
		if !i.busy && line != "\n" {
			line = "   " + line
		}
		i.busy = !strings.HasSuffix(line, "\n")
		if _, err := io.WriteString(i.w, line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func comma(n int) string { return humanize.Comma(int64(n)) }

func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
