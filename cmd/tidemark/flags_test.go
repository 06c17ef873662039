package main

import (
	"io"
	"slices"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestFlagsNameTheirValues: no help text says that a flag takes a "string".
func TestFlagsNameTheirValues(t *testing.T) {
	n := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			n++
			if value, _ := pflag.UnquoteUsage(f); slices.Contains([]string{"string", "strings", "stringArray", "ints"}, value) {
				t.Errorf("%s --%s takes a %q: name it by `backticks` in its usage", cmd.CommandPath(), f.Name, value)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(newConsole(nil, io.Discard, io.Discard)))
	if n < 100 {
		t.Errorf("only %d flags were looked at", n)
	}
}
