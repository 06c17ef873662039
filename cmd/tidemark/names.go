package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/config"
)

// namesHelp is the help topic about configured names.
const namesHelp = `A database that the configuration names can be given by that name, wherever a
command takes an ARCHIVE or a DB:

  tidemark status shop
  tidemark capture shop        both the database and its archive
  tidemark plan --to latest    the only database that is configured

A configured name comes before a file of the same name; ./shop is always the path.
The archive must be the one that the configuration pins with repo.

The configuration is read from --config, else TIDEMARK_CONFIG, else
$XDG_CONFIG_HOME/tidemark/config.yaml (~/.config/tidemark/config.yaml), else
/etc/tidemark/config.yaml. "tidemark config init" writes one to start from,
"tidemark config show" says what is in force and where each value comes from.
A value comes from a flag before the environment before the file before the default.`

// configuration reads the configuration, once.
func (c *console) configuration() (*config.Config, error) {
	if c.conf == nil && c.confErr == nil {
		c.conf, c.confErr = config.Load(config.Options{File: c.configFile, StateDir: c.stateDirFlag, Zone: c.tz})
	}
	return c.conf, c.confErr
}

// named returns the configured database of that name, nil when what was typed
// is a path. A word that could be either needs the configuration to be good.
func (c *console) named(name string) (*config.Database, error) {
	if !config.IsName(name) {
		return nil, nil
	}
	conf, err := c.configuration()
	if err != nil {
		return nil, hinted{fmt.Errorf("is %q a configured name? %w", name, err), "write ./" + name + " if it is a path"}
	}
	return conf.Database(name), nil
}

// misspelt adds the configured name that was probably meant to an error about
// a path that is no archive or database.
func (c *console) misspelt(err error, name string) error {
	if err == nil || c.conf == nil || !config.IsName(name) {
		return err
	}
	if s := c.conf.Similar(name); s != "" {
		return fmt.Errorf("%w; the configuration names %q: did you mean that?", err, s)
	}
	return err
}

// stateDir returns the directory for what this machine remembers: plans, jobs,
// heads last seen. A configuration that is no good does not keep anybody from a
// restore: the directory is then where it is without one.
func (c *console) stateDir() (string, error) {
	conf, err := c.configuration()
	if err != nil {
		c.log.Warn("the configuration is not used", "error", err)
		if conf, err = config.Parse("", []byte("version: 1\n"), config.Options{StateDir: c.stateDirFlag, Zone: c.tz}); err != nil {
			return "", err
		}
	}
	if conf.StateDir == "" {
		return "", usageError{errors.New("no state directory: HOME is not set; give one with --state-dir")}
	}
	return conf.StateDir, nil
}

// useNames lets every command that takes an ARCHIVE, or a DB and its ARCHIVE,
// do with fewer words where a configuration says the rest.
func (c *console) useNames(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.useNames(sub)
	}
	words := strings.Fields(cmd.Use)[1:]
	at := slices.Index(words, "ARCHIVE")
	check, run := cmd.Args, cmd.RunE
	if at < 0 || check == nil || run == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		_, err := c.fill(cmd, words, args, check)
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args, err := c.fill(cmd, words, args, check)
		if err != nil {
			return err
		}
		return run(cmd, args)
	}
}

// fill returns the arguments with those that the configuration adds.
func (c *console) fill(cmd *cobra.Command, words, args []string, check cobra.PositionalArgs) ([]string, error) {
	missing := check(cmd, args)
	if missing == nil {
		return args, nil
	}
	at := slices.Index(words, "ARCHIVE")
	both := at > 0 && words[at-1] == "DB"
	if both {
		at--
	}
	try := func(insert ...string) []string {
		full := slices.Insert(slices.Clone(args), at, insert...)
		if len(args) < at || check(cmd, full) != nil {
			return nil
		}
		return full
	}
	if try("") == nil && (!both || try("", "") == nil) {
		return nil, missing // wrong in another way
	}
	conf, err := c.configuration()
	if err != nil {
		return nil, errors.Join(missing, err)
	}
	if both && len(args) > at && conf.Database(args[at]) != nil {
		if full := try(args[at]); full != nil {
			return full, nil
		}
	}
	if len(args) > at && conf.Database(args[at]) != nil {
		return nil, missing // it is another argument that was left out
	}
	switch len(conf.Databases) {
	case 0:
		return nil, missing
	case 1:
		name := conf.Databases[0].Name
		if both {
			if full := try(name, name); full != nil {
				return full, nil
			}
			return nil, missing
		}
		return try(name), nil
	}
	return nil, fmt.Errorf("%w; name one of %s", missing, strings.Join(conf.Names(), ", "))
}

// eachArchive does something for the archive that args name or, when they name
// none, for every configured database. Of several errors each is told, and the
// first one decides the exit code.
func (c *console) eachArchive(args []string, do func(name string) error) error {
	if len(args) > 0 {
		return do(args[0])
	}
	conf, err := c.configuration()
	if err != nil {
		return err
	}
	if len(conf.Databases) == 0 {
		return hinted{usageError{errors.New("missing ARCHIVE, and no configuration names a database")}, "tidemark help names"}
	}
	var first error
	for _, name := range conf.Names() {
		switch err := do(name); {
		case err == nil:
		case first == nil && len(conf.Databases) == 1:
			return err
		default:
			if first == nil {
				first = reported{err}
			}
			c.tell(err, exitCode(err))
		}
	}
	return first
}
