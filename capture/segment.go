package capture

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
)

// segment is the one being filled: a log pack in memory and what its manifest
// will say.
type segment struct {
	builder *chain.SegmentBuilder
	pack    *pack.LogWriter
	buf     bytes.Buffer
	since   time.Time // when its first transaction was read
}

func newSegment(prev change.Hash) *segment {
	s := &segment{builder: chain.NewSegmentBuilder(prev)}
	s.pack = pack.NewLogWriter(&s.buf, pack.WriterOptions{})
	return s
}

// add appends a transaction. One that is refused leaves the segment as it was.
func (s *segment) add(tx *change.Tx) error {
	if err := s.pack.AppendTx(tx); err != nil {
		return err
	}
	if s.builder.Empty() {
		s.since = time.Now()
	}
	return s.builder.Add(tx)
}

// sealed is a segment that is ready to be published, as often as it takes.
type sealed struct {
	section chain.Segment
	pack    []byte
	ref     pack.Ref
	mark    driver.Mark // its end
}

func (s *segment) seal(covered change.Time) (*sealed, error) {
	ref, _, err := s.pack.Close()
	if err != nil {
		return nil, err
	}
	out := &sealed{section: s.builder.Segment(), pack: s.buf.Bytes(), ref: ref}
	out.section.CoveredUntil = max(out.section.CoveredUntil, covered)
	out.mark = driver.Mark{LSN: out.section.Last, LogHash: out.section.LogHash, Position: out.section.Position}
	return out, nil
}

// publish uploads the pack, if an earlier attempt has not, and announces it.
func (s *sealed) publish(ctx context.Context, a *archive.Archive, session *archive.Session) error {
	if len(s.section.Packs) == 0 {
		ref, err := a.PutPack(ctx, chain.LogPack, s.section.First, s.section.Last, func(w io.Writer) (pack.Ref, error) {
			_, err := w.Write(s.pack)
			return s.ref, err
		})
		if err != nil {
			return err
		}
		s.section.Packs = []pack.Ref{ref}
	}
	return session.Segment(ctx, s.section)
}
