package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/chain"
)

// version is set by the linker for a release.
var version = "development"

type versionReport struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Format  int    `json:"archive_format"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

func newVersion(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the archive format it writes",
		Args:  args(),
		RunE: func(*cobra.Command, []string) error {
			v := versionReport{Version: version, Format: chain.FormatVersion, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			c.printf("tidemark %s", v.Version)
			if v.Commit != "" {
				c.printf(" (%.12s)", v.Commit)
			}
			c.printf(", archive format %d, %s, %s\n", v.Format, v.Go, v.System)
			return c.emit("version", v)
		},
	}
}
