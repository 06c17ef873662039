// Package driver is where Tidemark meets databases: what one must provide to
// be captured ([Source]) and to be restored into ([Target]). Package drivertest
// proves an implementation against these contracts.
package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidemarkdb/tidemark/change"
)

var (
	// ErrLogLost says that the source no longer has its log from the position
	// asked for: the archive can only go on after a gap and a new base.
	ErrLogLost = errors.New("the source no longer has its log from there")

	// ErrDiverged says that the source is not the database that the archive
	// holds: another one, a copy that went on, or one rolled back.
	ErrDiverged = errors.New("the source's history is not the archive's")

	// ErrTruncated says that an archive no longer holds what it was acknowledged
	// to hold.
	ErrTruncated = errors.New("the archive has lost what it held")

	// ErrNotStandby says that a database does not follow an archive: it never
	// did, or was promoted.
	ErrNotStandby = errors.New("the database is no standby")

	// ErrStandby says that a database follows an archive and changes in no other way.
	ErrStandby = errors.New("the database is a standby")

	// ErrNotEmpty says that the place to restore to already holds something.
	ErrNotEmpty = errors.New("destination is not empty")

	// ErrUnfinished says that another restore was interrupted at the place to
	// restore to, and that what it finished would be lost.
	ErrUnfinished = errors.New("another restore is unfinished there")

	// ErrNoSpace says that the place to restore to is too small.
	ErrNoSpace = errors.New("not enough space")
)

// Identity names a database for good: a copy of it restored elsewhere has another.
type Identity struct {
	Kind     string  // "embedded", "postgres" …
	System   string  // the database's own unique ID
	Restored *Origin // what it was restored from; nil when it wasn't, or can't tell

	// Acked is the last receipt that the database remembers, perhaps not the last
	// that it got; nil when it has none, or keeps none. An archive that ends before
	// it has lost its tail. It may lag some seconds behind the last one given, and
	// never runs ahead. Once the source's log is lost, it alone shows that the
	// archive's end is part of the source's history: without it no gap is declared.
	Acked *Receipt
}

// Origin is the place in an archive that a database was restored from: where a
// timeline of its own can begin.
type Origin struct {
	Archive   string      `json:"archive"` // the repository's ID
	Timeline  string      `json:"timeline"`
	LSN       change.LSN  `json:"lsn"`
	LogHash   change.Hash `json:"log_hash"`
	Effective change.Time `json:"effective"` // of the transaction that ends at LSN
}

// Receipt says that an archive holds everything through a mark for good.
type Receipt struct {
	Archive  string `json:"archive"` // the repository's ID
	Timeline string `json:"timeline"`
	Mark
}

// Mark is a place between two transactions of a source's log.
type Mark struct {
	LSN      change.LSN      `json:"lsn"`                // of the last record before it
	LogHash  change.Hash     `json:"log_hash"`           // over all transactions before it
	Position change.Position `json:"position,omitempty"` // the database's own name for it; empty where the LSN says all
}

// A Source is a database whose changes are captured.
//
// Its methods are safe for concurrent use. None retries; after an error the
// caller may call again.
type Source interface {
	// Identity says which database this is.
	Identity(ctx context.Context) (Identity, error)

	// Start returns the mark from which a new archive can capture this
	// database; if its LSN is not 0, what was before it comes with the first
	// base, a snapshot at or after the mark. From then on the source keeps its
	// log from the mark until it is acknowledged, also across restarts.
	//
	// After ErrLogLost it is also the mark from which an archive that lost the
	// thread goes on: Changes accepts it, and its LSN is above every LSN that the
	// source has given to a transaction of the lost part of its log.
	Start(ctx context.Context) (Mark, error)

	// Changes opens the log just after a mark. It returns ErrDiverged when the
	// mark is not one of this database's history, ErrLogLost when the log from
	// there is gone. The caller closes the result.
	Changes(ctx context.Context, after Mark) (Changes, error)

	// Snapshot opens a consistent view of the whole database. It may lag a
	// moment behind what Next has returned: who needs that opens another. The
	// caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)

	// Ack tells the source that everything through the receipt's mark is
	// archived for good, so that it may release its log. One that goes back in
	// the same timeline has no effect; one beyond the log's durable end is
	// ErrDiverged. The log is kept for the archive that acknowledged last.
	Ack(ctx context.Context, r Receipt) error
}

