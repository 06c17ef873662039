package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/config"
)

// configReport is what config validate and config init say.
type configReport struct {
	File      string   `json:"file"`
	Databases []string `json:"databases"`
}

// configShown is what config show says, after one line for each value.
type configShown struct {
	File   string         `json:"file"`
	Values []config.Value `json:"values"`
}

func newConfig(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show and start a configuration",
		Long:  "Check, show and start a configuration.\n\n" + namesHelp,
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigValidate(c), newConfigShow(c), newConfigInit(c))
	return cmd
}

func newConfigValidate(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration; what is wrong is shown where it stands",
		Long: `Check a configuration: every key, every value, and that they fit together. What
is wrong is shown with its line and a caret; nothing is opened or changed.`,
		Example: "  tidemark config validate ./config.yaml",
		Args:    args("[FILE]"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.configFile = args[0]
			}
			conf, err := c.mustConfiguration()
			if err != nil {
				return err
			}
			c.printf("ok: %s: %s\n", conf.File, plural(int64(len(conf.Databases)), "database", "databases"))
			return c.emit("config", configReport{File: conf.File, Databases: conf.Names()})
		},
	}
}

// mustConfiguration is configuration for those who need a file.
func (c *console) mustConfiguration() (*config.Config, error) {
	conf, err := c.configuration()
	if err == nil && conf.File == "" {
		places := config.Places(config.Options{})
		err = usageError{fmt.Errorf("there is no configuration: neither --config nor %s names one, and none of %v is there", config.EnvFile, places)}
		return nil, hinted{err, "tidemark config init FILE"}
	}
	return conf, err
}

func newConfigShow(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show what is in force, and where each value comes from",
		Long: `Show what is in force, and where each value comes from: a flag, a variable of
the environment, a line of the file, its section defaults, or the default.`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error {
			conf, err := c.configuration()
			if err != nil {
				return err
			}
			if conf.File == "" {
				c.printf("no file\n\n")
			} else {
				c.printf("file %s\n\n", conf.File)
			}
			t := newTable("DATABASE", "SETTING", "VALUE", "FROM")
			for _, v := range conf.Values() {
				from := v.From
				if v.At != "" {
					from = v.At
				}
				value := v.Value
				if v.Zero {
					value = "-"
				}
				if v.From == config.FromDefaults {
					from += " (defaults)"
				}
				t.add(v.Database, v.Setting, value, from)
			}
			if !c.json {
				t.print(c.out)
			}
			return c.emit("config_values", configShown{File: conf.File, Values: conf.Values()})
		},
	}
}

func newConfigInit(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a configuration to start from, with remarks",
		Long: `Write a configuration to start from, with a remark on everything in it. FILE is
where --config or TIDEMARK_CONFIG point, or the user's own, unless it is given;
"-" prints it. A file that is there is left alone.`,
		Example: "  tidemark config init /etc/tidemark/config.yaml",
		Args:    args("[FILE]"),
		RunE: func(_ *cobra.Command, args []string) error {
			name := c.configFile
			if len(args) > 0 {
				name = args[0]
			}
			return c.writeConfig(name)
		},
	}
}

func (c *console) writeConfig(name string) error {
	if name == "" {
		name = os.Getenv(config.EnvFile)
	}
	if name == "" {
		name = config.Places(config.Options{})[0]
	}
	if name == "-" {
		_, err := fmt.Fprint(c.out, config.Example)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	err := writeNew(name, config.Example, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return hinted{usageError{fmt.Errorf("%s is there already", name)}, "tidemark config validate " + shell(name)}
	}
	if err != nil {
		return err
	}
	c.printf("wrote %s\n", name)
	c.notef("Change it to say what you have, then check it: tidemark config validate %s\n", shell(name))
	return c.emit("config", configReport{File: name, Databases: []string{"shop"}})
}

// writeNew writes a file that must not exist.
func writeNew(name, content string, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(content); err != nil {
		return errors.Join(err, f.Close(), os.Remove(name))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close(), os.Remove(name))
	}
	return f.Close()
}
