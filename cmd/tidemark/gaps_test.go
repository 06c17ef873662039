package main

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/storage"
)

// losing plays a capturer whose database has lost n records of its log, and
// that archives a base, of empty collections, right after.
func losing(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "losing ARCHIVE N")
	n, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	ctx := context.Background()
	bucket, err := storage.OpenDir(ts.MkAbs(args[0]), storage.DirOptions{})
	ts.Check(err)
	defer bucket.Close()
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	ts.Check(err)
	s, err := a.Load(ctx)
	ts.Check(err)
	c, err := a.Claim(ctx, archive.ClaimOptions{Source: s.Source, Mark: func(_ context.Context, s *chain.State) (driver.Mark, error) {
		return driver.Mark{LSN: s.Last, LogHash: s.LogHash, Position: s.Position}, nil
	}})
	ts.Check(err)
	last, from := s.Last+change.LSN(n), max(s.Effective, s.CoveredUntil)
	hash := change.Hash{byte(last), 1}
	ts.Check(c.Gap(ctx, chain.Gap{First: s.Last + 1, Last: last, Reason: "the log was deleted", From: from, To: from + 60e6, LogHash: hash}))
	base := chain.Snapshot{LSN: last, LogHash: hash, Taken: from + 60e6}
	for _, id := range slices.Sorted(maps.Keys(s.Schemas)) {
		base.Schemas = append(base.Schemas, s.Schemas[id])
		base.Digests = append(base.Digests, chain.CollectionDigest{Collection: id})
	}
	ts.Check(c.Snapshot(ctx, base))
	ts.Check(c.Close(ctx))
}