// Changes is an open stream of transactions in log order, for one goroutine.
type Changes interface {
	// Next returns the next transaction, numbered without holes from the mark
	// on, and waits for it if need be. It holds back what is not yet durable
	// in the source. When ctx ends first it returns ctx.Err() and loses
	// nothing: Next may be called again. The transaction is the caller's.
	//
	// A transaction of more than some MiB comes in pieces, one a call, as
	// change.Splice wants them: nothing comes between them, and the first
	// already says how many records there are in all. A source that learns this
	// only at the end keeps the records on its own disk until then. A mark,
	// and so an archive, never lies between two pieces: who stopped reading
	// there starts again with the whole transaction.
	Next(ctx context.Context) (*change.Tx, error)

	// Coverage returns a time by the source's clock: every transaction with a
	// commit time at or before it has been returned by Next, and none returned
	// later will have one, unless the clock stepped back. ok is false while
	// transactions that are already durable, or pieces of one, wait to be
	// returned.
	Coverage(ctx context.Context) (covered change.Time, ok bool, err error)

	Close() error
}

// Snapshot is a consistent view of a database just after the transaction that
// ends at its mark.
type Snapshot interface {
	// Mark is the place in the log that the view shows.
	Mark() Mark

	// Taken is the time, by the source's clock, at which the view was opened.
	Taken() change.Time

	// Schemas returns the schema of every collection in the view, in order of
	// collection ID.
	Schemas() []*change.Schema

	// Rows yields every row of one collection in key order as an Insert record
	// with the LSN 0 and a full image, which may be older than the newest columns
	// (Schema.Normalize adds them); rows of bags with their Count. A record is valid
	// until the next one. It may be called for several collections at once.
	Rows(ctx context.Context, c change.CollectionID) iter.Seq2[*change.Record, error]

	Close() error
}

// State is what a target is to become, beside its rows.
type State struct {
	Job     Job
	LSN     change.LSN
	LogHash change.Hash // of the history up to LSN; zero when not known
	Commit  change.Time // commit time of the transaction that ends at LSN; 0 for none
	Origin  *Origin     // what the rows come from; nil when the result can't go on as a timeline of it
	LastTx  change.TxID // its ID, or, where the archive does not tell, one that no transaction up to LSN exceeds
	Partial bool        // rows are missing, or stand at different LSNs: no archive may take it for the state at LSN
	Schemas []*change.Schema
	NextID  change.CollectionID // the first collection ID never used in this history
	Rows    int64               // estimate
	Bytes   int64               // estimate of keys and images, for preflight
}

// Job identifies a restore, so that one that was interrupted can go on.
type Job struct {
	ID    change.Hash // equal for equal work: the same rows, counted the same way; zero never goes on
	About string      // what is restored, for people
	Fresh bool        // discard what another restore has left unfinished
}

// UnfinishedError tells of the unfinished restore that a target has found. It
// wraps [ErrUnfinished].
type UnfinishedError struct {
	Place  string      // where it is
	About  string      // Job.About of it
	Begun  change.Time // when it was
	Parts  int         // finished ones
	Rows   int64       // in them
	Damage error       // why it can't be told what it is; the rest is zero then
}

func (e *UnfinishedError) Error() string {
	if e.Damage != nil {
		return fmt.Sprintf("%s holds an unfinished restore that can't be read: %v: %v", e.Place, e.Damage, ErrUnfinished)
	}
	return fmt.Sprintf("%s holds an unfinished restore of %s, begun %s, with %d finished parts, %d rows: %v",
		e.Place, e.About, e.Begun, e.Parts, e.Rows, ErrUnfinished)
}

// Unwrap returns ErrUnfinished, and Damage where there is some.
func (e *UnfinishedError) Unwrap() []error {
	if e.Damage != nil {
		return []error{ErrUnfinished, e.Damage}
	}
	return []error{ErrUnfinished}
}

// Room is what a restore needs and finds at a place, in bytes.
type Room struct {
	Place string // the directory or volume
	Need  int64
	Free  int64 // -1: can't be told
}

// Bound is a place in the order of rows: just before the row with this key.
type Bound struct {
	Collection change.CollectionID `json:"collection"`
	Key        change.Key          `json:"key"`
}

// Compare orders by collection, then by key.
func (b Bound) Compare(o Bound) int {
	return cmp.Or(cmp.Compare(b.Collection, o.Collection), b.Key.Compare(o.Key))
}

