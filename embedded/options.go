package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded/txlog"
)

var (
	// ErrCorrupt says that files of the database are damaged or missing.
	ErrCorrupt = errors.New("database is damaged")

	// ErrPoisoned says that a write or sync failed, after which nothing can be
	// committed until the database is opened again. What was acknowledged is safe.
	ErrPoisoned = errors.New("an earlier write failed; the database must be reopened before it can commit again")

	// ErrLocked says that the database is open elsewhere.
	ErrLocked = errors.New("database is in use")

	// ErrClosed says that the database was closed.
	ErrClosed = errors.New("database is closed")

	// ErrNoDatabase says that there is no database and that none was to be created.
	ErrNoDatabase = errors.New("no database there")

	// ErrTxDone says that a transaction was used after its function returned.
	ErrTxDone = errors.New("transaction is over")

	// ErrReadOnly says that a transaction of View was asked to write.
	ErrReadOnly = errors.New("transaction is read-only")

	// ErrNoCollection says that there is no collection of that name.
	ErrNoCollection = errors.New("no collection")

	// ErrExists says that a row or collection to be made is already there.
	ErrExists = errors.New("already exists")

	// ErrNotFound says that a row that must exist does not.
	ErrNotFound = errors.New("no such row")

	// ErrTooLarge says that a transaction exceeds [Options.MaxTxBytes].
	ErrTooLarge = errors.New("transaction is too large")
)

// Options adjusts a database. The zero value is ready for use.
type Options struct {
	// MustExist makes Open fail with ErrNoDatabase instead of creating a database.
	MustExist bool

	// LogFileBytes is the size of a log file; 0 means 16 MiB.
	LogFileBytes int64

	// MaxTxBytes is the largest encoded transaction; 0 means 256 MiB, which
	// is also the most: about 6 million rows of 30 bytes. Until it is applied a
	// transaction takes about four times its size of memory, one of millions of
	// small rows up to twelve times.
	MaxTxBytes int64

	// PieceBytes is the size of an encoded transaction from which on a capture
	// gets it in pieces, so that it need not fit into memory; 0 means 2 MiB.
	PieceBytes int64

	// CacheBytes is the size of the block cache; 0 means 64 MiB.
	CacheBytes int64

	// MemTableBytes is how much state is held in memory before it is written
	// out, and so about how much log Open may have to replay; 0 means 32 MiB.
	MemTableBytes int64

	// StrictStandby makes a standby look at each row before it takes a change of
	// it, and stop where the two do not fit ([apply.ErrDiverged]). It costs about
	// as much again as following does. Without it what the standby relies on is
	// that its log is proved to be the archive's, transaction by transaction, and
	// that its rows were made from that log; rows of bags are looked at always.
	StrictStandby bool

	// Lag says what happens when an attached archive falls behind.
	Lag LagPolicy

	// Fatal is called, from any goroutine, when the state store can no longer
	// write its own files, on a full disk for one, and the process can't go on.
	// It should say so and exit; what was acknowledged is safe. nil, or when it
	// returns: panic.
	Fatal func(error)

	// Now is the clock of commit times, safe for concurrent use; nil means
	// time.Now. It may step back.
	Now func() time.Time

	// Random is where the database's ID comes from; nil means crypto/rand.
	Random io.Reader

	// FS is the file system; nil means the operating system's.
	FS vfs.FS

	// elapsed is a clock that does not step.
	elapsed func() time.Duration
}

const mostTxBytes = 256 << 20

// withDefaults fills in what is not set.
func (o Options) withDefaults() (*Options, error) {
	orElse := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	orElse(&o.LogFileBytes, 16<<20)
	orElse(&o.MaxTxBytes, mostTxBytes)
	orElse(&o.PieceBytes, 2<<20)
	orElse(&o.CacheBytes, 64<<20)
	orElse(&o.MemTableBytes, 32<<20)
	if o.LogFileBytes < txlog.MinFileBytes || o.LogFileBytes > txlog.MaxFileBytes {
		return nil, fmt.Errorf("option LogFileBytes is %d, want %d to %d", o.LogFileBytes, txlog.MinFileBytes, txlog.MaxFileBytes)
	}
	if o.MaxTxBytes < 0 || o.MaxTxBytes > mostTxBytes {
		return nil, fmt.Errorf("option MaxTxBytes is %d, want 1 to %d", o.MaxTxBytes, mostTxBytes)
	}
	if o.PieceBytes < 0 || o.PieceBytes > mostTxBytes {
		return nil, fmt.Errorf("option PieceBytes is %d, want 1 to %d", o.PieceBytes, mostTxBytes)
	}
	if o.CacheBytes < 0 || o.MemTableBytes < 0 || o.MemTableBytes >= 4<<30 {
		return nil, fmt.Errorf("options CacheBytes %d and MemTableBytes %d must not be negative, the latter less than 4 GiB", o.CacheBytes, o.MemTableBytes)
	}
	if err := o.Lag.fill(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.elapsed == nil {
		began := time.Now()
		o.elapsed = func() time.Duration { return time.Since(began) }
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return &o, nil
}

func (o *Options) now() change.Time { return change.TimeOf(o.Now()) }
