package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := newConsole(in, out, errs)
	defer c.close()
	root := newRoot(c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil && c.warned.Load():
		return exitWarnings
	case err == nil:
		return exitOK
	}
	if !c.ready {
		// The command line itself was refused, perhaps before its flags were read.
		c.json = c.json || hasFlag(args, "--json")
		err = usageError{err}
	}
	return c.fail(ctx, err)
}

func hasFlag(args []string, flag string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == flag {
			return true
		}
	}
	return false
}

func newRoot(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "tidemark",
		Short: "Keep a provable history of a database; restore it as it was at any transaction",
		Long: `Tidemark keeps a provable history of a database, snapshots plus a hash-chained
log of row changes, and brings the database back as it was at any transaction.

An ARCHIVE is a directory: a path, or dir:PATH.
A DB is an embedded database: a path, or embedded:PATH.
Either may be a name that the configuration knows: tidemark help names

See it work on real data:  tidemark demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			c.begin()
			return c.setZone()
		},
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.errs)
	flags := root.PersistentFlags()
	flags.BoolVar(&c.json, "json", false, "print results as lines of JSON, each with a message_type")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "print results only: no progress, no remarks, no logs below warnings")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "print debugging logs")
	flags.StringVar(&c.tz, "tz", "", "`zone` of times that you give without one, also shown beside UTC: a name such as Europe/Zurich, local, UTC or an offset (default $TIDEMARK_TZ)")
	flags.BoolVar(&c.noColor, "no-color", false, "no colours, even on a terminal")
	flags.StringVar(&c.configFile, "config", "", "the configuration `file` (see: tidemark help names)")
	flags.StringVar(&c.stateDirFlag, "state-dir", "", "the `directory` for what this machine remembers: plans, jobs, heads last seen")
	addCommands(root, c)
	c.timelineFlag(root, "label", "status", "check", "windows", "gaps", "find", "plan", "restore", "verify", "drill")
	c.useNames(root)
	root.InitDefaultCompletionCmd()
	c.completeNames(root)
	return root
}

// addCommands adds every command, in the groups of the help.
func addCommands(root *cobra.Command, c *console) {
	root.AddGroup(
		&cobra.Group{ID: "archive", Title: "Keep a history:"},
		&cobra.Group{ID: "restore", Title: "Look at it and bring it back:"},
		&cobra.Group{ID: "tools", Title: "Play and measure:"})
	root.SetHelpCommandGroupID("tools")
	root.SetCompletionCommandGroupID("tools")
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("archive",
		newInit(c),
		newRun(c),
		newCapture(c),
		newSnapshot(c),
		newLabel(c),
		newStatus(c),
		newJobs(c),
		newCheck(c),
		newGaps(c),
	)
	add("restore",
		newTimeline(c),
		newWindows(c),
		newFind(c),
		newPlan(c),
		newRestore(c),
		newFollow(c),
		newVerify(c),
		newDrill(c),
	)
	add("tools",
		newDB(c),
		newDemo(c),
		newBench(c),
		newConfig(c),
		newVersion(c),
		newExitCodes(c),
		newMan(c),
	)
	root.AddCommand(
		&cobra.Command{Use: "names", Short: "How a configuration names databases, and where it is", Long: namesHelp},
		&cobra.Command{Use: "targets", Short: "How to say where a restore stops", Long: targetHelp})
}

// args names the positional arguments that a command wants. One that ends in
// "…" may come several times, one in brackets may be left out.
func args(names ...string) cobra.PositionalArgs {
	least, most := 0, 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
		most++
		if strings.HasSuffix(n, "…") || strings.HasSuffix(n, "…]") {
			most = 1 << 30
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return errors.New("missing " + strings.Join(names[len(args):least], " and ") + "; usage: " + cmd.UseLine())
		case len(args) > most:
			return errors.New("unexpected argument " + quote(args[most]) + "; usage: " + cmd.UseLine())
		}
		return nil
	}
}
