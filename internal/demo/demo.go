// Package demo tells, on real data and in a few seconds, what Tidemark is for:
// an application's database is archived while it works, somebody wrecks it,
// and it comes back as it was just before.
//
// Nothing is staged: the database, the archive and every command are the real
// ones, and the story checks what it claims.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/embedded"
	"github.com/tidemarkdb/tidemark/storage"
)

// Options adjusts a demonstration.
type Options struct {
	Dir  string    // where to work: a new directory, or an empty one; default one below the system's temporary directory
	Keep bool      // leave everything there
	Out  io.Writer // the story
	Log  *slog.Logger

	// Command carries out a tidemark command line and writes its result to out.
	Command func(ctx context.Context, out io.Writer, args ...string) error
}

// Result is what a demonstration has shown.
type Result struct {
	Rows       int64         `json:"rows"`         // in the database just before the accident
	Records    change.LSN    `json:"records"`      // changes archived in all
	Lost       int64         `json:"rows_deleted"` // by the accident
	Overwrote  int64         `json:"rows_overwritten"`
	JustBefore change.LSN    `json:"just_before"` // the LSN that was restored to
	Identical  bool          `json:"identical"`   // restored and lost state have the same digests
	Bytes      int64         `json:"archive_bytes"`
	Restore    time.Duration `json:"restore_ns"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	Dir        string        `json:"dir,omitempty"` // when it was kept
}

// ErrFailed says that the demonstration did not show what it promises.
var ErrFailed = errors.New("the demonstration failed")

// Run tells the story. It leaves nothing behind unless Keep is set.
func Run(ctx context.Context, o Options) (res *Result, err error) {
	began := time.Now()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := workDir(o.Dir)
	if err != nil {
		return nil, err
	}
	if !o.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	s := &story{o: o, dir: dir, dbPath: filepath.Join(dir, "cities.db"), archivePath: filepath.Join(dir, "archive"),
		restoredPath: filepath.Join(dir, "restored.db")}
	if err := s.tell(ctx); err != nil {
		return nil, err
	}
	s.res.Elapsed = time.Since(began)
	s.end()
	return &s.res, nil
}

// workDir makes the directory to work in.
func workDir(name string) (string, error) {
	if name == "" {
		return os.MkdirTemp("", "tidemark-demo-")
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty; choose a new directory: %w", name, os.ErrExist)
	}
	return name, nil
}

// story is what the chapters share.
type story struct {
	o                                 Options
	dir                               string
	dbPath, archivePath, restoredPath string

	cities  []city
	regions []region

	db      *embedded.DB
	archive *archive.Archive
	capture *capture.Capturer

	lost     digests // what the database held just before the accident
	before   change.LSN
	chapters int // told so far
	res      Result
}

// tell runs the chapters, with the capture beside them.
func (s *story) tell(ctx context.Context) (err error) {
	if s.cities, err = readCities(); err != nil {
		return err
	}
	if s.regions, err = readRegions(); err != nil {
		return err
	}
	s.say("Tidemark on real data: %s cities in %s regions of the world.\n%s\n",
		comma(len(s.cities)), comma(len(s.regions)), Attribution)
	if s.db, err = embedded.Open(s.dbPath, embedded.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	bucket, err := storage.CreateDir(s.archivePath, storage.DirOptions{})
	if err != nil {
		return err
	}
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		return err
	}
	if s.archive, err = archive.Open(ctx, bucket, archive.OpenOptions{}); err != nil {
		return err
	}
	s.capture = capture.New(s.archive, s.db.Source(), capture.Options{FlushBytes: 1 << 20, Log: s.o.Log})
	return s.capture.While(ctx, func(ctx context.Context) error {
		for _, chapter := range []func(context.Context) error{s.load, s.evolve, s.accident, s.find, s.plan, s.restore, s.compare, s.verify} {
			if err := chapter(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// end closes the story.
func (s *story) end() {
	s.say("\nAll of this took %s.\n", seconds(s.res.Elapsed))
	if !s.o.Keep {
		s.say("Everything was removed again; keep it to play with: tidemark demo --keep\n")
		return
	}
	s.res.Dir = s.dir
	s.say("Everything is in %s; try:\n", s.dir)
	for _, line := range []string{
		"tidemark status " + s.archivePath,
		"tidemark find " + s.archivePath + " --limit 10",
		"tidemark restore " + s.archivePath + " " + filepath.Join(s.dir, "earlier.db") + " --to label:" + label,
		"tidemark db scan " + s.restoredPath + " cities --where country=IT --limit 5",
		"tidemark db digest " + s.restoredPath,
	} {
		s.say("  %s\n", line)
	}
}
