package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manReport says what man has written.
type manReport struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
}

func newMan(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write manual pages, one for each command, into a directory",
		Long: `Write manual pages in section 1, one for each command, into a directory, which is
made when it does not exist. "man -l DIR/tidemark-restore.1" shows one.`,
		Example: "  tidemark man ~/.local/share/man/man1",
		Args:    args("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory for the pages: %w", err)
			}
			r := manReport{Dir: args[0]}
			for _, sub := range documented(cmd.Root()) {
				name := pageName(sub) + ".1"
				if err := os.WriteFile(filepath.Join(args[0], name), manPage(sub), 0o644); err != nil {
					return fmt.Errorf("write a page: %w", err)
				}
				r.Files = append(r.Files, name)
			}
			c.printf("wrote %s to %s\n", plural(int64(len(r.Files)), "page", "pages"), args[0])
			return c.emit("man", r)
		},
	}
}

// documented returns a command and all commands under it that people use.
func documented(cmd *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			out = append(out, documented(sub)...)
		}
	}
	return out
}

// pageName is the name of a command's page: tidemark-gaps-ack.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage writes the page of a command in the man macros.
func manPage(cmd *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"tidemark %s\" \"Tidemark\"\n", roff(strings.ToUpper(pageName(cmd))), roff(version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	if cmd.Runnable() || cmd.HasSubCommands() {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	}
	b.WriteString(".SH DESCRIPTION\n")
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	roffText(&b, long)
	manFlags(&b, "OPTIONS", cmd.NonInheritedFlags())
	manFlags(&b, "GLOBAL OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		roffText(&b, cmd.Example)
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, pageName(cmd.Parent()))
	}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			also = append(also, pageName(sub))
		}
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, name := range also {
		comma := ","
		if i == len(also)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(name), comma)
	}
	return b.Bytes()
}

func manFlags(b *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s\n", roff(flagName(f)), roff(flagUsage(f)))
	})
}

// flagName is a flag as it is typed, with what its value is.
func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		name += " " + value
	}
	return name
}

// flagUsage is what a flag does, with its default where that says something.
func flagUsage(f *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "0", "false", "0s", "[]":
		return usage
	}
	return usage + " (default " + f.DefValue + ")"
}

// roffText writes paragraphs; lines that are set in stay as they are.
func roffText(b *bytes.Buffer, text string) {
	inset := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		is := strings.HasPrefix(line, "  ")
		switch {
		case is && !inset:
			b.WriteString(".PP\n.nf\n")
		case !is && inset:
			b.WriteString(".fi\n")
		}
		if line == "" {
			b.WriteString(".PP\n")
		} else {
			fmt.Fprintln(b, roff(line))
		}
		inset = is
	}
	if inset {
		b.WriteString(".fi\n")
	}
}

// roff makes a line of text mean itself.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
