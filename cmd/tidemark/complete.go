package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/recovery"
)

// completeNames lets the shell complete what only tidemark knows: configured
// names, the labels of the archive on the command line, and the values of flags.
// It reads an archive's chain at most; what can't be read completes to nothing.
func (c *console) completeNames(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.completeNames(sub)
	}
	words := strings.Fields(cmd.Use)[1:]
	if cmd.ValidArgsFunction == nil && cmd.Runnable() && len(words) > 0 {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return c.completeArg(cmd, words, args)
		}
	}
	fixed := map[string][]string{"level": {"chain", "objects", "records", "drill"}, "op": {"insert", "update", "delete", "truncate", "schema"},
		"on-archive-lag": {"keep", "block", "detach"}}
	for flag, values := range fixed {
		if cmd.LocalFlags().Lookup(flag) != nil {
			complete(cmd, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return values, cobra.ShellCompDirectiveNoFileComp
			})
		}
	}
	if cmd.LocalFlags().Lookup("timeline") != nil {
		complete(cmd, "timeline", func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return c.timelines(cmd, words, args), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, flag := range []string{"to", "at"} {
		if cmd.LocalFlags().Lookup(flag) != nil {
			complete(cmd, flag, func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				return c.targets(cmd, words, args), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
			})
		}
	}
}

// complete sets how a flag completes, unless its command has said so itself.
func complete(cmd *cobra.Command, flag string, fn cobra.CompletionFunc) {
	if _, has := cmd.GetFlagCompletionFunc(flag); !has {
		if err := cmd.RegisterFlagCompletionFunc(flag, fn); err != nil {
			panic(err) // the flag is there
		}
	}
}

// completeArg completes the next argument of a command whose usage has these words.
func (c *console) completeArg(cmd *cobra.Command, words, args []string) ([]string, cobra.ShellCompDirective) {
	at := min(len(args), len(words)-1)
	if len(args) >= len(words) && !strings.HasSuffix(strings.Trim(words[at], "[]"), "…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	switch strings.Trim(words[at], "[]…") {
	case "NAME":
		if cmd.Name() != "jobs" && cmd.Name() != "run" {
			return nil, cobra.ShellCompDirectiveNoFileComp // a new name
		}
		if conf, err := c.configuration(); err == nil {
			return conf.Names(), cobra.ShellCompDirectiveNoFileComp
		}
	case "ARCHIVE", "DB":
		if conf, err := c.configuration(); err == nil {
			return conf.Names(), cobra.ShellCompDirectiveDefault
		}
	case "LSN":
		var out []string
		if s := c.stateFor(cmd, words, args); s != nil {
			for _, g := range recovery.Gaps(s) {
				if !g.Acknowledged {
					out = append(out, g.First.String()+"\t"+g.Reason)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	case "DEST", "FILE", "DIR":
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// targets completes a target: the labels of the archive, and the other forms.
func (c *console) targets(cmd *cobra.Command, words, args []string) []string {
	var out []string
	if s := c.stateFor(cmd, words, args); s != nil {
		for name, l := range s.Labels {
			out = append(out, "label:"+name+"\tLSN "+l.Body.LSN.String()+" "+l.Body.Note)
		}
		slices.Sort(out)
	}
	return append(out, "latest\tall that the archive holds", "lsn:\tup to an LSN", "tx:\tup to a transaction", "before:\twithout what follows")
}

// timelines completes a timeline of the archive on the command line.
func (c *console) timelines(cmd *cobra.Command, words, args []string) []string {
	name, ok := archiveOf(words, args)
	if !ok {
		return nil
	}
	c.timeline = "" // what is there of it so far
	a, err := c.openArchive(cmd.Context(), name, false)
	if err != nil {
		return nil
	}
	all, err := a.Timelines(cmd.Context())
	if err != nil {
		return nil
	}
	var out []string
	for _, b := range all {
		switch {
		case b.Err != nil:
			out = append(out, string(b.Timeline)+"\tcan't be read")
		case b.State.Parent != nil:
			out = append(out, fmt.Sprintf("%s\tfrom %s at LSN %d", b.Timeline, b.State.Parent.Parent, b.State.Parent.LSN))
		default:
			out = append(out, string(b.Timeline))
		}
	}
	return out
}

// archiveOf returns the archive on a command line whose usage has these words.
// It comes before what may be left out, or is a configured name that stands for
// a database too.
func archiveOf(words, args []string) (string, bool) {
	at := slices.IndexFunc(words, func(w string) bool { return strings.Trim(w, "[]") == "ARCHIVE" })
	switch {
	case at < 0 || len(args) == 0:
		return "", false
	case at < len(args):
		return args[at], true
	}
	return args[len(args)-1], config.IsName(args[len(args)-1]) && at > 0 && words[at-1] == "DB"
}

// stateFor reads the chain of the archive that a command line names so far, or
// returns nil.
func (c *console) stateFor(cmd *cobra.Command, words, args []string) *chain.State {
	name, ok := archiveOf(words, args)
	if !ok {
		return nil
	}
	_, s, err := c.openState(cmd.Context(), name)
	if err != nil {
		return nil
	}
	return s
}
