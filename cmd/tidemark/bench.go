package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemarkdb/tidemark/bench"
)

// figures is what a benchmark saw.
type figures interface{ WriteText(io.Writer) error }

func newBench(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure restores, commits and reads on this machine",
		Long: `Measure restores, commits and reads on this machine, each beside a yardstick taken
in the same run. Figures are the median (least … greatest) of several runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchRestore(c), newBenchCommit(c), newBenchRead(c), newBenchFollow(c), newBenchCaptureCost(c), newBenchMemory(c), newBenchOpen(c), newBenchChild(c))
	return cmd
}

// measure runs a benchmark and prints its figures.
func (c *console) measure(kind string, fn func() (figures, error)) error {
	f, err := fn()
	if err != nil {
		return err
	}
	if c.json {
		return c.emit(kind, f)
	}
	return f.WriteText(c.out)
}

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "work in this `directory`, and so on its disk; what is made there is removed; default the system's temporary one")
}

func newBenchRestore(c *console) *cobra.Command {
	var o bench.RestoreOptions
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Restore a snapshot and as many random changes, beside a bare pipeline",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Each restore is a process of its own, so that its memory can be told.
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			o.Child = []string{exe, "bench", childCommand}
			return c.measure("bench_restore", func() (figures, error) { return orNil(bench.Restore(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntVar(&o.Rows, "rows", 1_000_000, "rows of the snapshot, about 200 bytes each")
	cmd.Flags().IntVar(&o.Changes, "changes", 0, "changes after it; default as many as rows")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "restores by each pipeline, in turns")
	cmd.Flags().IntVar(&o.BareBuffer, "bare-buffer", 0, "bytes of a write buffer for the bare pipeline's tables too; tidemark's own is 262144")
	cmd.Flags().StringVar(&o.Profile, "profile", "", "a `directory` for CPU profiles of each restore")
	return cmd
}

func newBenchCommit(c *console) *cobra.Command {
	var o bench.CommitOptions
	cmd := &cobra.Command{
		Use:   "commit",
		Short: "Commit to an embedded database with several writers, beside raw syncs",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.measure("bench_commit", func() (figures, error) { return orNil(bench.Commit(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntSliceVar(&o.Writers, "writers", []int{1, 8, 64}, "how many `writers` at once")
	cmd.Flags().IntVar(&o.Rows, "rows", 1, "rows of a commit")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 81, "measurements of each")
	cmd.Flags().DurationVar(&o.Slice, "slice", 50*time.Millisecond, "how long one measurement lasts")
	return cmd
}

func newBenchRead(c *console) *cobra.Command {
	var o bench.ReadOptions
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Read, prove, decompress and decode segments on one core",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.measure("bench_read", func() (figures, error) { return orNil(bench.Read(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntVar(&o.Records, "records", 1_000_000, "records of each workload")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 7, "times that each is read")
	return cmd
}

func newBenchMemory(c *console) *cobra.Command {
	var o bench.MemoryOptions
	dbBytes := byteFlag(4 << 30)
	cmd := &cobra.Command{
		Use:   "memory",
		Short: "Capture, verify and restore more than fits into memory, and say what they take",
		Long: `Capture, verify and restore a database whose log holds one transaction of millions
of rows, and one of several GiB, each command as a process of its own, and say how much
memory it had at most. It takes about four times the size of the database on the disk.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program, o.Child, o.DBBytes = []string{exe}, []string{exe, "bench", childCommand}, int64(dbBytes)
			return c.measure("bench_memory", func() (figures, error) { return orNil(bench.Memory(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntVar(&o.TxRows, "tx-rows", 5_000_000, "rows of the large transaction")
	cmd.Flags().Var(&dbBytes, "db-bytes", "keys and images of the large database")
	cmd.Flags().StringSliceVar(&o.Cases, "case", bench.MemoryCases, "the `cases` to measure")
	return cmd
}

func newBenchOpen(c *console) *cobra.Command {
	var o bench.OpenOptions
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Open and plan over an archive of many segments, and say what that takes",
		Long: `Build an archive of many segments in a directory, then run status and plan on it, each
time as a process of its own, and say how long they take and how much memory they have
at most. An archive of a million segments takes about 5 GiB on the disk and minutes to build.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program = []string{exe}
			return c.measure("bench_open", func() (figures, error) { return orNil(bench.Open(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the archive in --dir, and use one that was left there")
	cmd.Flags().IntVar(&o.Segments, "segments", 1_000_000, "segments of the archive")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 7, "times that each command runs")
	return cmd
}

func newBenchFollow(c *console) *cobra.Command {
	var o bench.FollowOptions
	cmd := &cobra.Command{
		Use:   "follow",
		Short: "Commit at a steady pace, capture, follow; how far behind is the standby?",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.measure("bench_follow", func() (figures, error) { return orNil(bench.Follow(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntVar(&o.Rate, "rate", 100_000, "changes a second")
	cmd.Flags().DurationVar(&o.For, "for", 30*time.Second, "how long to commit")
	cmd.Flags().IntVar(&o.Rows, "rows", 100, "rows of a commit")
	cmd.Flags().IntVar(&o.Keys, "keys", 1_000_000, "different rows, chosen at random")
	cmd.Flags().IntVar(&o.Writers, "writers", 4, "how many writers at once")
	return cmd
}

func newBenchCaptureCost(c *console) *cobra.Command {
	var o bench.CaptureCostOptions
	cmd := &cobra.Command{
		Use:   "capture-cost",
		Short: "Commit with and without a capture, in turns",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.measure("bench_capture_cost", func() (figures, error) { return orNil(bench.CaptureCost(cmd.Context(), o)) })
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntSliceVar(&o.Rows, "rows", []int{1, 1000}, "`rows` of a commit, several numbers are measured one after the other")
	cmd.Flags().IntVar(&o.Writers, "writers", 4, "how many `writers` at once")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 9, "measurements of each")
	cmd.Flags().DurationVar(&o.Slice, "slice", 4*time.Second, "how long one measurement lasts")
	return cmd
}

// orNil turns a typed result into the interface, nil after an error.
func orNil[F figures](f F, err error) (figures, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// childCommand is the hidden command in which bench restore measures.
const childCommand = "child"

func newBenchChild(c *console) *cobra.Command {
	return &cobra.Command{
		Use:    childCommand,
		Hidden: true,
		Args:   args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runChild(cmd.Context(), c)
		},
	}
}

func runChild(ctx context.Context, c *console) error { return bench.Child(ctx, c.in, c.out) }
