package restore_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
	"github.com/tidemarkdb/tidemark/storage"
)

// pieceArchive makes an archive of one segment with these pieces, a pack each,
// whose manifest says what it would of the transactions said.
func pieceArchive(t *testing.T, pieces, said []*change.Tx) (a *archive.Archive, packs []string) {
	t.Helper()
	ctx, bucket := t.Context(), storage.NewMem()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	session, err := a.Claim(ctx, archive.ClaimOptions{Source: chain.Source{Kind: "fake", System: "s"},
		Mark: func(context.Context, *chain.State) (driver.Mark, error) { return driver.Mark{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	b := chain.NewSegmentBuilder(change.Hash{})
	for _, tx := range said {
		if err := b.Add(tx); err != nil {
			t.Fatal(err)
		}
	}
	seg := b.Segment()
	for _, p := range pieces {
		ref, err := a.PutPack(ctx, chain.LogPack, p.First(), p.Last(), func(out io.Writer) (pack.Ref, error) {
			w := pack.NewLogWriter(out, pack.WriterOptions{})
			if err := w.AppendTx(p); err != nil {
				return pack.Ref{}, err
			}
			ref, _, err := w.Close()
			return ref, err
		})
		if err != nil {
			t.Fatal(err)
		}
		seg.Packs, packs = append(seg.Packs, ref), append(packs, ref.Key)
	}
	if err := session.Segment(ctx, seg); err != nil {
		t.Fatal(err)
	}
	return a, packs
}

// sixRecords is a transaction that makes a collection and five rows.
func sixRecords(t *testing.T) *change.Tx {
	s, err := change.Define(1, "city", []string{"id"}, change.Column{Name: "id", Type: change.Int64})
	if err != nil {
		t.Fatal(err)
	}
	r, err := change.SchemaRecord(s)
	if err != nil {
		t.Fatal(err)
	}
	tx := &change.Tx{ID: 9, Commit: 1e15, Effective: 1e15, Records: []change.Record{r}}
	for i := range int64(5) {
		key, image, err := s.EncodeRow(change.Row{change.IntValue(i)})
		if err != nil {
			t.Fatal(err)
		}
		tx.Records = append(tx.Records, change.Record{Op: change.Insert, Collection: 1, Key: key, Image: image})
	}
	for i := range tx.Records {
		tx.Records[i].LSN = change.LSN(i + 1)
	}
	return tx
}

// TestTransactionInPieces: a segment of packs that fit together restores; one
// that splits a transaction, or whose pieces belong to different ones, is found
// out by every look at the packs, and by a restore before the first row.
func TestTransactionInPieces(t *testing.T) {
	tx := sixRecords(t)
	short := *tx
	short.Records = tx.Records[:4]
	rest := *tx
	rest.ID, rest.Records = 10, tx.Records[4:]
	another := func(p *change.Tx) *change.Tx { c := *p; c.ID++; return &c }
	pieces := change.Cut(tx, 2)
	for _, c := range []struct {
		name         string
		pieces, said []*change.Tx
		at           int // the pack that is to blame, −1 for the manifest; 9 for none
		text         string
		level        restore.Level // the least that finds it
	}{
		{"good", pieces, []*change.Tx{tx}, 9, "", 0},
		{"ends inside", pieces[:2], []*change.Tx{&short}, -1, "ends inside a transaction", restore.LevelObjects},
		{"begins again", []*change.Tx{pieces[0], pieces[1], &rest}, []*change.Tx{&short, &rest}, 2, "transaction", restore.LevelObjects},
		{"of another", []*change.Tx{pieces[0], another(pieces[1]), pieces[2]}, []*change.Tx{tx}, 1, "does not go on", restore.LevelRecords},
		{"said to be two", pieces, []*change.Tx{&short, &rest}, -1, "do not yield the LogHash", restore.LevelRecords},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, packs := pieceArchive(t, c.pieces, c.said)
			for _, level := range []restore.Level{restore.LevelObjects, restore.LevelRecords} {
				report, err := restore.Verify(t.Context(), a, restore.VerifyOptions{Level: level})
				if err != nil {
					t.Fatal(err)
				}
				if c.at == 9 || level < c.level {
					if !report.OK() {
						t.Errorf("%s: found %+v", level, report.Findings)
					}
					continue
				}
				blamed := append(slices.Clone(packs), chain.ManifestKey(chain.MainTimeline, a.State().Seq))
				want := blamed[(c.at+len(blamed))%len(blamed)]
				if len(report.Findings) != 1 || report.Findings[0].Key != want || !strings.Contains(report.Findings[0].Found, c.text) {
					t.Errorf("%s: found %+v, want %q of %s", level, report.Findings, c.text, want)
				}
			}
			_, plan, err := restore.Prepare(t.Context(), a, recovery.AtLSN(c.said[len(c.said)-1].Last()))
			if err == nil {
				var rows *recovery.Rows
				if rows, err = recovery.At(t.Context(), a.Bucket(), plan, recovery.AtOptions{TempDir: t.TempDir()}); err == nil {
					rows.Close()
				}
			}
			var inside *recovery.InsideTxError
			if (err == nil) != (c.at == 9) || err != nil && !errors.Is(err, pack.ErrCorrupt) && !errors.As(err, &inside) {
				t.Errorf("restore: %v", err)
			}
		})
	}
}
