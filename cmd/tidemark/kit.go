package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/kit"
	"github.com/tidemarkdb/tidemark/place"
	"github.com/tidemarkdb/tidemark/storage"
)

// kitReport is a recovery kit as --json prints it.
type kitReport struct {
	*kit.Kit
	Text string `json:"text"` // the page
}

// kitOf makes the recovery kit of an archive.
func (c *console) kitOf(ctx context.Context, name string) (*kit.Kit, error) {
	a, err := c.openArchive(ctx, name, false)
	if err != nil {
		return nil, err
	}
	branches, err := a.Timelines(ctx)
	if err != nil {
		return nil, damaged(err, name)
	}
	var states []*chain.State
	for _, b := range branches {
		if b.Err != nil {
			return nil, damaged(b.Err, name)
		}
		states = append(states, b.State)
	}
	where, err := c.absolutePlace(name)
	if err != nil {
		return nil, err
	}
	called := name
	if !config.IsName(name) {
		called = filepath.Base(filepath.Clean(where.Path))
	}
	return kit.New(called, version, a.Identity().Repo, a.Timeline(), []string{where.String()}, nil, states, c.now()), nil
}

// absolutePlace returns where an archive is, such that it means the same
// everywhere on this machine.
func (c *console) absolutePlace(name string) (place.Place, error) {
	at, err := c.archivePlace(name)
	if err != nil {
		return at, err
	}
	return at.Absolute()
}

// printKit prints the recovery kit of an archive, and writes it to a new file
// when there is one.
func (c *console) printKit(ctx context.Context, name, file string) error {
	k, err := c.kitOf(ctx, name)
	if err != nil {
		return err
	}
	text := k.Text()
	if file != "" {
		if err := writeNew(file, text, 0o644); err != nil {
			return fmt.Errorf("write the recovery kit: %w", err)
		}
	}
	c.printf("%s", page(text))
	return c.emit("recovery_kit", kitReport{k, text})
}

// kitFlags are those of a restore from a recovery kit.
type kitFlags struct {
	file       string
	allowOlder bool
}

func (f *kitFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "kit", "", "restore from a recovery kit, a `file`: it says where the archive is and what it must hold")
	cmd.Flags().BoolVar(&f.allowOlder, "allow-older", false, "with --kit: restore although the archive holds less than when the kit was printed")
}

// args checks the arguments of restore: with a kit the archive may be left out.
func (f *kitFlags) args(cmd *cobra.Command, list []string) error {
	if f.file == "" {
		if f.allowOlder {
			return errors.New("--allow-older is for --kit")
		}
		return args("ARCHIVE", "DEST")(cmd, list)
	}
	if len(list) == 0 {
		return errors.New("missing DEST; usage: tidemark restore --kit FILE [ARCHIVE] DEST")
	}
	return args("[ARCHIVE]", "DEST")(cmd, list)
}

// archive reads the kit and returns the archive to restore from: the one that
// list names, or the first of the kit's that is there. From then on that
// archive is opened only if it is what the kit says.
func (f *kitFlags) archive(c *console, list []string) (name, dest string, err error) {
	dest = list[len(list)-1]
	if f.file == "" {
		return list[0], dest, nil
	}
	raw, err := os.ReadFile(f.file)
	if err != nil {
		return "", "", usageError{fmt.Errorf("--kit: %w", err)}
	}
	k, err := kit.Parse(raw)
	if err != nil {
		return "", "", usageError{fmt.Errorf("--kit: %s: %w", f.file, err)}
	}
	if len(list) > 1 {
		name = list[0]
	} else if name, err = c.reachable(k.Archives); err != nil {
		return "", "", hinted{fmt.Errorf("%s: %w", f.file, err),
			"where the archive now is elsewhere: tidemark restore --kit " + shell(f.file) + " ARCHIVE " + shell(dest)}
	}
	c.kit = &pinnedKit{k, name, f}
	c.notef("recovery kit of %s, printed %s: repository %s, timeline %s\n", k.Database, k.Printed, k.Repo, k.Timeline)
	return name, dest, nil
}

// reachable returns the first place that can be opened.
func (c *console) reachable(places []string) (string, error) {
	var all []error
	for _, p := range places {
		if _, err := c.openBucket(p, false); err != nil {
			all = append(all, fmt.Errorf("%s: %w", p, err))
			continue
		}
		return p, nil
	}
	return "", errors.Join(all...)
}

// pinnedKit is the kit that an archive must agree with.
type pinnedKit struct {
	*kit.Kit
	name  string // of the archive, as openArchive gets it
	flags *kitFlags
}

// pin adds to the options for opening an archive what the configuration or a
// kit says of it, and proves the latter.
func (c *console) pin(ctx context.Context, name string, bucket storage.Bucket, opts *archive.OpenOptions) error {
	if c.kit != nil && c.kit.name == name {
		opts.PinRepo, opts.Timeline = c.kit.Repo, c.kit.Timeline
		older, err := c.proveKit(ctx, bucket, *opts)
		if !older {
			opts.Known = c.kit.Known(opts.Timeline)
		}
		return err
	}
	db, err := c.named(name)
	if err == nil && db != nil {
		opts.PinRepo, opts.Timeline = db.Repo, db.Timeline
	}
	return err
}

// proveKit holds an archive against the kit. older says that it ends before
// what the kit knows, and that this was allowed.
func (c *console) proveKit(ctx context.Context, bucket storage.Bucket, opts archive.OpenOptions) (older bool, err error) {
	err = c.kit.Prove(ctx, bucket, opts)
	if !errors.Is(err, kit.ErrOlder) {
		return false, err
	}
	if c.kit.flags.allowOlder {
		c.warned.Store(true)
		c.log.Warn("the archive holds less than when the recovery kit was printed", "error", err)
		return true, nil
	}
	return false, hinted{err, "look for a copy of the archive that holds more; to restore from what is left: tidemark restore --kit " +
		shell(c.kit.flags.file) + " --allow-older " + shell(c.kit.name) + " DEST"}
}
