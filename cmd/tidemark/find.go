package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/history"
	"github.com/tidemarkdb/tidemark/recovery"
)

type findFlags struct {
	since, until, collection, op string
	minRows                      int64
	limit                        int
}

// found is a transaction as --json prints it.
type found struct {
	Timeline   chain.TimelineID `json:"timeline"`
	Time       change.Time      `json:"effective"`
	Commit     change.Time      `json:"commit"`
	First      change.LSN       `json:"lsn_start"`
	Last       change.LSN       `json:"lsn_end"`
	Tx         change.TxID      `json:"transaction"`
	Rows       int64            `json:"rows"`
	What       []foundIn        `json:"what"`
	JustBefore string           `json:"just_before"` // a target
}

type foundIn struct {
	Name string `json:"name"`
	chain.Count
}

func newFind(c *console) *cobra.Command {
	var f findFlags
	cmd := &cobra.Command{
		Use:   "find ARCHIVE",
		Short: "Find transactions, newest first, and the point just before each",
		Long: `Find transactions, newest first. ROWS counts the rows that the query is about;
JUST BEFORE is the target that restores everything up to, but not including, the
transaction. Times are written as in "tidemark help targets".`,
		Example: `  tidemark find /backup/shop --op delete --min-rows 1000
  tidemark find /backup/shop --collection orders --since 2026-11-22T15:00Z
  tidemark find /backup/shop --since '2h30m ago'`,
		Args: args("ARCHIVE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFind(cmd.Context(), c, args[0], f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.since, "since", "", "at or after this `time`")
	fl.StringVar(&f.until, "until", "", "at or before this `time`")
	fl.StringVar(&f.collection, "collection", "", "that changed this `collection`")
	fl.StringVar(&f.op, "op", "", "with this `operation`: insert, update, delete, truncate or schema")
	fl.Int64Var(&f.minRows, "min-rows", 1, "that changed at least so many rows")
	fl.IntVar(&f.limit, "limit", 20, "show so many at most; 0 for all")
	return cmd
}

func (f *findFlags) query(c *console) (q history.Query, err error) {
	q = history.Query{Collection: f.collection, MinRows: f.minRows}
	if q.From, err = c.parseTime("--since", f.since); err != nil {
		return q, err
	}
	if q.To, err = c.parseTime("--until", f.until); err != nil {
		return q, err
	}
	if f.op != "" {
		if q.Op, err = change.ParseOp(f.op); err != nil {
			return q, usageError{err}
		}
	}
	return q, nil
}

func runFind(ctx context.Context, c *console, name string, f findFlags) error {
	q, err := f.query(c)
	if err != nil {
		return err
	}
	if q.From != 0 {
		c.notef("since %s\n", c.clock(q.From))
	}
	if q.To != 0 {
		c.notef("until %s\n", c.clock(q.To))
	}
	if q.To != 0 && q.To < q.From {
		return usageError{errors.New("--until is before --since")}
	}
	l := &finding{c: c, f: f, q: q}
	if err := l.timelines(ctx, name); err != nil {
		return err
	}
	switch {
	case c.json:
	case l.n == 0:
		c.printf("no such transaction\n")
	default:
		l.table.print(c.out)
	}
	if l.more {
		c.notef("There are more; see them with --limit 0.\n")
	}
	return nil
}

// finding gathers what is found.
type finding struct {
	c     *console
	f     findFlags
	q     history.Query
	table *table
	n     int
	more  bool
}

// timelines looks in the timeline that was named, or else in every one: what
// they have in common is found once, where it was written.
func (l *finding) timelines(ctx context.Context, name string) error {
	c := l.c
	b, err := c.branches(ctx, name)
	if err != nil {
		return err
	}
	if b.bad != nil {
		return b.bad // an accident may be found in the part that can't be read
	}
	all := b.all
	head := []string{c.heading("TIME"), "LSN>", "TX>", "ROWS>", "WHAT", "JUST BEFORE"}
	if len(all) > 1 {
		head = append(head, "TIMELINE")
	}
	l.table = newTable(head...)
	unknown := 0
	for _, b := range all {
		err := l.find(ctx, b, len(all) > 1)
		if errors.Is(err, history.ErrNoCollection) && len(all) > 1 {
			if unknown++; unknown < len(all) {
				continue // perhaps another timeline knows it
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find looks in one timeline.
func (l *finding) find(ctx context.Context, b *archive.Branch, several bool) error {
	q := l.q
	if several && b.State.Parent != nil {
		q.After = b.State.Parent.LSN
	}
	names := history.Names(b.State)
	for tx, err := range history.Find(ctx, b.Archive, b.State, q) {
		if err != nil {
			return err
		}
		if l.more = l.more || l.f.limit > 0 && l.n == l.f.limit; l.more {
			break
		}
		l.n++
		r := describe(&tx, names)
		r.Timeline = b.Timeline
		if err := l.c.emit("transaction", r); err != nil {
			return err
		}
		row := []string{l.c.stamp(r.Time), r.Last.String(), count(int64(r.Tx)), count(r.Rows), r.words(), r.JustBefore}
		if several {
			row = append(row, string(b.Timeline))
		}
		l.table.add(row...)
	}
	return nil
}

func describe(tx *history.Transaction, names map[change.CollectionID][]string) *found {
	r := &found{Time: tx.Effective, Commit: tx.Commit, First: tx.First, Last: tx.Last, Tx: tx.ID, Rows: tx.Rows,
		JustBefore: recovery.AtLSN(tx.JustBefore()).String()}
	for _, n := range tx.Counts {
		r.What = append(r.What, foundIn{Name: history.Name(names, n.Collection), Count: n})
	}
	return r
}

// maxWhat is how many collections of a transaction are named.
const maxWhat = 4

// words says what a transaction did: "city +3 ~2 −1, region truncated".
func (f *found) words() string {
	var parts []string
	for i := range f.What {
		if more := len(f.What) - maxWhat; i >= maxWhat && more > 1 {
			parts = append(parts, fmt.Sprintf("and %d more collections", more))
			break
		}
		w := &f.What[i]
		s := w.Name
		for _, n := range []struct {
			sign string
			n    int64
		}{{"+", w.Inserts}, {"~", w.Updates}, {"−", w.Deletes}} {
			if n.n > 0 {
				s += " " + n.sign + count(n.n)
			}
		}
		if w.Truncates > 0 {
			s += " truncated"
		}
		if w.Schemas > 0 {
			s += " schema"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}