// Part is a range of rows that is loaded, and remembered, as one.
type Part struct {
	From    *Bound  `json:"from,omitempty"` // nil: from the first row
	To      *Bound  `json:"to,omitempty"`   // nil: to the last one
	Tallies []Tally `json:"tallies"`        // what it holds; known once its rows have ended
}

// Rows returns how many rows the part holds.
func (p *Part) Rows() (n int64) {
	for _, t := range p.Tallies {
		n += t.Rows
	}
	return n
}

// Tally counts the rows of one collection in a part.
type Tally struct {
	Collection change.CollectionID `json:"collection"`
	Rows       int64               `json:"rows"`   // copies of a bag's row count each
	Bytes      int64               `json:"bytes"`  // of keys and images
	Digest     change.Hash         `json:"digest"` // zero when rows are not fingerprinted
}

// A Target is an empty place that a database is restored into. Nothing is
// visible under its final name before Finish returns nil.
//
// A target remembers the parts that were loaded: when the process dies, or
// after Abort(true), a Begin of the same job, also by another process, gives
// them back, and they are not loaded again.
type Target interface {
	// Preflight reports whether the restore can succeed, without changing
	// anything: ErrNotEmpty, ErrNoSpace, ErrUnfinished, not writable. Room is
	// set also with an error, as far as it got.
	Preflight(ctx context.Context, want State) (Room, error)

	// Begin creates what Load fills and returns the parts, in order, that an
	// interrupted restore with the same Job.ID had finished: at most once each,
	// without overlaps. What else an earlier restore left it removes, but not
	// the finished parts of another job, unless Job.Fresh is set: ErrUnfinished.
	// It fails while another restore is running, or when the place is taken:
	// ErrNotEmpty. Of want, LSN to LastTx are not final yet. After an error, Abort.
	Begin(ctx context.Context, want State) ([]Part, error)

	// Load stores the rows of one part in order of (collection, key), as Insert
	// records with full images in normal form; a bag's with their Count. Several
	// Loads may run at once, of parts that do not overlap with each other nor
	// with one that is finished. rows is consumed to its end; an error from it
	// aborts the load and is returned. p.Tallies is set by whoever yields the
	// rows, before they end. Once Load returns nil the part, with its tallies,
	// is there for good.
	Load(ctx context.Context, p *Part, rows iter.Seq2[*change.Record, error]) error

	// Finish makes the database what want says, durable, and gives it its final
	// name; Schemas are those of Begin. No Load is running. After an error, Abort.
	Finish(ctx context.Context, want State) error

	// Abort ends a restore that is not finished. With keep, the finished parts
	// stay for another Begin; it reports how many those are. Otherwise, and when
	// there are none, everything that Begin and Load made is removed. It is
	// harmless after Finish.
	Abort(keep bool) (kept int, err error)
}

// Standing says how far a standby has come, and what it follows.
type Standing struct {
	Mark                  // what it holds
	Archive   string      // the repository's ID
	Timeline  string      // that it follows
	Effective change.Time // of the transaction that ends at the mark
	Covered   change.Time // it holds everything with an effective time up to here, as the archive promised
}

// A Standby is a database that is kept current from an archive: it holds what
// the timeline's log says up to its mark, and changes in no other way. What it
// says it is is durable.
//
// Standing is safe for concurrent use; the other methods are for one goroutine.
type Standby interface {
	// Standing returns ErrNotStandby when the database follows nothing (any more).
	Standing(ctx context.Context) (Standing, error)

	// Apply applies transactions, which are whole and lie in log order, each
	// valid until the next one. It takes several at once, as many as suit it;
	// each such batch is durable and visible as a whole, and its log hash goes on
	// from the mark. Transactions at or below the mark are skipped. It returns
	// how many were applied. Errors wrap apply.ErrGap when one starts later than
	// just after the mark, apply.ErrDiverged when a record does not fit the rows,
	// as far as the database holds it against them, or are those of the sequence:
	// what comes before the transaction at fault is then applied, nothing of it
	// and after it.
	Apply(ctx context.Context, txs iter.Seq2[*change.Tx, error]) (int, error)

	// Cover notes what the archive promises: the standby, at its mark, holds
	// everything up to a time. It need not be durable.
	Cover(until change.Time)

	// Promote ends the following for good: the database takes writes from then
	// on, and its Identity's Restored is where its own history begins.
	Promote(ctx context.Context) (Origin, error)
}
