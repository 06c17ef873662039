package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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

// judged records what a verification or a drill would have.
func judged(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, 2, "judged ARCHIVE verify-good|verify-bad|drill-good|drill-bad")
	ctx := context.Background()
	bucket, err := storage.OpenDir(ts.MkAbs(args[0]), storage.DirOptions{})
	ts.Check(err)
	defer bucket.Close()
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	ts.Check(err)
	now := change.TimeOf(time.Now())
	_, err = a.Publish(ctx, func(s *chain.State) (*chain.Manifest, error) {
		v := &chain.Verify{Level: "records", Through: s.Seq, Started: now}
		d := &chain.Drill{LSN: s.Last, Base: s.Last, Started: now, Elapsed: 90e6, OK: true, Independent: true}
		switch args[1] {
		case "verify-bad":
			v.Findings = 1
		case "drill-bad":
			d.OK, d.Detail = false, "collection item differs"
		}
		if strings.HasPrefix(args[1], "verify") {
			return &chain.Manifest{Kind: chain.KindVerify, Verify: v}, nil
		}
		return &chain.Manifest{Kind: chain.KindDrill, Drill: d}, nil
	})
	ts.Check(err)
}

// forking begins a timeline that goes on from main at an LSN.
func forking(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "forking ARCHIVE CHILD LSN")
	lsn, err := change.ParseLSN(args[2])
	ts.Check(err)
	ctx := context.Background()
	bucket, err := storage.OpenDir(ts.MkAbs(args[0]), storage.DirOptions{})
	ts.Check(err)
	defer bucket.Close()
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	ts.Check(err)
	s, err := a.Load(ctx)
	ts.Check(err)
	hash, _, err := a.LogAt(ctx, s, lsn)
	ts.Check(err)
	_, err = a.Fork(ctx, archive.ForkOptions{Child: chain.TimelineID(args[1]), LSN: lsn, LogHash: hash})
	ts.Check(err)
}
